"""Measure side by side: A, B, A, B, ... Figures move with the machine, ratios taken in one run hardly do."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

Measure = Callable[[], float]
"""Does some work and returns its cost per piece in microseconds."""


@dataclass
class Compared:
    """A contender beside the baseline. `ratio` is the median of the pairs' ratios, `low` and `high` their quartiles."""

    name: str
    cost: float
    ratio: float
    low: float
    high: float


def compare(baseline: tuple[str, Measure], others: Sequence[tuple[str, Measure]], *, pairs: int) -> list[Compared]:
    """Every contender in `pairs` interleaved pairs with the baseline; the first pair of each only warms up."""
    name, base = baseline
    found: list[Compared] = []
    base_costs: list[float] = []
    for other, measure in others:
        base(), measure()
        ratios: list[float] = []
        costs: list[float] = []
        for _ in range(pairs):
            before, cost = base(), measure()
            base_costs.append(before)
            costs.append(cost)
            ratios.append(cost / before)
        low, _, high = statistics.quantiles(ratios, n=4)
        found.append(Compared(other, statistics.median(costs), statistics.median(ratios), low, high))
        print(f"  {other}: {found[-1].ratio:.2f}x", file=sys.stderr, flush=True)
    return [Compared(name, statistics.median(base_costs), 1.0, 1.0, 1.0), *found]


def show(title: str, unit: str, rows: Sequence[Compared]) -> None:
    print(f"\n{title}")
    print(f"{'':34}{unit:>12}{'ratio':>9}   quartiles")
    for row in sorted(rows, key=lambda row: row.cost):
        print(f"{row.name:34}{row.cost:12,.1f}{row.ratio:8.2f}x   {row.low:.2f} - {row.high:.2f}")


def write_json(path: str | None, tables: dict[str, list[Compared]]) -> None:
    if path is not None:
        text = json.dumps({name: [asdict(row) for row in rows] for name, rows in tables.items()}, indent=1)
        Path(path).write_text(text + "\n", encoding="utf-8")
