"""What an error of SQLite means for an outbox."""

from __future__ import annotations

import errno
import sqlite3

from ..errors import OutboxError
from .disk_reserve import free_space

_LITTLE_SPACE = 256 * 1024
_LASTING = ("readonly", "unable to open", "I/O")


class DiskFullError(OutboxError):
    """No space left on the disk. What was to be recorded is not recorded."""


class DamagedError(Exception):
    """SQLite has found damage. Never leaves the outbox."""


def is_locked(error: sqlite3.Error) -> bool:
    """Whether others have locked the file.

    Args:
        error: the error.
    """
    return isinstance(error, sqlite3.OperationalError) and ("locked" in str(error) or "locking" in str(error))


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is damaged, or no database. Python 3.10 tells the codes of SQLite only by the class.

    Args:
        error: the error.
    """
    return type(error) is sqlite3.DatabaseError


def is_lasting(error: sqlite3.Error) -> bool:
    """Whether the connection can't be used after it.

    Args:
        error: the error.
    """
    return is_damage(error) or any(text in str(error) for text in _LASTING)


def translated(error: sqlite3.Error, path: str) -> Exception:
    """The error to raise for one of SQLite.

    Args:
        error: the error.
        path: the file.
    """
    text = str(error)
    if is_damage(error):
        damaged = DamagedError(text)
        damaged.__cause__ = error
        return damaged
    if "full" in text or ("I/O" in text and _has_little_space(path)):
        return DiskFullError(f"{path}: no space left on the disk ({text})")
    if "readonly" in text:
        return OutboxError(f"{path}: read-only; check the permissions of the file and its folder")
    return OutboxError(f"{path}: {text}")


def translated_os_error(error: OSError, path: str) -> OutboxError:
    """The error to raise for one of the operating system.

    Args:
        error: the error.
        path: the file.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(f"{path}: no space left on the disk ({error.strerror})")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return OutboxError(f"{path}: {error.strerror}; check the permissions of the file and its folder")
    return OutboxError(f"{path}: {error.strerror or error}")


def _has_little_space(path: str) -> bool:
    try:
        return free_space(path) < _LITTLE_SPACE
    except OSError:
        return False
