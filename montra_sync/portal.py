"""One event loop in one background thread, for every synchronous client of the process.

The thread is started by the first call, is a daemon (it never keeps a process alive), and is ended by an exit handler,
which lets the loop close its connections first. A forked child has no thread: it starts its own when it makes a call.
Calls of later exit handlers, when there is no thread any more, are carried out in their own thread.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from functools import partial
from typing import Any, ParamSpec, TypeVar, cast

from montra_async import CallInfo, ConfigError, MontraError, RequestTimeoutError

from .loop_thread import LOOK_SECONDS, Job, LoopEnded, LoopThread, close_generator, run_here

P = ParamSpec("P")
T = TypeVar("T")

_SECONDS_TO_END = 5.0
_GRACE = 2.0
"""Seconds after a call's total time-out, in which the loop should have ended the call by itself."""
_BLOCKED_AT_MOST = 60.0
"""Seconds for which the loop may do nothing at all, when the call has no total time-out that we know."""
_END = object()


class _Background:
    """The loop's thread. There is one of these per process, and a new one after a fork."""

    def __init__(self) -> None:
        self._slot: dict[str, LoopThread] = {}
        self.ended = False

    @property
    def thread(self) -> LoopThread | None:
        return self._slot.get("thread")

    def find(self) -> LoopThread | None:
        """The thread, started when there is none; None at the interpreter's end.

        Raises:
            MontraError: the system has no thread left.
        """
        thread = self._slot.get("thread")
        if thread is not None and thread.started:
            return thread
        return None if self.ended else self._start()

    def _start(self) -> LoopThread | None:
        """A signal handler may interrupt this anywhere and come here itself: no lock, no waiting for each other."""
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
        """Cancel what is under way, close the connections, end the thread."""
        self.ended = True
        thread = self._slot.pop("thread", None)
        if thread is not None:
            thread.stop(_SECONDS_TO_END)


_background = _Background()
_left_to_parent: list[_Background] = []
"""Of a forked child: what belongs to the parent's thread. Kept, because collecting it would touch the parent's loop."""


def run(call: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a coroutine function on the background loop and wait for it.

    Context variables flow into it. Ctrl-C while waiting cancels it. What it raises comes without the frames of the
    machinery in between: the traceback goes from the caller's line to the SDK's method. `SystemExit` and the like, when
    a hook raises them on the loop, are raised here: they are for the thread that made the call, not for the loop.
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


def behind(facade: Any) -> Any:
    """The async object of a facade; anything else as it is."""
    return getattr(facade, "_async", facade)


def iterate(items: AsyncGenerator[T, None]) -> Generator[T, None, None]:
    """An async generator as a lazy iterator: each item is fetched when it is asked for."""
    if _background.find() is None:  # each call has a loop of its own, which closes its generators
        yield from run(_all, items)
        return
    try:
        while (item := run(_next, items)) is not _END:
            yield cast("T", item)
            if _background.ended:
                _wait_for_the_end_in_daemons()
                raise MontraError("the interpreter is shutting down: the rest can't be read any more")
    finally:
        _forget(items)


async def _next(items: AsyncGenerator[T, None]) -> T | object:
    return await anext(items, _END)


async def _all(items: AsyncGenerator[T, None]) -> list[T]:
    return [item async for item in items]


def _forget(items: AsyncGenerator[Any, None]) -> None:
    """Close an async generator without waiting for it; its loop does so by itself when we can't."""
    thread = _background.thread
    if thread is not None:
        with contextlib.suppress(LoopEnded):
            thread.post(partial(close_generator, items))


def _carry_out(job: Job[Any]) -> None:
    """Have the call carried out, and wait until it is.

    Raises:
        MontraError: it can't be, or the loop is blocked.
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
    """Nobody waits for what can't come."""
    if thread.left:
        raise MontraError("the process was forked during the call: its answer goes to the parent")
    if not thread.is_blocked_for(job):
        return
    total = _total_of(job.call)
    waited = time.monotonic() - job.begun_at
    if waited > (_BLOCKED_AT_MOST if total is None else total + _GRACE):
        raise _blocked(job.call, waited, thread.where())


def _total_of(call: Any) -> float | None:
    """The total time-out of a client's method, in seconds."""
    client = getattr(call, "__self__", None)
    options = getattr(client, "_call_options", None) or getattr(client, "_options", None)
    return None if options is None else cast("float | None", options.timeout.total)


def _blocked(call: Any, waited: float, where: str) -> MontraError:
    problem = (
        f"no answer within {waited:.0f} s: the thread of synchronous calls is blocked at {where}; "
        "hooks, traces and storages must not wait"
    )
    error = RequestTimeoutError(problem, CallInfo(method="call", path=getattr(call, "__qualname__", "of a client")))
    if type(getattr(call, "__self__", None)).__module__.startswith("montra_async.paywall"):
        from montra_async.paywall.errors import translate

        return translate(error)
    return error


def _cancelled(job: Job[Any]) -> MontraError:
    if job.owner is None or not job.owner.stopping:
        return MontraError(
            "the call was cancelled by other code on its event loop (a hook, a trace, a storage, ...); "
            "it may have been carried out"
        )
    _wait_for_the_end_in_daemons()
    return MontraError("the interpreter is shutting down: the call was cancelled, and may have been carried out")


def _at_the_end(job: Job[Any]) -> None:
    """There is no thread any more: an exit handler calls, or a daemon thread."""
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
    """Calls of daemon threads end with the process, without a word, as everything else in such a thread does."""
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
