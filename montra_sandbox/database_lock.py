"""One sandbox per database file: a second one would have another clock, and would send each webhook again."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any

_LOCKS: Any = import_module("fcntl") if find_spec("fcntl") else None  # not on Windows


class DatabaseLock:
    """Held by a lock file beside the database, which is gone when no sandbox runs. A process that dies releases it.

    Without locks of files, as on Windows, nothing is held.

    Args:
        path: the database's file.

    Raises:
        OSError: another sandbox holds it, or the lock file can't be created.
    """

    def __init__(self, path: str) -> None:
        self._path = f"{os.path.realpath(path)}-lock"
        self.descriptor: int | None = None
        """The file descriptor that holds the lock; None when nothing is held."""
        while _LOCKS is not None and self.descriptor is None:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                _LOCKS.flock(descriptor, _LOCKS.LOCK_EX | _LOCKS.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                raise OSError(f"{path}: another running sandbox uses this database; stop it first") from None
            except OSError:  # a file system without locks
                os.close(descriptor)
                return
            if self._is_at_path(descriptor):
                self.descriptor = descriptor
            else:  # its holder removed it in between
                os.close(descriptor)

    def release(self) -> None:
        """Let others use the database. Does nothing when nothing is held."""
        if self.descriptor is not None:
            with suppress(OSError):
                os.unlink(self._path)
            os.close(self.descriptor)
            self.descriptor = None

    def _is_at_path(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self._path))
        except OSError:
            return False
