"""A file that keeps disk space for the time when there is none left: sending needs some, too."""

from __future__ import annotations

import contextlib
import os

SIZE = 6 * 1024 * 1024
"""Bytes of the file: what a checkpoint of the write-ahead log adds to the database, and some more. When it is done, the
space of the log is used again, so that sending goes on."""

_MARGIN = _PART = 1024 * 1024


class DiskReserve:
    """The file of one outbox. All processes that share the outbox share it.

    Args:
        path: the file.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def exists(self) -> bool:
        """Whether the space is reserved."""
        return os.path.lexists(self.path)

    def release(self) -> bool:
        """Delete the file. Returns whether that has made room."""
        try:
            os.unlink(self.path)
        except OSError:
            return False
        return True

    def ensure(self) -> bool:
        """Create the file, if there is none and there is room for it. Returns whether the space is reserved."""
        if self.exists():
            return True
        try:
            if free_space(self.path) < SIZE + _MARGIN:
                return False
            self._create()
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            return False
        return True

    def _create(self) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            part = os.urandom(_PART)  # a file system that compresses would reserve nothing for zeros
            missing = SIZE
            while missing:
                missing -= os.write(descriptor, part[:missing])
        finally:
            os.close(descriptor)


def free_space(path: str) -> int:
    """Bytes that this user may still write to the file system of a file.

    Args:
        path: the file; its folder exists.

    Raises:
        OSError: it can't be told.
    """
    found = os.statvfs(os.path.dirname(path))
    return found.f_bavail * found.f_frsize
