"""Pure: billing periods. A period is a month, counted from an anchor whose day is kept wherever the month has it."""

from __future__ import annotations

import calendar
from datetime import MAXYEAR, MINYEAR, datetime


def add_months(anchor: datetime, months: int) -> datetime:
    """`anchor` some months later; the 31st becomes the last day of a shorter month.

    Raises:
        OverflowError: outside the calendar; an answer of 400.
    """
    index = anchor.year * 12 + anchor.month - 1 + months
    year, month = divmod(index, 12)
    if not MINYEAR <= year <= MAXYEAR:
        raise OverflowError(f"the year {year} is outside the calendar")
    last = calendar.monthrange(year, month + 1)[1]
    return anchor.replace(year=year, month=month + 1, day=min(anchor.day, last))


def period_at(anchor: datetime, moment: datetime) -> tuple[datetime, datetime]:
    """Start (in) and end (out) of the period that holds `moment`."""
    months = (moment.year - anchor.year) * 12 + moment.month - anchor.month
    if add_months(anchor, months) > moment:
        months -= 1
    return add_months(anchor, months), add_months(anchor, months + 1)
