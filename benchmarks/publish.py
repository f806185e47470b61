"""Put the results of the last run into docs/performance.md: its tables, and the charts that it shows.

    python benchmarks/publish.py

Tables stand between `<!-- results: NAME -->` and `<!-- end -->`, what they were measured on where NAME is `machine`;
a chart is shown as `performance/NAME.svg`.
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

from kit.report import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"

_TABLE = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_CHART = re.compile(r"\]\(performance/(\w+\.svg)\)")


def filled(page: str, results: Path) -> str:
    """The page with every table taken from `results`."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{_text(results, found[2])}\n{found[3]}", page)


def _text(results: Path, name: str) -> str:
    machine, _, tables = _read(results / f"{'async_call' if name == 'machine' else name}.md").partition("\n\n")
    return f"{machine}\n" if name == "machine" else tables


def _read(path: Path) -> str:
    if not path.exists():
        raise SystemExit(f"{path.name} is missing: run `nox -s bench` first")
    return path.read_text(encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of a run (default: the last one)")
    given = parser.parse_args()
    page = filled(PAGE.read_text(encoding="utf-8"), given.results)
    PAGE.write_text(page, encoding="utf-8")
    charts = PAGE.parent / "performance"
    charts.mkdir(exist_ok=True)
    for chart in _CHART.findall(page):
        shutil.copy(given.results / chart, charts / chart)
    print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
