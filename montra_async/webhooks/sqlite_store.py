"""A deduplication store in an SQLite file, for the processes of one machine."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..core import forks
from ..core.concurrency import ProcessLock
from ..core.durations import Duration, positive_seconds
from ..core.errors import ConfigError
from .errors import WebhookStoreError
from .stores import RETENTION, Claim, end_of_retention, retention_seconds

T = TypeVar("T")

TIMEOUT = 5.0
"""Seconds that one call of the store may take, by default, while others keep the file locked."""

_SETTINGS = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS montra_webhook_events (
  id TEXT PRIMARY KEY, token TEXT, until REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS montra_webhook_events_until ON montra_webhook_events (until);
"""
_PAUSES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)

_creating = ProcessLock()


class SqliteStore:
    """A store in a file on this machine, which any number of its processes may share. Survives crashes of all of them.

    A new file, and the two that SQLite creates beside it, are readable by their owner only (0600). The mode of an
    existing file is not changed.

    Args:
        path: the file; created when it does not exist. The store uses the table `montra_webhook_events` only.
        retention: how long a done event stays recorded, as a timedelta or seconds; None for ever. Default: 30 days.
        clock: returns the time in seconds since 1970, the same for all processes. Default: `time.time`.
        timeout: how long one call may take in all, as a timedelta or seconds, while others keep the file locked.
            Default: 5 s.

    Raises:
        ConfigError: the path or a duration is not valid.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        retention: Duration | None = RETENTION,
        clock: Callable[[], float] = time.time,
        timeout: Duration = TIMEOUT,
    ) -> None:
        self._db: sqlite3.Connection | None = None
        self._process = 0
        self._path = _absolute(path)
        self.retention: float | None = retention_seconds(retention)
        """Seconds for which a done event stays recorded; None for ever."""
        self._clock = clock
        self.timeout: float = positive_seconds("timeout", timeout)
        """Seconds that one call may take."""
        self._lock = threading.Lock()
        self._unusable = False
        forks.watch(self)

    def claim(self, key: str, token: str, claim_ttl: float) -> Claim:
        """Claim an event, unless it is claimed or done.

        Args:
            key: the event's key.
            token: identifies this claim.
            claim_ttl: seconds after which the claim expires.

        Raises:
            WebhookStoreError: the file can't be opened, read or written, or stays locked.
        """

        def work(db: sqlite3.Connection, now: float) -> Claim:
            db.execute("DELETE FROM montra_webhook_events WHERE until <= ?", (now,))
            row = db.execute("SELECT token FROM montra_webhook_events WHERE id = ?", (key,)).fetchone()
            if row is not None:
                return Claim.DONE if row[0] is None else Claim.IN_PROGRESS
            db.execute("INSERT INTO montra_webhook_events VALUES (?, ?, ?)", (key, token, now + claim_ttl))
            return Claim.ACQUIRED

        return self._run(work)

    def renew(self, key: str, token: str, claim_ttl: float) -> bool:
        """Extend a claim. Returns False when it was lost.

        Args:
            key: the event's key.
            token: identifies the claim.
            claim_ttl: seconds from now after which the claim expires.

        Raises:
            WebhookStoreError: the file can't be opened, read or written, or stays locked.
        """
        sql = "UPDATE montra_webhook_events SET until = ? WHERE id = ? AND token = ?"
        return self._run(lambda db, now: db.execute(sql, (now + claim_ttl, key, token)).rowcount == 1)

    def done(self, key: str, token: str, *, forever: bool = False) -> bool:
        """Mark an event as handled. Returns False when the claim was lost.

        Args:
            key: the event's key.
            token: identifies the claim.
            forever: never forget the event. Default: False.

        Raises:
            WebhookStoreError: the file can't be opened, read or written, or stays locked.
        """

        def work(db: sqlite3.Connection, now: float) -> bool:
            until = end_of_retention(now, self.retention, forever=forever)
            return db.execute(sql, (until, key, token)).rowcount == 1

        sql = "UPDATE montra_webhook_events SET token = NULL, until = ? WHERE id = ? AND token = ?"
        return self._run(work)

    def release(self, key: str, token: str) -> None:
        """Give a claim back without marking the event.

        Args:
            key: the event's key.
            token: identifies the claim.

        Raises:
            WebhookStoreError: the file can't be opened, read or written, or stays locked.
        """
        sql = "DELETE FROM montra_webhook_events WHERE id = ? AND token = ?"
        self._run(lambda db, _: db.execute(sql, (key, token)))

    def close(self) -> None:
        """Close the file. The next call opens it again."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None and self._process != os.getpid():
            forks.leave_to_parent(db)
        elif db is not None:
            db.close()

    def _run(self, work: Callable[[sqlite3.Connection, float], T]) -> T:
        """Run one transaction, which is on disk when this returns. It is tried until the time is up, at least once."""
        until = time.monotonic() + self.timeout
        attempt = 0
        while True:
            if not self._lock.acquire(timeout=max(0.0, until - time.monotonic())):
                raise WebhookStoreError(f"{self._path}: in use for the whole {self.timeout:g} s of the time-out")
            try:
                return self._transaction(work)
            except sqlite3.Error as error:
                if not _is_locked(error):
                    raise WebhookStoreError(f"{self._path}: {error}") from error
            finally:
                self._lock.release()
            pause = _PAUSES[min(attempt, len(_PAUSES) - 1)]
            if time.monotonic() + pause >= until:
                raise WebhookStoreError(f"{self._path}: locked for the whole {self.timeout:g} s of the time-out")
            attempt += 1
            time.sleep(pause)  # not holding our own lock: a fork must not wait for the lock of another process

    def _transaction(self, work: Callable[[sqlite3.Connection, float], T]) -> T:
        """Run the transaction. Nothing in here waits, because a fork waits for this."""
        now = self._clock()
        db = self._connection()
        db.execute("BEGIN IMMEDIATE")
        try:
            result = work(db, now)
            db.execute("COMMIT")
            return result
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # after some errors SQLite has rolled back by itself
                db.execute("ROLLBACK")
            if db.in_transaction:
                self._close()
            raise

    def _connection(self) -> sqlite3.Connection:
        """Return the connection of this process, opened if necessary."""
        if self._unusable:
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

    def before_fork(self, timeout: float) -> bool:
        """Wait for the running transaction and close the file: see `forks`.

        Args:
            timeout: seconds to wait at most.

        Returns:
            False when the transaction took longer.
        """
        if not self._lock.acquire(timeout=timeout):
            return False
        with contextlib.suppress(sqlite3.Error):
            self._close()
        return True

    def after_fork(self, *, closed: bool, child: bool) -> None:
        """Make the store usable again.

        Args:
            closed: what `before_fork` returned.
            child: whether this is the child process.
        """
        if child:
            self._lock, self._unusable = threading.Lock(), self._unusable or not closed
        elif closed:
            self._lock.release()

    def __del__(self) -> None:
        if getattr(self, "_db", None) is not None:
            self._close()

    def __repr__(self) -> str:
        return f"<SqliteStore {getattr(self, '_path', '')}>"


def _absolute(path: str | os.PathLike[str]) -> str:
    """Return the absolute path: the file is opened again after a fork, perhaps from another folder."""
    given = os.fsdecode(path)
    if given in ("", ":memory:") or "\0" in given:
        raise ConfigError("path: the path of a file; for a store in memory, use MemoryStore()")
    return os.path.abspath(given)


def _create(path: str) -> None:
    """Create the file, if there is none, for its owner only; SQLite gives the same mode to the files beside it.

    An existing file must not be opened here: closing it would end the locks that this process has on it.
    """
    real = os.path.realpath(path)
    with _creating, contextlib.suppress(OSError):  # SQLite will report the problem
        if not Path(real).exists():
            os.close(os.open(real, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _is_locked(error: sqlite3.Error) -> bool:
    return isinstance(error, sqlite3.OperationalError) and ("locked" in str(error) or "locking" in str(error))
