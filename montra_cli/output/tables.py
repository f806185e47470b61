"""Tables for people, as wide as the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..cleaning import clean
from .text import plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_STYLES = {
    **dict.fromkeys(("active", "paid", "succeeded", "Active", "true", "trialing", "delivered", "completed"), "green"),
    **dict.fromkeys(("past_due", "unpaid", "open", "paused", "pending", "incomplete", "draft"), "yellow"),
    **dict.fromkeys(("canceled", "cancelled", "failed", "void", "Archived", "incomplete_expired", "refused"), "red"),
}
_STATUS_FIELDS = ("status", "enabled", "has_access")
_MIN_WIDTH = 8


def console(*, stderr: bool = False) -> Console:
    """A console that prints text as it is: no markup, no emoji codes, no highlighting.

    Args:
        stderr: print to stderr. Default: False.
    """
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=False)


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, chosen: bool) -> None:
    """Print rows. Columns that are empty everywhere are left out, and those that don't fit from the right.

    Args:
        rows: the rows.
        columns: the columns in their order.
        chosen: whether the user named the columns: then none is left out.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    screen = console()
    used = [one for one in columns if chosen or any(row.get(one) not in (None, [], {}) for row in rows)] or columns
    shown = list(used) if chosen else _fitting(rows, used, screen.width)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    are_whole = sum(_width(rows, name) + 2 for name in shown if _is_id(name)) - 2 <= screen.width
    for name in shown:
        if _is_id(name) and are_whole:
            table.add_column(clean(name), no_wrap=True, overflow="ellipsis")
        else:  # too narrow a screen folds an id: cut, it would look whole
            table.add_column(clean(name), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(name, row.get(name)) for name in shown))
    screen.print(table)
    hidden = [name for name in used if name not in shown]
    if hidden:
        console(stderr=True).print(f"Not shown: {', '.join(map(clean, hidden))} (--columns, --json)", style="dim")


def print_object(fields: Mapping[str, Any]) -> None:
    """Print one object: a line per field.

    Args:
        fields: the fields.
    """
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields.items():
        table.add_row(clean(name), _cell(name, value))
    console().print(table)


def _cell(name: str, value: Any) -> Text:
    from rich.text import Text

    text = plain(value)
    return Text(text, style=_STYLES.get(text, "") if name in _STATUS_FIELDS else "")


def _is_id(name: str) -> bool:
    return name == "id" or name.endswith("_id")


def _width(rows: Sequence[Mapping[str, Any]], name: str) -> int:
    """How wide a column is when nothing in it is folded."""
    from rich.cells import cell_len

    return max([cell_len(plain(row.get(name))) for row in rows] + [len(name)])


def _fitting(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], width: int) -> list[str]:
    """As many columns as fit, ids whole and other texts folded to some width; at least one."""
    shown: list[str] = []
    left = width
    for name in columns:
        widest = _width(rows[:200], name)
        folded = widest if _is_id(name) else max(min(widest, 28), _MIN_WIDTH)
        left -= folded + 2
        if left < -2 and shown:
            break
        shown.append(name)
    return shown
