"""Locks that a fork can't leave locked."""

from __future__ import annotations

import os
import threading
import weakref


class ProcessLock:
    """A lock of one process: a child that is forked while another thread holds it gets a new one.

    What it guards must be right between any two instructions, as single operations on dicts are.
    """

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _locks.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def renew(self) -> None:
        self._lock = threading.Lock()


_locks: weakref.WeakSet[ProcessLock] = weakref.WeakSet()


def _in_forked_child() -> None:
    for lock in list(_locks):
        lock.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)
