"""Models as HTML, for notebooks: tables and a chart. Everything that is shown is escaped and bounded.

What `repr` hides (secrets, tokens) is hidden here, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from html import escape
from itertools import islice
from typing import Any

import attrs

from ..type_guards import is_array, is_object

MAX_ROWS = 100
MAX_COLUMNS = 12
MAX_TEXT = 120
"""Rows and columns of a table, and characters of a cell, that are shown."""

MAX_POINTS = 500
"""Points of a chart, and of each of its lines, that are drawn: the latest."""

MAX_LINES = 6

HIDDEN = "***"

_MAX_NESTED, _MAX_MEMBERS = 3, 20
_WIDTH, _HEIGHT, _MARGIN = 640, 200, 8
_LEFT = "<{0} style='text-align:left'>{1}</{0}>"
_COLORS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#475569")


def cell(value: Any) -> str:
    """A value as escaped text, cut to `MAX_TEXT` characters."""
    return escape(_cut(_text(value)))


def model_table(model: Any) -> str:
    """One model as a table of its fields, without those that are None."""
    rows = [
        f"<tr>{_LEFT.format('th', cell(field.name))}{_LEFT.format('td', shown)}</tr>"
        for field, shown in _shown_fields(model)
        if shown
    ]
    return _table(f"<caption>{cell(type(model).__name__)}</caption>", rows, len(rows))


def models_table(models: Iterable[Any]) -> str:
    """Models as a table with one row each.

    Args:
        models: attrs objects, which may be of different classes; all of them are counted, `MAX_ROWS` are shown.
    """
    iterator = iter(models)
    first = list(islice(iterator, MAX_ROWS))
    count = len(first) + sum(1 for _ in iterator)
    shown = [{field.name: text for field, text in _shown_fields(model)} for model in first]
    used = {name: None for row in shown for name, text in row.items() if text}
    columns = list(islice(used, MAX_COLUMNS))
    head = "".join(_LEFT.format("th", cell(name)) for name in columns)
    rows = ["<tr>" + "".join(_LEFT.format("td", row.get(name, "")) for name in columns) + "</tr>" for row in shown]
    return _table(f"<thead><tr>{head}</tr></thead>", rows, count)


def chart(title: str, lines: Mapping[str, Sequence[tuple[str, Decimal]]]) -> str:
    """A line chart as SVG, with a legend of the last values.

    Args:
        title: of the chart.
        lines: each line's name with its points: a label and a value. Lines without points are left out.
    """
    drawn = {name: list(points)[-MAX_POINTS:] for name, points in islice(lines.items(), MAX_LINES) if points}
    values = [float(value) for points in drawn.values() for _, value in points]
    if not values:
        return f"<p>{cell(title)}: no values</p>"
    low, high = min(*values, 0.0), max(*values, 0.0)
    span = (high - low) or 1.0
    shapes: list[str] = []
    legend: list[str] = []
    for color, (name, points) in zip(_COLORS, drawn.items(), strict=False):
        step = (_WIDTH - 2 * _MARGIN) / max(1, len(points) - 1)
        places = " ".join(
            f"{_MARGIN + i * step:.1f},{_MARGIN + (high - float(value)) / span * (_HEIGHT - 2 * _MARGIN):.1f}"
            for i, (_, value) in enumerate(points)
        )
        shapes.append(f"<polyline fill='none' stroke='{color}' stroke-width='2' points='{places}'/>")
        label, value = points[-1]
        legend.append(f"<span style='color:{color}'>{cell(name)} {cell(value)} ({cell(label)})</span>")
    return (
        f"<figure style='margin:0'><figcaption>{cell(title)}</figcaption>"
        f"<svg xmlns='http://www.w3.org/2000/svg' role='img' aria-label='{cell(title)}' width='{_WIDTH}' "
        f"height='{_HEIGHT}' viewBox='0 0 {_WIDTH} {_HEIGHT}'>{''.join(shapes)}</svg>"
        f"<div>{' · '.join(legend)}</div></figure>"
    )


def _shown_fields(model: Any) -> list[tuple[attrs.Attribute[Any], str]]:
    """The fields of a model with their values as escaped text; empty for None."""
    shown: list[tuple[attrs.Attribute[Any], str]] = []
    kind: type[Any] = model.__class__
    for field in attrs.fields(kind):
        value = getattr(model, field.name)
        if field.name != "_extra":
            shown.append((field, "" if value is None else cell(value if field.repr is True else HIDDEN)))
    return shown


def _table(head: str, rows: Sequence[str], count: int) -> str:
    more = count - len(rows)
    foot = f"<tfoot><tr><td colspan='{MAX_COLUMNS}'>and {more:,} more</td></tr></tfoot>" if more > 0 else ""
    return f"<table>{head}<tbody>{''.join(rows)}</tbody>{foot}</table>"


def _text(value: Any, depth: int = 0) -> str:
    """A value as text, not much longer than what is shown of it, whatever the value is."""
    if isinstance(value, str):
        return value[: MAX_TEXT + 1]
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    kind: type[Any] = value.__class__
    if attrs.has(kind):  # inside of another: its own table shows its fields
        return f"{kind.__name__} {_text(getattr(value, 'id', ''))}".rstrip()
    if not (is_object(value) or is_array(value)):
        return str(value)
    if depth == _MAX_NESTED:
        return "..."
    if is_object(value):
        pairs = islice(value.items(), _MAX_MEMBERS)
        return ", ".join(f"{_text(name)}: {_text(one, depth + 1)}" for name, one in pairs)
    return ", ".join(_text(one, depth + 1) for one in islice(value, _MAX_MEMBERS))


def _cut(text: str) -> str:
    """The text without characters that could change how the rest is shown, cut to its maximum length."""
    text = "".join(one if one.isprintable() else " " if one.isspace() else "\ufffd" for one in text[: MAX_TEXT + 1])
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."
