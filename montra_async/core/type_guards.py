"""Is it an object, is it an array? For values that came from outside, so that type checkers know what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """What a JSON object was read as."""
    return isinstance(value, dict)


def is_array(value: Any) -> TypeGuard[list[Any]]:
    """What a JSON array was read as."""
    return isinstance(value, list)


def is_mapping(value: Any) -> TypeGuard[Mapping[Any, Any]]:
    return type(value) is dict or isinstance(value, Mapping)  # an ABC takes its time


def is_sequence(value: Any) -> TypeGuard[Sequence[Any]]:
    """A sequence of things; a string or bytes is one thing."""
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray))
