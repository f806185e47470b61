"""Pure converters from JSON values to field values.

They are strict about types, and lenient where a service may write the same value differently (`5`, `"5"`, `5.0`). Each
takes the value and the type of the field, as cattrs calls hooks, and raises ValueError for a value that does not fit.
"""

from __future__ import annotations

import math
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Any

from ..limits import MAX_DEPTH, MAX_DIGITS, TOO_DEEP, decimal_of, is_amount, refuse_deep
from ..type_guards import is_array, is_object
from .datetimes import datetime_from_number, parse_datetime, utc


def to_text(value: Any, _: Any) -> str:
    if type(value) is str:
        return value
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"a string was expected, not {type(value).__name__}")


def to_money(value: Any, _: Any) -> Decimal:
    kind: type[Any] = value.__class__
    if kind is Decimal:
        number: Decimal = value
    elif kind is int or kind is str:
        number = _decimal(value)
    elif kind is float:
        number = exact_float(value)
    else:
        raise ValueError(f"a number was expected, not {kind.__name__}")
    if not is_amount(number):
        raise ValueError("a finite number below the size limit was expected")
    return number


def _decimal(value: int | str) -> Decimal:
    if isinstance(value, str) and len(value) > MAX_DIGITS:
        raise ValueError("a number was expected, not a long string")
    try:
        return decimal_of(value.strip() if isinstance(value, str) else value)
    except ArithmeticError:
        raise ValueError("a number below the size limit was expected") from None


def to_quantity(value: Any, _: Any) -> int | float:
    if type(value) is int and is_amount(value):
        return value
    # A float is what `to_dict` has made of a quantity: it keeps all its digits, unlike an amount of money.
    number = to_money(float.__repr__(value) if type(value) is float else value, Decimal)
    return int(number) if number == number.to_integral_value() else float(number)


def to_count(value: Any, _: Any) -> int:
    if type(value) is int and is_amount(value):
        return value
    number = to_money(value, Decimal)
    if number != number.to_integral_value():
        raise ValueError("a whole number was expected")
    return int(number)


def to_flag(value: Any, _: Any) -> bool:
    if type(value) is bool:
        return value
    raise ValueError(f"true or false was expected, not {type(value).__name__}")


def to_datetime(value: Any, _: Any) -> datetime:
    if isinstance(value, str):
        return parse_datetime(value)
    if isinstance(value, datetime):
        return utc(value)
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return datetime_from_number(value)
    raise ValueError(f"an ISO 8601 datetime was expected, not {type(value).__name__}")


def to_anything(value: Any, _: Any) -> Any:
    refuse_deep(value)
    return value


SCALARS: frozenset[type] = frozenset({str, int, bool, float, type(None)})
"""Types of JSON scalars, apart from fractions, which are read as `Decimal`."""


def plain_json(value: Any, max_depth: int = MAX_DEPTH) -> Any:
    """JSON of the user's own (metadata), with a float for every `Decimal` whose digits a float keeps.

    Args:
        value: a JSON value.
        max_depth: maximum number of nested levels.

    Raises:
        ValueError: nested more than `max_depth` levels deep.
    """
    if type(value) in SCALARS:
        return value
    if isinstance(value, Decimal):
        return _plain_number(value)
    if not max_depth:
        raise ValueError(TOO_DEEP)
    if is_object(value):
        return {key: plain_json(one, max_depth - 1) for key, one in value.items()}
    if is_array(value):
        return [plain_json(one, max_depth - 1) for one in value]
    return value


def _plain_number(value: Decimal) -> float | Decimal:
    text = str(value)
    plain = float(text)
    if len(text) <= 15 and "E" not in text:  # a float keeps any 15 digits
        return plain
    return plain if math.isfinite(plain) and Decimal(repr(plain)) == value else value


def to_object(value: Any, _: Any) -> dict[str, Any]:
    if not is_object(value):
        raise ValueError(f"an object was expected, not {type(value).__name__}")
    plain: dict[str, Any] = plain_json(value)
    return plain


_FLOAT_DIGITS = Decimal("1e-12")
_FLOATS = Context(prec=28, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation])
"""A context of our own: the thread's context belongs to the user, who may have changed its rounding and traps."""


def exact_float(value: float) -> Decimal:
    """A float as a decimal, without its binary rounding error: `0.1 + 0.2` is 0.3."""
    exact = Decimal(float.__repr__(value))
    try:
        rounded = exact.quantize(_FLOAT_DIGITS, context=_FLOATS)
    except InvalidOperation:  # too large for 12 decimals
        return exact
    return rounded.normalize(_FLOATS) if rounded and rounded != exact else exact
