"""`SingleFlight`: concurrent callers with the same key share one call."""

from __future__ import annotations

import asyncio
import copy
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from functools import partial
from typing import Any, TypeVar

from ..core.current_operation import OPERATION, Operation, Work, in_background
from ..core.errors import MontraError
from ..core.http.messages import Request
from ..core.http.timeouts import Deadline, deadlines_of
from .errors import PaywallError, PaywallNetworkError, PaywallTimeoutError

log: logging.Logger = logging.getLogger("montra")

T = TypeVar("T")

ABANDONED_GRACE = 60.0
"""Seconds that a call that must not be cancelled continues after its last caller has left."""


class Flight:
    """A call in progress in a task of its own, and the deadlines of its waiters."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, cancel_when_abandoned: bool) -> None:
        self.cancel_when_abandoned = cancel_when_abandoned
        self.request: Request | None = None
        self.task: asyncio.Task[Any]
        self.operation: Operation | None = OPERATION.get()
        self._loop = loop
        self._began = loop.time()
        self._deadlines: list[float] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiters(self) -> int:
        """The number of waiters."""
        return len(self._deadlines)

    def age(self) -> float:
        """Seconds since the call began."""
        return self._loop.time() - self._began

    def remaining(self) -> float:
        """Seconds until the latest deadline of the waiters."""
        return max(self._deadlines, default=0.0) - self._loop.time()

    def set_request(self, request: Request) -> None:
        """Set the request of the call. It is retried as long as a waiter has time left."""
        self.request = request
        request.remaining = self.remaining

    def add_waiter(self, deadline: float) -> None:
        """Add a waiter, with its deadline on the clock of the event loop."""
        self._deadlines.append(deadline)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def run_in_background(self) -> None:
        """Keep the call running without waiters, for `ABANDONED_GRACE` seconds."""
        self._deadlines.append(self._loop.time() + ABANDONED_GRACE)
        self._timer = self._loop.call_later(ABANDONED_GRACE, self.task.cancel)

    def remove_waiter(self, deadline: float) -> None:
        """Remove a waiter. A call without waiters is cancelled, at once or after `ABANDONED_GRACE` seconds."""
        self._deadlines.remove(deadline)
        if self._deadlines or self.task.done():
            return
        if self.cancel_when_abandoned:
            self.task.cancel()
        else:
            self._timer = self._loop.call_later(ABANDONED_GRACE, self.task.cancel)

    def finish(self) -> None:
        """Clean up after the task has ended. Logs an error that no waiter receives."""
        if self._timer is not None:
            self._timer.cancel()
        if not self.task.cancelled() and (error := self.task.exception()) is not None and not self._deadlines:
            log.info("a shared call failed after its last waiter had left: %s", _describe(error))

    def result(self) -> Any:
        """The result of the finished task, or its error."""
        if self.task.cancelled():
            problem = "the shared call was cancelled before its response arrived"
            call, sent = (None, True) if self.request is None else (self.request.info(), self.request.sent)
            raise PaywallNetworkError("network_error", problem, call=call, sent=sent)
        error = self.task.exception()
        if error is None:
            return self.task.result()
        if not isinstance(error, MontraError):
            raise error
        # Each caller gets a copy: a shared error would collect the frames, and so the variables, of all callers.
        own = copy.copy(error)
        raise own from error.__cause__


class SingleFlight:
    """Calls in progress, by event loop and key. A caller with the key of a call in progress waits for it."""

    def __init__(self) -> None:
        self._in_progress: dict[tuple[asyncio.AbstractEventLoop, Hashable], Flight] = {}
        self._tasks: set[asyncio.Task[Any]] = set()  # the event loop itself holds tasks only weakly

    async def run(
        self,
        key: Hashable,
        make: Callable[[Flight], Awaitable[T]],
        *,
        total: float | None = None,
        cancel_when_abandoned: bool = True,
    ) -> T:
        """Return the result of `make`. It runs in a task of its own, so a cancelled caller does not affect the others.

        Args:
            key: facts that identify this call, and the callers that may see its result.
            make: makes the call. Its argument is the flight, which knows the deadlines of the waiters.
            total: seconds that this caller waits. Default: no limit.
            cancel_when_abandoned: whether to cancel the call when its last caller has left. False: the result must not
                be lost, and the call continues for `ABANDONED_GRACE` seconds. Default: True.

        Raises:
            PaywallTimeoutError: this caller's time has expired.
            PaywallError: the error of the call.
        """
        loop = asyncio.get_running_loop()
        flight = self._in_progress.get((loop, key))
        if flight is None or (cancel_when_abandoned and total is not None and flight.age() > total):
            # A call that is older than this caller's time-out is not joined: a new one may be faster.
            flight = self._begin(loop, key, make, cancel_when_abandoned=cancel_when_abandoned)
        elif (operation := OPERATION.get()) is not None:
            operation.joined(flight.operation)
        deadline = math.inf if total is None else loop.time() + total
        flight.add_waiter(deadline)
        try:
            if total is None:
                await asyncio.wait([flight.task])
            else:
                with Deadline(deadlines_of(loop), deadline):
                    await asyncio.wait([flight.task])
        except TimeoutError:
            in_time = flight.task.done()
        else:
            in_time = True
        finally:
            flight.remove_waiter(deadline)
            if flight.cancel_when_abandoned and not flight.waiters:
                self._discard((loop, key), flight)
        if not in_time:
            raise timeout_error(total, flight.request)
        result: T = flight.result()
        return result

    def start(self, key: Hashable, make: Callable[[Flight], Awaitable[Any]], *, name: str | None = None) -> None:
        """Begin a call in the background, unless one with this key is in progress.

        Args:
            key: facts that identify this call.
            make: makes the call.
            name: name of the operation, for telemetry. Default: it has none.
        """
        loop = asyncio.get_running_loop()
        if (loop, key) not in self._in_progress:
            self._begin(
                loop, key, make, cancel_when_abandoned=False, wrap=partial(in_background, name=name)
            ).run_in_background()

    def _begin(
        self,
        loop: asyncio.AbstractEventLoop,
        key: Hashable,
        make: Callable[[Flight], Awaitable[Any]],
        *,
        cancel_when_abandoned: bool,
        wrap: Callable[[Work[Any]], Coroutine[Any, Any, Any]] | None = None,
    ) -> Flight:
        for stale in [loop_and_key for loop_and_key in list(self._in_progress) if loop_and_key[0].is_closed()]:
            self._in_progress.pop(stale, None)
        flight = self._in_progress[loop, key] = Flight(loop, cancel_when_abandoned=cancel_when_abandoned)
        flight.task = task = loop.create_task(_run(make, flight) if wrap is None else wrap(partial(_run, make, flight)))
        self._tasks.add(task)

        def ended(task: asyncio.Task[Any]) -> None:
            self._tasks.discard(task)
            self._discard((loop, key), flight)
            flight.finish()

        task.add_done_callback(ended)
        return flight

    def _discard(self, key: tuple[asyncio.AbstractEventLoop, Hashable], flight: Flight) -> None:
        if self._in_progress.get(key) is flight:
            del self._in_progress[key]


def timeout_error(total: float | None, request: Request | None) -> PaywallTimeoutError:
    """The error of an expired total time-out. Without a known request it may have been executed."""
    call, sent = (None, True) if request is None else (request.info(), request.sent)
    problem = f"no response within the total time-out of {total or 0:g} s"
    return PaywallTimeoutError("timeout", problem, call=call, sent=sent)


async def _run(make: Callable[[Flight], Awaitable[T]], flight: Flight) -> T:
    return await make(flight)


def _describe(error: BaseException) -> str:
    return str(error) if isinstance(error, PaywallError) else type(error).__name__
