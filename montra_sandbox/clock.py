"""The sandbox's time: the real one plus what it was advanced by. Kept in the database, so that it survives restarts."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from .store import Store

_OFFSET = "clock_offset_seconds"
LAST_MOMENT = datetime(9000, 1, 1, tzinfo=timezone.utc)


class Clock:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._offset = timedelta(seconds=float(store.value("SELECT value FROM settings WHERE name = ?", _OFFSET) or 0))

    def now(self) -> datetime:
        return datetime.now(timezone.utc) + self._offset

    def advance(self, by: timedelta) -> datetime:
        """Move forward, inside a transaction; the new now."""
        self._offset += by
        self._save()
        return self.now()

    def reset(self) -> None:
        self._offset = timedelta()
        self._save()

    def _save(self) -> None:
        seconds = str(self._offset.total_seconds())
        self._store.run("INSERT OR REPLACE INTO settings VALUES (?, ?)", _OFFSET, seconds)


def to_text(moment: datetime) -> str:
    """ISO 8601 in UTC, always with microseconds: one width, so that text sorts like time."""
    return moment.astimezone(timezone.utc).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def from_text(text: str) -> datetime:
    """What `to_text` wrote, or any ISO 8601 moment or day; without a zone it is UTC.

    Raises:
        ValueError: not a moment.
    """
    cleaned = text.strip().replace("Z", "+00:00").replace("z", "+00:00")
    head, dot, rest = cleaned.partition(".")
    if dot:  # Python 3.10 wants 3 or 6 digits
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        cleaned = f"{head}.{digits[:6]:0<6}{rest[len(digits) :]}"
    moment = datetime.fromisoformat(cleaned)
    moment = moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError:
        raise ValueError("outside the calendar") from None
