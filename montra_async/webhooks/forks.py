"""SQLite and fork: a child inherits SQLite's own records of its locks, and they are the parent's.

What a process knows of its locks on a file stays in SQLite as long as a connection to the file is open. In a child
these records are wrong: they say that somebody in this process is writing, if a thread was at the moment of the fork
(the child then waits for it without end), and that the file is locked by us, though locks are not inherited. So every
store finishes its transaction and closes its file before a fork; parent and child open it again when they need it.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from typing import Any, Protocol

PATIENCE = 10.0
"""Seconds that a fork waits for the transactions of all stores. They take milliseconds, unless the disk hangs."""


class Forkable(Protocol):
    def before_fork(self, patience: float) -> bool: ...
    def after_fork(self, *, quiet: bool, child: bool) -> None: ...


_stores: weakref.WeakSet[Any] = weakref.WeakSet()
_watching = threading.RLock()
_stopped: list[tuple[Forkable, bool]] = []


def watch(store: Forkable) -> None:
    """Tell a store of forks, as long as it lives."""
    with _watching:
        _stores.add(store)


def leave_to_parent(connection: Any) -> None:
    """Keep an inherited connection open until the process is gone: closing it would write into the parent's files.

    For forks that told nobody beforehand, e.g. those of a server written in C.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def _before() -> None:
    import time

    _watching.acquire()  # nobody opens a new store before the fork is over
    until = time.monotonic() + PATIENCE
    _stopped.extend((one, one.before_fork(max(0.0, until - time.monotonic()))) for one in list(_stores))


def _after(*, child: bool) -> None:
    stopped = list(_stopped)
    _stopped.clear()
    for store, quiet in stopped:
        store.after_fork(quiet=quiet, child=child)


def _after_in_parent() -> None:
    _after(child=False)
    _watching.release()


def _after_in_child() -> None:
    global _watching
    _after(child=True)
    _watching = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
