"""Pure checks of arguments, made before anything is sent. Each returns the value in its wire form."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Any, TypeAlias
from urllib.parse import quote, urlencode

from .errors import InvalidArgumentError
from .limits import AMOUNT_DIGITS, is_amount
from .models.datetimes import format_datetime
from .type_guards import is_mapping, is_sequence

Number: TypeAlias = "int | float | Decimal"
"""What money and quantities may be given as. `Decimal` and `int` are exact; a float stands for its shortest decimal."""

_FLOAT_DIGITS = Decimal("1e-12")
_FLOATS = Context(prec=28, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation])
"""Our own context: the thread's is the user's, and may round or trap as it likes."""
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def text(parameter: str, value: Any) -> str:
    """A string with something in it."""
    if not isinstance(value, str):
        raise InvalidArgumentError(parameter, f"a string, not {type(value).__name__}")
    if not value.strip():
        raise InvalidArgumentError(parameter, "must not be empty")
    return value


def optional_text(parameter: str, value: Any) -> str | None:
    return None if value is None else text(parameter, value)


def optional_description(parameter: str, value: Any) -> str | None:
    """A string that may be empty: that is how a description is taken away."""
    return value if value == "" and isinstance(value, str) else optional_text(parameter, value)


def segment(parameter: str, value: Any) -> str:
    """An id as one path segment: everything but letters, digits and `-._~` escaped."""
    value = text(parameter, value)
    if value in (".", ".."):
        raise InvalidArgumentError(parameter, f"{value!r} can't be an id: it means a folder in a URL")
    return quote(_encodable(parameter, value), safe="")


def query(**values: Any) -> str:
    """A query string of what is not None, escaped; empty when there is nothing."""
    given = {name: _encodable(name, value) for name, value in values.items() if value is not None}
    return "?" + urlencode(given, quote_via=quote, safe="") if given else ""


def _encodable(parameter: str, value: Any) -> str:
    # A member of a string enum is its value; what `str` makes of it differs between versions of Python.
    written = str.__str__(value) if isinstance(value, str) else str(value)
    try:
        written.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError(parameter, "holds half a surrogate pair, which can't be sent") from None
    return written


def number(parameter: str, value: Any, *, above_zero: bool = False) -> int | Decimal:
    """A finite number, not negative, exact. A float's binary noise past 12 decimals is rounded away."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        hint = ' (try Decimal("19.99"))' if isinstance(value, str) else ""
        raise InvalidArgumentError(parameter, f"a number, not {type(value).__name__}{hint}")
    exact: int | Decimal = exact_float(value) if isinstance(value, float) else value
    if not is_amount(exact):
        raise InvalidArgumentError(
            parameter, f"must be finite, below 1e{AMOUNT_DIGITS} and, unless 0, at least 1e-{AMOUNT_DIGITS}"
        )
    if exact < 0 or (above_zero and exact == 0):
        short = f"{Decimal(exact):.6g}"
        raise InvalidArgumentError(parameter, f"must be {'greater than' if above_zero else 'at least'} 0, not {short}")
    return exact


def exact_float(value: float) -> Decimal:
    """The decimal a float was meant to be: `0.1 + 0.2` is 0.3."""
    exact = Decimal(float.__repr__(value))
    try:
        rounded = exact.quantize(_FLOAT_DIGITS, context=_FLOATS)
    except InvalidOperation:  # so large that it has no such digits
        return exact
    return rounded.normalize(_FLOATS) if rounded and rounded != exact else exact


def optional_number(parameter: str, value: Any, *, above_zero: bool = False) -> int | Decimal | None:
    return None if value is None else number(parameter, value, above_zero=above_zero)


def whole(parameter: str, value: Any, *, least: int = 0, most: int | None = None) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgumentError(parameter, f"a whole number, not {type(value).__name__}")
    if not is_amount(value):
        raise InvalidArgumentError(parameter, f"a whole number of at most {AMOUNT_DIGITS} digits")
    if value < least or (most is not None and value > most):
        span = f"at least {least}" if most is None else f"{least} to {most}"
        raise InvalidArgumentError(parameter, f"must be {span}, not {int(value)}")
    return int(value)


def optional_whole(parameter: str, value: Any, *, least: int = 0, most: int | None = None) -> int | None:
    return None if value is None else whole(parameter, value, least=least, most=most)


def optional_flag(parameter: str, value: Any) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise InvalidArgumentError(parameter, f"True or False, not {type(value).__name__}")
    return value


def aware_datetime(parameter: str, value: Any) -> str:
    """An aware datetime as ISO 8601 in UTC."""
    if not isinstance(value, datetime):
        raise InvalidArgumentError(parameter, f"a datetime, not {type(value).__name__}")
    if value.tzinfo is None or value.utcoffset() is None:
        raise InvalidArgumentError(parameter, "needs a time zone, e.g. datetime.now(timezone.utc)")
    try:
        return format_datetime(value)
    except OverflowError:
        raise InvalidArgumentError(parameter, "is outside the calendar in UTC") from None


def optional_datetime(parameter: str, value: Any) -> str | None:
    return None if value is None else aware_datetime(parameter, value)


def optional_day(parameter: str, value: Any) -> str | None:
    """A date as `YYYY-MM-DD`, or an aware datetime."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    return optional_datetime(parameter, value)


def texts(parameter: str, value: Any) -> list[str] | None:
    """A list of non-empty strings. A lone string is a mistake: it would be taken apart into letters."""
    if value is None:
        return None
    if not is_sequence(value):
        raise InvalidArgumentError(parameter, f"a list of strings, not {type(value).__name__}")
    return [text(f"{parameter}[{i}]", one) for i, one in enumerate(value)]


def json_object(parameter: str, value: Any) -> Mapping[str, Any] | None:
    """A dict; what is in it is checked when it is written."""
    if value is not None and not is_mapping(value):
        raise InvalidArgumentError(parameter, f"a dict, not {type(value).__name__}")
    return value


def idempotency_key(value: Any) -> str:
    """The caller's key, or a new one: 128 random bits."""
    if value is None:
        return os.urandom(16).hex()
    if not isinstance(value, str) or not _KEY.fullmatch(value):
        raise InvalidArgumentError("idempotency_key", "1 to 255 printable ASCII characters without spaces")
    return value
