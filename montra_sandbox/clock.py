"""The sandbox's clock: the real time plus an offset, which is stored so that it survives restarts."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from .database import Database

_OFFSET = "clock_offset_seconds"


class Clock:
    """A clock that can be moved forward.

    Args:
        db: the database that stores the offset.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._offset = timedelta(seconds=float(db.value("SELECT value FROM settings WHERE name = ?", _OFFSET) or 0))

    def now(self) -> datetime:
        """The sandbox's time, in UTC."""
        return datetime.now(timezone.utc) + self._offset

    def advance(self, by: timedelta) -> datetime:
        """Move the clock forward, inside a transaction; returns the new time.

        Args:
            by: how far; positive.
        """
        self._offset += by
        self._save()
        return self.now()

    def reset(self) -> None:
        """Show the real time again."""
        self._offset = timedelta()
        self._save()

    def _save(self) -> None:
        seconds = str(self._offset.total_seconds())
        self._db.run("INSERT OR REPLACE INTO settings VALUES (?, ?)", _OFFSET, seconds)
