"""One event loop in one background thread, for every synchronous client of the process.

The first call starts the thread. It is a daemon thread, so it never keeps a process alive. An exit handler closes the
connections and ends the thread. A forked child starts a thread of its own with its first call. Calls that exit handlers
make after that run on a new event loop in the thread that makes them.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Generator
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar, cast

from montra_async import CallInfo, CallInterruptedError, ConfigError, MontraError, RequestTimeoutError

from .loop_thread import LOOK_SECONDS, Job, LoopEnded, LoopThread, close_iterator, run_here

P = ParamSpec("P")
T = TypeVar("T")
Made = TypeVar("Made")

_SECONDS_TO_END = 5.0
_GRACE = 2.0
"""Seconds after a call's total time-out in which the loop has to end the call."""
_BLOCKED_AT_MOST = 60.0
"""Seconds for which the loop may be blocked when the call has no known total time-out."""
_END = object()


class _Background:
    """Owner of the loop's thread. Each process has one; a forked child creates a new one."""

    def __init__(self) -> None:
        self._slot: dict[str, LoopThread] = {}
        self.ended = False

    @property
    def thread(self) -> LoopThread | None:
        return self._slot.get("thread")

    def find(self) -> LoopThread | None:
        """Return the thread, and start it if necessary. Returns None when the interpreter is shutting down.

        Raises:
            MontraError: the thread can't be started.
        """
        thread = self._slot.get("thread")
        if thread is not None and thread.started:
            return thread
        return None if self.ended else self._start()

    def _start(self) -> LoopThread | None:
        """Start the thread. Takes no lock: a signal handler may interrupt this function and call it again."""
        thread = self._slot.setdefault("thread", LoopThread(self._forget))
        if not thread.started:
            try:
                thread.start()
            except RuntimeError as error:
                if threading.main_thread().is_alive():
                    raise MontraError(f"the thread of synchronous calls can't be started: {error}") from None
                self.end()
                return None
        return thread

    def _forget(self, thread: LoopThread) -> None:
        if self._slot.get("thread") is thread:
            self._slot.pop("thread", None)

    def end(self) -> None:
        """Cancel the calls in progress, close the connections and end the thread."""
        self.ended = True
        thread = self._slot.pop("thread", None)
        if thread is not None:
            thread.stop(_SECONDS_TO_END)


_background = _Background()
_left_to_parent: list[_Background] = []
"""In a forked child: the parent's thread. Kept, because its garbage collection would close the parent's selector."""


def run(call: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a coroutine function on the background loop and wait for it.

    The function runs in a copy of the caller's context variables. Ctrl-C cancels it. The traceback of an error leads
    from the caller's line to the SDK's method, without the frames of the event loop. A `SystemExit` that a hook raises
    on the loop is raised here, in the thread that made the call.
    """
    job = Job(call, partial(call, *args, **kwargs))
    del args, kwargs  # error reporters print the local variables of a traceback's frames
    try:
        _carry_out(job)
        error = job.error
        if error is None:
            return cast("T", job.result)
        if isinstance(error, asyncio.CancelledError):
            error = _cancelled(job)
    except MontraError as problem:
        error = problem
    try:
        raise error.with_traceback(None) if isinstance(error, MontraError) else error
    finally:
        del job, error  # the error's traceback refers to this frame


def has_loop() -> bool:
    """Return whether several calls can run on one loop. At the interpreter's end each call has a loop of its own."""
    return _background.find() is not None


def post(function: Callable[[], object]) -> None:
    """Run a plain function on the background loop, without waiting for it. Does nothing at the interpreter's end."""
    thread = _background.find()
    if thread is not None:
        with contextlib.suppress(LoopEnded):
            thread.post(function)


def unwrap(facade: Any) -> Any:
    """Return the async object of a facade; anything else as it is."""
    return getattr(facade, "_async", facade)


def iterate(items: AsyncIterable[T]) -> Generator[T, None, None]:
    """Return an asynchronous iterable as a lazy generator: each item is fetched when the caller asks for it."""
    if not has_loop():  # the loop of a single call closes its generators
        yield from run(_all, items)
        return
    iterator = items if isinstance(items, AsyncIterator) else run(_begin_iteration, items)
    try:
        while (item := run(_next, iterator)) is not _END:
            yield cast("T", item)
            if _background.ended:
                _wait_for_the_end_in_daemons()
                raise MontraError("the interpreter is shutting down: the rest can't be read any more")
    finally:
        _forget(iterator)


def iterate_as(make: Callable[[T], Made], items: AsyncIterable[T]) -> Generator[Made, None, None]:
    """Do what `iterate` does, and pass each item through `make`."""
    found = iterate(items)
    try:
        for item in found:
            yield make(item)
    finally:
        found.close()


def in_thread(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Return a user's plain function as a coroutine function. It runs in a thread, so it may make calls itself."""

    @wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(function, *args, **kwargs)

    return call


async def _begin_iteration(items: AsyncIterable[T]) -> AsyncIterator[T]:
    return aiter(items)


async def _next(items: AsyncIterator[T]) -> T | object:
    return await anext(items, _END)


async def _all(items: AsyncIterable[T]) -> list[T]:
    return [item async for item in items]


def _forget(items: AsyncIterator[Any]) -> None:
    """Close an asynchronous iterator without waiting for it; its loop does so by itself when we can't."""
    thread = _background.thread
    if thread is not None and hasattr(items, "aclose"):
        with contextlib.suppress(LoopEnded):
            thread.post(partial(close_iterator, items))


def _carry_out(job: Job[Any]) -> None:
    """Run the call on the background loop and wait for its end.

    Raises:
        MontraError: the call can't be run, or the loop is blocked.
    """
    try:
        thread = _begin(job)
        if thread is None:
            _at_the_end(job)
            return
        while not job.done.acquire(True, LOOK_SECONDS):
            _look_after(job, thread)
    except BaseException:
        job.abandon()
        raise


def _begin(job: Job[Any]) -> LoopThread | None:
    for _ in range(3):
        thread = _background.find()
        if thread is None:
            return None
        if thread.ident == threading.get_ident():
            raise ConfigError("a synchronous call inside a hook would wait for itself; hooks must not make calls")
        try:
            thread.begin(job)
        except LoopEnded:
            continue
        return thread
    raise MontraError("the thread of synchronous calls ends as soon as it is started")


def _look_after(job: Job[Any], thread: LoopThread) -> None:
    """Check that the call can still end.

    Raises:
        MontraError: the process was forked during the call, or the loop is blocked.
    """
    if thread.left:
        raise CallInterruptedError("the process was forked during the call: its response goes to the parent")
    if not thread.is_blocked_for(job):
        return
    total = _total_of(job.call)
    waited = time.monotonic() - job.begun_at
    if waited > (_BLOCKED_AT_MOST if total is None else total + _GRACE):
        raise _blocked(job.call, waited, thread.where())


def _total_of(call: Any) -> float | None:
    """Return the total time-out of a client's method in seconds; None when it has none, or for other functions."""
    client = getattr(call, "__self__", None)
    options = getattr(client, "_call_options", None) or getattr(client, "_options", None)
    return None if options is None else cast("float | None", options.timeout.total)


def _blocked(call: Any, waited: float, where: str) -> MontraError:
    problem = (
        f"no response within {waited:.0f} s: the thread of synchronous calls is blocked at {where}; "
        "hooks, traces and storages must not wait"
    )
    error = RequestTimeoutError(problem, CallInfo(method="call", path=getattr(call, "__qualname__", "of a client")))
    if type(getattr(call, "__self__", None)).__module__.startswith("montra_async.paywall"):
        from montra_async.paywall.errors import translate

        return translate(error)
    return error


def _cancelled(job: Job[Any]) -> MontraError:
    if job.owner is None or not job.owner.stopping:
        return CallInterruptedError(
            "the call was cancelled by other code on its event loop (a hook, a trace, a storage, ...); "
            "it may have been carried out"
        )
    _wait_for_the_end_in_daemons()
    return CallInterruptedError(
        "the interpreter is shutting down: the call was cancelled, and may have been carried out"
    )


def _at_the_end(job: Job[Any]) -> None:
    """Run a call after the background thread has ended: in an exit handler, or in a daemon thread."""
    _wait_for_the_end_in_daemons()
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        run_here(job)
    else:
        raise MontraError(
            "the interpreter is shutting down, and an event loop is running in this thread: no more calls"
        )


def _wait_for_the_end_in_daemons() -> None:
    """In a daemon thread, wait until the process ends: daemon threads are stopped without an error."""
    if threading.current_thread().daemon:
        threading.Event().wait()


def _in_forked_child() -> None:
    global _background
    if _background.thread is not None:
        _background.thread.leave()
    _left_to_parent.append(_background)
    _background = _Background()


def _at_exit() -> None:
    _background.end()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)
