"""Waiting until what was recorded is sent."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import Future, TimeoutError as FutureTimeoutError
from typing import TypeVar

from ..core import validation
from ..core.errors import MontraError
from .backlog import Backlog
from .engine import UsageEngine
from .errors import OutboxError

log: logging.Logger = logging.getLogger("montra")

T = TypeVar("T")

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.002, 0.2
"""Seconds between two looks at what is left."""

_OUTBOX_SECONDS = 60.0
"""Seconds that the outbox may take for anything."""

_GRACE = 5.0
"""Seconds that the outbox may take beyond the time-out of a flush: Redis needs them to say why it can't be used."""


def seconds_of(timeout: float) -> float:
    """
    Raises:
        InvalidArgumentError: the time-out is not a number of seconds.
    """
    return float(validation.number("timeout", timeout))


class Flush:
    """Waits until what was recorded before is sent. The caller sleeps: a coroutine and a thread do it differently.

    Args:
        engine: the engine.
        timeout: seconds to wait.
        grace: seconds that the outbox may take beyond that. Default: 5.
    """

    def __init__(self, engine: UsageEngine, timeout: float, grace: float | None = None) -> None:
        self._engine = engine
        self._since = time.monotonic()
        self._until = self._since + seconds_of(timeout)
        self._grace = _GRACE if grace is None else grace
        self._began = time.time()
        self._target: int | None = None

    def look(self) -> Future[Backlog]:
        """Count what waits."""
        self._engine.flush_sender(True)  # again: it may have started only now
        return self._engine.look()

    @property
    def patience(self) -> float:
        """Seconds that a look may take now; bounded, because a lock refuses a time-out of centuries."""
        return max(0.0, min(_OUTBOX_SECONDS, self._until + self._grace - time.monotonic()))

    def left(self, backlog: Backlog) -> int:
        """The number of events that wait, or 0 when all of those recorded before are sent."""
        if self._target is None:
            self._target = backlog.done + backlog.pending
        oldest = backlog.counts.oldest_recorded_at
        if backlog.done >= self._target and (oldest is None or oldest > self._began):
            return 0
        return backlog.counts.events + backlog.pending

    def is_over(self) -> bool:
        """Whether the time is over, or nobody sends."""
        return time.monotonic() >= self._until or not self._engine.is_sent

    def pause(self) -> float:
        """Seconds until the next look: a part of the time so far, because looking takes time from sending."""
        now = time.monotonic()
        pause = min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, (now - self._since) / 10))
        return max(0.0, min(pause, self._until - now))

    def end(self) -> None:
        """Let sums stay open for their window again."""
        self._engine.flush_sender(False)


def flush(engine: UsageEngine, timeout: float, grace: float | None = None) -> int:
    """Wait until what was recorded before is sent. Blocks.

    Args:
        engine: the engine.
        timeout: seconds to wait.
        grace: seconds that the outbox may take beyond that. Default: 5.

    Returns:
        The number of events that are not sent; 0 when all that were recorded before are.

    Raises:
        OutboxError: the outbox can't be used, or takes too long.
    """
    waiting = Flush(engine, timeout, grace)
    try:
        while True:
            left = waiting.left(wait_for(waiting.look(), waiting.patience))
            if not left or waiting.is_over():
                return left
            time.sleep(waiting.pause())
    finally:
        waiting.end()


def wait_for(future: Future[T], timeout: float = _OUTBOX_SECONDS) -> T:
    """Wait for something that is done with the outbox.

    Args:
        future: of `UsageEngine.call`.
        timeout: seconds to wait. Default: 60.

    Raises:
        OutboxError: the outbox can't be used, or takes too long.
    """
    try:
        return future.result(timeout)
    except FutureTimeoutError:
        raise _hangs(timeout) from None


async def wait_for_async(future: Future[T], timeout: float = _OUTBOX_SECONDS) -> T:
    """`wait_for` in a coroutine.

    Args:
        future: of `UsageEngine.call`.
        timeout: seconds to wait. Default: 60.

    Raises:
        OutboxError: the outbox can't be used, or takes too long.
    """
    waiting = asyncio.wrap_future(future)
    try:
        await asyncio.wait([waiting], timeout=timeout)
        if waiting.done():
            return waiting.result()
        raise _hangs(timeout)
    finally:
        waiting.cancel()  # what the writer has not begun, it leaves


def _hangs(timeout: float) -> OutboxError:
    return OutboxError(f"the outbox did not respond within {timeout:.3g} s")


def warn_of_unknown(error: MontraError) -> None:
    """Say that it can't be told what an invocation leaves: it has done its work, so that is no error of it.

    Args:
        error: of the outbox.
    """
    log.warning("it can't be told what waits in the outbox: %s", error)


def warn_of_undelivered(left: int, engine: UsageEngine) -> None:
    """Say what it means that an invocation ends with events that are not sent.

    Args:
        left: number of events.
        engine: the engine.
    """
    if not left:
        return
    if engine.is_durable:
        log.warning(
            "%d events wait in the outbox at the end of the invocation. They are sent by the next invocation here, or "
            "by another process that shares the outbox. A file in a function's own storage is lost with its instance: "
            "use RedisOutbox, or a longer invocation(timeout=...)",
            left,
        )
    else:
        log.warning(
            "%d events are in memory at the end of the invocation, and lost if the function is not invoked again here. "
            "Use RedisOutbox, SqliteOutbox on storage that outlives the function, or a longer invocation(timeout=...)",
            left,
        )
