"""Counts what is in an SQLite outbox, and drops the oldest of it."""

from __future__ import annotations

import sqlite3

from ..outbox import OutboxCounts
from .clocks import Timestamp, age
from .sqlite_schema import bytes_in_use
from .sqlite_sealing import EventRange, all_events, remove_events
from .sqlite_statements import marks, padded_parts

_STEP = 256


def count(db: sqlite3.Connection, now: Timestamp) -> OutboxCounts:
    """Count what is in an outbox, from sums and ends of indexes, within one transaction.

    Args:
        db: the connection.
        now: the time.
    """
    requests, sent_events, parked = db.execute("SELECT requests, events, parked FROM tally").fetchone()
    log = all_events(db).length
    oldest = _oldest(db)
    return OutboxCounts(
        events=sent_events + log,
        requests=requests + log,
        claimed=db.execute("SELECT count(*) FROM request WHERE owner IS NOT NULL").fetchone()[0],
        parked=parked,
        oldest_recorded_at=None if oldest is None else oldest.wall,
        oldest_age=0.0 if oldest is None else age(oldest, now),
        size=bytes_in_use(db),
    )


def _oldest(db: sqlite3.Connection) -> Timestamp | None:
    """The time of the oldest event. Events become requests in their order, so it is in the first row of one table."""
    for table in ("request", "event"):
        sql = f"SELECT recorded_at, recorded_boot, boot_number FROM {table} ORDER BY id LIMIT 1"  # noqa: S608
        if (row := db.execute(sql).fetchone()) is not None:
            return Timestamp(*row)
    return None


def drop_oldest(db: sqlite3.Connection, events: int) -> int:
    """Delete the oldest events that are not claimed.

    Args:
        db: the connection.
        events: minimum number to delete, if there are so many.

    Returns:
        The number of deleted events.
    """
    dropped = _drop_requests(db, events)
    log = all_events(db)
    more = min(events - dropped, log.length)
    if more > 0:
        remove_events(db, EventRange(log.first, log.first + more - 1))
        dropped += more
    return dropped


def _drop_requests(db: sqlite3.Connection, events: int) -> int:
    dropped = 0
    while dropped < events:
        sql = "SELECT id, events FROM request WHERE owner IS NULL ORDER BY id LIMIT ?"
        rows = db.execute(sql, (_STEP,)).fetchall()
        ids: list[int] = []
        for number, members in rows:
            if dropped >= events:
                break
            ids.append(number)
            dropped += members
        for part in padded_parts(ids):
            db.execute(f"DELETE FROM request WHERE id IN ({marks(len(part))})", part)  # noqa: S608
        if len(rows) < _STEP:
            break
    return dropped
