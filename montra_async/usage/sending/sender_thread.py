"""The thread in which requests are sent, with an event loop of its own: it outlives the loops of the application."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from ...core.concurrency import DaemonThreads
from .sender import Sender

log: logging.Logger = logging.getLogger("montra")

_HELPERS = 2
"""Number of threads that look up host names."""

_GRACE = 1.0
"""Seconds in which the loop has to end after the sender has."""


class SenderThread:
    """Runs a sender until it is stopped.

    Args:
        make: makes the sender, on the loop.
        watch: runs beside it on the loop.
    """

    def __init__(self, make: Callable[[], Sender], watch: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._make = make
        self._watch = watch
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._stop_timeout: float | None = None
        self._woken = False
        self._flushing = False
        self.sender: Sender | None = None
        # In a context of its own: a Python that has threads inherit theirs would make all usage a part of the request
        # that has started the thread.
        run = contextvars.Context().run
        self._thread = threading.Thread(target=run, args=(self._run,), name="montra-usage-sender", daemon=True)

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: no thread can be started.
        """
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self._thread.is_alive()

    def wake(self) -> bool:
        """Tell the sender that there is something to send. From any thread; cheap while it has not noticed yet.

        Returns:
            False when the thread has ended, or has only begun to start.
        """
        if not self._woken:
            self._woken = True
            if not self._post(self._wake):
                self._woken = False
                return False
        return True

    def flush(self, on: bool) -> None:
        """Have the sender send sums whose window is open, too. From any thread; does not wait."""
        self._flushing = on
        self._post(self._flush)

    def stop(self, timeout: float) -> bool:
        """Stop sending, and end the thread. From any thread but its own.

        Args:
            timeout: seconds for the requests under way.

        Returns:
            Whether it ended in time.
        """
        self._stop_timeout = timeout
        self._ready.wait(_GRACE)
        self._post(self._begin_stop)
        self._thread.join(timeout + _GRACE)
        return not self._thread.is_alive()

    def _post(self, callback: Callable[[], object]) -> bool:
        loop = self._loop
        if loop is None:
            return False
        try:
            loop.call_soon_threadsafe(callback)
        except RuntimeError:  # it is closed
            return False
        return True

    # Called in the thread

    def _wake(self) -> None:
        self._woken = False
        if self.sender is not None:
            self.sender.wake()

    def _flush(self) -> None:
        if self.sender is not None:
            self.sender.flush(self._flushing)

    def _begin_stop(self) -> None:
        self._stopping = asyncio.ensure_future(self._stop())

    async def _stop(self) -> None:
        if self.sender is not None:
            await self.sender.stop(self._stop_timeout or 0.0)

    def _run(self) -> None:
        loop = asyncio.new_event_loop()
        loop.set_default_executor(DaemonThreads(_HELPERS, "montra-usage-helper"))
        self._loop = loop
        try:
            loop.run_until_complete(self._main())
        except BaseException:
            log.exception("the thread that sends usage has failed; what it did not send stays in the outbox")
        finally:
            for step in (_cancel_all, loop.shutdown_asyncgens):
                with contextlib.suppress(Exception):
                    loop.run_until_complete(step())
            loop.close()

    async def _main(self) -> None:
        self.sender = self._make()
        self._ready.set()
        if self._flushing:
            self.sender.flush(True)
        watching = asyncio.ensure_future(self._watch())
        try:
            await self.sender.run()
            stopping = getattr(self, "_stopping", None)
            if stopping is not None:
                await stopping
        finally:
            watching.cancel()


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_GRACE)
