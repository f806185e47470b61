"""The memory of handled events in a file, for the processes of one machine."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..core.errors import ConfigError
from . import forks
from .errors import WebhookStoreError
from .stores import REMEMBERED, Claim, checked_retention, checked_seconds, end_of_memory
from .threads import StoreThreads

T = TypeVar("T")

TIMEOUT = 5.0
"""Seconds that one use of the store takes at most, by default, while others keep the file locked."""

_SETTINGS = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS montra_webhook_events (
  id TEXT PRIMARY KEY, token TEXT, until REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS montra_webhook_events_until ON montra_webhook_events (until);
"""
_PAUSES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)

_creating = threading.Lock()


class SqliteStore:
    """A file on this machine, shared by any number of its processes. Survives crashes of all of them.

    A file that is made here is for its owner only (0600), with the two that SQLite puts beside it. The mode of a file
    that is there already stays as it is.

    Args:
        path: the file; made when there is none. A table `montra_webhook_events` is all that is used of it.
        remembered: seconds for which an event that is done stays remembered; None for ever.
        clock: seconds since 1970, the same for all processes.
        timeout: seconds that one use of the store may take in all while others keep the file locked.

    Raises:
        WebhookStoreError: from every use, when the file can't be opened, read or written, or stays locked.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        remembered: float | None = REMEMBERED,
        clock: Callable[[], float] = time.time,
        timeout: float = TIMEOUT,
    ) -> None:
        self._db: sqlite3.Connection | None = None
        self._process = 0
        self._path = _checked(path)
        self.remembered = checked_retention(remembered)
        self._clock = clock
        self._timeout = checked_seconds("timeout", timeout)
        self._lock = threading.Lock()
        self._useless = False
        self._threads = StoreThreads()
        forks.watch(self)

    async def claim(self, event_id: str, token: str, lease: float) -> Claim:
        def work(db: sqlite3.Connection, now: float) -> Claim:
            db.execute("DELETE FROM montra_webhook_events WHERE until <= ?", (now,))
            row = db.execute("SELECT token FROM montra_webhook_events WHERE id = ?", (event_id,)).fetchone()
            if row is not None:
                return Claim.DONE if row[0] is None else Claim.BUSY
            db.execute("INSERT INTO montra_webhook_events VALUES (?, ?, ?)", (event_id, token, now + lease))
            return Claim.OURS

        return await self._in_thread(work)

    async def renew(self, event_id: str, token: str, lease: float) -> bool:
        sql = "UPDATE montra_webhook_events SET until = ? WHERE id = ? AND token = ?"
        return await self._in_thread(lambda db, now: db.execute(sql, (now + lease, event_id, token)).rowcount == 1)

    async def done(self, event_id: str, token: str, *, forever: bool = False) -> bool:
        def work(db: sqlite3.Connection, now: float) -> bool:
            until = end_of_memory(now, self.remembered, forever=forever)
            return db.execute(sql, (until, event_id, token)).rowcount == 1

        sql = "UPDATE montra_webhook_events SET token = NULL, until = ? WHERE id = ? AND token = ?"
        return await self._in_thread(work)

    async def release(self, event_id: str, token: str) -> None:
        sql = "DELETE FROM montra_webhook_events WHERE id = ? AND token = ?"
        await self._in_thread(lambda db, _: db.execute(sql, (event_id, token)))

    def close(self) -> None:
        """Close the file. It is opened again when it is needed."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None and self._process != os.getpid():
            forks.leave_to_parent(db)
        elif db is not None:
            db.close()

    async def _in_thread(self, work: Callable[[sqlite3.Connection, float], T]) -> T:
        until = time.monotonic() + self._timeout  # from now on: a place in the queue counts, too
        return await self._threads.run(lambda: self._run(work, until))

    def _run(self, work: Callable[[sqlite3.Connection, float], T], until: float) -> T:
        """One transaction, on disk when it returns. Tried until the time is up, and once in any case."""
        attempt = 0
        while True:
            if not self._lock.acquire(timeout=max(0.0, until - time.monotonic())):
                raise WebhookStoreError(f"{self._path}: in use for the whole {self._timeout:g} s of the time-out")
            try:
                return self._transaction(work)
            except sqlite3.Error as error:
                if not _is_locked(error):
                    raise WebhookStoreError(f"{self._path}: {error}") from error
            finally:
                self._lock.release()
            pause = _PAUSES[min(attempt, len(_PAUSES) - 1)]
            if time.monotonic() + pause >= until:
                raise WebhookStoreError(f"{self._path}: locked for the whole {self._timeout:g} s of the time-out")
            attempt += 1
            time.sleep(pause)  # without our own lock: a fork must not wait for somebody else's

    def _transaction(self, work: Callable[[sqlite3.Connection, float], T]) -> T:
        """The file is locked for SQL only, and nothing in here waits: a fork waits for this."""
        now = self._clock()
        db = self._opened()
        db.execute("BEGIN IMMEDIATE")
        try:
            result = work(db, now)
            db.execute("COMMIT")
            return result
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # after some errors SQLite has done it already
                db.execute("ROLLBACK")
            if db.in_transaction:
                self._close()
            raise

    def _opened(self) -> sqlite3.Connection:
        """The connection of this process."""
        if self._useless:
            raise WebhookStoreError(f"{self._path}: this process was forked while the file was being written")
        if self._process != os.getpid():
            self._close()
        if self._db is None:
            _create(self._path)
            db = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
            try:
                db.executescript(_SETTINGS + _SCHEMA)
            except BaseException:
                db.close()
                raise
            self._db, self._process = db, os.getpid()
        return self._db

    # A fork copies what SQLite knows of its locks, and the copy is wrong: nothing may be open then.

    def before_fork(self, patience: float) -> bool:
        """Wait for the transaction under way and close the file; False when it took too long."""
        if not self._lock.acquire(timeout=patience):
            return False
        with contextlib.suppress(sqlite3.Error):
            self._close()
        return True

    def after_fork(self, *, quiet: bool, child: bool) -> None:
        """`quiet`: what `before_fork` answered."""
        if child:
            self._lock, self._useless = threading.Lock(), self._useless or not quiet
        elif quiet:
            self._lock.release()

    def __del__(self) -> None:
        if getattr(self, "_db", None) is not None:
            self._close()

    def __repr__(self) -> str:
        return f"<SqliteStore {getattr(self, '_path', '')}>"


def _checked(path: str | os.PathLike[str]) -> str:
    """The file's full path: it is opened again after a fork, perhaps from another folder."""
    given = os.fsdecode(path)
    if given in ("", ":memory:") or "\0" in given:
        raise ConfigError("path: the path of a file; to remember events in memory, use MemoryStore()")
    return os.path.abspath(given)


def _create(path: str) -> None:
    """Make the file, if there is none, for its owner only; SQLite gives the same mode to those beside it.

    An existing file must not be opened here: closing it would end the locks that this process has on it.
    """
    real = os.path.realpath(path)
    with _creating, contextlib.suppress(OSError):  # SQLite will say it in its own words
        if not Path(real).exists():
            os.close(os.open(real, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _is_locked(error: sqlite3.Error) -> bool:
    return isinstance(error, sqlite3.OperationalError) and ("locked" in str(error) or "locking" in str(error))
