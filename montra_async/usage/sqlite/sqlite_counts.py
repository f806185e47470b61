"""Counts what is in an SQLite outbox, and drops the oldest of it."""

from __future__ import annotations

import sqlite3

from ..clocks import Timestamp, age
from ..events import amount_of
from ..outbox import OutboxCounts, WaitingSum
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
    """The time of the oldest event. Numbers of requests are not in the order of time: a step's sums come first."""
    found: list[Timestamp] = []
    for table, order in (("request", "recorded_at"), ("event", "id")):
        sql = f"SELECT recorded_at, recorded_boot, boot_number FROM {table} ORDER BY {order} LIMIT 1"  # noqa: S608
        found += [Timestamp(*row) for row in db.execute(sql)]
    return min(found, key=lambda time: time.wall, default=None)


_HALF = 30
"""Units are added up in two halves, because SQLite refuses sums beyond 2**63."""

_SUMS = f"""
SELECT customer_id, meter_slug, scale, sum(units >> {_HALF}), sum(units & {(1 << _HALF) - 1}) FROM (
  SELECT customer_id, meter_slug, scale, units FROM request WHERE typeof(units) = 'integer'
  UNION ALL SELECT customer_id, meter_slug, scale, units FROM event WHERE typeof(units) = 'integer')
GROUP BY customer_id, meter_slug, scale LIMIT ?
"""  # noqa: S608 - our own constants
_LARGE = """
SELECT customer_id, meter_slug, scale, units FROM request WHERE typeof(units) <> 'integer'
UNION ALL SELECT customer_id, meter_slug, scale, units FROM event WHERE typeof(units) <> 'integer' LIMIT ?
"""


def waiting_sums(db: sqlite3.Connection, limit: int) -> list[WaitingSum]:
    """Add up what waits, by customer, meter and scale. Reads everything, within one transaction.

    Args:
        db: the connection.
        limit: maximum number of sums.
    """
    sums = [
        WaitingSum(customer_id, meter_slug, amount_of((high << _HALF) + low, scale))
        for customer_id, meter_slug, scale, high, low in db.execute(_SUMS, (limit,))
    ]
    large = db.execute(_LARGE, (limit - len(sums),))  # as text: there are few
    return sums + [
        WaitingSum(customer_id, meter_slug, amount_of(units, scale)) for customer_id, meter_slug, scale, units in large
    ]


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
