"""Stored events of both services, for people: with or without a webhook endpoint that gets them."""

from __future__ import annotations

from typing import Any

from .database import Database, Row
from .json import loads, plain_numbers
from .problems import not_found

MAX_LISTED: int = 1_000

_SELECT = """
SELECT event.*, event.rowid AS position,
  (SELECT count(*) FROM deliveries WHERE deliveries.event_id = event.id) AS deliveries FROM events event"""


def list_events(
    db: Database, *, event_type: str | None = None, limit: int = MAX_LISTED, before: str | None = None
) -> list[dict[str, Any]]:
    """Events, newest first.

    Args:
        db: the database.
        event_type: only those of this type; None for all.
        limit: how many, at most 1,000.
        before: only those that are older than the event with this id; None for all.
    """
    rows = db.all(
        f"{_SELECT} WHERE (? IS NULL OR event.type = ?)"
        " AND (? IS NULL OR event.rowid < (SELECT rowid FROM events WHERE id = ?)) ORDER BY event.rowid DESC LIMIT ?",
        *(event_type, event_type, before, before, min(limit, MAX_LISTED)),
    )
    return [serialize_event(row) for row in rows]


def get_event(db: Database, event_id: str) -> dict[str, Any]:
    """One event.

    Args:
        db: the database.
        event_id: its id.

    Raises:
        Problem: 404.
    """
    row = db.one(f"{_SELECT} WHERE event.id = ?", event_id)
    if row is None:
        raise not_found("event", event_id)
    return serialize_event(row)


def last_position(db: Database) -> int:
    """The position of the newest event; 0 without one.

    Args:
        db: the database.
    """
    return int(db.value("SELECT max(rowid) FROM events") or 0)


def events_after(db: Database, position: int, limit: int = MAX_LISTED) -> list[Row]:
    """The newest rows behind a position, oldest first.

    Args:
        db: the database.
        position: the position.
        limit: how many.
    """
    rows = db.all(f"{_SELECT} WHERE event.rowid > ? ORDER BY event.rowid DESC LIMIT ?", position, limit)
    return rows[::-1]


def serialize_event(row: Row) -> dict[str, Any]:
    """An event's JSON; `deliveries` is their number.

    Args:
        row: a row of this module's queries.
    """
    return {
        "id": row["id"],
        "type": row["type"],
        "service": row["service"],
        "created_at": row["created_at"],
        "data": plain_numbers(loads(row["body"].encode())["data"]),
        "deliveries": row["deliveries"],
    }
