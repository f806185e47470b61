"""How large the numbers and how deep the JSON may be that come from outside or are sent.

A few bytes can name a number that takes hours to work with (`1e1000000000`), or arrays nested so deeply that whatever
walks them overruns the stack. Nothing of that kind is let in, so nothing behind this module has to expect it.
"""

from __future__ import annotations

import decimal
from decimal import Decimal
from typing import Any

from .type_guards import is_array, is_object

MAX_DIGITS = 400
"""Digits of a JSON number, and the largest size of its exponent. Whatever a double holds fits, also written out in full
(309 digits); what no double holds, hardly any other reader of JSON could take over."""

MAX_CONTAINERS = 1_000_000
"""Objects and arrays in one body: reading that many takes about a second, in which the event loop stands still. A list
of 10,000 customers has some 30,000."""

MAX_DEPTH = 100
"""Levels of arrays and objects within each other. The services' own answers have fewer than ten."""

AMOUNT_DIGITS = 64
MAX_AMOUNT: int = 10**AMOUNT_DIGITS
"""Money, counts and quantities are below this; what is not 0 is at least its reciprocal. Sums of them stay small."""

TOO_LARGE = f"has more than {MAX_DIGITS} digits, or an exponent beyond {MAX_DIGITS}"
TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"

_INT_LIMIT: int = 10**MAX_DIGITS

# Own contexts: the thread's own, which belongs to the user, may round or trap as it likes.
_SIGNALS = [
    decimal.InvalidOperation,
    decimal.Overflow,
    decimal.Inexact,
    decimal.Rounded,
    decimal.Subnormal,
    decimal.Clamped,
]
_JSON_NUMBERS = decimal.Context(prec=MAX_DIGITS, Emax=MAX_DIGITS, Emin=-MAX_DIGITS, traps=_SIGNALS)

decimal_of = _JSON_NUMBERS.create_decimal
"""A `Decimal` with exactly the digits of a text or number, as fast as `Decimal`. ArithmeticError beyond the limits."""


def int_of(digits: str) -> int:
    """An int from its digits. Python's own takes quadratic time, or stops at a limit that others can move."""
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number {TOO_LARGE}")
    return int(digits)


def is_writable_int(value: int) -> bool:
    return -_INT_LIMIT < value < _INT_LIMIT


def is_writable_decimal(value: Decimal) -> bool:
    try:
        decimal_of(value)
    except ArithmeticError:
        return False
    return True


def is_amount(value: int | Decimal) -> bool:
    """Finite, and of a size that money and quantities can have."""
    if isinstance(value, Decimal):
        return value.is_zero() or (value.is_finite() and -AMOUNT_DIGITS <= value.adjusted() < AMOUNT_DIGITS)
    return -MAX_AMOUNT < value < MAX_AMOUNT


def is_too_deep(value: Any) -> bool:
    """Is `value` nested deeper than `MAX_DEPTH` levels? Level by level, so that no depth overruns the stack."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        # By identity: a value that holds itself, twice over, must not double the work at every level.
        holders = {id(one): one for one in level if is_object(one) or is_array(one)}.values()
        if not holders:
            return False
        level = [inner for one in holders for inner in (one.values() if is_object(one) else one)]
    return True


def refuse_deep(value: Any) -> None:
    """
    Raises:
        ValueError: `value` is nested too deeply.
    """
    if is_too_deep(value):
        raise ValueError(TOO_DEEP)
