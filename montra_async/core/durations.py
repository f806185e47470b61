"""Durations in settings: a `timedelta`, or a number of seconds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeAlias

from .errors import ConfigError

Duration: TypeAlias = timedelta | float
"""A `timedelta`, or a number of seconds."""

CLOCK_SKEW = timedelta(minutes=5)
"""How far ahead of ours the clock of another machine may be, by default."""

_CENTURY = 100 * 365 * 24 * 3600.0


def positive_seconds(name: str, value: Any, hint: str = "") -> float:
    """Convert a duration to seconds.

    Args:
        name: the parameter's name, for the error.
        value: a timedelta or seconds; greater than 0 and less than a century.
        hint: text that is appended to the error.

    Raises:
        ConfigError: `value` is not such a duration.
    """
    seconds = _seconds(value)
    if seconds is None or not 0 < seconds < _CENTURY:
        raise ConfigError(f"{name}: a timedelta or seconds, more than 0 and less than a century{hint}")
    return seconds


def age_in_seconds(name: str, value: Any, *, zero_allowed: bool = False) -> float:
    """Convert a limit of an event's age to seconds. There is no upper bound: `timedelta.max` accepts any age.

    Args:
        name: the parameter's name, for the error.
        value: a timedelta or seconds, finite.
        zero_allowed: accept 0; otherwise the value must be greater. Default: False.

    Raises:
        ConfigError: `value` is not such a duration.
    """
    seconds = _seconds(value)
    if seconds is None or seconds < 0 or seconds == float("inf") or (seconds == 0 and not zero_allowed):
        bound = "at least 0" if zero_allowed else "greater than 0, or None for any age"
        raise ConfigError(f"{name}: a timedelta or seconds, {bound}")
    return seconds


def _seconds(value: Any) -> float | None:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or abs(value) > 1e15:
        return None
    return float(value)
