"""Exact amounts as text, in files and in Redis."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ..core.limits import is_amount

_MAX_DIGITS = 200


def parsed_amount(text: Any) -> int | Decimal | None:
    """The amount that a text means; None for None.

    Raises:
        ValueError: it is not a valid amount.
        ArithmeticError: it is not a number.
    """
    if text is None:
        return None
    if not isinstance(text, str) or len(text) > _MAX_DIGITS:
        raise ValueError("a number is not valid")
    number = int(text) if text.isdecimal() else Decimal(text)
    if not is_amount(number) or number < 0:
        raise ValueError("a number is not valid")
    return number
