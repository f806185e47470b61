"""Bars: ours in colour, the baseline dark, everybody else grey; where peers are far away the axis is logarithmic."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .pairs import Row, Table

OURS, BASELINE, OTHERS = "#0f766e", "#334155", "#cbd5e1"
_WIDE = 20
"""From this ratio between the longest and the shortest bar a linear axis would hide the short ones."""


def draw(tables: Sequence[Table], path: Path) -> None:
    heights = [0.9 + 0.34 * len(table.rows) for table in tables]
    figure = Figure(figsize=(8, sum(heights)), layout="constrained")
    axes = figure.subplots(len(tables), 1, height_ratios=heights, squeeze=False)
    for axis, table in zip(axes[:, 0], tables, strict=True):
        _bars(axis, table)
    # The same figures make the same file; words stay words, not outlines.
    with matplotlib.rc_context({"svg.hashsalt": "montra", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})


def _bars(axis: Axes, table: Table) -> None:
    rows = sorted(table.rows, key=lambda row: row.cost, reverse=table.better != "more")
    costs = [row.cost for row in rows]
    bars = axis.barh([row.name for row in rows], costs, color=[_colour(row) for row in rows], height=0.7)
    axis.bar_label(bars, [_label(row) for row in rows], padding=4, fontsize=8)
    wide = max(costs) > _WIDE * min(costs) > 0
    if wide:
        axis.set_xscale("log")
    axis.margins(x=0.15)
    notes = f"{table.unit}, {table.better} is better{', logarithmic' if wide else ''}"
    axis.set_title(f"{table.title} ({notes})", fontsize=9, loc="left")
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)


def _colour(row: Row) -> str:
    if row.name.startswith("montra"):
        return OURS
    return BASELINE if row.ratio == row.low == row.high == 1.0 else OTHERS


def _label(row: Row) -> str:
    figure = f"{row.cost:,.0f}" if row.cost >= 10 else f"{row.cost:,.2f}"
    return figure if row.ratio is None else f"{figure} · {row.ratio:.2f}x"
