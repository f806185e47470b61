"""The sandbox and fork.

SQLite has locks for the whole process. A child that was forked while the server's thread was inside SQLite inherits
them locked, for a thread that it does not have, and waits without end as soon as it opens a database of its own. Before
a fork, the event loops of all running server threads are therefore brought to a standstill, between two callbacks; only
they use SQLite. After it they go on, in the parent.

A child also inherits the servers' sockets and the locks of their databases, and gives them up. Otherwise the port of a
server that the parent has stopped, and its database, would stay in use, and its clients would wait for responses
without end.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

FORK_TIMEOUT = 1.0
"""Seconds that a fork waits for the servers to stand still. It takes milliseconds, unless a callback blocks."""

_LONGEST_STANDSTILL = 60.0
"""Seconds; a fork that takes longer does not keep the servers any more."""

_LOOK_INTERVAL = 0.005


class ForkAware(Protocol):
    """A thread with an event loop."""

    def is_running_elsewhere(self) -> bool:
        """Whether its thread runs, in this process, and is not the caller's."""
        ...

    def interrupt(self, function: Callable[[], object]) -> bool:
        """Have the event loop call a function soon. Returns False when there is no event loop yet."""
        ...

    def descriptors(self) -> list[int]:
        """The file descriptors of its sockets and locks."""
        ...


class _Standstill:
    """The servers stand still from `begin` to `end`."""

    def __init__(self) -> None:
        self._over = threading.Event()

    def begin(self) -> None:
        until = time.monotonic() + FORK_TIMEOUT
        reached = [(thread, threading.Event()) for thread in _running()]
        for thread, event in reached:
            stand = partial(self._stand, event)
            while thread.is_running_elsewhere() and not thread.interrupt(stand) and time.monotonic() < until:
                time.sleep(_LOOK_INTERVAL)
        for thread, event in reached:
            while thread.is_running_elsewhere() and time.monotonic() < until and not event.wait(_LOOK_INTERVAL):
                pass

    def _stand(self, reached: threading.Event) -> None:
        reached.set()
        self._over.wait(_LONGEST_STANDSTILL)

    def end(self) -> None:
        self._over.set()


class ForkLock:
    """A lock that is replaced in a forked child, where the thread that may hold it does not exist."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _locks[id(self)] = self

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Replace the lock, held or not."""
        self._lock = threading.Lock()


# Their values are copied at once, whatever other threads add meanwhile, which a `WeakSet` does not do.
_threads: weakref.WeakValueDictionary[int, ForkAware] = weakref.WeakValueDictionary()
_locks: weakref.WeakValueDictionary[int, ForkLock] = weakref.WeakValueDictionary()
_forking: dict[int, _Standstill] = {}
"""By the thread that forks: several may at the same time."""


def watch(thread: ForkAware) -> None:
    """Bring a thread's event loop to a standstill before each fork, as long as the thread lives.

    Args:
        thread: the thread.
    """
    _threads[id(thread)] = thread


def _running() -> list[ForkAware]:
    found = [reference() for reference in _threads.valuerefs()]
    return [thread for thread in found if thread is not None and thread.is_running_elsewhere()]


def _before() -> None:
    standstill = _forking[threading.get_ident()] = _Standstill()
    standstill.begin()


def _after_in_parent() -> None:
    standstill = _forking.pop(threading.get_ident(), None)
    if standstill is not None:
        standstill.end()


def _after_in_child() -> None:
    _forking.clear()
    for lock in [reference() for reference in _locks.valuerefs()]:
        if lock is not None:
            lock.renew()
    for thread in [reference() for reference in _threads.valuerefs()]:
        if thread is not None:  # never freed: closing its database would write to the parent's file
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(thread))
            _give_up(thread.descriptors())
    _threads.clear()


def _give_up(descriptors: list[int]) -> None:
    """Close sockets without their objects, which would unregister them from the parent's selector.

    The numbers stay in use, by nothing, so that these objects can't close what the child opens later.
    """
    if not descriptors:
        return
    with suppress(OSError):  # no descriptor is free
        nothing = os.open(os.devnull, os.O_RDONLY)
        try:
            for descriptor in descriptors:
                os.dup2(nothing, descriptor, inheritable=False)
        finally:
            os.close(nothing)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
