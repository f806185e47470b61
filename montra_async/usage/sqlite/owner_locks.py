"""Locks on a file beside an outbox: who of its owners is alive, and who may write.

Each owner holds a lock on one byte of the file as long as it lives. The kernel releases it when the process ends, and
not before: neither a paused process nor a clock that is set loses it. Byte 0 is the mutex of those that write. Byte 1
is held by the one that is next, so that the one who has just released the mutex can't take it again before others.

Locks belong to a process and a file, not to a descriptor: they don't exclude each other within a process, and closing
any descriptor of the file releases them all. Each process therefore has one descriptor per file, in `_files`.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import importlib.util
import os
import random
import threading
import time
from typing import Any

from ...core.errors import ConfigError

_FCNTL: Any = importlib.import_module("fcntl") if importlib.util.find_spec("fcntl") else None  # not on Windows
_MUTEX, _NEXT, _OWNERS = 0, 1, 1
_SHORTEST_PAUSE, _LONG_PAUSE = 0.0001, 0.002
_FREQUENT_POLLS = 300
_HELD = (errno.EACCES, errno.EAGAIN)

_files: dict[tuple[int, int], LockFile] = {}
_registry = threading.RLock()  # an outbox may be collected, and so closed, while its thread holds this


class LockFile:
    """The locks of this process on one file. Made by `open_lock_file`; any thread may use it.

    Args:
        path: the file.
        descriptor: a descriptor of it, for reading and writing.
        identity: its device and inode.
    """

    def __init__(self, path: str, descriptor: int, identity: tuple[int, int]) -> None:
        self.path = path
        self.identity = identity
        self.users = 0
        """Number of outboxes of this process that use it."""
        self._descriptors = [descriptor]
        self._owners: set[int] = set()
        self._mutex = threading.Lock()
        self._process = os.getpid()

    def add_descriptor(self, descriptor: int) -> None:
        """Keep another descriptor of the file open as long as this one.

        Args:
            descriptor: the descriptor.
        """
        self._descriptors.append(descriptor)

    def close(self) -> None:
        """Release all locks of this process. Locks of the process that it was forked from stay."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()

    def replaced(self) -> bool:
        """Whether the file was deleted or replaced, so that others would lock another one."""
        try:
            found = os.stat(self.path)
        except OSError:
            return True
        return (found.st_dev, found.st_ino) != self.identity

    def mark(self) -> None:
        """Write into the file that there is an outbox beside it."""
        if not self.is_marked():
            os.pwrite(self._descriptors[0], b"Lock file of an outbox of montra. Don't delete it.\n", 0)

    def is_marked(self) -> bool:
        """Whether there was an outbox beside the file at some time, which may be damaged now."""
        return os.fstat(self._descriptors[0]).st_size > 0

    def forget_parent(self) -> None:
        """Begin without locks in a forked process: they are not inherited."""
        if self._process != os.getpid():
            self._owners, self._mutex, self._process = set(), threading.Lock(), os.getpid()

    def acquire_mutex(self, until: float) -> bool:
        """Wait for the mutex of those that write, in this process and in others.

        Args:
            until: when to give up, as `time.monotonic`.

        Returns:
            Whether it was acquired.
        """
        if not self._mutex.acquire(timeout=max(0.0, until - time.monotonic())):
            return False
        acquired = False
        try:
            if self._wait_for(_NEXT, until):
                try:
                    acquired = self._wait_for(_MUTEX, until)
                finally:
                    self._unlock(_NEXT)
        finally:
            if not acquired:
                self._mutex.release()
        return acquired

    def _wait_for(self, byte: int, until: float) -> bool:
        """Poll until the byte is locked. Who has waited for longer polls more often, until it looks hopeless."""
        attempt = 0
        while not self._lock(byte):
            if time.monotonic() >= until:
                return False
            pause = _LONG_PAUSE if attempt > _FREQUENT_POLLS else _LONG_PAUSE / (2 + attempt)
            time.sleep(max(_SHORTEST_PAUSE, pause) * random.uniform(0.5, 1.0))  # noqa: S311 - spreads those that wait
            attempt += 1
        return True

    def release_mutex(self) -> None:
        """Release the mutex."""
        try:
            self._unlock(_MUTEX)
        finally:
            self._mutex.release()

    def add_owner(self, number: int) -> bool:
        """Become an owner. The caller holds the mutex.

        Args:
            number: at least 1.

        Returns:
            False when another owner has this number.
        """
        if number in self._owners or not self._lock(number + _OWNERS):
            return False
        self._owners.add(number)
        return True

    def remove_owner(self, number: int) -> None:
        """Stop being an owner.

        Args:
            number: the owner's number.
        """
        if number in self._owners:
            self._owners.discard(number)
            self._unlock(number + _OWNERS)

    def owner_lives(self, number: int) -> bool:
        """Whether an owner lives, in this process or another. The caller holds the mutex.

        Args:
            number: the owner's number.
        """
        if number in self._owners:
            return True  # a trial would succeed within the process that has the lock, and end it
        if not self._lock(number + _OWNERS):
            return True
        self._unlock(number + _OWNERS)
        return False

    def _lock(self, byte: int) -> bool:
        try:
            _FCNTL.lockf(self._descriptors[0], _FCNTL.LOCK_EX | _FCNTL.LOCK_NB, 1, byte)
        except OSError as error:
            if error.errno in _HELD:
                return False
            raise ConfigError(
                f"{self.path}: locks don't work on this file system ({error.strerror}); use a folder on a local disk"
            ) from None
        return True

    def _unlock(self, byte: int) -> None:
        with contextlib.suppress(OSError):
            _FCNTL.lockf(self._descriptors[0], _FCNTL.LOCK_UN, 1, byte)


def open_lock_file(path: str) -> LockFile:
    """Open a lock file, created with the mode 0600 if necessary. Give it back with `close_lock_file`.

    Args:
        path: the file.

    Raises:
        ConfigError: this platform has no such locks.
        OSError: it can't be opened.
    """
    if _FCNTL is None:
        raise ConfigError("SqliteOutbox needs byte-range locks (fcntl), which this platform has not: use RedisOutbox")
    with _registry:
        file = _registered(path)
        if file is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o600)
            opened = os.fstat(descriptor)
            identity = opened.st_dev, opened.st_ino
            file = _files.get(identity)
            if file is None:
                file = _files[identity] = LockFile(path, descriptor, identity)
            else:  # a link was made meanwhile
                file.add_descriptor(descriptor)
        file.forget_parent()
        file.users += 1
        return file


def close_lock_file(file: LockFile) -> None:
    """Close a lock file, when it is not used any more by others of this process.

    Args:
        file: from `open_lock_file`.
    """
    with _registry:
        file.users -= 1
        if file.users == 0:
            _files.pop(file.identity, None)
            file.close()


def _registered(path: str) -> LockFile | None:
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return _files.get((found.st_dev, found.st_ino))


def _after_fork_in_child() -> None:
    global _registry
    _registry = threading.RLock()
    for file in _files.values():
        file.forget_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
