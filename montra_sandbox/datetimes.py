"""Datetimes as text, and calendar months."""

from __future__ import annotations

from datetime import datetime, timezone

from dateutil.relativedelta import relativedelta

FIRST_DATETIME: datetime = datetime(1970, 1, 1, tzinfo=timezone.utc)
"""The clock can't be set to an earlier date."""
LAST_DATETIME: datetime = datetime(9000, 1, 1, tzinfo=timezone.utc)
"""The clock can't be advanced beyond this date, so that computed dates stay inside the calendar."""


def format_datetime(value: datetime) -> str:
    """ISO 8601 in UTC, always with microseconds: all texts have one width, so they sort like datetimes.

    Args:
        value: an aware datetime.
    """
    return value.astimezone(timezone.utc).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def parse_datetime(text: str) -> datetime:
    """Parse an ISO 8601 datetime or date into an aware UTC datetime.

    Args:
        text: the datetime; without an offset it is UTC. Digits beyond microseconds are cut off.

    Raises:
        ValueError: not a datetime, or outside the calendar.
    """
    cleaned = text.strip().replace("Z", "+00:00").replace("z", "+00:00")
    head, dot, rest = cleaned.partition(".")
    if dot:  # Python 3.10 accepts only 3 or 6 digits
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        cleaned = f"{head}.{digits[:6]:0<6}{rest[len(digits) :]}"
    value = datetime.fromisoformat(cleaned)
    value = value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value
    try:
        return value.astimezone(timezone.utc)
    except OverflowError:
        raise ValueError("outside the calendar") from None


def add_months(start: datetime, months: int) -> datetime:
    """Add calendar months. A day that the target month does not have becomes its last day.

    Args:
        start: the datetime to start from.
        months: how many months later; negative for earlier.

    Raises:
        OverflowError: the result is outside the calendar.
    """
    try:
        return start + relativedelta(months=months)
    except ValueError:
        raise OverflowError("the date is outside the calendar") from None


def month_containing(anchor: datetime, value: datetime) -> tuple[datetime, datetime]:
    """The month, counted from an anchor, that contains a datetime.

    Args:
        anchor: where the first month starts. Its day is kept in every month that has it.
        value: the datetime to look up.

    Returns:
        Start (inclusive) and end (exclusive).
    """
    months = (value.year - anchor.year) * 12 + value.month - anchor.month
    if add_months(anchor, months) > value:
        months -= 1
    return add_months(anchor, months), add_months(anchor, months + 1)
