"""The writer: the only thread that calls the outbox. Coroutines of any loop and plain threads hand their events to it.

What is handed over while the outbox stores the previous group is stored together, in one transaction.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Literal, TypeAlias, TypeVar

from ..core.errors import ConfigError, MontraError
from .errors import OutboxError, OutboxFullError, ReporterClosedError
from .events import Event
from .groups import Group, split_off
from .on_demand_thread import OnDemandThread
from .outbox import Outbox, OutboxSettings

T = TypeVar("T")

WhenFull: TypeAlias = Literal["raise", "wait", "drop_oldest"]
"""What happens to a new event when the outbox is full."""

log: logging.Logger = logging.getLogger("montra")

MAX_GROUP = 16_384
"""Maximum number of events that are stored in one transaction."""

MAX_PENDING = 100_000
"""Maximum number of events that wait in memory to be stored, of those that no caller waits for."""

_RETRY_SECONDS = 0.05
"""Pause before the outbox is tried again, while it is full or can't be used."""

_LOG_SECONDS = 60.0

_in_use: list[Outbox] = []
"""Outboxes that writers of this process have open. Two threads must not use one."""


class Writer:
    """Stores events in groups, and runs everything else that is done with the outbox.

    Args:
        outbox: the outbox; only this thread calls it.
        settings: what the outbox is opened with.
        when_full: what happens to new events when the outbox is full.
        on_stored: called by the thread after events were stored.
        on_failed: called by the thread with events that could not be stored.
        on_dropped: called by the thread with the number of events that were dropped to make room.
        on_opened: called by the thread with the outbox when it is open, before anything is stored; must not raise.
    """

    def __init__(
        self,
        outbox: Outbox,
        settings: OutboxSettings,
        *,
        when_full: WhenFull,
        on_stored: Callable[[int], None],
        on_failed: Callable[[list[Event]], None],
        on_dropped: Callable[[int], None],
        on_opened: Callable[[Outbox], None] | None = None,
    ) -> None:
        self._outbox = outbox
        self._settings = settings
        self._when_full = when_full
        self._on_stored = on_stored
        self._on_failed = on_failed
        self._on_dropped = on_dropped
        self._on_opened = on_opened
        self._last_log: dict[str, float] = {}
        self._reset()

    def _reset(self) -> None:
        self._groups: deque[Group] = deque()
        self._loose: deque[Event] = deque()  # nobody waits for them
        self._jobs: deque[tuple[Callable[[Outbox], Any], Future[Any], bool]] = deque()
        self._sleeping = False
        self._bell = threading.Lock()
        self._bell.acquire()
        self._busy = threading.Lock()  # held while the outbox is in use: a fork waits for it
        self._thread = OnDemandThread("montra-usage-writer", self._run, self._fail_all)
        self._opened = False
        self._stopping = False
        self._storing = 0
        self._retry_at = 0.0
        self._ends = 0  # how often it has closed the outbox

    # Called by any thread

    @property
    def pending(self) -> int:
        """Number of events that are not stored yet."""
        return len(self._loose) + self._storing + sum(len(group.events) for group in list(self._groups))

    def submit(self, group: Group) -> None:
        """Hand over events that a caller waits for. Does not block.

        Args:
            group: at least one event.
        """
        self._groups.append(group)
        if (self._sleeping and self._bell.locked()) or not self._thread.running:
            self._wake()

    def submit_nowait(self, event: Event) -> None:
        """Hand over an event that nobody waits for. Does not block.

        Raises:
            OutboxFullError: too many wait already, because the outbox is full or can't be used.
        """
        if len(self._loose) >= MAX_PENDING:
            raise OutboxFullError(f"{MAX_PENDING} events wait to be stored: the outbox is too slow, full or unusable")
        self._loose.append(event)
        if (self._sleeping and self._bell.locked()) or not self._thread.running:
            self._wake()

    def call(self, job: Callable[[Outbox], T], *, then_close: bool = False) -> Future[T]:
        """Run a function with the outbox. Its error is that of the future.

        Args:
            job: called by the writer's thread.
            then_close: whether to close the outbox before the future is done, and end the thread.
        """
        future: Future[T] = Future()
        self._jobs.append((job, future, then_close))
        if (self._sleeping and self._bell.locked()) or not self._thread.running:
            self._wake()
        return future

    def stop(self, timeout: float) -> bool:
        """Store what was handed over, close the outbox and end the thread. It starts again when it is needed.

        Args:
            timeout: seconds to wait.

        Returns:
            Whether it ended in time.
        """
        until = time.monotonic() + timeout
        ends = self._ends
        try:
            while self._ends == ends and (self._thread.running or self._has_work()):
                self._stopping = True
                self._wake()
                self._thread.wait(min(0.05, max(0.0, until - time.monotonic())))
                if time.monotonic() >= until:
                    break
            return self._ends != ends or not self._thread.running
        finally:
            if not self._thread.running:
                self._stopping = False

    def _has_work(self) -> bool:
        return bool(self._groups or self._loose or self._jobs)

    def _wake(self) -> None:
        """Ring the bell. Changes nothing else: a signal handler may interrupt this and hand over an event, too."""
        if not self._thread.running:
            self._thread.start()
        with contextlib.suppress(RuntimeError):  # it was rung already
            self._bell.release()

    # Forks

    def before_fork(self, timeout: float) -> bool:
        """Wait until the outbox is not in use, and close what a child must not inherit.

        Args:
            timeout: seconds to wait at most.

        Returns:
            False when it took longer.
        """
        if not self._busy.acquire(timeout=timeout):
            return False
        try:
            if self._opened:
                self._outbox.before_fork()
        except BaseException:  # of a signal handler
            self._busy.release()
            raise
        return True

    def after_fork(self, *, closed: bool, child: bool) -> None:
        """Go on.

        Args:
            closed: what `before_fork` returned.
            child: whether this is the child. What was handed over is stored by the parent.
        """
        if child:
            self._forget_outbox()
            self._reset()
            self._outbox.after_fork_in_child()
        elif closed:
            self._busy.release()

    # Called by the thread

    def _run(self) -> None:
        while True:
            self._sleep()
            stopping = self._stopping  # first: what waits for room gives up only in a `_store` that knows of the end
            if self._groups or self._loose:
                self._store()
            while self._jobs:
                self._run_job(*self._jobs.popleft())
            if stopping and self._is_done():
                break

    def _is_done(self) -> bool:
        """End the thread, unless something was handed over meanwhile. Closes the outbox."""
        with self._busy:
            self._close_outbox()
        self._stopping = False
        self._ends += 1
        self._thread.release()
        return not (self._has_work() and self._thread.reclaim())

    def _sleep(self) -> None:
        """Wait until there is something to do, at most for the pause after a failure."""
        self._sleeping = True
        waiting = bool(self._groups or self._loose)
        pause = self._retry_at - time.monotonic() if waiting else -1.0
        if self._jobs or self._stopping or (waiting and pause <= 0):
            self._sleeping = False
            return
        self._bell.acquire(timeout=pause if waiting else -1)
        self._sleeping = False

    def _store(self) -> None:
        """Store what was handed over. When the outbox is full, store as much as fits."""
        if time.monotonic() < self._retry_at and not self._stopping:
            return
        groups, loose = self._take()
        self._storing = sum(len(group.events) for group in groups) + len(loose)
        limit = self._storing
        while groups or loose:
            part, part_loose = split_off(groups, loose, limit)
            events = [event for group in part for event in group.events]
            events += part_loose
            error = self._try_to_append(events)
            if isinstance(error, OutboxFullError) and len(events) > 1:
                limit = len(events) // 2
                groups.extendleft(reversed(part))
                loose.extendleft(reversed(part_loose))
                continue
            self._storing -= len(events)
            if error is None:
                self._tell(self._on_stored, len(events))
                for group in part:
                    group.resolve(None)
                continue
            self._keep_or_fail([*part, *groups], [*part_loose, *loose], error)
            break
        self._storing = 0

    def _try_to_append(self, events: list[Event]) -> MontraError | None:
        try:
            self._append(events)
        except MontraError as error:
            return error
        except Exception as error:
            log.exception("storing usage failed unexpectedly")
            return _unexpected(error)
        return None

    def _take(self) -> tuple[deque[Group], deque[Event]]:
        """Take at most `MAX_GROUP` events, those that callers wait for first; at least one group."""
        groups: deque[Group] = deque()
        count = 0
        while self._groups and count < MAX_GROUP:
            groups.append(self._groups.popleft())
            count += len(groups[-1].events)
        take = self._loose.popleft
        return groups, deque(take() for _ in range(min(len(self._loose), max(0, MAX_GROUP - count))))

    def _append(self, events: list[Event]) -> None:
        with self._busy:
            self._open()
            for room in (len(events), 4 * len(events), 16 * len(events)):
                try:
                    self._outbox.append(events)
                    return
                except OutboxFullError:
                    if self._when_full != "drop_oldest" or not self._drop_oldest(room):
                        raise
            self._outbox.append(events)

    def _drop_oldest(self, events: int) -> int:
        dropped = self._outbox.drop_oldest(events)
        if dropped:
            self._tell(self._on_dropped, dropped)
            self._log(f"the outbox is full; {dropped} of the oldest events were dropped to make room")
        return dropped

    def _open(self) -> None:
        if not self._opened:
            if any(one is self._outbox for one in _in_use):
                raise ConfigError("outbox: another reporter of this process has it open; make one for each reporter")
            self._outbox.open(self._settings)
            _in_use.append(self._outbox)
            self._opened = True
            if self._on_opened is not None:
                self._on_opened(self._outbox)

    def _close_outbox(self) -> None:
        if self._opened:
            with contextlib.suppress(MontraError):
                self._outbox.close()
            self._forget_outbox()  # last: another writer may open it from now on

    def _forget_outbox(self) -> None:
        self._opened = False
        _in_use[:] = [one for one in _in_use if one is not self._outbox]

    def _keep_or_fail(self, groups: list[Group], loose: list[Event], error: MontraError) -> None:
        """Keep events until the outbox can be used again, or tell those who wait.

        Nobody could tell of the loss of an event that nobody waits for, so it is kept, unless this is the end.
        """
        self._retry_at = time.monotonic() + _RETRY_SECONDS
        if not self._stopping:
            self._loose.extendleft(reversed(loose))
            if isinstance(error, OutboxFullError) and self._when_full == "wait":
                self._groups.extendleft(reversed(groups))
                groups = []
                self._log("the outbox is full; events wait until there is room")
            elif loose:
                self._log(f"events recorded with record_nowait wait in memory: {error}")
        elif loose:
            self._tell(self._on_failed, loose)
            log.error("%d events recorded with record_nowait are lost: %s", len(loose), error)
        for group in groups:
            self._tell(self._on_failed, group.events)
            group.resolve(error)

    def _run_job(self, job: Callable[[Outbox], Any], future: Future[Any], then_close: bool) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            with self._busy:
                try:
                    self._open()
                    result = job(self._outbox)
                finally:
                    if then_close:
                        self._close_outbox()
                        self._stopping = True
        except MontraError as error:
            future.set_exception(error)
        except Exception as error:
            log.exception("using the outbox failed unexpectedly")
            future.set_exception(_unexpected(error))
        else:
            self._retry_at = 0.0
            future.set_result(result)

    def _fail_all(self, problem: RuntimeError) -> None:
        """Tell everybody that no thread can be started: the interpreter is shutting down, or there are too many."""
        error = ReporterClosedError(f"the thread that stores usage can't be started: {problem}")
        while self._groups:
            group = self._groups.popleft()
            self._tell(self._on_failed, group.events)
            group.resolve(error)
        loose = [self._loose.popleft() for _ in range(len(self._loose))]
        if loose:
            self._tell(self._on_failed, loose)
            log.error("%d events recorded with record_nowait are lost: %s", len(loose), error)
        while self._jobs:
            _, future, _ = self._jobs.popleft()
            future.set_exception(error)

    def _tell(self, callback: Callable[[T], object], value: T) -> None:
        """Call somebody, whose error must not end this thread."""
        try:
            callback(value)
        except Exception:
            log.exception("what is told of recorded usage failed")

    def _log(self, text: str) -> None:
        """Log a warning, the same at most once a minute."""
        now = time.monotonic()
        if now - self._last_log.get(text[:20], -_LOG_SECONDS) >= _LOG_SECONDS:
            self._last_log[text[:20]] = now
            log.warning("%s", text)


def _unexpected(error: Exception) -> OutboxError:
    wrapped = OutboxError(f"the outbox failed with {type(error).__name__}")
    wrapped.__cause__ = error
    return wrapped
