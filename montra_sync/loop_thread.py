"""An event loop in a thread, and the calls that other threads run on it, each in a cancel scope of anyio.

No function here takes a lock that a caller could hold: a signal handler may interrupt a caller between any two
instructions and make a call itself, and a process may be forked at any time. Threads share only sets, dicts and deques,
and use operations of them that are atomic.
"""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import _thread
import asyncio
import contextlib
import contextvars
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any, Generic, TypeVar, cast

import anyio

from montra_async import CallInterruptedError, MontraError
from montra_async.core.concurrency import DaemonThreads
from montra_async.core.http.aiohttp_compat import import_anyio_backend

T = TypeVar("T")

import_anyio_backend()  # here rather than in the background thread, during which a process may be forked

log: logging.Logger = logging.getLogger("montra")

THREAD_NAME = "montra-sync"
LOOK_SECONDS = 1.0
"""Seconds between two checks of a waiting thread that the loop still runs."""

_HELPERS = 32  # threads of the default executor, for name look-ups
_MAX_FAILURES = 5  # of the loop, without a completed step between them
_CLOSE_SECONDS = 2.0
_STDLIB = tuple(f"{os.path.dirname(module.__file__)}{os.sep}" for module in (threading, asyncio) if module.__file__)


class Job(Generic[T]):
    """One call: a thread starts it and waits for it, a loop runs it.

    Attributes:
        call: the coroutine function. Its arguments are released when it starts.
        done: a lock that is released when there is a result or an error.
        error: what the call raised. It is not raised on the loop, which some exceptions would end.
        result: what the call returned.
        owner: the thread that runs it; None when the caller runs it itself.
        begun_at: when it was started, on the monotonic clock.
        question, missed: state of `LoopThread.is_blocked_for`.
    """

    __slots__ = (
        "_abandoned",
        "_context",
        "_scope",
        "_task",
        "_work",
        "begun_at",
        "call",
        "done",
        "error",
        "missed",
        "owner",
        "question",
        "result",
    )

    def __init__(self, call: Callable[..., Awaitable[T]], work: Callable[[], Awaitable[T]]) -> None:
        self.call: Callable[..., Awaitable[T]] = call
        self._work: Callable[[], Awaitable[T]] | None = work
        self._context = contextvars.copy_context()
        self._scope: anyio.CancelScope | None = None
        self._task: asyncio.Task[None] | None = None  # the loop itself holds tasks only weakly
        self._abandoned = False
        self.owner: LoopThread | None = None
        self.result: T | None = None
        self.error: BaseException | None = None
        self.done: threading.Lock = threading.Lock()
        self.done.acquire()
        self.begun_at: float = 0.0
        self.question: int = 0
        self.missed: int = 0

    def begin(self) -> None:
        """Start the call in the caller's context. Runs on the loop."""
        if self._abandoned:
            self.end(asyncio.CancelledError())
            return
        try:
            self._task = self.task_on(asyncio.get_running_loop())
        except BaseException as error:
            self.end(error)

    def task_on(self, loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
        """Create the task that runs the call."""
        return self._context.run(loop.create_task, self.carry_out())

    async def carry_out(self) -> None:
        """Run the call and keep its result or error."""
        assert self._work is not None
        try:
            with anyio.CancelScope() as scope:
                self._scope = scope
                call = self._work()
                self._work = None
                self.result = await call
        except BaseException as error:
            # Also SystemExit: asyncio would let it end the loop, which all threads share. The caller raises it.
            self.end(error)
        else:
            self.end(asyncio.CancelledError() if scope.cancelled_caught else None)

    def end(self, error: BaseException | None) -> None:
        """Release the caller. Runs on the loop."""
        if self.owner is None or self.owner.jobs.pop(self, False):
            self.error = error
            self.done.release()

    def abandon(self) -> None:
        """Cancel the call, because its caller has stopped waiting. Any thread may call this."""
        self._abandoned = True
        if self.owner is not None:
            with contextlib.suppress(LoopEnded):
                self.owner.post(self._cancel)

    def _cancel(self) -> None:
        if self._scope is not None:
            self._scope.cancel()
            return
        if self._task is not None:
            self._task.cancel()  # before its first step, so nothing of it runs
        if self._scope is None:  # the caller was interrupted before the call was started
            self.end(asyncio.CancelledError())


class LoopEnded(Exception):
    """The loop has ended or was never started. The call was not started."""


class LoopThread:
    """An event loop, and the thread that runs it until it is stopped.

    An exception that leaves the loop, such as a `SystemExit` in a callback, does not end it.

    Args:
        on_end: called when the thread takes no more calls.
    """

    def __init__(self, on_end: Callable[[LoopThread], None]) -> None:
        self.jobs: dict[Job[Any], bool] = {}
        self.started: bool = False
        self.stopping: bool = False
        self.left: bool = False  # True in a forked child, where the thread is the parent's
        self.ident: int | None = None
        self._on_end = on_end
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inbox: deque[Callable[[], object]] = deque()
        self._dead = False
        self._tickets = [object()]
        self._ended = threading.Lock()
        self._ended.acquire()
        self._failures = 0
        self._asked = 0
        self._answered = 0

    # Called by other threads

    def start(self) -> None:
        """Start the thread. Several callers may do so at once: the first thread runs the loop, the others end.

        So no caller has to wait for another one that was interrupted here. A helper thread starts the thread, because
        `Thread.start` takes a lock of `threading` and waits.

        Raises:
            RuntimeError: no thread can be started, e.g. because the interpreter is shutting down.
        """
        _thread.start_new_thread(self._launch, ())
        self.started = True

    def begin(self, job: Job[Any]) -> None:
        """Schedule a call.

        Raises:
            LoopEnded: it will not run.
        """
        job.owner = self
        job.begun_at = time.monotonic()
        self.jobs[job] = True
        try:
            self.post(job.begin)
        except LoopEnded:
            if self.jobs.pop(job, False):  # else the job has its error already
                raise

    def post(self, callback: Callable[[], object]) -> None:
        """Schedule a function on the loop.

        Raises:
            LoopEnded: it will not run.
        """
        self._inbox.append(callback)
        loop = self._loop
        if self._dead or self.left:
            raise LoopEnded
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._take_in)
            except RuntimeError:  # it is closed
                raise LoopEnded from None

    def is_blocked_for(self, job: Job[Any]) -> bool:
        """Return whether the loop has run no callback for several times `LOOK_SECONDS`, at which a waiting thread calls
        this."""
        if job.question > self._answered:
            job.missed += 1
            return job.missed >= 3
        job.missed = 0
        if self._asked == self._answered:
            self._asked += 1
            with contextlib.suppress(LoopEnded):
                self.post(self._answer)
        job.question = self._asked
        return False

    def where(self) -> str:
        """Return the line that the thread executes, of the innermost function outside of the standard library."""
        frames: list[FrameType] = []
        frame = sys._current_frames().get(self.ident or 0)
        while frame is not None:
            frames.append(frame)
            frame = frame.f_back
        found = next((one for one in frames if not one.f_code.co_filename.startswith(_STDLIB)), None)
        return "an unknown line" if found is None else f"{found.f_code.co_filename}:{found.f_lineno}"

    def stop(self, seconds: float) -> None:
        """End the calls in progress and the thread, and wait for it for at most some seconds."""
        self.stopping = True
        if self.started:
            with contextlib.suppress(LoopEnded):
                self.post(self._stop)
            self._ended.acquire(timeout=seconds)

    def leave(self) -> None:
        """Never use the loop again. Called in a forked child, which shares the loop's selector with its parent.

        asyncio closes a loop when it is garbage collected; that would change the parent's selector, too.
        """
        self.left = True
        with contextlib.suppress(AttributeError):  # the loop of another library
            if self._loop is not None:
                self._loop.is_closed = lambda: True  # type: ignore[method-assign]

    # Called in the thread itself

    def _launch(self) -> None:
        try:
            self._tickets.pop()
        except IndexError:
            return  # another thread runs the loop
        try:
            threading.Thread(target=self._serve, name=THREAD_NAME, daemon=True).start()
        except BaseException as error:
            self._die(error)

    def _serve(self) -> None:
        self.ident = threading.get_ident()
        try:
            loop = asyncio.new_event_loop()
            loop.set_default_executor(DaemonThreads(_HELPERS, f"{THREAD_NAME}-helper"))
        except BaseException as error:
            self._die(error)
            return
        loop.call_soon(self._take_in)
        self._loop = loop
        problem = self._run(loop)
        self._on_end(self)
        if problem is None:
            _cancel_all(loop)
        else:
            _pending_tasks.append(asyncio.all_tasks(loop))
        _close(loop)
        self._die(problem)

    def _run(self, loop: asyncio.AbstractEventLoop) -> BaseException | None:
        """Run the loop until it is stopped. Returns None, or the error after which it can't go on."""
        while not self.stopping:
            try:
                loop.run_forever()
            except BaseException as error:
                self._failures += 1
                if self._failures >= _MAX_FAILURES:
                    log.exception("the event loop of synchronous calls can't go on; the next call starts another")
                    return error
                log.exception("the event loop of synchronous calls was left by an exception; it goes on")
                with contextlib.suppress(RuntimeError):
                    loop.call_soon(self._recovered)
        return None

    def _recovered(self) -> None:
        self._failures = 0

    def _take_in(self) -> None:
        while self._inbox:
            self._inbox.popleft()()

    def _answer(self) -> None:
        self._answered = self._asked

    def _stop(self) -> None:
        asyncio.get_running_loop().stop()

    def _die(self, problem: BaseException | None) -> None:
        """Take no more calls, and release everybody who waits."""
        self._dead = True
        self._on_end(self)
        for job in list(self.jobs):
            job.end(asyncio.CancelledError() if self.stopping else _died(problem))
        self._ended.release()


def _died(problem: BaseException | None) -> MontraError:
    error = CallInterruptedError(
        "the thread of synchronous calls ended; the call may have been carried out, the next starts another"
    )
    error.__cause__ = problem
    return error


def run_here(job: Job[Any]) -> None:
    """Run a call in the calling thread, on a new event loop.

    Raises:
        RuntimeError: another loop is running in this thread.
    """
    loop = asyncio.new_event_loop()
    try:
        loop.set_default_executor(DaemonThreads(_HELPERS, f"{THREAD_NAME}-helper"))
        loop.run_until_complete(job.task_on(loop))
    finally:
        _cancel_all(loop)
        _close(loop)


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel the remaining tasks, and close the asynchronous generators and with them the connections."""

    async def cancel() -> None:
        tasks = asyncio.all_tasks() - {cast("Any", asyncio.current_task())}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)

    for step in (cancel, cancel, loop.shutdown_asyncgens):
        try:
            loop.run_until_complete(step())
        except BaseException:
            log.debug("while the event loop of synchronous calls was closed", exc_info=True)


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Close the loop without waiting for the threads of its executor."""
    try:
        loop.close()
    except BaseException:
        log.debug("the event loop of synchronous calls could not be closed", exc_info=True)


_pending_tasks: list[object] = []
"""Tasks of loops that failed. Kept, because asyncio logs an error when a pending task is garbage collected."""


def close_iterator(items: Any) -> None:
    """Close an asynchronous iterator that has `aclose`. Runs on the loop.

    An iterator that is being read is being cancelled, and closes by itself.
    """

    async def close() -> None:
        with contextlib.suppress(Exception):
            await items.aclose()

    task = asyncio.get_running_loop().create_task(close())
    _closing.add(task)
    task.add_done_callback(_closing.discard)


_closing: set[asyncio.Task[None]] = set()
