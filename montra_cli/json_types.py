"""Tells apart what JSON and TOML can hold, also for type checkers."""

from __future__ import annotations

from typing import Any, TypeGuard


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a value is an object.

    Args:
        value: parsed JSON or TOML.
    """
    return isinstance(value, dict)


def is_array(value: Any) -> TypeGuard[list[Any]]:
    """Whether a value is an array.

    Args:
        value: parsed JSON or TOML.
    """
    return isinstance(value, list)
