"""Moves events of an SQLite outbox into requests: sums, and single ones."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from ..clocks import Timestamp
from .sqlite_connection import OpenFile
from .sqlite_schema import MAX_SUM, SUMMABLE

SMALL_STEP, LARGE_STEP = 2000, 8000
"""Minimum and maximum number of events of one step. More than that is hardly faster, and keeps others waiting."""

MAX_SMALL_BACKLOG = 8000
"""As long as there are more events, sums wait for more."""

_SUM = f"""
INSERT INTO request (key, customer_id, meter_slug, units, scale, events, recorded_at, recorded_boot, boot_number, open,
                     due)
SELECT key, customer_id, meter_slug, units, scale, events, recorded_at, recorded_boot, boot_number, 1,
       max(min(recorded_at, ?) + ?, ?)
FROM (SELECT min(id) AS first, key, customer_id, meter_slug, sum(units) AS units, scale, count(*) AS events,
             recorded_at, recorded_boot, boot_number
      FROM event WHERE id BETWEEN ? AND ? AND {SUMMABLE} GROUP BY customer_id, meter_slug, scale)
WHERE true ORDER BY first
ON CONFLICT (customer_id, meter_slug, scale) WHERE open = 1
DO UPDATE SET units = units + excluded.units, events = events + excluded.events
"""  # noqa: S608 - our own constants
_SINGLE = f"""
INSERT INTO request (key, customer_id, meter_slug, units, scale, metadata, events, recorded_at, recorded_boot,
                     boot_number, open, due, owner, attempts, sent_at, sent_boot, sent_boot_number)
SELECT key, customer_id, meter_slug, units, scale, metadata, 1, recorded_at, recorded_boot,
       boot_number, 0, ?, ?, ?, ?, ?, ?
FROM event WHERE id BETWEEN ? AND ? AND NOT {SUMMABLE} ORDER BY id
"""  # noqa: S608 - our own constants
_LAST_SUMMABLE = f"SELECT id FROM event WHERE id BETWEEN ? AND ? AND {SUMMABLE} ORDER BY id DESC LIMIT 1"  # noqa: S608
_NTH_SINGLE = f"SELECT id FROM event WHERE id BETWEEN ? AND ? AND NOT {SUMMABLE} ORDER BY id LIMIT 1 OFFSET ?"  # noqa: S608
_CLOSE_LARGE = f"UPDATE request SET open = 0 WHERE open = 1 AND units > {MAX_SUM}"  # noqa: S608


class EventRange(NamedTuple):
    """Numbers of events, the last one included. The range is empty when `last < first`."""

    first: int
    last: int

    @property
    def length(self) -> int:
        return self.last - self.first + 1


def all_events(db: sqlite3.Connection) -> EventRange:
    """The range of all events. It has no gaps."""
    first, last = db.execute("SELECT (SELECT min(id) FROM event), (SELECT max(id) FROM event)").fetchone()
    return EventRange(1, 0) if first is None else EventRange(first, last)


def step_size(backlog: int) -> int:
    """Number of events of the next step.

    Args:
        backlog: number of events.
    """
    return max(SMALL_STEP, min(LARGE_STEP, backlog // 2))


def next_step(file: OpenFile, events: EventRange) -> tuple[EventRange, EventRange]:
    """The next step of sealing: a range of events, and the part of it that ends with the last one that can be added up.

    Behind that part, the range has only events that go alone. Events that were searched in vain are not searched again:
    `file.no_sums_until` remembers it.

    Args:
        file: the open file.
        events: all events.
    """
    step = step_size(events.length)
    all_of_it = EventRange(events.first, min(events.last, events.first + step - 1))
    start = max(events.first, file.no_sums_until + 1)
    found = file.db.execute(_LAST_SUMMABLE, (start, all_of_it.last)).fetchone()
    if found is not None:
        return all_of_it, EventRange(events.first, found[0])
    file.no_sums_until = max(file.no_sums_until, all_of_it.last)
    return all_of_it, EventRange(events.first, events.first - 1)


def seal_sums(db: sqlite3.Connection, events: EventRange, now: Timestamp, window: float) -> None:
    """Add events up, into the open requests of their customers, meters and scales.

    Args:
        db: the connection.
        events: the events.
        now: the time.
        window: seconds for which a new sum stays open, from its first event on.
    """
    db.execute(_SUM, (now.wall, window, now.wall, *events))
    db.execute(_CLOSE_LARGE)


def seal_singles(db: sqlite3.Connection, events: EventRange, now: Timestamp) -> None:
    """Move the events that can't be added to others into requests of their own, which wait.

    Args:
        db: the connection.
        events: the events.
        now: the time.
    """
    db.execute(_SINGLE, (now.wall, None, 0, None, None, None, *events))


def claim_singles(file: OpenFile, events: EventRange, now: Timestamp) -> range:
    """Move the events that can't be added to others into requests of their own, which are claimed.

    Args:
        file: the open file.
        events: the events.
        now: the time.

    Returns:
        The numbers of the requests.
    """
    inserted = file.db.execute(_SINGLE, (now.wall, file.owner, 1, *now, *events))
    last = inserted.lastrowid or 0
    return range(last + 1 - inserted.rowcount, last + 1)


def first_singles(db: sqlite3.Connection, events: EventRange, number: int) -> EventRange:
    """The part of a range that ends with the n-th event that can't be added to others; all when there are fewer.

    Args:
        db: the connection.
        events: the range.
        number: n, at least 1.
    """
    found = db.execute(_NTH_SINGLE, (*events, number - 1)).fetchone()
    return events if found is None else EventRange(events.first, found[0])


def remove_events(db: sqlite3.Connection, events: EventRange) -> None:
    """Delete events from the front of the log.

    Args:
        db: the connection.
        events: the range.
    """
    db.execute("DELETE FROM event WHERE id <= ?", (events.last,))
