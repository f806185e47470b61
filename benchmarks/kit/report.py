"""What a run leaves behind: a table to read, JSON to compare with, a chart to look at."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from .pairs import Row, Table

RESULTS = Path(__file__).parents[1] / "results"

PACKAGES = (
    *("aiohttp", "anyio", "attrs", "cattrs", "httpx", "openai", "pydantic", "redis", "requests", "stripe", "urllib3"),
    *("opentelemetry-sdk", "posthog", "schematichq", "segment-analytics-python", "snowplow-tracker"),
)


def write(name: str, tables: Sequence[Table], folder: Path = RESULTS, *, text: str | None = None) -> None:
    """Print the tables, and write `<name>.json`, `<name>.md` and `<name>.svg`. `text` replaces the tables."""
    folder.mkdir(parents=True, exist_ok=True)
    text = ("\n\n".join(markdown(table) for table in tables) if text is None else text) + "\n"
    print(f"\n{text}")
    (folder / f"{name}.md").write_text(f"{_where()}\n\n{text}", encoding="utf-8")
    results = {"machine": _machine(), "tables": [asdict(table) for table in tables]}
    (folder / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if importlib.util.find_spec("matplotlib") is None:
        print("no chart: matplotlib is not installed")
    else:
        from .chart import draw

        draw(tables, folder / f"{name}.svg")
    print(f"written: {folder}/{name}.json, .md, .svg")


def markdown(table: Table) -> str:
    compared = any(row.ratio is not None for row in table.rows)
    wanted = any(row.target is not None or row.target_ratio is not None for row in table.rows)
    head = f"| | {table.unit} |{' ratio | quartiles |' if compared else ''}{' target |' if wanted else ''}"
    lines = [f"### {table.title}", "", head]
    lines.append("|---|---:|" + ("---:|---|" if compared else "") + ("---:|" if wanted else ""))
    for row in sorted(table.rows, key=lambda row: row.cost, reverse=table.better == "more"):
        target = _target(row, better=table.better) if wanted else ""
        lines.append(f"| {row.name} | {_figure(row.cost)} |{_ratio(row) if compared else ''}{target}")
    return "\n".join(lines)


def _ratio(row: Row) -> str:
    if row.ratio is None:
        return " | |"
    quartiles = "" if row.low is None or row.high is None else f"{row.low:.2f} - {row.high:.2f} "
    return f" {row.ratio:.2f}x | {quartiles}|"


def _target(row: Row, *, better: str) -> str:
    least = ">=" if better == "more" else "<="
    if row.target_ratio is not None:
        return f" {least} {row.target_ratio:.2f}x |"
    return " |" if row.target is None else f" {least} {_figure(row.target)} |"


def _figure(cost: float) -> str:
    return f"{cost:,.2f}" if cost < 10 else f"{cost:,.1f}" if cost < 100 else f"{cost:,.0f}"


def _machine() -> dict[str, object]:
    found = {name: _version(name) for name in PACKAGES}
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": {name: version for name, version in found.items() if version is not None},
    }


def _where() -> str:
    machine = _machine()
    packages = machine["packages"]
    assert isinstance(packages, dict)
    versions = ", ".join(f"{name} {version}" for name, version in packages.items())
    return f"CPython {machine['python']}, {machine['cores']} cores, {machine['platform']}; {versions}"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
