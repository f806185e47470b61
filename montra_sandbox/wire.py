"""JSON of the sandbox: decimals in, decimals out, digit for digit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypeGuard

import simplejson

MAX_DIGITS = 64
"""Digits of a number from outside. Money and counts have a few dozen at most; a double has 17."""
MAX_EXPONENT = 330
"""Exponent of a number from outside, either way: enough for every double."""
MAX_DEPTH = 64
"""How deeply arrays and objects from outside may be nested."""


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


def loads_untrusted(body: bytes) -> Any:
    """Parse what came from outside. Work and memory are linear in its length.

    A number is refused by its text, before it is converted: `1e1000000` is nine bytes here and a million digits as
    an int.

    Raises:
        ValueError: as `loads`; or a number, or the nesting, is beyond the limits above.
    """
    try:
        value = simplejson.loads(body.decode("utf-8"), parse_float=_decimal, parse_int=_integer, allow_nan=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _refuse_depth(value)
    _refuse_half_characters(value)
    return value


def _integer(text: str) -> int:
    _refuse_digits(text)
    return int(text)


def _decimal(text: str) -> Decimal:
    digits, _, exponent = text.lower().partition("e")
    _refuse_digits(digits.replace(".", ""))
    exponent = exponent.lstrip("+-").lstrip("0")
    if len(exponent) > 3 or int(exponent or "0") > MAX_EXPONENT:
        raise ValueError(f"the exponent of a number is at most {MAX_EXPONENT}")
    return Decimal(text)


def _refuse_digits(text: str) -> None:
    if len(text.removeprefix("-")) > MAX_DIGITS:
        raise ValueError(f"a number has at most {MAX_DIGITS} digits")


def _refuse_depth(value: Any) -> None:
    """Without recursion: level by level."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner: list[Any] = []
        for one in level:
            if is_object(one):
                inner.extend(one.values())
            elif is_array(one):
                inner.extend(one)
        if not inner:
            return
        level = inner
    raise ValueError(f"nested more than {MAX_DEPTH} levels deep")


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
