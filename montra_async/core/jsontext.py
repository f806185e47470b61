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
    text = body.decode().strip(" \t\n\r")
    try:
        value, end = _exact_decoder.raw_decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if end != len(text):
        raise ValueError("something follows the value")
    return value


class _CannotHold(Exception):
    """JSON can't hold a value; its place is found on the way out, so that nobody pays for it on the way in."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.place = ""

    def inside(self, step: str) -> _CannotHold:
        self.place = step + self.place
        return self


def dumps(value: Any) -> bytes:
    """Write JSON; a `Decimal` becomes a number with exactly its digits, moments become ISO 8601.

    Raises:
        InvalidArgumentError: something JSON can't hold; `parameter` says where it stands.
    """
    try:
        return _write(value).encode("ascii")
    except _CannotHold as error:
        raise InvalidArgumentError(error.place.removeprefix(".") or "body", error.problem) from None
    except RecursionError:
        raise InvalidArgumentError("body", "nested too deeply, or contains itself") from None


def _write(value: Any) -> str:
    return (_WRITERS.get(value.__class__) or _writer_of(value))(value)


def _writer_of(value: Any) -> Callable[[Any], str]:
    """For a subclass, a mapping, a model."""
    kind: type[Any] = value.__class__
    for base in kind.__mro__:
        if writer := _WRITERS.get(base):
            return writer
    if is_mapping(value):
        return _object
    if callable(getattr(value, "to_dict", None)):
        return lambda model: _write(model.to_dict())
    raise _CannotHold(f"JSON can't hold a {kind.__name__}")


def _object(value: Mapping[Any, Any]) -> str:
    written: list[str] = []
    for name, one in value.items():
        if not isinstance(name, str):
            raise _CannotHold("keys must be strings")
        begin = _string(name)
        try:
            written.append(f"{begin}:{_write(one)}")
        except _CannotHold as error:
            raise error.inside(f".{name}") from None
    return "{" + ",".join(written) + "}"


def _array(value: Sequence[Any]) -> str:
    written: list[str] = []
    for i, one in enumerate(value):
        try:
            written.append(_write(one))
        except _CannotHold as error:
            raise error.inside(f"[{i}]") from None
    return "[" + ",".join(written) + "]"


def _fraction(value: float | Decimal) -> str:
    if not math.isfinite(value):
        raise _CannotHold(f"must be finite, not {value}")
    return str(value) if isinstance(value, Decimal) else float.__repr__(value)


def _moment(value: datetime) -> str:
    if value.tzinfo is None:
        raise _CannotHold("a datetime needs a time zone")
    return f'"{format_moment(value)}"'


def _string(value: str) -> str:
    written = encode_basestring_ascii(value)
    if "\\ud" in written and _half_surrogate(value):
        raise _CannotHold("holds half a surrogate pair, which is not text")
    return written


def _half_surrogate(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False


_WRITERS: dict[type, Callable[[Any], str]] = {
    str: _string,
    bool: lambda value: "true" if value else "false",
    type(None): lambda value: "null",
    int: int.__repr__,
    float: _fraction,
    Decimal: _fraction,
    dict: _object,
    list: _array,
    tuple: _array,
    datetime: _moment,
    date: lambda value: f'"{value.isoformat()}"',
}
