"""Exact amounts: as text, as integers, and sums that the decimal context of a thread does not round."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ..core.limits import is_amount

_MAX_DIGITS = 200
_REDIS_SCALE = 6
"""Maximum number of decimals of an amount in Redis."""


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


def units_and_scale(amount: int | Decimal) -> tuple[int, int]:
    """An exact amount as an integer and its scale."""
    if isinstance(amount, int):
        return amount, 0
    sign, digits, exponent = amount.as_tuple()
    assert isinstance(exponent, int)
    units = int("".join(map(str, digits))) * 10 ** max(exponent, 0)
    return -units if sign else units, max(-exponent, 0)


def redis_units(amount: int | Decimal, *, up: bool = True) -> tuple[int, int]:
    """An amount as an integer and its scale, of at most 6 decimals: numbers in Redis have 53 bits.

    Args:
        amount: number of units.
        up: whether to round up; otherwise down. Default: True.
    """
    units, scale = units_and_scale(amount)
    if scale <= _REDIS_SCALE:
        return units, scale
    divisor = 10 ** (scale - _REDIS_SCALE)
    return -(-units // divisor) if up else units // divisor, _REDIS_SCALE


def amount_of(units: int, scale: int) -> int | Decimal:
    """The exact amount of units of `10**-scale`."""
    if not scale:
        return units
    whole, rest = divmod(units, 10**scale)
    return Decimal(f"{units}E-{scale}") if rest else whole


def negative(amount: int | Decimal) -> int | Decimal:
    """Exactly: the thread's decimal context may round."""
    return -amount if isinstance(amount, int) else amount.copy_negate()


def exact_sum(first: int | Decimal, second: int | Decimal) -> int | Decimal:
    """An exact sum: the thread's decimal context may round."""
    if isinstance(first, int) and isinstance(second, int):
        return first + second
    (one, scale), (other, finer) = units_and_scale(first), units_and_scale(second)
    common = max(scale, finer)
    return amount_of(one * 10 ** (common - scale) + other * 10 ** (common - finer), common)
