"""What has been handled: remembered durably, so that an event that comes twice is handled once.

An event is claimed before its handlers run and marked as done after they succeeded. A claim ends by itself after its
lease: when the process that holds it dies, the next delivery is handled.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

REMEMBERED = 30 * 24 * 3600.0
"""Seconds for which an event that is done stays remembered, by default."""


class Claim(str, Enum):
    """What became of a claim: it is ours, somebody else is at it, or it was done before."""

    OURS = "ours"
    BUSY = "busy"
    DONE = "done"


class EventStore(Protocol):
    """Remembers events by id. Safe for any number of processes that share it.

    `token` tells one claim from a later one of the same event: who lost the claim can neither finish nor release it.
    """

    async def claim(self, event_id: str, token: str, lease: float) -> Claim:
        """Take an event for `lease` seconds, unless it is taken or done."""
        ...

    async def renew(self, event_id: str, token: str, lease: float) -> bool:
        """Keep it for another `lease` seconds; False when the claim was lost."""
        ...

    async def done(self, event_id: str, token: str) -> bool:
        """It was handled; False when the claim was lost."""
        ...

    async def release(self, event_id: str, token: str) -> None:
        """It was not handled: the next delivery may try."""
        ...


def new_token() -> str:
    return secrets.token_hex(12)


class MemoryStore:
    """Forgets everything with the process: for tests and development."""

    def __init__(self, *, clock: Callable[[], float] = time.time, remembered: float = REMEMBERED) -> None:
        self._clock = clock
        self._remembered = remembered
        self._lock = threading.Lock()
        self._events: dict[str, tuple[str | None, float]] = {}

    async def claim(self, event_id: str, token: str, lease: float) -> Claim:
        now = self._clock()
        with self._lock:
            for old in [one for one, (_, until) in self._events.items() if until <= now]:
                del self._events[old]
            held = self._events.get(event_id)
            if held is not None:
                return Claim.DONE if held[0] is None else Claim.BUSY
            self._events[event_id] = (token, now + lease)
            return Claim.OURS

    async def renew(self, event_id: str, token: str, lease: float) -> bool:
        return self._change(event_id, token, (token, self._clock() + lease))

    async def done(self, event_id: str, token: str) -> bool:
        return self._change(event_id, token, (None, self._clock() + self._remembered))

    async def release(self, event_id: str, token: str) -> None:
        self._change(event_id, token, None)

    def _change(self, event_id: str, token: str, to: tuple[str | None, float] | None) -> bool:
        with self._lock:
            held = self._events.get(event_id)
            if held is None or held[0] != token:
                return False
            if to is None:
                del self._events[event_id]
            else:
                self._events[event_id] = to
            return True


_SCHEMA = """
CREATE TABLE IF NOT EXISTS montra_webhook_events (
  id TEXT PRIMARY KEY, token TEXT, until REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS montra_webhook_events_until ON montra_webhook_events (until);
"""


class SqliteStore:
    """A file on this machine, shared by any number of its processes. Survives crashes of all of them.

    Args:
        path: the file; made when there is none. A table `montra_webhook_events` is all that is used of it.
        remembered: seconds for which an event that is done stays remembered.
        clock: seconds since 1970, the same for all processes.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        remembered: float = REMEMBERED,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._db: sqlite3.Connection | None = None
        self._process = 0
        self._path = os.fspath(path)
        self._remembered = remembered
        self._clock = clock
        self._lock, self._lock_process = threading.Lock(), os.getpid()

    async def claim(self, event_id: str, token: str, lease: float) -> Claim:
        def work(db: sqlite3.Connection) -> Claim:
            now = self._clock()
            db.execute("DELETE FROM montra_webhook_events WHERE until <= ?", (now,))
            row = db.execute("SELECT token FROM montra_webhook_events WHERE id = ?", (event_id,)).fetchone()
            if row is not None:
                return Claim.DONE if row[0] is None else Claim.BUSY
            db.execute("INSERT INTO montra_webhook_events VALUES (?, ?, ?)", (event_id, token, now + lease))
            return Claim.OURS

        return await asyncio.to_thread(self._run, work)

    async def renew(self, event_id: str, token: str, lease: float) -> bool:
        sql = "UPDATE montra_webhook_events SET until = ? WHERE id = ? AND token = ?"
        return await asyncio.to_thread(self._changed, sql, self._clock() + lease, event_id, token)

    async def done(self, event_id: str, token: str) -> bool:
        sql = "UPDATE montra_webhook_events SET token = NULL, until = ? WHERE id = ? AND token = ?"
        return await asyncio.to_thread(self._changed, sql, self._clock() + self._remembered, event_id, token)

    async def release(self, event_id: str, token: str) -> None:
        sql = "DELETE FROM montra_webhook_events WHERE id = ? AND token = ?"
        await asyncio.to_thread(self._changed, sql, event_id, token)

    def close(self) -> None:
        """Close the file. It is opened again when it is needed."""
        with self._lock:
            if self._db is not None and self._process == os.getpid():
                self._db.close()
            self._db = None

    def _changed(self, sql: str, *values: Any) -> bool:
        return self._run(lambda db: db.execute(sql, values).rowcount == 1)

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """One transaction, on disk when it returns."""
        if self._lock_process != os.getpid():  # another thread may have held it when this process was forked
            self._lock, self._lock_process = threading.Lock(), os.getpid()
        with self._lock:
            db = self._opened()
            db.execute("BEGIN IMMEDIATE")
            try:
                result = work(db)
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")
            return result

    def _opened(self) -> sqlite3.Connection:
        """The connection of this process: one that was opened before a fork must not be used, or closed, after it."""
        if self._db is None or self._process != os.getpid():
            if self._db is not None:
                _left_to_parent.append(self._db)
                self._db = None
            db = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=False)
            try:
                db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;" + _SCHEMA)
            except BaseException:
                db.close()
                raise
            self._db, self._process = db, os.getpid()
        return self._db

    def __del__(self) -> None:
        if self._db is not None and self._process == os.getpid():
            self._db.close()

    def __repr__(self) -> str:
        return f"<SqliteStore {self._path}>"


_left_to_parent: list[sqlite3.Connection] = []
