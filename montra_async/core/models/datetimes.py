"""Datetimes: ISO 8601 in JSON, aware datetimes in UTC in Python."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal

_ISO = re.compile(r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d:\d\d)(?:[.,](\d+))?\s*(Z|z|[+-]\d\d:?\d\d)?)?", re.ASCII)

_LONGEST = 100
"""Characters of a datetime. One with an offset and nine digits of a second has 35."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECONDS = 10**11  # as seconds, the year 5138


def parse_datetime(value: str) -> datetime:
    """Parse ISO 8601 into an aware datetime in UTC. Digits beyond microseconds are cut off.

    Args:
        value: a date or datetime. Without an offset it is in UTC.

    Raises:
        ValueError: not ISO 8601, or out of range in UTC.
    """
    try:
        parsed = _read(value)
    except ValueError:
        parsed = _parse_iso(value)
    return parsed if parsed.tzinfo is timezone.utc else utc(parsed)


def utc(value: datetime) -> datetime:
    """The datetime in UTC.

    Args:
        value: an aware datetime, or a naive one in UTC.

    Raises:
        ValueError: out of range in UTC.
    """
    if value.tzinfo is None:
        return value.replace(tzinfo=timezone.utc)
    if value.tzinfo is timezone.utc:
        return value
    try:
        return value.astimezone(timezone.utc)
    except OverflowError:
        raise ValueError("out of range") from None


def _parse_iso(value: str) -> datetime:
    match = _ISO.fullmatch(value) if len(value) <= _LONGEST else None
    if match is None:
        raise ValueError("not an ISO 8601 datetime")
    day, time, fraction, zone = match.groups()
    zone = "+00:00" if zone in (None, "Z", "z") else zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
    return datetime.fromisoformat(f"{day}T{time or '00:00:00'}.{(fraction or '')[:6]:0<6}{zone}")


_read: Callable[[str], datetime] = datetime.fromisoformat if sys.version_info >= (3, 11) else _parse_iso
"""Before Python 3.11, `fromisoformat` accepts only part of ISO 8601."""


def datetime_from_number(value: int | Decimal) -> datetime:
    """Convert a Unix timestamp.

    Args:
        value: seconds since 1970; a number beyond the year 5138 is taken as milliseconds.

    Raises:
        ValueError: out of range.
    """
    try:
        seconds = float(value)
        return _EPOCH + timedelta(seconds=seconds / 1000 if abs(seconds) >= _MILLISECONDS else seconds)
    except OverflowError:
        raise ValueError("out of range") from None


def format_datetime(value: datetime) -> str:
    """An aware datetime as ISO 8601 in UTC, e.g. `2026-01-01T00:00:00Z`."""
    return value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
