"""Locks that stay usable in a forked child."""

from __future__ import annotations

import os
import threading
import weakref


class ProcessLock:
    """A lock that is replaced in a forked child, where the thread that may hold it does not exist.

    The data it guards must be consistent between any two instructions, as it is with single operations on dicts.
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
        """Replace the lock, held or not."""
        self._lock = threading.Lock()


_locks: weakref.WeakSet[ProcessLock] = weakref.WeakSet()


def _in_forked_child() -> None:
    for lock in list(_locks):
        lock.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)
