"""One event loop in one background thread, for every synchronous client of the process.

The thread is started by the first call, is a daemon (it never keeps a process alive), and is ended by an exit handler,
which lets the loop close its connections first. A forked child has no thread: it starts its own when it makes a call.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any, ParamSpec, TypeVar, cast

import anyio
from anyio.from_thread import BlockingPortal

from montra_async import MontraError

P = ParamSpec("P")
T = TypeVar("T")

with contextlib.suppress(ImportError):  # should anyio keep it elsewhere one day, the first call imports it
    # Here rather than in the background thread: a child forked during that import would wait for ever for its lock.
    importlib.import_module("anyio._backends._asyncio")

THREAD_NAME = "montra-sync"
_SECONDS_TO_END = 5.0
_END = object()


class _Ended(Exception):
    """The exit handler has run: no thread is started any more."""


class _Background:
    """The thread and its portal. There is one of these per process, and a new one after a fork."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._portal: BlockingPortal | None = None
        self._thread: threading.Thread | None = None
        self._ended = False

    def begin(self, call: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start a coroutine function on the loop; the loop's thread is started when there is none.

        Raises:
            RuntimeError: called from the background thread itself, e.g. by a hook.
            _Ended: at the interpreter's end.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("a synchronous call inside a hook would wait for itself; hooks must not make calls")
        portal = self._portal or self._start()
        try:
            return portal.start_task_soon(partial(call, *args, **kwargs))
        except RuntimeError:
            if self._ended:
                raise _Ended from None
            raise

    def forget(self, items: AsyncGenerator[Any, None]) -> None:
        """Close an async generator without waiting for it; its loop does so by itself when we can't."""
        with contextlib.suppress(RuntimeError):
            if self._portal is not None:
                self._portal.start_task_soon(items.aclose)

    def _start(self) -> BlockingPortal:
        with self._starting:
            if self._portal is not None:
                return self._portal
            if self._ended:
                raise _Ended
            ready: Future[BlockingPortal] = Future()
            self._thread = threading.Thread(target=_serve, args=(ready,), name=THREAD_NAME, daemon=True)
            self._thread.start()
            self._portal = ready.result()
            return self._portal

    def end(self) -> None:
        """Cancel what is under way, close the connections, end the thread."""
        with self._starting:
            self._ended = True
            portal, self._portal = self._portal, None
        if portal is not None and self._thread is not None:
            portal.start_task_soon(portal.stop, True)
            self._thread.join(_SECONDS_TO_END)


def _serve(ready: Future[BlockingPortal]) -> None:
    async def until_stopped() -> None:
        async with BlockingPortal() as portal:
            ready.set_result(portal)
            await portal.sleep_until_stopped()

    try:
        anyio.run(until_stopped)
    except BaseException as error:
        if not ready.done():
            ready.set_exception(error)


_background = _Background()
_left_to_parent: list[_Background] = []
"""Of a forked child: what belongs to the parent's thread. Kept, because collecting it would touch the parent's loop."""


def run(call: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a coroutine function on the background loop and wait for it.

    Context variables flow into it. Ctrl-C while waiting cancels it. What it raises comes without the frames of the
    machinery in between: the traceback goes from the caller's line to the SDK's method.
    """
    try:
        future = _background.begin(call, *args, **kwargs)
        del args, kwargs  # error reporters print the local variables of a traceback's frames
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise
    except MontraError as error:
        raise error.with_traceback(None)  # noqa: B904 - its cause is its own
    except (_Ended, CancelledError):
        _at_the_end()
        raise RuntimeError("the interpreter is shutting down") from None


def behind(facade: Any) -> Any:
    """The async object of a facade; anything else as it is."""
    return getattr(facade, "_async", facade)


def _at_the_end() -> None:
    """Calls of daemon threads end with the process, without a word, as everything else in such a thread does."""
    if threading.current_thread().daemon:
        threading.Event().wait()


def iterate(items: AsyncGenerator[T, None]) -> Generator[T, None, None]:
    """An async generator as a lazy iterator: each item is fetched when it is asked for."""
    try:
        while (item := run(_next, items)) is not _END:
            yield cast("T", item)
    finally:
        _background.forget(items)


async def _next(items: AsyncGenerator[T, None]) -> T | object:
    return await anext(items, _END)


def _in_forked_child() -> None:
    global _background
    _left_to_parent.append(_background)
    _background = _Background()


def _at_exit() -> None:
    _background.end()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)
