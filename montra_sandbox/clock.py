"""The sandbox's clock: the real time plus an offset, or standing still. It is stored, so that it survives restarts."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from .database import Database
from .datetimes import format_datetime, parse_datetime

_OFFSET = "clock_offset_seconds"
_FROZEN_AT = "clock_frozen_at"


class Clock:
    """A clock that can be moved and stopped. Every change belongs into a transaction.

    Args:
        db: the database that stores it.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self.load()

    def load(self) -> None:
        """Read the stored clock, at the start and after the database was replaced."""
        self._offset = timedelta(seconds=float(self._stored(_OFFSET) or 0))
        frozen_at = self._stored(_FROZEN_AT)
        self._frozen_at = None if frozen_at is None else parse_datetime(frozen_at)

    @property
    def is_frozen(self) -> bool:
        """Whether it stands still."""
        return self._frozen_at is not None

    def now(self) -> datetime:
        """The sandbox's time, in UTC."""
        return self._frozen_at or datetime.now(timezone.utc) + self._offset

    def advance(self, by: timedelta) -> datetime:
        """Move it forward; returns the new time. A clock that stands still stands still there.

        Args:
            by: how far; positive.
        """
        self.set(self.now() + by)
        return self.now()

    def set(self, at: datetime) -> None:
        """Set it to a time; whether it stands still does not change.

        Args:
            at: the time.
        """
        self._offset = at - datetime.now(timezone.utc)
        self._frozen_at = None if self._frozen_at is None else at
        self._save()

    def freeze(self, at: datetime) -> None:
        """Let it stand still.

        Args:
            at: the time that it shows from now on.
        """
        self._frozen_at = at
        self._save()

    def unfreeze(self) -> None:
        """Let it go on from the time that it shows."""
        if self._frozen_at is not None:
            self._offset = self._frozen_at - datetime.now(timezone.utc)
            self._frozen_at = None
            self._save()

    def reset(self) -> None:
        """Show the real time again."""
        self._offset = timedelta()
        self._frozen_at = None
        self._save()

    def _stored(self, name: str) -> str | None:
        value: str | None = self._db.value("SELECT value FROM settings WHERE name = ?", name)
        return value

    def _save(self) -> None:
        self._db.run("INSERT OR REPLACE INTO settings VALUES (?, ?)", _OFFSET, str(self._offset.total_seconds()))
        if self._frozen_at is None:
            self._db.run("DELETE FROM settings WHERE name = ?", _FROZEN_AT)
        else:
            self._db.run("INSERT OR REPLACE INTO settings VALUES (?, ?)", _FROZEN_AT, format_datetime(self._frozen_at))
