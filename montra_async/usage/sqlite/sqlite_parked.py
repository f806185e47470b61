"""Requests of an SQLite outbox that a person has to decide about."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from ...core.redaction import bounded
from ..clocks import Timestamp
from ..events import (
    EXPIRED_MESSAGE,
    MAX_CODE_LENGTH,
    MAX_MESSAGE_LENGTH,
    ParkedUsage,
    Settlement,
    datetime_of,
    readable_amount,
    readable_metadata,
)
from .sqlite_connection import OpenFile
from .sqlite_statements import marks, padded_parts

_COLUMNS = (
    "id, key, customer_id, meter_slug, units, scale, metadata, events, reason, status, code, message, attempts,"
    " recorded_at, parked_at"
)
_KEPT = "recorded_boot, boot_number, ambiguous"
_PARK = f"""
INSERT INTO parked ({_COLUMNS}, {_KEPT})
SELECT id, key, customer_id, meter_slug, units, scale, metadata, events, ?, ?, ?, ?, attempts, recorded_at, ?, {_KEPT}
FROM request WHERE
"""  # noqa: S608 - our own constants
_RETRY = f"""
INSERT INTO request (id, key, customer_id, meter_slug, units, scale, metadata, events, attempts, recorded_at, {_KEPT},
                     open, due)
SELECT id, key, customer_id, meter_slug, units, scale, metadata, events, attempts, recorded_at, {_KEPT}, 0, ?
FROM parked WHERE
"""  # noqa: S608 - our own constants
_MAX_ID = 2**63


def park_refused(file: OpenFile, now: Timestamp, settlement: Settlement) -> None:
    """Park a request that the service refused, if this owner has claimed it.

    Args:
        file: the open file.
        now: the time.
        settlement: the refusal.
    """
    request = settlement.request
    mine = "id = ? AND owner = ? AND key = ?"
    which = (request.id, file.owner, request.key)
    code = bounded(settlement.code, MAX_CODE_LENGTH)
    message = bounded(settlement.message, MAX_MESSAGE_LENGTH)
    reason = ("refused", settlement.status, code, message, now.wall)
    file.db.execute(_PARK + mine, (*reason, *which))
    file.db.execute(f"DELETE FROM request WHERE {mine}", which)  # noqa: S608


def park_expired(file: OpenFile, now: Timestamp, ids: Sequence[int]) -> list[ParkedUsage]:
    """Park requests that may have been counted and are too old to be sent again.

    Args:
        file: the open file.
        now: the time.
        ids: their numbers.
    """
    parked: list[ParkedUsage] = []
    for start in range(0, len(ids), 256):
        part = next(padded_parts(ids[start : start + 256]))
        some = f"id IN ({marks(len(part))})"
        file.db.execute(_PARK + some, ["ambiguous", None, "", EXPIRED_MESSAGE, now.wall, *part])
        file.db.execute(f"DELETE FROM request WHERE {some}", part)  # noqa: S608
        rows = file.db.execute(f"SELECT {_COLUMNS} FROM parked WHERE {some} ORDER BY id", part)  # noqa: S608
        parked += [_parked_usage(row) for row in rows.fetchall()]
    return parked


def list_parked(db: sqlite3.Connection, limit: int, after: str | None) -> list[ParkedUsage]:
    """List parked requests, the oldest first.

    Args:
        db: the connection.
        limit: maximum number.
        after: the id of the last one of the page before; None: begin with the oldest.
    """
    last = -1 if after is None else _number(after)
    if last is None or limit <= 0:
        return []
    sql = f"SELECT {_COLUMNS} FROM parked WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608
    return [_parked_usage(row) for row in db.execute(sql, (last, limit)).fetchall()]


def retry_parked(db: sqlite3.Connection, now: Timestamp, ids: Sequence[str] | None) -> int:
    """Move parked requests back. The time since an attempt that may have been counted begins anew.

    Args:
        db: the connection.
        now: the time.
        ids: their ids; None: all.

    Returns:
        The number of requests.
    """

    def move(condition: str, values: Sequence[Any]) -> None:
        db.execute(_RETRY + condition, [now.wall, *values])

    return _remove(db, ids, move)


def drop_parked(db: sqlite3.Connection, ids: Sequence[str] | None) -> int:
    """Delete parked requests.

    Args:
        db: the connection.
        ids: their ids; None: all.

    Returns:
        The number of requests.
    """
    return _remove(db, ids, lambda condition, values: None)


def _remove(db: sqlite3.Connection, ids: Sequence[str] | None, before: Callable[[str, Sequence[Any]], None]) -> int:
    removed = 0
    if ids is None:
        before("true", [])
        return db.execute("DELETE FROM parked WHERE true").rowcount
    numbers = [number for number in dict.fromkeys(map(_number, ids)) if number is not None]
    for part in padded_parts(numbers):
        condition = f"id IN ({marks(len(part))})"
        before(condition, part)
        removed += db.execute(f"DELETE FROM parked WHERE {condition}", part).rowcount  # noqa: S608
    return removed


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 and int(text) < _MAX_ID else None


def _parked_usage(row: tuple[Any, ...]) -> ParkedUsage:
    return ParkedUsage(
        id=str(row[0]),
        key=row[1],
        customer_id=row[2],
        meter_slug=row[3],
        amount=readable_amount(row[4], row[5]),
        metadata=readable_metadata(row[6]),
        events=row[7],
        reason=row[8],
        status=row[9],
        code=row[10],
        message=row[11],
        attempts=row[12],
        recorded_at=datetime_of(row[13]),
        parked_at=datetime_of(row[14]),
    )
