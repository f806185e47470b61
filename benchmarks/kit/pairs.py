"""Measure side by side: A, B, A, B, ... Figures move with the machine, ratios taken in one run hardly do."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Measure = Callable[[], float]
"""Does some work and returns what one piece of it costs."""


@dataclass
class Row:
    """A contender. `ratio` to the baseline is the median of the pairs' ratios, `low` and `high` their quartiles.

    A table without a baseline has costs alone. `target` and `target_ratio` are what the project wants of them.
    """

    name: str
    cost: float
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    target: float | None = None
    target_ratio: float | None = None


@dataclass
class Table:
    """Rows that were measured together. `better` says which end of the costs is the good one."""

    title: str
    unit: str
    rows: list[Row]
    better: str = "less"


def compare(baseline: tuple[str, Measure], others: Mapping[str, Measure], *, pairs: int) -> list[Row]:
    """Every contender in `pairs` interleaved pairs with the baseline; one more pair before them only warms up."""
    name, base = baseline
    rows: list[Row] = []
    base_costs: list[float] = []
    for other, measure in others.items():
        base(), measure()
        costs: list[float] = []
        ratios: list[float] = []
        for _ in range(pairs):
            before, cost = base(), measure()
            base_costs.append(before)
            costs.append(cost)
            ratios.append(cost / before)
        low, _, high = statistics.quantiles(ratios, n=4)
        rows.append(Row(other, statistics.median(costs), statistics.median(ratios), low, high))
        print(f"  {other}: {rows[-1].ratio:.2f}x", file=sys.stderr, flush=True)
    return [Row(name, statistics.median(base_costs), 1.0, 1.0, 1.0), *rows]
