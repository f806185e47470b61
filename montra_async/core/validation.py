"""Pure checks of arguments before a request is sent. Each returns the value in the form it has in the request."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from inspect import iscoroutinefunction
from typing import Any, Final, TypeAlias
from urllib.parse import quote, urlencode

from .errors import InvalidArgumentError
from .limits import AMOUNT_DIGITS, is_amount
from .models.converters import exact_float
from .models.datetimes import format_datetime
from .type_guards import is_mapping, is_sequence

Number: TypeAlias = int | float | Decimal
"""The types that money and quantities are accepted as. `Decimal` and `int` are exact; a float is converted to the
`Decimal` of its shortest representation."""


class Unset(Enum):
    """The type of `UNSET`: the default of every optional parameter of an `update_*` call.

    A parameter that is `UNSET` is left out of the request, so the field keeps its value. `None` clears the field.
    `UNSET` is falsy, as `None` and `""` are: compare with `is UNSET`.
    """

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> bool:
        return False


UNSET: Final = Unset.UNSET
"""A field that is not changed by an `update_*` call. Type checkers narrow `value is UNSET`."""

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def text(parameter: str, value: Any) -> str:
    """A string that is not empty or blank."""
    if not isinstance(value, str):
        raise InvalidArgumentError(parameter, f"a string, not {type(value).__name__}")
    if not value.strip():
        raise InvalidArgumentError(parameter, "must not be empty")
    return value


def optional_text(parameter: str, value: Any) -> str | None:
    return None if value is None else text(parameter, value)


def optional_description(parameter: str, value: Any) -> str | None:
    """A string that may be empty."""
    return value if value == "" and isinstance(value, str) else optional_text(parameter, value)


def segment(parameter: str, value: Any) -> str:
    """An id as one path segment of a URL: everything but letters, digits and `-._~` percent-encoded."""
    value = text(parameter, value)
    if value in (".", ".."):
        raise InvalidArgumentError(parameter, f"{value!r} can't be an id: it is a relative path in a URL")
    return quote(_encodable(parameter, value), safe="")


def query(**values: Any) -> str:
    """A query string of the values that are not None, percent-encoded. Empty when all are None."""
    given = {name: _encodable(name, value) for name, value in values.items() if value is not None}
    return "?" + urlencode(given, quote_via=quote, safe="") if given else ""


def _encodable(parameter: str, value: Any) -> str:
    # `str.__str__` gives the value of a string enum's member; `str()` gives its name in some versions of Python.
    encoded = str.__str__(value) if isinstance(value, str) else str(value)
    try:
        encoded.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError(parameter, "contains half a surrogate pair, which can't be sent") from None
    return encoded


def number(parameter: str, value: Any, *, above_zero: bool = False) -> int | Decimal:
    """A finite, exact number that is not negative. A float is rounded to 12 decimals, see `exact_float`."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        hint = ", such as 3, 0.5 or Decimal('19.99')" if isinstance(value, str) else ""
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


def optional_number(parameter: str, value: Any, *, above_zero: bool = False) -> int | Decimal | None:
    return None if value is None else number(parameter, value, above_zero=above_zero)


def whole(parameter: str, value: Any, *, minimum: int = 0, maximum: int | None = None) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgumentError(parameter, f"a whole number, not {type(value).__name__}")
    if not is_amount(value):
        raise InvalidArgumentError(parameter, f"a whole number of at most {AMOUNT_DIGITS} digits")
    if value < minimum or (maximum is not None and value > maximum):
        span = f"at least {minimum}" if maximum is None else f"{minimum} to {maximum}"
        raise InvalidArgumentError(parameter, f"must be {span}, not {int(value)}")
    return int(value)


def optional_whole(parameter: str, value: Any, *, minimum: int = 0, maximum: int | None = None) -> int | None:
    return None if value is None else whole(parameter, value, minimum=minimum, maximum=maximum)


def flag(parameter: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidArgumentError(parameter, f"True or False, not {type(value).__name__}")
    return value


def optional_flag(parameter: str, value: Any) -> bool | None:
    return None if value is None else flag(parameter, value)


def aware_datetime(parameter: str, value: Any) -> str:
    """An aware datetime as ISO 8601 in UTC."""
    if not isinstance(value, datetime):
        raise InvalidArgumentError(parameter, f"a datetime, not {type(value).__name__}")
    if value.tzinfo is None or value.utcoffset() is None:
        raise InvalidArgumentError(parameter, "needs a time zone, e.g. datetime.now(timezone.utc)")
    try:
        return format_datetime(value)
    except OverflowError:
        raise InvalidArgumentError(parameter, "is out of range in UTC") from None


def optional_datetime(parameter: str, value: Any) -> str | None:
    return None if value is None else aware_datetime(parameter, value)


def optional_date(parameter: str, value: Any) -> str | None:
    """A date as `YYYY-MM-DD`, or an aware datetime as ISO 8601 in UTC."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    return optional_datetime(parameter, value)


def plain_function(parameter: str, value: Any) -> Any:
    """A function that is called, not awaited; or None. A coroutine function would never run."""
    if value is not None and (not callable(value) or iscoroutinefunction(value)):
        kind = "a coroutine function" if callable(value) else type(value).__name__
        raise InvalidArgumentError(parameter, f"a plain function, which is not awaited; not {kind}")
    return value


def texts(parameter: str, value: Any) -> list[str] | None:
    """A list of non-empty strings. A single string is refused: as a sequence, it would be a list of letters."""
    if value is None:
        return None
    if not is_sequence(value):
        raise InvalidArgumentError(parameter, f"a list of strings, not {type(value).__name__}")
    return [text(f"{parameter}[{i}]", one) for i, one in enumerate(value)]


def json_object(parameter: str, value: Any) -> Mapping[str, Any] | None:
    """A dict. Its content is checked when it is encoded."""
    if value is not None and not is_mapping(value):
        raise InvalidArgumentError(parameter, f"a dict, not {type(value).__name__}")
    return value


def idempotency_key(value: Any) -> str:
    """The caller's key, or a new one of 128 random bits."""
    if value is None:
        return os.urandom(16).hex()
    if not isinstance(value, str) or not _KEY.fullmatch(value):
        raise InvalidArgumentError("idempotency_key", "1 to 255 printable ASCII characters without spaces")
    return value


def patch_field(
    parameter: str, value: Any, check: Callable[[str, Any], Any], *, can_be_cleared: bool = False
) -> Any | Unset | None:
    """One field of a PATCH request: UNSET as it is, None when the field can be cleared, anything else checked.

    Raises:
        InvalidArgumentError: None for a field that can't be cleared, or what `check` refuses.
    """
    if value is UNSET or (value is None and can_be_cleared):
        return value
    if value is None:
        raise InvalidArgumentError(parameter, "can't be cleared with None; leave it out to keep its value")
    return check(parameter, value)


def patch_body(**fields: Any) -> dict[str, Any]:
    """The body of a PATCH request (RFC 7396): fields that are UNSET are left out, None is sent as null."""
    return {name: value for name, value in fields.items() if value is not UNSET}
