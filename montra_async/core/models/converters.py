"""Pure: what a field makes of a JSON value. Strict about kinds, lenient where a service may write the same differently.

Each takes the value and, as cattrs hands it over, the field's type; each raises ValueError for what it can't be.
"""

from __future__ import annotations

import math
from datetime import datetime
from decimal import Decimal
from typing import Any

from ..limits import MAX_DEPTH, MAX_DIGITS, TOO_DEEP, decimal_of, is_amount, refuse_deep
from ..type_guards import is_array, is_object
from ..validation import exact_float
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
        raise ValueError("a finite number of a usual size was expected")
    return number


def _decimal(value: int | str) -> Decimal:
    if isinstance(value, str) and len(value) > MAX_DIGITS:
        raise ValueError("a number was expected, not a long text")
    try:
        return decimal_of(value.strip() if isinstance(value, str) else value)
    except ArithmeticError:
        raise ValueError("a number of a usual size was expected") from None


def to_quantity(value: Any, _: Any) -> int | float:
    if type(value) is int and is_amount(value):
        return value
    number = to_money(value, Decimal)
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


def to_moment(value: Any, _: Any) -> datetime:
    if isinstance(value, str):
        return parse_datetime(value)
    if isinstance(value, datetime):
        return utc(value)
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return datetime_from_number(value)
    raise ValueError(f"an ISO 8601 moment was expected, not {type(value).__name__}")


def to_anything(value: Any, _: Any) -> Any:
    refuse_deep(value)
    return value


SCALARS: frozenset[type] = frozenset({str, int, bool, float, type(None)})
"""What free-form JSON is made of in the end, but for fractions, which are `Decimal` at first."""


def plain_json(value: Any, room: int = MAX_DEPTH) -> Any:
    """Free-form JSON of the user's own (metadata) with plain floats, wherever a float shows the very same digits.

    Raises:
        ValueError: nested more than `room` levels deep.
    """
    if type(value) in SCALARS:
        return value
    if isinstance(value, Decimal):
        return _plain_number(value)
    if not room:
        raise ValueError(TOO_DEEP)
    if is_object(value):
        return {key: plain_json(one, room - 1) for key, one in value.items()}
    if is_array(value):
        return [plain_json(one, room - 1) for one in value]
    return value


def _plain_number(value: Decimal) -> float | Decimal:
    text = str(value)
    plain = float(text)
    if len(text) <= 15 and "E" not in text:  # a float keeps 15 digits, whichever they are
        return plain
    return plain if math.isfinite(plain) and Decimal(repr(plain)) == value else value


def to_object(value: Any, _: Any) -> dict[str, Any]:
    if not is_object(value):
        raise ValueError(f"an object was expected, not {type(value).__name__}")
    plain: dict[str, Any] = plain_json(value)
    return plain
