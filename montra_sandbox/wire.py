"""JSON of the sandbox: decimals in, decimals out, digit for digit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypeGuard

import simplejson


def loads(body: bytes) -> Any:
    """Parse; numbers with a fraction become Decimal.

    Raises:
        ValueError: not JSON, or JSON that holds what is not text or not a number.
    """
    try:
        value = simplejson.loads(body.decode("utf-8"), use_decimal=True, allow_nan=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _refuse_half_characters(value)
    return value


def dumps(value: Any) -> str:
    return simplejson.dumps(value, use_decimal=True, separators=(",", ":"), ensure_ascii=False)


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """What a JSON object was read as."""
    return isinstance(value, dict)


def is_array(value: Any) -> TypeGuard[list[Any]]:
    """What a JSON array was read as."""
    return isinstance(value, list)


def canonical(value: Any) -> str:
    """The same text for the same JSON, whatever the order and spacing it came with."""
    return simplejson.dumps(value, use_decimal=True, sort_keys=True, separators=(",", ":"))


def decimal_text(value: Any) -> str | None:
    """A number as the text that the database keeps."""
    return None if value is None else format(Decimal(value), "f")


def number(text: str | None) -> int | Decimal | None:
    """The database's text as a JSON number; whole ones without a point."""
    if text is None:
        return None
    value = Decimal(text)
    return int(value) if value == value.to_integral_value() else value.normalize()


def decimal(text: str | None) -> Decimal | None:
    """The database's text as a Decimal."""
    return None if text is None else Decimal(text)


money = decimal
"""Money goes out with its cents: 299.00 stays 299.00."""


def _refuse_half_characters(value: Any) -> None:
    simplejson.dumps(value, use_decimal=True, ensure_ascii=False).encode("utf-8")
