"""The core of `UsageReporter` in both packages: hands events to the writer, runs the sender, closes, forks.

Knows neither coroutines nor the caller's event loop: every method may be called by any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

import attrs

from ..core import forks
from ..core.errors import ConfigError, MontraError
from . import exits
from .accounts import Accounts
from .backlog import Backlog, BacklogWatch, call_hook
from .clocks import boot_seconds
from .errors import OutboxError, ReporterClosedError, copy_of
from .events import Event, Settlement, UsageRequest
from .groups import Group
from .meter_lookup import MeterLookup, Service
from .observer import UsageObserver
from .outbox import Exchange, Outbox, OutboxSettings
from .recorder import Recorder
from .sending.sender import Sender
from .sending.sender_thread import SenderThread
from .settings import ReporterSettings, UsageStats
from .waiting_thread import WaitingThread
from .writer import Writer

T = TypeVar("T")

log: logging.Logger = logging.getLogger("montra")

_CLOSE_SECONDS = 1.0
"""Time that storing what was handed over and closing the outbox may take beyond the time limit."""


class UsageEngine:
    """One outbox, its writer's thread and its sender's thread.

    Args:
        service: the client that reports, one attempt per call. Its sessions on the sender's loop are closed with it.
        base_url: URL of the API.
        outbox: where events wait.
        settings: of the user.
    """

    def __init__(self, service: Service, base_url: str, outbox: Outbox, settings: ReporterSettings) -> None:
        self.service: Service = service
        self._outbox = outbox
        self.settings: ReporterSettings = settings
        self.recorder: Recorder = Recorder(self._after_unnoticed_fork)
        self.accounts: Accounts = Accounts()
        self.after_fork_in_child: list[Callable[[], None]] = []
        self._lock = threading.RLock()
        self._unnoticed = threading.Lock()
        self._sender_thread: SenderThread | None = None
        self._registered = False
        self._closed = False
        self._exiting = False
        self._meters = MeterLookup(service, self.recorder, settings)
        self._writer = Writer(
            outbox,
            OutboxSettings(
                base_url=base_url,
                coalesce_window=settings.coalesce_window,
                expires_after=settings.expires_after,
            ),
            when_full=settings.when_full,
            on_stored=self._on_stored,
            on_failed=self.accounts.failed,
            on_dropped=self.accounts.dropped,
            on_opened=self.accounts.observers.tell_backlog,
        )
        forks.watch(self)

    # Recording

    def hand_over(self, group: Group) -> None:
        """Have events stored.

        Args:
            group: is told when they are stored.

        Raises:
            ReporterClosedError: the reporter is closed, and its outbox would lose them.
        """
        if not self._registered or self._closed:
            self._begin()
        self.accounts.observers.recorded(group.events)
        self._writer.submit(group)

    def store(self, events: list[Event]) -> None:
        """Store events, one after the other as far as they fit. Blocks until it is done.

        Args:
            events: at least one.

        Raises:
            OutboxError: the outbox can't be used, or is full.
            ReporterClosedError: the reporter is closed, and its outbox would lose them.
        """
        if failed := self.store_what_fits(events):
            raise copy_of(failed[0][1])

    def store_what_fits(self, events: list[Event]) -> list[tuple[list[Event], MontraError]]:
        """Store events, one after the other as far as they fit. Blocks until it is done.

        Args:
            events: at least one.

        Returns:
            The events that are not stored, in parts, and why not; an `OutboxUncertainError` where they may be.
        """
        waiting = WaitingThread(events)
        try:
            self.hand_over(waiting)
        except MontraError as error:
            return [(events, error)]
        waiting.wait()
        return waiting.failed

    def hand_over_nowait(self, event: Event) -> None:
        """Have an event stored soon.

        Raises:
            OutboxFullError: too many events wait to be stored.
            ReporterClosedError: the reporter is closed.
        """
        if not self._registered or self._closed:
            self._begin()
        self.accounts.observers.recorded((event,))  # first: it may be delivered at once
        try:
            self._writer.submit_nowait(event)
        except MontraError:
            self.accounts.observers.failed((event,))
            raise

    def _begin(self) -> None:
        """Before the first event, and for each event after the reporter was closed."""
        if self._closed and not self._outbox.durable:
            raise ReporterClosedError("the reporter is closed, and its outbox in memory would lose the event")
        if self._closed and not self._registered and not self._exiting:
            log.warning("usage is recorded with a reporter that is closed: it is stored, and sent after the next start")
        with self._lock:
            if not self._registered:
                self._registered = True
                exits.register(self, handle_sigterm=self.settings.handle_sigterm)
                self._meters.look_up()
                if not self._closed:
                    self._start_sender()  # here, not when the event is stored: at the end, no thread can be started

    # Life

    def start(self) -> Future[None]:
        """Open the outbox and begin to send what waits in it.

        Returns:
            Fails when the outbox can't be used.
        """
        self._closed = False
        self._begin()
        self._start_sender()
        return self._writer.call(lambda _: self._on_stored(0))

    def stop_sending(self, timeout: float) -> None:
        """End the sender's thread.

        Args:
            timeout: seconds for the requests under way.
        """
        with self._lock:
            thread, self._sender_thread = self._sender_thread, None
        if thread is not None and not thread.stop(timeout):
            log.warning("the thread that sends usage did not end in time")

    def close(self, timeout: float) -> int:
        """Send what can be sent, store the rest and close the outbox. Blocks.

        Args:
            timeout: seconds for sending. Storing what is in memory may take a second more.

        Returns:
            The number of events that were not sent.
        """
        until = time.monotonic() + timeout
        left = self._flush(timeout) if self._registered else 0
        self._closed = True
        self.stop_sending(max(0.0, until - time.monotonic()))
        failed = self.accounts.counters.failed
        if not self._writer.stop(max(_CLOSE_SECONDS, until - time.monotonic())):
            log.error("the outbox could not be closed in time")
        left = max(0, left - (self.accounts.counters.failed - failed))  # those are lost, and the log says so
        with self._lock:
            self._registered = False
        exits.unregister(self)
        if left and not self._outbox.durable:
            log.error("%d recorded events are lost: they were not sent in time, and the outbox is in memory", left)
        elif left:
            log.info("%d recorded events wait in the outbox; they are sent after the next start", left)
        return left

    def _flush(self, timeout: float) -> int:
        from .flush import flush, warn_of_unknown

        try:
            return flush(self, timeout if self._sender_thread is not None else 0.0, _CLOSE_SECONDS)
        except MontraError as error:
            if self.accounts.counters.stored:
                warn_of_unknown(error)
            return self._writer.pending

    def close_at_exit(self) -> None:
        """`close` at the end of the process."""
        self._exiting = True
        try:
            self.close(self.settings.exit_timeout)
        except Exception:
            log.exception("a reporter of usage could not be closed")

    # Forks

    def before_fork(self, timeout: float) -> bool:
        """Wait until the outbox is not in use: see `core.forks`.

        Args:
            timeout: seconds to wait at most.
        """
        return self._writer.before_fork(timeout)

    def after_fork(self, *, closed: bool, child: bool) -> None:
        """Go on: in a child with nothing of the parent's.

        Args:
            closed: what `before_fork` returned.
            child: whether this is the child.
        """
        self._writer.after_fork(closed=closed, child=child)
        if child:
            self._lock = threading.RLock()
            self._meters.renew()
            self._sender_thread = None
            self._registered = False
            self.accounts.renew()
            self.recorder.renew()
            for renew in self.after_fork_in_child:
                renew()

    def _after_unnoticed_fork(self) -> None:
        """In a child that was forked without Python's hooks: begin anew, as after other forks."""
        with self._unnoticed:
            if not self.recorder.is_of_this_process:
                self.after_fork(closed=False, child=True)

    def verify_meters(self) -> MontraError | None:
        """Look up which meters add amounts, and coalesce the events of those. Blocks.

        Returns:
            Why not all meters that should be coalesced are.
        """
        return self._meters.verify()

    # The outbox

    def call(self, job: Callable[[Outbox], T]) -> Future[T]:
        """Run a function with the outbox, on the writer's thread."""
        return self._writer.call(job, then_close=self._closed and not self._registered)

    def stats(self, backlog: Backlog) -> UsageStats:
        """Put the numbers together.

        Args:
            backlog: what waits.
        """
        counts = backlog.counts
        thread = self._sender_thread
        state = thread.sender.state if thread is not None and thread.sender is not None else None
        return UsageStats(
            **attrs.asdict(self.accounts.counters),
            pending=backlog.pending,
            waiting=counts.events,
            parked=counts.parked,
            oldest_age=counts.oldest_age,
            size=counts.size,
            **({} if state is None else _sending(state)),
        )

    def flush_sender(self, on: bool) -> None:
        """Have the sender send sums whose window is open, too."""
        thread = self._sender_thread
        if thread is not None:
            thread.flush(on)

    def wake_sender(self) -> None:
        """Tell the sender that there is something to send."""
        thread = self._sender_thread
        if thread is not None:
            thread.wake()

    def look(self) -> Future[Backlog]:
        """Count what waits. The writer does it, so that no event is between memory and the outbox meanwhile."""

        def look(outbox: Outbox) -> Backlog:
            counters = self.accounts.counters
            return Backlog(outbox.counts(), counters.stored + counters.failed, self._writer.pending)

        return self.call(look)

    @property
    def is_in_use(self) -> bool:
        """Whether the outbox may be looked at without opening it for that."""
        return self._registered and not self._exiting

    @property
    def is_sent(self) -> bool:
        """Whether what is recorded is being sent, here or, as far as this process knows, by another one."""
        return self._sender_thread is not None or not self.settings.send

    def __repr__(self) -> str:
        return repr(getattr(self, "_outbox", None))  # a frame may show one that is half built

    @property
    def is_durable(self) -> bool:
        """Whether the outbox keeps its events when the process ends."""
        return self._outbox.durable

    def add_observer(self, observer: UsageObserver) -> None:
        """Tell an object of every event. A `BacklogObserver` is also told of what waits in the outbox.

        Args:
            observer: the object.
        """
        self.accounts.observers.add(observer)
        if self._registered:  # else when the outbox is opened, before anything new is in it
            self._writer.call(self.accounts.observers.tell_backlog)

    # Called by the writer's thread

    def _on_stored(self, count: int) -> None:
        self.accounts.counters.stored += count
        thread = self._sender_thread
        if thread is not None and not thread.wake() and not self._closed:
            self._start_sender()

    def _start_sender(self) -> None:
        """Start the sender's thread, unless it runs or this process does not send."""
        with self._lock:
            running = self._sender_thread
            if not self.settings.send or (running is not None and running.is_alive()):
                return
            thread = SenderThread(self._make_sender, self._watch)
            # When the interpreter is shutting down, what is stored is sent after the next start.
            with contextlib.suppress(RuntimeError):
                thread.start()
                self._sender_thread = thread

    # Called by the sender's thread

    def _make_sender(self) -> Sender:
        return Sender(
            report=self._report,
            exchange=self._exchange,
            renew=self._renew,
            renew_after=self._outbox.renew_after,
            concurrency=self.settings.concurrency,
            request_timeout=self.settings.request_timeout,
            stale_after=self.settings.stale_after,
            clock=boot_seconds,  # it goes on while the machine is suspended
        )

    def _report(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, bool]:
        return self.service.report_usage(*args, **kwargs)  # looked up now: telemetry may be attached at any time

    async def _exchange(self, settlements: Sequence[Settlement], limit: int, flush: bool) -> Exchange:
        job = partial(self.accounts.exchange, settlements=settlements, limit=limit, flush=flush)
        try:
            exchange, parked = await asyncio.wrap_future(self._writer.call(job))
        except ConfigError as error:  # told to those who record, too; the sender tries again
            raise OutboxError(str(error)) from None
        for one in parked:
            log.error(
                "usage of meter %r was parked (%s): list it, then retry or drop it",
                one.meter_slug,
                f"{one.reason}, {one.code}" if one.code else one.reason,
            )
            call_hook(self.settings.on_parked, one)
        return exchange

    async def _renew(self, requests: Sequence[UsageRequest]) -> list[UsageRequest]:
        return await asyncio.wrap_future(self._writer.call(lambda outbox: outbox.renew(requests)))

    async def _watch(self) -> None:
        await BacklogWatch(self.settings, self.look, self.stats).run(self._meters.look_up)


def _sending(state: Any) -> dict[str, Any]:
    return {
        "circuit": state.circuit,
        "concurrency": state.concurrency,
        "in_flight": state.in_flight,
        "last_error": state.last_error,
    }
