"""Run the steps of an `EventClaim` on a store: in the calling thread, or from an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import time
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

from .async_store import AsyncStoreAdapter
from .claims import Pause, Step, StoreCall
from .errors import WebhookStoreError
from .stores import DeduplicationStore

T = TypeVar("T")

END_TIMEOUT = 5.0
"""Seconds for which a cancelled delivery waits for an async store to release or mark its event."""


class StoreAccess(Protocol):
    """Makes the calls of a store from an event loop."""

    def check_loop(self) -> None:
        """Raise ConfigError when the store can't be used on the running event loop."""

    async def call(self, call: StoreCall) -> Any:
        """Make a call and return its result."""


AnyStore: TypeAlias = DeduplicationStore | AsyncStoreAdapter


def run_blocking(steps: Generator[Step, Any, T], store: DeduplicationStore) -> T:
    """Run steps in the calling thread."""
    try:
        step = next(steps)
        while True:
            try:
                result: Any = None
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                else:
                    result = _result(step.run(store), store)
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def run_async(steps: Generator[Step, Any, T], access: StoreAccess) -> T:
    """Run steps from an event loop."""
    try:
        step = next(steps)
        while True:
            try:
                result: Any = await (asyncio.sleep(step.seconds) if isinstance(step, Pause) else access.call(step))
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def _result(result: Any, store: object) -> Any:
    """Return the result of a store's method.

    Raises:
        WebhookStoreError: it is an awaitable, which would be taken for True.
    """
    if not inspect.isawaitable(result):
        return result
    if isinstance(result, Coroutine):
        result.close()  # otherwise Python warns that it was never awaited
    problem = f"a method of {type(store).__name__} returned an awaitable instead of its result"
    raise WebhookStoreError(f"{problem}; a store with coroutine functions needs AsyncStoreAdapter")


async def finish(work: Coroutine[Any, Any, object]) -> None:
    """Await a call of a store although the task has been cancelled, for `END_TIMEOUT` at most.

    Another cancellation is raised at once, and the call goes on. The call's errors are ignored.
    """
    task = asyncio.ensure_future(work)
    task.add_done_callback(_ignore_error)
    for _ in range(2):
        await asyncio.wait((task,), timeout=END_TIMEOUT)
        if task.done():
            return
        task.cancel()


def _ignore_error(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()  # otherwise asyncio logs that it was never retrieved


def store_access(store: AnyStore) -> StoreAccess:
    """Return how an event loop calls this store."""
    if isinstance(store, AsyncStoreAdapter):
        return _CoroutineAccess(store)
    if getattr(store, "blocking", True) is False:
        return _DirectAccess(store)
    return _ThreadAccess(store)


class _DirectAccess:
    """For stores that never block."""

    def __init__(self, store: DeduplicationStore) -> None:
        self._store = store

    def check_loop(self) -> None:
        """Any event loop will do."""

    async def call(self, call: StoreCall) -> Any:
        return _result(call.run(self._store), self._store)


async def _awaited(undo: Callable[[Any], Any], store: object) -> None:
    await undo(store)


class _CoroutineAccess:
    """For stores whose methods are coroutine functions."""

    def __init__(self, store: AsyncStoreAdapter) -> None:
        self._store = store

    def check_loop(self) -> None:
        self._store.on_this_loop()

    async def call(self, call: StoreCall) -> Any:
        store = self._store.on_this_loop()
        try:
            return _result(await call.run(store), store)
        except asyncio.CancelledError:
            if call.undo is not None:  # the call may have reached the store
                await finish(_awaited(call.undo, store))
            raise


class _ThreadAccess:
    """For stores that block."""

    def __init__(self, store: DeduplicationStore) -> None:
        self._store = store
        self._threads = threads_of(store)
        self._timeout: float | None = getattr(store, "timeout", None)

    def check_loop(self) -> None:
        """Any event loop will do."""

    async def call(self, call: StoreCall) -> Any:
        return await self._threads.call(call, self._store, self._timeout)


class StoreThreads:
    """A few threads for the calls of one store, started when they are needed, and started anew after a fork.

    The default threads of the event loop would not do: handlers may occupy all of them, and claims must be renewed
    while handlers run.

    Args:
        max_threads: how many calls run at the same time. Default: 4.
    """

    def __init__(self, max_threads: int = 4) -> None:
        self._max_threads = max_threads
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Run a function in a thread."""
        if self._pool is None or self._process != os.getpid():
            self._pool = ThreadPoolExecutor(self._max_threads, "montra-webhook-store")
            self._process = os.getpid()
        return self._pool.submit(work)

    async def call(self, call: StoreCall, store: DeduplicationStore, timeout: float | None) -> Any:
        """Make a call of the store in a thread.

        Args:
            call: the call.
            store: the store.
            timeout: seconds to wait for a free thread and the result; None for no limit.

        Raises:
            WebhookStoreError: it took longer. A call that succeeds later is undone.
        """
        submitted = self.submit(lambda: _result(call.run(store), store))
        future = asyncio.wrap_future(submitted)
        taken = False
        try:
            await asyncio.wait((future,), timeout=timeout)  # not `wait_for`: before Python 3.12 it loses cancellations
            if not future.done():
                raise WebhookStoreError(f"no response from {type(store).__name__} within {timeout:g} s")
            taken = True
            return future.result()
        finally:
            if not taken:  # a cancellation may also come after the call has ended
                submitted.cancel()
                if call.undo is not None:
                    submitted.add_done_callback(self._undo_later(call.undo, store))
                future.cancel()
            del future, submitted  # their error refers to this frame, which would refer to them

    def _undo_later(self, undo: Callable[[Any], Any], store: DeduplicationStore) -> Callable[[Future[Any]], None]:
        def undo_now() -> None:
            with contextlib.suppress(Exception):  # the claim expires anyway
                _result(undo(store), store)

        def after(submitted: Future[Any]) -> None:
            if not submitted.cancelled() and submitted.exception() is None:
                try:
                    self.submit(undo_now)
                except RuntimeError:  # the interpreter is shutting down, and waits for this thread
                    undo_now()

        return after


_threads: WeakKeyDictionary[Any, StoreThreads] = WeakKeyDictionary()
_shared_threads = StoreThreads()


def threads_of(store: DeduplicationStore) -> StoreThreads:
    """Return the threads of a store, which all receivers with this store share."""
    try:
        return _threads.setdefault(store, StoreThreads())
    except TypeError:  # neither hashable nor weakly referable
        return _shared_threads
