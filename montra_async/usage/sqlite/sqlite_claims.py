"""Claims and settles requests of an SQLite outbox."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from ..clocks import Timestamp, age
from ..events import Outcome, ParkedUsage, Settlement, UsageRequest
from ..outbox import Exchange, OutboxSettings
from .sqlite_connection import OpenFile
from .sqlite_parked import park_expired, park_refused
from .sqlite_sealing import (
    MAX_SMALL_BACKLOG,
    EventRange,
    all_events,
    claim_singles,
    first_singles,
    next_step,
    remove_events,
    seal_singles,
    seal_sums,
)
from .sqlite_statements import marks, padded_parts

MAX_DELAY = 3600.0
"""Maximum number of seconds until a request is sent again. What is due later was stored before a clock was set back."""

CHECK_INTERVAL = 1.0
"""Seconds between two searches for dead owners."""

_OVERDUE = 5.0
_FOREVER = 1e300

_COLUMNS = "id, key, customer_id, meter_slug, units, scale, metadata, events, recorded_at, attempts, ambiguous"
_DUE = f"""
SELECT {_COLUMNS}, sent_at, sent_boot, sent_boot_number FROM request WHERE id IN (
  SELECT id FROM (
    SELECT * FROM (SELECT id, due FROM request WHERE open = 0 AND owner IS NULL AND due <= ? ORDER BY due LIMIT ?)
    UNION ALL
    SELECT * FROM (SELECT id, due FROM request WHERE open = 1 AND due <= ? ORDER BY due LIMIT ?))
  ORDER BY due LIMIT ?)
ORDER BY id
"""  # noqa: S608 - our own constants
_NEXT = """
SELECT (SELECT min(due) FROM request WHERE open = 0 AND owner IS NULL),
       (SELECT min(due) FROM request WHERE open = 1),
       EXISTS (SELECT 1 FROM request WHERE owner < ?) OR EXISTS (SELECT 1 FROM request WHERE owner > ?)
"""
_CLAIM = """
UPDATE request SET owner = ?, open = 0, attempts = attempts + 1,
  sent_boot = CASE WHEN sent_at IS NULL THEN ? ELSE sent_boot END,
  sent_boot_number = CASE WHEN sent_at IS NULL THEN ? ELSE sent_boot_number END,
  sent_at = coalesce(sent_at, ?)
"""
_MINE = "id = ? AND owner = ? AND key = ?"


def exchange(
    file: OpenFile,
    settings: OutboxSettings,
    now: Timestamp,
    settlements: Sequence[Settlement],
    limit: int,
    *,
    flush: bool,
) -> Exchange:
    """Settle and claim, within one transaction.

    Args:
        file: the open file.
        settings: what the reporter wants.
        now: the time.
        settlements: what became of requests.
        limit: maximum number of requests to claim.
        flush: claim sums whose window is still open, too.
    """
    settle(file, now, settlements)
    check_now_and_then(file, settings, now)
    requests: list[UsageRequest] = []
    expired: list[ParkedUsage] = []
    if limit > 0:
        requests, expired = _seal_and_claim(file, settings, now, limit, flush)
    return Exchange(requests, _next_due(file, now, flush), expired)


def settle(file: OpenFile, now: Timestamp, settlements: Sequence[Settlement]) -> None:
    """Remove, free or park requests that are claimed by this owner. Others are left alone.

    The key is compared, too: numbers of requests begin anew when the file was replaced.

    Args:
        file: the open file.
        now: the time.
        settlements: what became of requests.
    """
    delivered = [settlement.request for settlement in settlements if settlement.outcome is Outcome.DELIVERED]
    for part in padded_parts(delivered):
        many = marks(len(part))
        values = [*[request.id for request in part], file.owner, *[request.key for request in part]]
        file.db.execute(f"DELETE FROM request WHERE id IN ({many}) AND owner = ? AND key IN ({many})", values)  # noqa: S608
    for settlement in settlements:
        if settlement.outcome is Outcome.RETRY:
            _retry(file, now, settlement)
        elif settlement.outcome is Outcome.REFUSED:
            park_refused(file, now, settlement)


def _retry(file: OpenFile, now: Timestamp, settlement: Settlement) -> None:
    request = settlement.request
    due = now.wall + min(max(0.0, settlement.delay), MAX_DELAY)
    # The time of the first attempt stays when that one may have been counted.
    change = "ambiguous = 1" if settlement.sent else "sent_at = CASE ambiguous WHEN 1 THEN sent_at END"
    file.db.execute(
        f"UPDATE request SET owner = NULL, due = ?, {change} WHERE {_MINE}",  # noqa: S608
        (due, request.id, file.owner, request.key),
    )


def release_all(file: OpenFile, owner: int, now: Timestamp) -> None:
    """Free what an owner has claimed. It may be on the wire, or have been.

    Args:
        file: the open file.
        owner: the owner's number.
        now: the time.
    """
    file.db.execute("UPDATE request SET owner = NULL, ambiguous = 1, due = ? WHERE owner = ?", (now.wall, owner))


def check_now_and_then(file: OpenFile, settings: OutboxSettings, now: Timestamp) -> None:
    """About once a second, and when the clock was set back: free what dead owners have, and repair due times.

    Args:
        file: the open file.
        settings: what the reporter wants.
        now: the time.
    """
    set_back = now.wall < file.last_wall
    file.last_wall = now.wall
    if not set_back and file.next_check - CHECK_INTERVAL <= now.boot < file.next_check:
        return
    file.next_check = now.boot + CHECK_INTERVAL
    for (owner,) in _other_owners(file):
        if not file.locks.owner_lives(owner):
            release_all(file, owner, now)
    for condition, longest in (
        ("open = 0 AND owner IS NULL", MAX_DELAY),
        ("open = 1", settings.coalesce_window),
    ):
        repair = f"UPDATE request SET due = ? WHERE {condition} AND due > ?"  # noqa: S608
        file.db.execute(repair, (now.wall, now.wall + longest))


def _other_owners(file: OpenFile) -> list[tuple[int]]:
    sql = "SELECT DISTINCT owner FROM request WHERE owner IS NOT NULL AND owner <> ?"
    return file.db.execute(sql, (file.owner,)).fetchall()


def _seal_and_claim(
    file: OpenFile, settings: OutboxSettings, now: Timestamp, limit: int, flush: bool
) -> tuple[list[UsageRequest], list[ParkedUsage]]:
    db = file.db
    events = all_events(db)
    step, sealed = next_step(file, events)
    if sealed.length:
        seal_sums(db, sealed, now, settings.coalesce_window)
    backlog = events.last - sealed.last if sealed.length else 0
    requests, expired = _claim_due(file, settings, now, limit, flush, backlog)
    room = limit - len(requests) - len(expired)
    claimed = EventRange(events.first, events.first - 1)
    if room > 0 and events.length:
        claimed = first_singles(db, step, room)
        requests += _claim_singles(file, claimed, now)
    if claimed.last < sealed.last:
        seal_singles(db, EventRange(claimed.last + 1, sealed.last), now)
    remove_events(db, EventRange(events.first, max(claimed.last, sealed.last)))
    return requests, expired


def _claim_singles(file: OpenFile, events: EventRange, now: Timestamp) -> list[UsageRequest]:
    numbers = claim_singles(file, events, now)
    sql = f"SELECT {_COLUMNS} FROM request WHERE id BETWEEN ? AND ? ORDER BY id"  # noqa: S608
    return [_request(row, 0) for row in file.db.execute(sql, (numbers.start, numbers.stop - 1)).fetchall()]


def _claim_due(
    file: OpenFile, settings: OutboxSettings, now: Timestamp, limit: int, flush: bool, backlog: int
) -> tuple[list[UsageRequest], list[ParkedUsage]]:
    """Claim requests that are due. Those that may have been counted and are too old are parked instead.

    Sums wait for a while as long as there is a large backlog of events, because more of them can be added then.
    """
    sums_due = now.wall - (_OVERDUE if backlog > MAX_SMALL_BACKLOG else 0.0)
    if flush and backlog <= MAX_SMALL_BACKLOG:
        sums_due = _FOREVER
    rows = file.db.execute(_DUE, (now.wall, limit, sums_due, limit, limit)).fetchall()
    too_old = [row for row in rows if _is_expired(row, settings, now)]
    expired = park_expired(file, now, [row[0] for row in too_old])
    if too_old:
        rows = [row for row in rows if not _is_expired(row, settings, now)]
    _mark_claimed(file, now, [row[0] for row in rows])
    return [_request(row[:-3], 1) for row in rows], expired


def _mark_claimed(file: OpenFile, now: Timestamp, ids: list[int]) -> None:
    for part in padded_parts(ids):
        values = [file.owner, now.boot, now.boot_number, now.wall, *part]
        file.db.execute(f"{_CLAIM} WHERE id IN ({marks(len(part))})", values)


def _is_expired(row: tuple[Any, ...], settings: OutboxSettings, now: Timestamp) -> bool:
    ambiguous, sent_at = row[10], row[11]
    return bool(ambiguous) and sent_at is not None and age(Timestamp(*row[11:14]), now) > settings.expires_after


def _request(row: tuple[Any, ...], claims: int) -> UsageRequest:
    facts: tuple[Any, ...] = (*row[:9], row[9] + claims, bool(row[10]))
    return UsageRequest._make(facts)


def _next_due(file: OpenFile, now: Timestamp, flush: bool) -> float | None:
    """Seconds until something may be claimed, or a dead owner's requests may be freed."""
    if all_events(file.db).length:
        return 0.0
    waiting, sums, has_others = file.db.execute(_NEXT, (file.owner, file.owner)).fetchone()
    if flush and sums is not None:
        return 0.0
    dues = [due - now.wall for due in (waiting, sums) if due is not None]
    if has_others:
        dues.append(file.next_check - now.boot)
    return max(0.0, min(dues)) if dues else None


def claimed_keys(db: sqlite3.Connection, owner: int, ids: Sequence[int | str]) -> dict[int | str, str]:
    """The keys of those requests that an owner has claimed, by their numbers.

    Args:
        db: the connection.
        owner: the owner's number.
        ids: the requests.
    """
    found: dict[int | str, str] = {}
    for part in padded_parts(ids):
        sql = f"SELECT id, key FROM request WHERE owner = ? AND id IN ({marks(len(part))})"  # noqa: S608
        found.update(db.execute(sql, [owner, *part]).fetchall())
    return found
