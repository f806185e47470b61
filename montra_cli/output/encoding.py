"""JSON and CSV. Numbers keep all their digits; a spreadsheet finds no formula in what a customer has written."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from ..cleaning import clean, clean_json
from ..json_types import is_array, is_object
from .text import plain

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_HARMLESS = re.compile(r"[+-]?[0-9][0-9 ().,/-]*")
"""Numbers and telephone numbers: a spreadsheet calculates with them at most."""


def to_json(value: Any, *, indent: int | None = None) -> str:
    """JSON that is safe to print.

    Args:
        value: dicts, lists, strings, numbers, datetimes.
        indent: spaces of each level; None for one line.
    """
    return clean_json(_encode(value, indent, 0))


def _encode(value: Any, indent: int | None, level: int) -> str:
    if is_object(value):
        items = [
            f"{json.dumps(str(key), ensure_ascii=False)}: {_encode(one, indent, level + 1)}"
            for key, one in value.items()
        ]
        return _between("{", items, "}", indent, level)
    if is_array(value):
        return _between("[", [_encode(one, indent, level + 1) for one in value], "]", indent, level)
    if isinstance(value, Decimal):
        return str(value) if value.is_finite() else json.dumps(str(value))
    if isinstance(value, (datetime, date)):
        return json.dumps(plain(value))
    return json.dumps(value, ensure_ascii=False, default=str)


def _between(start: str, items: list[str], end: str, indent: int | None, level: int) -> str:
    if not items:
        return start + end
    if indent is None:
        return f"{start}{', '.join(items)}{end}"
    space = "\n" + " " * indent * (level + 1)
    return f"{start}{space}{f',{space}'.join(items)}\n{' ' * indent * level}{end}"


def csv_line(values: Sequence[Any], *, raw: bool = False, one_line: bool = False) -> str:
    """A line of CSV (RFC 4180) with its end.

    A text that a spreadsheet would take for a formula begins with `'`, and control characters other than line breaks
    are shown as escapes: customers choose their names.

    Args:
        values: the cells; what is not simple becomes JSON.
        raw: leave texts as they are. Default: False.
        one_line: show also line breaks as escapes, because a terminal reads it. Default: False.
    """
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n" if not one_line else "\n").writerow(
        [_cell(value, raw=raw, one_line=one_line) for value in values]
    )
    return buffer.getvalue()


def _cell(value: Any, *, raw: bool, one_line: bool) -> str:
    if not isinstance(value, str):
        return plain(value)
    text = plain(value) if one_line else value if raw else clean(value, breaks=True)
    if not raw and text.lstrip(" ").startswith(_FORMULA) and _HARMLESS.fullmatch(text) is None:
        return f"'{text}"
    return text
