"""The connection of an SQLite outbox: transactions, errors, forks, and files that are damaged, deleted or replaced."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from typing import Literal, TypeAlias, TypeVar

import attrs

from ...core import forks
from ...core.errors import ConfigError
from ..clocks import Clock, Timestamp
from ..errors import OutboxError
from . import sqlite_files as files, sqlite_schema as schema
from .owner_locks import LockFile, close_lock_file, open_lock_file
from .sqlite_errors import (
    DamagedError,
    DiskFullError,
    is_damage,
    is_lasting,
    is_locked,
    translated,
    translated_os_error,
)

T = TypeVar("T")

log: logging.Logger = logging.getLogger("montra")

Synchronous: TypeAlias = Literal["full", "normal"]
"""When a commit is on disk: when it returns, or a little later."""

_PAUSES = (0.0005, 0.001, 0.002, 0.005, 0.01)
_CACHE_KIB = 16 * 1024
_CHECKPOINT_PAGES = 1000  # so that the reserved space is enough for a checkpoint
_MAX_WAL = 32 * 1024 * 1024
_MIN_SQLITE = (3, 24, 0)
_CLOSE_TIMEOUT = 1.0


@attrs.define
class OpenFile:
    """An open outbox, as transactions see it.

    Attributes:
        db: the connection.
        identity: device and inode of the file.
        owner: the number under which requests are claimed.
        boot_number: number of this start of the machine.
        locks: tells which owners live.
        no_sums_until: events up to this number were searched for ones that can be added up; there are none.
        next_check: when to look for dead owners, by the boot clock.
        last_wall: the time of the last transaction by the clock on the wall.
        synchronous: when commits of the connection are on disk.
    """

    db: sqlite3.Connection
    identity: tuple[int, int] | None
    owner: int
    boot_number: int
    locks: LockFile
    no_sums_until: int = 0
    next_check: float = 0.0
    last_wall: float = 0.0
    synchronous: Synchronous = "full"


class OutboxConnection:
    """Opens the file when it is needed, again and again, and runs transactions. One thread at a time uses it.

    Args:
        path: the file, absolute and without symbolic links.
        timeout: seconds to wait while others keep it locked.
        synchronous: when commits are on disk.
        clock: tells the time.
        release_space: makes room on a full disk, so that the file can be opened; returns whether there was any.
    """

    def __init__(
        self, path: str, *, timeout: float, synchronous: Synchronous, clock: Clock, release_space: Callable[[], bool]
    ) -> None:
        self.path = path
        self.timeout = timeout
        self._synchronous: Synchronous = synchronous
        self._clock = clock
        self._release_space = release_space
        self._base_url = ""
        self._file: OpenFile | None = None
        self._locks: LockFile | None = None
        self._owner: int | None = None
        self._owner_file: tuple[int, int] | None = None
        self._process = os.getpid()
        self._damaged: tuple[int, int] | None = None
        self._deleted = False

    def open(self, base_url: str) -> None:
        """Open the file, check it, and set it aside if it is damaged.

        Args:
            base_url: the API's URL.

        Raises:
            ConfigError: it belongs to another API, or can't work here.
            OutboxError: it can't be used.
        """
        self._base_url = base_url
        if sqlite3.sqlite_version_info < _MIN_SQLITE:
            raise ConfigError(f"SqliteOutbox needs SQLite 3.24 or newer, not {sqlite3.sqlite_version}")
        try:
            self._run(_nothing)
            if self._file is not None:
                self._transaction(self._file, _check, "BEGIN", time.monotonic() + self.timeout)
        except DamagedError as error:
            if self._locks is None or not self._locks.is_marked():
                self._damaged = None
                self._release_locks()
                raise ConfigError(f"path: {self.path} is not an outbox ({error}); give another path") from None
            self._run_or_raise(_nothing)

    def write(self, work: Callable[[OpenFile], T], *, durable: bool = False) -> T:
        """Run a transaction that writes.

        Args:
            work: does it.
            durable: have it on disk when this returns, whatever `synchronous` is. Default: False.

        Raises:
            OutboxError: nothing was written.
        """
        return self._run_or_raise(work, durable=durable)

    def read(self, work: Callable[[OpenFile], T]) -> T:
        """Run a transaction that only reads. It waits for nobody, unless the file must be opened first.

        Args:
            work: does it.

        Raises:
            OutboxError: the file can't be used.
        """
        if self._file is None or self._process != os.getpid():
            return self._run_or_raise(work)
        try:
            return self._transaction(self._file, work, "BEGIN", time.monotonic() + self.timeout)
        except DamagedError as error:
            raise self._damage(error) from error.__cause__

    def checkpoint(self) -> None:
        """Move the write-ahead log into the database, as far as that is possible, so that its space is used again."""
        with contextlib.suppress(OutboxError):
            self._run_or_raise(_nothing, checkpoint=True)

    def now(self, file: OpenFile) -> Timestamp:
        """The time by both clocks.

        Args:
            file: the open file.
        """
        return Timestamp(self._clock.wall(), self._clock.boot(), file.boot_number)

    def before_fork(self) -> None:
        """Close the connection; keep the locks of the owner."""
        if self._process != os.getpid():
            self._forget_parent()
        self._close_under_mutex()

    def after_fork_in_child(self) -> None:
        """Forget the parent's claims."""
        self._forget_parent()

    def close(self) -> None:
        """Close the connection, and release the locks."""
        if self._process != os.getpid():
            self._forget_parent()
        self._close_under_mutex()
        self._release_locks()

    def __del__(self) -> None:
        if getattr(self, "_locks", None) is not None or getattr(self, "_file", None) is not None:
            self.close()

    @property
    def is_owner(self) -> bool:
        """Whether requests may be claimed under a number of this instance."""
        return self._owner is not None and self._process == os.getpid()

    def _run_or_raise(self, work: Callable[[OpenFile], T], *, durable: bool = False, checkpoint: bool = False) -> T:
        try:
            return self._run(work, durable=durable, checkpoint=checkpoint)
        except DamagedError as error:
            raise self._damage(error) from error.__cause__
        except ConfigError as error:
            raise OutboxError(str(error)) from None

    def _damage(self, error: DamagedError) -> OutboxError:
        return OutboxError(f"{self.path}: damaged ({error}); it is set aside, and the next call starts a new file")

    def _run(self, work: Callable[[OpenFile], T], *, durable: bool = False, checkpoint: bool = False) -> T:
        """Run a transaction under the mutex."""
        if self._process != os.getpid():
            self._forget_parent()
        until = time.monotonic() + self.timeout
        try:
            locks = self._open_locks()
            if not locks.acquire_mutex(until):
                raise self._locked()
            try:
                file = self._file or self._connect_in_any_case(locks, until)
                self._set_synchronous(file, durable=durable)
                if checkpoint:
                    file.db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
                return self._transaction(file, work, "BEGIN IMMEDIATE", until)
            finally:
                locks.release_mutex()
        except sqlite3.Error as error:
            raise self._translated(error) from error
        except OSError as error:
            raise translated_os_error(error, self.path) from error

    def _set_synchronous(self, file: OpenFile, *, durable: bool) -> None:
        synchronous: Synchronous = "full" if durable else self._synchronous
        if file.synchronous != synchronous:
            file.db.execute(f"PRAGMA synchronous = {synchronous}")
            file.synchronous = synchronous

    def _transaction(self, file: OpenFile, work: Callable[[OpenFile], T], begin: str, until: float) -> T:
        db = file.db
        try:
            self._begin(db, begin, until)
            result = work(file)
            if files.identity(self.path) != file.identity:
                raise self._gone()
            db.execute("COMMIT")
            return result
        except BaseException as error:
            self._roll_back(db)
            if isinstance(error, OutboxError) and self._deleted:
                self._close_connection()
            if isinstance(error, sqlite3.Error):
                raise self._translated(error) from error
            if isinstance(error, (OverflowError, UnicodeError)):
                raise OutboxError(f"{self.path}: a value can't be stored ({error})") from error
            raise

    def _begin(self, db: sqlite3.Connection, begin: str, until: float) -> None:
        def attempt() -> None:
            db.execute(begin)
            if begin == "BEGIN":
                db.execute("SELECT 1 FROM meta").fetchone()  # this is what takes the lock of a reader

        self._retry_while_locked(db, attempt, until)

    def _retry_while_locked(self, db: sqlite3.Connection, attempt: Callable[[], T], until: float) -> T:
        """Wait for the locks of others. SQLite is told not to wait by itself, because its pauses are long."""
        pauses = iter(_PAUSES)
        pause = 0.0
        while True:
            try:
                return attempt()
            except sqlite3.OperationalError as error:
                if not is_locked(error):
                    raise
                if db.in_transaction:
                    db.execute("ROLLBACK")
                if time.monotonic() >= until:
                    raise self._locked() from error
            pause = next(pauses, pause)
            time.sleep(pause)

    def _roll_back(self, db: sqlite3.Connection) -> None:
        with contextlib.suppress(sqlite3.Error):
            if db.in_transaction:  # after some errors SQLite has rolled back by itself
                db.execute("ROLLBACK")
        if db.in_transaction:
            self._close_connection()

    def _translated(self, error: sqlite3.Error) -> Exception:
        """The error to raise for one of SQLite. After some of them the file must be opened anew."""
        if is_damage(error):
            self._damaged = self._file.identity if self._file is not None else files.identity(self.path)
        if is_lasting(error):
            self._close_connection()
        return self._locked() if is_locked(error) else translated(error, self.path)

    def _locked(self) -> OutboxError:
        return OutboxError(
            f"{self.path}: others have kept the file locked for the whole {self.timeout:g} s of the time-out"
        )

    def _gone(self) -> OutboxError:
        self._deleted = True
        what = "deleted" if files.identity(self.path) is None else "replaced"
        log.error("montra: the outbox %s was %s while it was in use; what was in it is lost to us", self.path, what)
        return OutboxError(f"{self.path}: the file was {what} while it was in use; the next call opens it anew")

    def _open_locks(self) -> LockFile:
        """The lock file. When it was replaced, others can't see our locks any more: begin anew with the new one."""
        if self._locks is not None and self._locks.replaced():
            log.error("montra: the lock file %s was deleted or replaced while it was in use", self._locks.path)
            self._close_connection()
            self._release_locks()
        if self._locks is None:
            files.create_folder(self.path)
            files.refuse_shared_file_system(self.path)
            self._locks = open_lock_file(self.path + files.LOCK_SUFFIX)
        return self._locks

    def _connect(self, locks: LockFile, until: float) -> OpenFile:
        """Open the file, under the mutex."""
        if self._damaged is not None:
            self._set_aside(self._damaged)
        created = files.create_file(self.path)
        identity = files.identity(self.path)
        if identity != self._owner_file:  # numbers of owners are those of a file
            self._release_owner()
        if created and self._deleted:
            log.error("montra: a new outbox %s was created", self.path)
        db = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        owner = None
        try:
            self._configure(db, until)
            self._begin(db, "BEGIN IMMEDIATE", until)
            schema.prepare(db, self.path, self._base_url)
            owner = self._number_of_owner(db, locks)
            boot = schema.boot_number(db, self._clock.boot_id())
            db.execute("COMMIT")
        except BaseException:
            db.close()
            if self._owner is None and owner is not None:
                locks.remove_owner(owner)
            raise
        locks.mark()
        self._owner, self._owner_file, self._deleted = owner, identity, False
        self._file = OpenFile(db, identity, owner, boot, locks)
        return self._file

    def _connect_in_any_case(self, locks: LockFile, until: float) -> OpenFile:
        """Connect, which writes a little: on a full disk, with the space that is reserved."""
        try:
            return self._connect(locks, until)
        except (sqlite3.Error, OSError) as error:
            if isinstance(error, OSError):
                meaning: Exception = translated_os_error(error, self.path)
            else:
                meaning = translated(error, self.path)
            if not isinstance(meaning, DiskFullError) or not self._release_space():
                raise
        return self._connect(locks, until)

    def _configure(self, db: sqlite3.Connection, until: float) -> None:
        set_wal = "PRAGMA journal_mode = WAL"
        mode: str = self._retry_while_locked(db, lambda: db.execute(set_wal).fetchone()[0], until)
        if mode != "wal":
            raise ConfigError(
                f"path: {self.path}: SQLite's write-ahead log does not work on this file system (it said {mode!r}); "
                "use a folder on a local disk, or RedisOutbox"
            )
        db.execute("PRAGMA synchronous = full")
        db.execute("PRAGMA fullfsync = ON")  # macOS: a plain fsync does not reach the disk
        db.execute("PRAGMA checkpoint_fullfsync = ON")
        db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        db.execute(f"PRAGMA journal_size_limit = {_MAX_WAL}")
        db.execute("PRAGMA secure_delete = OFF")
        db.execute("PRAGMA temp_store = MEMORY")

    def _number_of_owner(self, db: sqlite3.Connection, locks: LockFile) -> int:
        if self._owner is not None:
            return self._owner
        while True:
            number = schema.next_owner(db)
            if locks.add_owner(number):  # the number may be in use by an owner of an older file of this name
                return number

    def _set_aside(self, damaged: tuple[int, int]) -> None:
        if files.identity(self.path) == damaged:  # otherwise another process did it
            aside = files.set_aside(self.path)
            log.error("montra: the outbox %s is damaged. It was renamed to %s, and a new one begun", self.path, aside)
        self._damaged = None

    def _release_owner(self) -> None:
        if self._locks is not None and self._owner is not None:
            self._locks.remove_owner(self._owner)
        self._owner = None

    def _release_locks(self) -> None:
        locks, owner = self._locks, self._owner
        self._locks = self._owner = None
        if locks is not None:
            if owner is not None:
                locks.remove_owner(owner)
            close_lock_file(locks)

    def _close_under_mutex(self) -> None:
        """Close the connection while nobody writes: the last one to be closed moves the log into the database."""
        locks = self._locks
        held = False
        with contextlib.suppress(OutboxError, ConfigError):
            if self._file is not None and locks is not None:
                held = locks.acquire_mutex(time.monotonic() + min(self.timeout, _CLOSE_TIMEOUT))
        try:
            self._close_connection()
        finally:
            if held and locks is not None:
                locks.release_mutex()

    def _close_connection(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(sqlite3.Error):
                file.db.close()

    def _forget_parent(self) -> None:
        """Begin anew in a forked process. The lock file stays open: closing it is harmless, but others may use it."""
        file, self._file = self._file, None
        if file is not None:
            forks.leave_to_parent(file.db)
        if self._locks is not None:
            self._locks.forget_parent()
        self._owner, self._process = None, os.getpid()


def _nothing(_: OpenFile) -> None:
    """The transaction of one who only wants the file to be opened."""


def _check(file: OpenFile) -> None:
    """Look for damage. Takes about half a second for a million events."""
    found = file.db.execute("PRAGMA quick_check(1)").fetchone()
    if found is not None and found[0] != "ok":
        raise sqlite3.DatabaseError(str(found[0]).splitlines()[-1])
