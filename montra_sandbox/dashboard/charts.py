"""The geometry of charts. Templates draw them as SVG; the figures stand beside them as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import attrs

WIDTH: int = 600
HEIGHT: int = 140
_GAP = 0.28
_TOP = 6
_MAX_LABELS = 6


@attrs.frozen
class Bar:
    """A rectangle.

    Attributes:
        x: its left edge.
        y: its upper edge.
        width: its width.
        height: its height.
        kind: the class of its colour.
        title: what it says when it is pointed at.
    """

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str


@attrs.frozen(kw_only=True)
class Chart:
    """A chart of `WIDTH` x `HEIGHT`.

    Attributes:
        bars: the bars; none for a line.
        line: the path of the line; empty for bars.
        area: the path of the area below the line; empty for bars.
        hover: an invisible bar per bucket, which says its figures.
        grid: the heights of the grid's lines.
        top: the highest value, formatted; empty when there is none.
        labels: some of the keys, evenly spaced.
        names: the names of the series.
        figures: key and formatted values of each bucket.
    """

    bars: Sequence[Bar] = ()
    line: str = ""
    area: str = ""
    hover: Sequence[Bar] = ()
    grid: Sequence[float] = ()
    top: str = ""
    labels: Sequence[str] = ()
    names: Sequence[str] = ()
    figures: Sequence[tuple[str, Sequence[str]]] = ()


@attrs.frozen
class Series:
    """One series of a chart.

    Attributes:
        name: what it counts.
        kind: the class of its colour.
        values: one value per bucket.
    """

    name: str
    kind: str
    values: Sequence[Any]


def stacked_bars(keys: Sequence[str], series: Sequence[Series], text: Callable[[Any], str] = str) -> Chart:
    """Bars, those of several series on top of each other.

    Args:
        keys: the names of the buckets.
        series: the series, the lowest first.
        text: formats a value.
    """
    top = max((sum(_size(one.values[i]) for one in series) for i in range(len(keys))), default=0.0)
    step = WIDTH / max(len(keys), 1)
    bars: list[Bar] = []
    for i in range(len(keys)):
        below = float(HEIGHT)
        for one in series:
            height = _scaled(_size(one.values[i]), top)
            below -= height
            if height:
                bar = (round(i * step + step * _GAP / 2, 2), round(below, 2), round(step * (1 - _GAP), 2))
                bars.append(Bar(*bar, round(height, 2), one.kind, ""))
    return Chart(bars=bars, **_common(keys, series, text))


def area(keys: Sequence[str], series: Series, text: Callable[[Any], str] = str) -> Chart:
    """A line with the area below it.

    Args:
        keys: the names of the buckets.
        series: the series.
        text: formats a value.
    """
    sizes = [_size(value) for value in series.values]
    top = max(sizes, default=0.0)
    step = WIDTH / max(len(keys) - 1, 1)
    points = [f"{round(i * step, 2)} {round(HEIGHT - 1 - _scaled(size, top), 2)}" for i, size in enumerate(sizes)]
    line = f"M{'L'.join(points)}" if points else ""
    return Chart(line=line, area=f"{line}V{HEIGHT}H0Z" if line else "", **_common(keys, [series], text))


def _common(keys: Sequence[str], series: Sequence[Series], text: Callable[[Any], str]) -> dict[str, Any]:
    step = WIDTH / max(len(keys), 1)
    figures = [(key, [text(one.values[i]) for one in series]) for i, key in enumerate(keys)]
    named = [one.name for one in series]
    hover = [
        Bar(round(i * step, 2), 0, round(step, 2), HEIGHT, "", f"{key}: {_figures_text(named, values)}")
        for i, (key, values) in enumerate(figures)
    ]
    sums = [sum(one.values[i] for one in series) for i in range(len(keys))]
    highest = max(sums, default=0)
    every = max(1, -(-len(keys) // _MAX_LABELS))
    return {
        "hover": hover,
        "grid": (HEIGHT * 0.25, HEIGHT * 0.5, HEIGHT * 0.75),
        "top": text(highest) if highest > 0 else "",
        "labels": keys[::every],
        "names": named,
        "figures": figures,
    }


def _figures_text(names: Sequence[str], values: Sequence[str]) -> str:
    return ", ".join(f"{value} {name}" for name, value in zip(names, values, strict=True))


def share_of_limit(used: Any, limit: Any) -> float:
    """How much of a limit is used, in percent from 0 to 100; a limit of 0 is used up.

    Args:
        used: the usage.
        limit: the limit.
    """
    if Decimal(limit) <= 0:
        return 100.0
    share = min(Decimal(1), max(Decimal(0), Decimal(used) / Decimal(limit)))
    return round(float(share) * 100, 1)


def _size(value: Any) -> float:
    return max(0.0, float(value))


def _scaled(size: float, top: float) -> float:
    return size / top * (HEIGHT - _TOP) if top else 0.0
