"""Type guards for values from outside: they tell type checkers the types of the members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether the value is a JSON object, as read."""
    return isinstance(value, dict)


def is_array(value: Any) -> TypeGuard[list[Any]]:
    """Whether the value is a JSON array, as read."""
    return isinstance(value, list)


def is_mapping(value: Any) -> TypeGuard[Mapping[Any, Any]]:
    """Whether the value is a mapping."""
    return type(value) is dict or isinstance(value, Mapping)  # isinstance of an ABC is slow


def is_sequence(value: Any) -> TypeGuard[Sequence[Any]]:
    """Whether the value is a sequence other than a string or bytes."""
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray))
