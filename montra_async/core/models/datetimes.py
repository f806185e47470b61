"""Moments: ISO 8601 on the wire, aware UTC datetimes here."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal

_ISO = re.compile(r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d:\d\d)(?:[.,](\d+))?\s*(Z|z|[+-]\d\d:?\d\d)?)?", re.ASCII)

_LONGEST = 100
"""Characters; with a zone and nine digits of a second it is 35."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECONDS = 10**11  # as seconds, the year 5138


def parse_datetime(value: str) -> datetime:
    """ISO 8601 as an aware UTC datetime. Without a zone it is UTC; digits past microseconds are cut.

    Raises:
        ValueError: not ISO 8601, or outside the calendar in UTC.
    """
    try:
        moment = _read(value)
    except ValueError:
        moment = _parse_iso(value)
    return moment if moment.tzinfo is timezone.utc else utc(moment)


def utc(moment: datetime) -> datetime:
    """The same moment in UTC; without a zone it is UTC already.

    Raises:
        ValueError: outside the calendar in UTC.
    """
    if moment.tzinfo is None:
        return moment.replace(tzinfo=timezone.utc)
    if moment.tzinfo is timezone.utc:
        return moment
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError:
        raise ValueError("outside the calendar") from None


def _parse_iso(value: str) -> datetime:
    match = _ISO.fullmatch(value) if len(value) <= _LONGEST else None
    if match is None:
        raise ValueError("not an ISO 8601 moment")
    day, time, fraction, zone = match.groups()
    zone = "+00:00" if zone in (None, "Z", "z") else zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
    return datetime.fromisoformat(f"{day}T{time or '00:00:00'}.{(fraction or '')[:6]:0<6}{zone}")


_read: Callable[[str], datetime] = datetime.fromisoformat if sys.version_info >= (3, 11) else _parse_iso
"""Before Python 3.11 `fromisoformat` reads little of ISO 8601."""


def datetime_from_number(value: int | Decimal) -> datetime:
    """Seconds since 1970; from a number too large for that, milliseconds."""
    try:
        seconds = float(value)
        return _EPOCH + timedelta(seconds=seconds / 1000 if abs(seconds) >= _MILLISECONDS else seconds)
    except OverflowError:
        raise ValueError("outside the calendar") from None


def format_datetime(value: datetime) -> str:
    return value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
