"""Limits of the size of numbers and of the depth of JSON, for everything received or sent.

A few bytes can contain a number that takes hours to compute with (`1e1000000000`), or arrays nested so deeply that
recursion overflows the stack. Such values are refused here, so other modules need not expect them.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from .type_guards import is_array, is_object

MAX_DIGITS = 400
"""Maximum number of digits of a JSON number, and maximum of the absolute value of its exponent. Every double fits, also
when written in full (309 digits); few other JSON parsers accept more than a double."""

MAX_CONTAINERS = 1_000_000
"""Maximum number of objects and arrays in one body: parsing that many blocks the event loop for about a second. A list
of 10,000 customers has some 30,000."""

MAX_DEPTH = 100
"""Maximum number of nested levels of arrays and objects. Responses of the services have fewer than ten."""

AMOUNT_DIGITS = 64
MAX_AMOUNT: int = 10**AMOUNT_DIGITS
"""Amounts, counts and quantities are below this value and, unless 0, at least its reciprocal."""

TOO_LARGE = f"has more than {MAX_DIGITS} digits, or an exponent beyond {MAX_DIGITS}"
TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"

_INT_LIMIT: int = 10**MAX_DIGITS

# A context of our own: the thread's context belongs to the user, who may have changed its rounding and traps.
_SIGNALS = [
    decimal.InvalidOperation,
    decimal.Overflow,
    decimal.Inexact,
    decimal.Rounded,
    decimal.Subnormal,
    decimal.Clamped,
]
_JSON_NUMBERS = decimal.Context(prec=MAX_DIGITS, Emax=MAX_DIGITS, Emin=-MAX_DIGITS, traps=_SIGNALS)

decimal_of: Callable[[Decimal | int | str], Decimal] = _JSON_NUMBERS.create_decimal
"""Make a `Decimal` with exactly the digits of a string or number, as fast as `Decimal()`. Raises ArithmeticError beyond
the limits."""


def int_of(digits: str) -> int:
    """Parse an int of limited size. `int()` takes quadratic time, or has a limit that other code can change."""
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number {TOO_LARGE}")
    return int(digits)


def is_writable_int(value: int) -> bool:
    """Whether the number may be sent."""
    return -_INT_LIMIT < value < _INT_LIMIT


def is_writable_decimal(value: Decimal) -> bool:
    """Whether the number may be sent."""
    try:
        decimal_of(value)
    except ArithmeticError:
        return False
    return True


def is_amount(value: int | Decimal) -> bool:
    """Whether the number is finite and within the limits of amounts and quantities."""
    if isinstance(value, Decimal):
        return value.is_zero() or (value.is_finite() and -AMOUNT_DIGITS <= value.adjusted() < AMOUNT_DIGITS)
    return -MAX_AMOUNT < value < MAX_AMOUNT


def is_too_deep(value: Any) -> bool:
    """Whether a JSON value is nested deeper than `MAX_DEPTH` levels. Not recursive, so no depth overflows the stack."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        # By identity: a value that contains itself twice must not double the work at every level.
        holders = {id(one): one for one in level if is_object(one) or is_array(one)}.values()
        if not holders:
            return False
        level = [inner for one in holders for inner in (one.values() if is_object(one) else one)]
    return True


def refuse_deep(value: Any) -> None:
    """Check the depth of a JSON value.

    Raises:
        ValueError: `value` is nested deeper than `MAX_DEPTH` levels.
    """
    if is_too_deep(value):
        raise ValueError(TOO_DEEP)
