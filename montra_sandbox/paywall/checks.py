"""Pure: what a paywall's configuration may hold, whoever set it up, so that everything else can count on it."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from ..clock import from_text, to_text
from ..problems import invalid
from ..wire import is_array, is_object

MAX_COUNT = 10**9
MAX_AMOUNT = 10**12
_MAX_DECIMALS = 9
_MAX_ID = 10**15
_ID = re.compile(r"[^\x00-\x20\x7f]{1,100}")
_CURRENCY = re.compile(r"[A-Za-z]{3}")


def items(name: str, value: Any) -> list[dict[str, Any]]:
    if not is_array(value) or not all(map(is_object, value)):
        raise invalid(f"{name}: a list of objects")
    return value


def identifier(name: str, value: Any) -> str:
    """Ids are text on the wire; a whole number is as good."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_ID:
        return str(value)
    if isinstance(value, str) and _ID.fullmatch(value):
        return value
    raise invalid(f"{name}: a whole number, or text of at most 100 characters without spaces")


def count(name: str, value: Any, *, least: int = 0, most: int = MAX_COUNT) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise invalid(f"{name}: a whole number from {least} to {most}")
    return value


def amount(name: str, value: Any, *, most: int = MAX_AMOUNT) -> int | Decimal:
    """A number that is not below zero. NaN, infinity and more decimals than any currency has are none."""
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise invalid(f"{name}: a number from 0 to {most}")
    if isinstance(value, Decimal) and not value.is_finite():
        raise invalid(f"{name}: a number from 0 to {most}")
    if not 0 <= value <= most:
        raise invalid(f"{name}: a number from 0 to {most}")
    if not value:
        return 0
    if isinstance(value, Decimal) and value != round(value, _MAX_DECIMALS):
        raise invalid(f"{name}: at most {_MAX_DECIMALS} decimals")
    return value


def currency(name: str, value: Any) -> str:
    if not isinstance(value, str) or not _CURRENCY.fullmatch(value):
        raise invalid(f"{name}: three letters")
    return value


def moment(name: str, value: Any) -> str:
    """As the sandbox writes it."""
    if not isinstance(value, str):
        raise invalid(f"{name}: an ISO 8601 moment")
    try:
        return to_text(from_text(value))
    except ValueError:
        raise invalid(f"{name}: an ISO 8601 moment") from None
