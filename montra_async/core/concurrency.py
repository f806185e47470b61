"""Locks and threads that survive a fork and the end of the interpreter."""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib import import_module
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar


class ProcessLock:
    """A lock that is replaced in a forked child, where the thread that may hold it does not exist.

    The data it guards must be consistent between any two instructions, as it is with single operations on dicts.
    """

    __slots__ = ("__weakref__", "_held", "_lock")

    def __init__(self) -> None:
        self._held = self._lock = threading.Lock()
        _locks.add(self)

    def __enter__(self) -> None:
        lock = self._lock
        lock.acquire()
        self._held = lock

    def __exit__(self, *_: object) -> None:
        self._held.release()  # in a child that a signal handler has forked, the lock is another one by now

    def renew(self) -> None:
        """Replace the lock, held or not."""
        self._lock = threading.Lock()


_locks: weakref.WeakSet[ProcessLock] = weakref.WeakSet()
_lookups: set[Future[Any]] = set()
_LOOKUPS = ("getaddrinfo", "_getaddrinfo_debug", "getnameinfo")
_LOOKUPS_TIMEOUT = 1.0


def _set_up_asyncio() -> None:
    """Let asyncio make its policy now. It does so under a lock, and a child may be forked while a thread holds it."""
    make_policy: Any = getattr(asyncio, "get_event_loop_policy", lambda: None)  # Python 3.16 has none any more
    if sys.version_info < (3, 14):
        make_policy()
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            make_policy()


def _before_fork() -> None:
    """Wait for what threads of ours do under a lock that a child would inherit, and that nobody would release there.

    The codec of host names is imported under the lock of a module, and the C library looks up hosts under locks of its
    own. A child that is forked in that instant would wait at its first call, without end.
    """
    import_module("encodings.idna")
    until = time.monotonic() + _LOOKUPS_TIMEOUT
    with suppress(Exception):  # of gevent's `sleep`
        while _lookups:
            if time.monotonic() > until:
                _lookups.clear()  # the next fork does not wait for them again
            time.sleep(0.001)


def _in_forked_child() -> None:
    for lock in list(_locks):
        lock.renew()
    _lookups.clear()


_set_up_asyncio()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_in_forked_child)


P = ParamSpec("P")
T = TypeVar("T")


class DaemonThreads(ThreadPoolExecutor):
    """An executor whose threads are daemons that are never joined.

    The interpreter joins the threads of a `ThreadPoolExecutor` at its end, for instance one that has been looking up a
    host name for half a minute. It is the base class because asyncio accepts no other as the default executor of a
    loop; only its interface is used.

    Args:
        most: threads at the same time; they are started when they are needed.
        name: name of the threads.
    """

    def __init__(self, most: int, name: str) -> None:
        super().__init__(max_workers=1)
        self._most = most
        self._name = name
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._counting = threading.Lock()
        self._count = 0
        self._idle = 0  # threads that wait for work
        self._pending = 0  # work that no thread has taken

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        if getattr(fn, "__name__", None) in _LOOKUPS:
            _lookups.add(future)
            future.add_done_callback(_lookups.discard)
        with self._counting:
            self._pending += 1
            another = self._pending > self._idle and self._count < self._most
            self._count += another
        self._work.put(partial(_run_into, future, partial(fn, *args, **kwargs)))
        if another:
            self._start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End idle threads now and the others when their work is done. Does not wait.

        Args:
            wait: ignored.
            cancel_futures: ignored.
        """
        with self._counting:
            for _ in range(self._count):
                self._work.put(None)

    def _start(self) -> None:
        try:
            threading.Thread(target=self._serve, name=self._name, daemon=True).start()
        except RuntimeError:  # the interpreter is shutting down, or the system has no thread left
            with self._counting:
                self._count -= 1
                alone = self._count == 0
            if alone:
                self._work.put(None)
                self._run_work()

    def _serve(self) -> None:
        with self._counting:
            self._idle += 1
        self._run_work()

    def _run_work(self) -> None:
        while (work := self._work.get()) is not None:
            with self._counting:
                self._idle -= 1
                self._pending -= 1
            work()
            del work  # else it, and what it refers to, would live until the next
            with self._counting:
                self._idle += 1


async def in_own_thread(name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a daemon thread of its own.

    For what may wait for long: the threads of `asyncio.to_thread` are few, and the application's.

    Args:
        name: of the thread.
        function: what is run, in a copy of the caller's context.
        *args: of the function.
        **kwargs: of the function.
    """
    threads = DaemonThreads(1, name)
    call = partial(contextvars.copy_context().run, partial(function, *args, **kwargs))
    try:
        return await asyncio.get_running_loop().run_in_executor(threads, call)
    finally:
        threads.shutdown()


def _run_into(future: Future[Any], work: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:
        future.set_exception(error)
        del future  # the error's traceback refers to this frame
    else:
        future.set_result(result)
