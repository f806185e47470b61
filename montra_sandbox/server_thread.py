"""The thread in which a sandbox runs: with an event loop of its own, which no caller can block."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, TypeVar

from .forks import watch

_EXIT_TIMEOUT = 2.0

R = TypeVar("R")
T = TypeVar("T")


class Completion(Awaitable[None]):
    """Returned by methods that serve synchronous and asynchronous callers.

    Without a running event loop the work is done already. In a coroutine it is done by `await`.

    Args:
        pending: the work; None when it is done.
    """

    def __init__(self, pending: Coroutine[Any, Any, None] | None = None) -> None:
        self._pending = pending

    def __await__(self) -> Generator[Any, None, None]:
        pending, self._pending = self._pending, None
        if pending is not None:
            yield from pending.__await__()


def is_in_coroutine() -> bool:
    """Whether the caller is a coroutine of asyncio, whose event loop must not be blocked.

    An event loop that runs beneath synchronous code is none: the synchronous API of Playwright does that.
    """
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False


class ServerThread(Generic[T]):
    """Runs `open_server`, then an event loop until `stop`, then `close_server`, all in one thread.

    Args:
        open_server: makes what is served.
        close_server: ends it.
        descriptors: the file descriptors of the sockets and locks of what is served, which a forked child gives up.
        name: the thread's name.
    """

    def __init__(
        self,
        open_server: Callable[[], Awaitable[T]],
        close_server: Callable[[T], Awaitable[None]],
        *,
        descriptors: Callable[[T], list[int]] | None = None,
        name: str = "montra-sandbox",
    ) -> None:
        self._open_server = open_server
        self._close_server = close_server
        self._descriptors = descriptors
        self._served: T | None = None  # beside `_opened`, whose lock another thread may hold in a forked child
        self._opened: Future[T] = Future()
        self._ended: Future[None] = Future()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_accepting = False
        self._pid = os.getpid()
        # A daemon: a sandbox that nobody stops must not keep the process from exiting.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> T:
        """Start the thread; returns what `open_server` made.

        Raises:
            BaseException: what `open_server` raised.
        """
        _STARTED.add(self)
        watch(self)
        self._thread.start()
        try:
            return self._opened.result()
        except BaseException:
            if self._opened.done():
                self._thread.join()
            else:  # Ctrl-C while it starts
                self._opened.add_done_callback(lambda _: self._request_stop())
            raise

    def call(self, function: Callable[[], R]) -> R:
        """Run a function in the thread and wait for its result.

        Args:
            function: the function; it must not block.

        Raises:
            RuntimeError: the thread has ended, or was started before a fork.
        """
        if threading.current_thread() is self._thread:
            return function()
        future: Future[R] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except BaseException as error:
                    future.set_exception(error)

        self._post(run)
        return _result_of(future)

    def submit(self, function: Callable[[], Coroutine[Any, Any, R]]) -> Future[R]:
        """Run a coroutine in the thread; returns its future.

        Args:
            function: makes the coroutine, in the thread.

        Raises:
            RuntimeError: the thread has ended, or was started before a fork.
        """
        future: Future[R] = Future()

        async def run() -> None:
            try:
                future.set_result(await function())
            except asyncio.CancelledError:
                future.set_exception(not_running())
                raise
            except BaseException as error:
                future.set_exception(error)

        def begin() -> None:
            task = asyncio.ensure_future(run())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self._post(begin)
        return future

    def stop(self) -> None:
        """End the thread, after running requests, and wait for it."""
        if self._pid == os.getpid():  # otherwise the thread is the parent's
            self._request_stop()
            self._thread.join()
            self._ended.result()

    async def stop_async(self) -> None:
        """The same in a coroutine."""
        if self._pid == os.getpid():
            self._request_stop()
            await asyncio.shield(asyncio.wrap_future(self._ended))  # a cancellation must not reach the server's thread
            self._thread.join()

    def stop_at_exit(self) -> None:
        """End the thread when the process exits, but do not wait long."""
        if self._pid == os.getpid():
            self._request_stop()
            self._thread.join(_EXIT_TIMEOUT)

    def is_running_elsewhere(self) -> bool:
        """Whether the thread runs, in this process, and is not the caller's."""
        is_here = self._pid != os.getpid() or threading.current_thread() is self._thread
        return not is_here and self._thread.is_alive()

    def interrupt(self, function: Callable[[], object]) -> bool:
        """Have the event loop call a function soon, also while it opens or closes what is served.

        Args:
            function: the function. It is not called when the thread has ended.

        Returns:
            Whether there is an event loop already.
        """
        if self._loop is not None:
            with suppress(RuntimeError):  # it is closed
                self._loop.call_soon_threadsafe(function)
        return self._loop is not None

    def descriptors(self) -> list[int]:
        """The file descriptors of its sockets and locks."""
        return self._descriptors(self._served) if self._descriptors and self._served is not None else []

    def _post(self, callback: Callable[[], object]) -> None:
        if self._pid != os.getpid():
            raise not_running()
        with self._lock:  # so that nothing is posted behind the end
            if not self._is_accepting:
                raise not_running()
            assert self._loop is not None
            # In the server's context, which has its generator of ids, instead of the caller's.
            self._loop.call_soon_threadsafe(callback, context=self._context)

    def _request_stop(self) -> None:
        if self._pid != os.getpid():
            return
        with self._lock:
            if self._is_accepting and self._loop is not None:
                self._is_accepting = False
                self._loop.call_soon_threadsafe(self._stop.set)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if not self._opened.done():
                self._opened.set_exception(error)
                self._ended.set_result(None)
            else:
                self._ended.set_exception(error)
        else:
            self._ended.set_result(None)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Future[None]] = set()
        opened = self._served = await self._open_server()
        self._context = contextvars.copy_context()
        with self._lock:
            self._is_accepting = True
        self._opened.set_result(opened)
        try:
            await self._stop.wait()
        finally:
            for task in self._tasks:
                task.cancel()
            await self._close_server(opened)
            self._served = None


_STARTED: weakref.WeakSet[ServerThread[Any]] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """Close the databases of sandboxes that nobody has stopped."""
    for thread in list(_STARTED):
        thread.stop_at_exit()


def not_running() -> RuntimeError:
    """The error of everything that needs a running sandbox."""
    return RuntimeError(
        "the sandbox is not running: use `with Sandbox() as sandbox:`, `async with` or `sandbox.start()` first"
    )


def _result_of(future: Future[R]) -> R:
    try:
        return future.result()
    finally:
        del future  # an exception holds this frame, and the frame the future: a cycle that keeps both
