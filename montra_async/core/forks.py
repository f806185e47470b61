"""SQLite and fork: a child inherits SQLite's records of its locks, and they are wrong.

What a process knows of its locks on a file stays in SQLite as long as a connection to the file is open. In a child
these records say that a thread of this process is writing, if one was when the process was forked (the child would wait
for it without end), and that this process has locked the file, though locks are not inherited. Every store therefore
finishes its transaction and closes its file before a fork; parent and child open it again when they need it.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
import weakref
from typing import Any, Protocol

from . import concurrency as concurrency  # registers its hook first, so that look-ups are waited for last

log: logging.Logger = logging.getLogger("montra")

FORK_TIMEOUT = 10.0
"""Seconds that a fork waits for the transactions of all stores. They take milliseconds, unless the disk hangs."""


class ForkAware(Protocol):
    """A store that is told of forks.

    One whose lock is taken by threads that hold another store's lock has a `fork_order` above that of the other, which
    is 0 without one: a fork takes all locks in this order.
    """

    def before_fork(self, timeout: float) -> bool: ...
    def after_fork(self, *, closed: bool, child: bool) -> None: ...


_stores: weakref.WeakSet[Any] = weakref.WeakSet()
_lock = threading.RLock()
_told: list[tuple[ForkAware, bool]] = []


def watch(store: ForkAware) -> None:
    """Tell a store of forks, as long as it lives."""
    with _lock:
        _stores.add(store)


def leave_to_parent(connection: Any) -> None:
    """Keep an inherited connection open until the process ends: closing it would write to the parent's files.

    This is for forks without Python's hooks, e.g. those of a server written in C.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def _order(store: ForkAware) -> int:
    order: int = getattr(store, "fork_order", 0)
    return order


def _before() -> None:
    import time

    _lock.acquire()  # no store is created before the fork is over
    until = time.monotonic() + FORK_TIMEOUT
    for store in sorted(_stores, key=_order):
        try:
            closed = store.before_fork(max(0.0, until - time.monotonic()))
        except BaseException:  # of a signal handler, which must not keep the others from being told
            log.exception("a store could not be closed before a fork")
            closed = False
        _told.append((store, closed))


def _after(*, child: bool) -> None:
    told = list(_told)
    _told.clear()
    for store, closed in told:
        try:
            store.after_fork(closed=closed, child=child)
        except BaseException:
            log.exception("a store can't be used after a fork")


def _after_in_parent() -> None:
    try:
        _after(child=False)
    finally:
        _lock.release()


def _after_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    _after(child=True)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
