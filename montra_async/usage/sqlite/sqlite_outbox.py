"""An outbox in an SQLite file, which any number of processes of one machine may share."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from ...core.errors import ConfigError
from ..clocks import Clock, SystemClock
from ..errors import OutboxError, OutboxFullError
from ..events import Event, ParkedUsage, Settlement, UsageRequest
from ..outbox import Exchange, OutboxCounts, OutboxSettings, WaitingSum
from . import sqlite_claims as claims, sqlite_counts as counting, sqlite_parked as parked
from .disk_reserve import SIZE as RESERVE, DiskReserve
from .sqlite_connection import OpenFile, OutboxConnection, Synchronous
from .sqlite_errors import DiskFullError
from .sqlite_files import outbox_path
from .sqlite_schema import free_pages, is_larger, page_size
from .sqlite_statements import insert_rows

T = TypeVar("T")

MAX_SIZE = 1024**3
"""Maximum number of bytes in use, by default."""

TIMEOUT = 5.0
"""Seconds that a call waits while others keep the file locked, by default."""

_SMALLEST, _CENTURY = 1024**2, 100 * 365 * 24 * 3600.0
_EVENT = (
    "INSERT INTO event (key, customer_id, meter_slug, units, scale, metadata, recorded_at, coalescable,"
    " recorded_boot, boot_number)"
)


class SqliteOutbox:
    """An outbox in a file on this machine. Survives crashes of all its processes, and of the machine.

    Each request is claimed by one process. When that process ends, another one sends the request again, under the same
    key; a paused process keeps what it has claimed. New files are readable by their owner only (0600), and so is a new
    folder (0700); modes of existing ones are not changed.

    A damaged file is renamed, and a new one begun, with an error in the log `montra` that names it.

    Beside the file are `-wal` and `-shm` (SQLite's), `.lock` (which must not be deleted while a process uses the
    outbox) and `.reserve`, 6 MiB of disk space, so that sending goes on when the disk is full.

    Args:
        path: the file, on a local disk. None: `$MONTRA_OUTBOX`, and if that is blank, `montra/usage.db` in
            `$XDG_STATE_HOME` or `~/.local/state`. A path that is not absolute is resolved once, here: processes that
            shall share the file must be started in the same folder, or be given an absolute path. It is created with
            its folder by `open`. Default: None.
        max_size: maximum number of bytes in use; `append` raises `OutboxFullError` beyond it. At least 1 MiB.
            Default: 1 GiB.
        timeout: seconds that a call waits while others keep the file locked, more than 0. Default: 5.
        synchronous: `full`: events are on disk when `append` returns. `normal`: they survive a crash of the process,
            and a power cut may lose the last ones. Claims are always on disk before anything is sent. Default: `full`.
        clock: tells the time. None: the clocks of this machine. Default: None.

    Raises:
        ConfigError: an argument is not valid.
    """

    durable = True
    renew_after: float | None = None

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        max_size: int = MAX_SIZE,
        timeout: float = TIMEOUT,
        synchronous: Synchronous = "full",
        clock: Clock | None = None,
    ) -> None:
        self.path: str = outbox_path(path)
        """The file."""
        if isinstance(max_size, bool) or not isinstance(max_size, int) or max_size < _SMALLEST:
            raise ConfigError(f"max_size: a number of bytes, at least {_SMALLEST}")
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < _CENTURY:
            raise ConfigError("timeout: a number of seconds, more than 0")
        if synchronous not in ("full", "normal"):
            raise ConfigError("synchronous: 'full' or 'normal'")
        self.max_size: int = max_size
        """Maximum number of bytes in use."""
        self._settings: OutboxSettings | None = None
        self._reserve = DiskReserve(self.path + ".reserve")
        self._connection = OutboxConnection(
            self.path,
            timeout=timeout,
            synchronous=synchronous,
            clock=clock or SystemClock(),
            release_space=self._reserve.release,
        )

    def open(self, settings: OutboxSettings) -> None:
        """Open the file, and create it if necessary. A damaged one is renamed, and a new one begun.

        Args:
            settings: what the reporter wants.

        Raises:
            ConfigError: the file is no outbox, belongs to another API or has a newer version; or it is on a file system
                of several machines, or one without write-ahead log or locks.
            OutboxError: the file can't be used. The next call of any method tries again.
        """
        self._settings = settings
        try:
            self._connection.open(settings.base_url)
        except ConfigError:
            self._settings = None
            self._connection.close()
            raise
        self._reserve.ensure()

    def append(self, events: Sequence[Event]) -> None:
        """Store events, all of them or none.

        Args:
            events: at least one.

        Raises:
            OutboxFullError: `max_size` is reached.
            OutboxError: the file can't be used, or there is no space left on the disk.
        """

        def work(file: OpenFile) -> None:
            if not self._reserve.ensure() and free_pages(file.db) * page_size(file.db) < RESERVE:
                raise DiskFullError(f"{self.path}: no space left on the disk; what is left is needed for sending")
            now = self._connection.now(file)
            insert_rows(file.db, _EVENT, events, (now.boot, now.boot_number))
            if is_larger(file.db, self.max_size):
                raise OutboxFullError(f"{self.path}: the maximum size of {self.max_size} bytes is reached")

        self._write(work)

    def exchange(self, settlements: Sequence[Settlement], limit: int, *, flush: bool = False) -> Exchange:
        """Settle what was claimed before, and claim what is due, in one transaction.

        When there is no space left on the disk, this uses the space that is reserved for it.

        Args:
            settlements: what became of requests.
            limit: maximum number of requests to claim; 0 to settle only.
            flush: claim sums whose window is still open, too. Default: False.

        Raises:
            OutboxError: the file can't be used. Nothing was settled or claimed; settling again is safe.
        """
        settings = self._opened()

        def work(file: OpenFile) -> Exchange:
            now = self._connection.now(file)
            return claims.exchange(file, settings, now, settlements, limit, flush=flush)

        return self._write_in_any_case(work)

    def renew(self, requests: Sequence[UsageRequest]) -> list[UsageRequest]:
        """Tell which requests are still claimed. Claims don't expire, but the file may have been deleted.

        Args:
            requests: claimed requests.

        Raises:
            OutboxError: the file can't be used.
        """
        self._opened()
        ids = [request.id for request in requests]
        mine = self._connection.read(lambda file: claims.claimed_keys(file.db, file.owner, ids))
        return [request for request in requests if mine.get(request.id) == request.key]

    def drop_oldest(self, events: int) -> int:
        """Delete the oldest events that are not claimed, to make room. A sum is deleted as a whole.

        Args:
            events: minimum number to delete, if there are so many.

        Returns:
            The number of deleted events.

        Raises:
            OutboxError: the file can't be used.
        """
        return self._write_in_any_case(lambda file: counting.drop_oldest(file.db, events))

    def counts(self) -> OutboxCounts:
        """Count what is in the outbox. Takes less than a millisecond, whatever its size.

        Raises:
            OutboxError: the file can't be used.
        """
        self._opened()
        return self._connection.read(lambda file: counting.count(file.db, self._connection.now(file)))

    def waiting_sums(self, limit: int) -> list[WaitingSum]:
        """Add up what waits or is claimed, parked requests excluded, by customer and meter.

        Reads the whole outbox, which takes about 1.5 s for a million events.

        Args:
            limit: maximum number of sums. There may be several of one customer and meter.

        Raises:
            OutboxError: the file can't be used.
        """
        self._opened()
        return self._connection.read(lambda file: counting.waiting_sums(file.db, limit))

    def list_parked(self, limit: int, after: str | None = None) -> list[ParkedUsage]:
        """List parked requests, the oldest first.

        Args:
            limit: maximum number.
            after: the id of the last one of the page before. None: begin with the oldest. Default: None.

        Raises:
            OutboxError: the file can't be used.
        """
        self._opened()
        return self._connection.read(lambda file: parked.list_parked(file.db, limit, after))

    def retry_parked(self, ids: Sequence[str] | None = None) -> int:
        """Send parked requests again, each under the key that it had.

        Args:
            ids: their ids. None: all. Default: None.

        Returns:
            The number of requests.

        Raises:
            OutboxError: the file can't be used.
        """
        return self._write(lambda file: parked.retry_parked(file.db, self._connection.now(file), ids))

    def drop_parked(self, ids: Sequence[str] | None = None) -> int:
        """Delete parked requests.

        Args:
            ids: their ids. None: all. Default: None.

        Returns:
            The number of requests.

        Raises:
            OutboxError: the file can't be used.
        """
        return self._write_in_any_case(lambda file: parked.drop_parked(file.db, ids))

    def before_fork(self) -> None:
        """Close the file, which a forked child must not inherit; the next call opens it again. Never raises."""
        self._connection.before_fork()

    def after_fork_in_child(self) -> None:
        """Forget everything of the parent: its claims are its own. Never raises."""
        self._connection.after_fork_in_child()

    def close(self) -> None:
        """Hand back what is still claimed, as requests that may have been sent, and close. Never raises.

        When the file can't be used, others find out by themselves that this owner is gone.
        """
        connection = self._connection
        try:
            if self._settings is not None and connection.is_owner:
                connection.write(lambda file: claims.release_all(file, file.owner, connection.now(file)), durable=True)
        except OutboxError:
            pass
        finally:
            self._settings = None
            connection.close()

    def __repr__(self) -> str:
        return f"<SqliteOutbox {getattr(self, 'path', '')}>"

    def _opened(self) -> OutboxSettings:
        if self._settings is None:
            raise OutboxError(f"{self.path}: the outbox is not open")
        return self._settings

    def _write(self, work: Callable[[OpenFile], T]) -> T:
        self._opened()
        return self._connection.write(work)

    def _write_in_any_case(self, work: Callable[[OpenFile], T]) -> T:
        """Run a durable transaction, which sending needs: also when there is no space left on the disk."""
        self._opened()
        try:
            return self._connection.write(work, durable=True)
        except DiskFullError:
            self._reserve.release()
        self._connection.checkpoint()
        return self._connection.write(work, durable=True)
