"""Values as one line of text."""

from __future__ import annotations

from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

from ..cleaning import clean


def plain(value: Any) -> str:
    """A value as one line of text; empty for None.

    Args:
        value: JSON, or a number or datetime.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Decimal):
        return f"{value:f}" if abs(value.adjusted()) < 40 else str(value)
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (int, float)):
        return str(value)
    from .encoding import to_json

    return to_json(value)


def count_of(number: int, noun: str) -> str:
    """`1 line`, `2 lines`.

    Args:
        number: how many.
        noun: what, in the singular.
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
