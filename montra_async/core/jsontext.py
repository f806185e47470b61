"""JSON text, exactly: numbers keep the digits they have on the wire."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from json.encoder import encode_basestring_ascii
from typing import Any

from .errors import InvalidArgumentError
from .moments import format_moment
from .shapes import is_mapping


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_exact_decoder = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse_constant)


def loads(body: bytes) -> Any:
    """Parse JSON; a number with a fraction becomes a `Decimal` with the digits that it has on the wire.

    Raises:
        ValueError: not JSON.
    """
    try:
        return _exact_decoder.decode(body.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None


def dumps(value: Any) -> bytes:
    """Write JSON; a `Decimal` becomes a number with exactly its digits, moments become ISO 8601.

    Raises:
        InvalidArgumentError: something JSON can't hold; `parameter` says where it stands.
    """
    try:
        return _write(value, "").encode("ascii")
    except RecursionError:
        raise InvalidArgumentError("body", "nested too deeply, or contains itself") from None


def _write(value: Any, where: str) -> str:
    kind: type[Any] = value.__class__
    for base in kind.__mro__:
        if writer := _WRITERS.get(base):
            return writer(value, where)
    if is_mapping(value):
        return _object(value, where)
    if callable(to_dict := getattr(value, "to_dict", None)):  # a model
        return _write(to_dict(), where)
    raise InvalidArgumentError(where or "body", f"JSON can't hold a {kind.__name__}")


def _object(value: Mapping[Any, Any], where: str) -> str:
    inside = f"{where}." if where else ""
    return "{" + ",".join([f"{_name(key, where)}:{_write(one, f'{inside}{key}')}" for key, one in value.items()]) + "}"


def _array(value: Sequence[Any], where: str) -> str:
    return "[" + ",".join([_write(one, f"{where}[{i}]") for i, one in enumerate(value)]) + "]"


def _fraction(value: float | Decimal, where: str) -> str:
    if not math.isfinite(value):
        raise InvalidArgumentError(where or "body", f"must be finite, not {value}")
    return str(value) if isinstance(value, Decimal) else float.__repr__(value)


def _moment(value: datetime, where: str) -> str:
    if value.tzinfo is None:
        raise InvalidArgumentError(where or "body", "a datetime needs a time zone")
    return f'"{format_moment(value)}"'


def _name(name: Any, where: str) -> str:
    if not isinstance(name, str):
        raise InvalidArgumentError(where or "body", "keys must be strings")
    return _string(name, where)


def _string(value: str, where: str) -> str:
    written = encode_basestring_ascii(value)
    if "\\ud" in written and _half_surrogate(value):
        raise InvalidArgumentError(where or "body", "holds half a surrogate pair, which is not text")
    return written


def _half_surrogate(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False


_WRITERS: dict[type, Callable[[Any, str], str]] = {
    str: _string,
    bool: lambda value, _: "true" if value else "false",
    type(None): lambda value, _: "null",
    int: lambda value, _: int.__repr__(value),
    float: _fraction,
    Decimal: _fraction,
    dict: _object,
    list: _array,
    tuple: _array,
    datetime: _moment,
    date: lambda value, _: f'"{value.isoformat()}"',
}
