"""JSON with exact decimals, and decimals as the text that the database stores."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypeGuard

import simplejson

MAX_DIGITS: int = 64
"""Most digits of a number in a request. Amounts and counts have a few dozen at most; a double has 17."""
MAX_EXPONENT: int = 330
"""Largest absolute exponent of a number in a request. Every double has a smaller one."""
MAX_DEPTH: int = 64
"""Most levels of nested arrays and objects in a request."""


# JSON


def loads(body: bytes) -> Any:
    """Parse trusted JSON. Numbers with a fraction become `Decimal`.

    Args:
        body: UTF-8 encoded JSON.

    Raises:
        ValueError: invalid JSON, a number that is not finite, or a lone surrogate.
    """
    try:
        value = simplejson.loads(body.decode("utf-8"), use_decimal=True, allow_nan=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _check_surrogates(value)
    return value


def loads_untrusted(body: bytes) -> Any:
    """Parse JSON of a request in time and memory linear in its length.

    A number is checked as text before it is converted: `1e1000000` has nine bytes, and a million digits as an int.

    Args:
        body: UTF-8 encoded JSON.

    Raises:
        ValueError: as `loads`; also a number or a nesting beyond the limits of this module.
    """
    try:
        value = simplejson.loads(body.decode("utf-8"), parse_float=_parse_float, parse_int=_parse_int, allow_nan=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _check_depth(value)
    _check_surrogates(value)
    return value


def plain_numbers(value: Any) -> Any:
    """A copy of a parsed value that the `json` of the standard library can write: `Decimal` becomes int or float.

    One that a float can't hold exactly, with more than about 15 digits, becomes text.

    Args:
        value: the parsed value. It is not nested deeper than `MAX_DEPTH`, since it was in a request or is our own.
    """
    if is_object(value):
        return {name: plain_numbers(one) for name, one in value.items()}
    if is_array(value):
        return [plain_numbers(one) for one in value]
    if isinstance(value, Decimal):
        if value == value.to_integral_value():
            return int(value)
        return float(value) if Decimal(repr(float(value))) == value else str(value)
    return value


def dumps(value: Any) -> str:
    """Compact JSON text; a `Decimal` keeps all its digits."""
    return simplejson.dumps(value, use_decimal=True, separators=(",", ":"), ensure_ascii=False)


def canonical(value: Any) -> str:
    """JSON text with sorted keys: equal values give equal text."""
    return simplejson.dumps(value, use_decimal=True, sort_keys=True, separators=(",", ":"))


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a parsed value is a JSON object."""
    return isinstance(value, dict)


def is_array(value: Any) -> TypeGuard[list[Any]]:
    """Whether a parsed value is a JSON array."""
    return isinstance(value, list)


def omit_none(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that have a value. Responses leave empty optional fields out instead of sending null."""
    return {name: value for name, value in fields.items() if value is not None}


def _parse_int(text: str) -> int:
    _check_digits(text)
    return int(text)


def _parse_float(text: str) -> Decimal:
    digits, _, exponent = text.lower().partition("e")
    _check_digits(digits.replace(".", ""))
    exponent = exponent.lstrip("+-").lstrip("0")
    if len(exponent) > 3 or int(exponent or "0") > MAX_EXPONENT:
        raise ValueError(f"the exponent of a number is at most {MAX_EXPONENT}")
    return Decimal(text)


def _check_digits(text: str) -> None:
    if len(text.removeprefix("-")) > MAX_DIGITS:
        raise ValueError(f"a number has at most {MAX_DIGITS} digits")


def _check_depth(value: Any) -> None:
    """Walk the value level by level, without recursion."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        children: list[Any] = []
        for node in level:
            if is_object(node):
                children.extend(node.values())
            elif is_array(node):
                children.extend(node)
        if not children:
            return
        level = children
    raise ValueError(f"nested more than {MAX_DEPTH} levels deep")


def _check_surrogates(value: Any) -> None:
    """Raise UnicodeEncodeError, a ValueError, for text that UTF-8 can't encode."""
    simplejson.dumps(value, use_decimal=True, ensure_ascii=False).encode("utf-8")


# Decimals in the database


def decimal_text(value: Any) -> str | None:
    """A number as the text that the database stores, without an exponent; None stays None."""
    return None if value is None else format(Decimal(value), "f")


def decimal(text: str | None) -> Decimal | None:
    """Stored text as a `Decimal` with all its digits: 299.00 stays 299.00."""
    return None if text is None else Decimal(text)


def number(text: str | None) -> int | Decimal | None:
    """Stored text as a JSON number without trailing zeros; whole numbers become `int`."""
    if text is None:
        return None
    value = Decimal(text)
    return int(value) if value == value.to_integral_value() else value.normalize()
