"""Put the results of the last run into docs/performance.md: its tables, and the charts that it shows.

    python benchmarks/publish.py
    python benchmarks/publish.py --only usage access losses

Tables stand between `<!-- results: NAME -->` and `<!-- end -->`, with what they were measured on in front where it says
`NAME with machine`. A chart is shown as `performance/NAME.svg`.
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Collection
from pathlib import Path

from kit.report import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"

_TABLE = re.compile(r"(<!-- results: (\w+)( with machine| of machine)? -->\n).*?(<!-- end -->)", re.DOTALL)
_CHART = re.compile(r"\]\(performance/(\w+)\.svg\)")


def filled(page: str, results: Path, only: Collection[str] = ()) -> str:
    """The page with tables taken from `results`.

    Args:
        page: the page.
        results: folder of a run.
        only: names of benchmarks; all of them if there is none.
    """

    def table(found: re.Match[str]) -> str:
        if only and found[2] not in only:
            return found[0]
        machine, _, tables = _read(results / f"{found[2]}.md").partition("\n\n")
        text = {None: tables, " of machine": f"{machine}\n", " with machine": f"{machine}\n\n{tables}"}[found[3]]
        return f"{found[1]}\n{text}\n{found[4]}"

    return _TABLE.sub(table, page)


def _read(path: Path) -> str:
    if not path.exists():
        raise SystemExit(f"{path.name} is missing: run `nox -s bench` first")
    return path.read_text(encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of a run (default: the last one)")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="benchmarks (default: all)")
    given = parser.parse_args()
    page = filled(PAGE.read_text(encoding="utf-8"), given.results, given.only)
    PAGE.write_text(page, encoding="utf-8")
    charts = PAGE.parent / "performance"
    charts.mkdir(exist_ok=True)
    for chart in _CHART.findall(page):
        if not given.only or chart in given.only:
            shutil.copy(given.results / f"{chart}.svg", charts / f"{chart}.svg")
    print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
