"""The files of an SQLite outbox: where they are, how they are created, and where they can't work."""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

from ...core.errors import ConfigError

WAL_SUFFIXES = ("-wal", "-shm")
"""Suffixes of the files that SQLite creates beside a database."""

LOCK_SUFFIX = ".lock"
"""Suffix of the file of `owner_locks`."""

_SHARED_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "9p", "afs", "ceph", "lustre", "beegfs", "glusterfs"}
    | {"gfs2", "ocfs2", "gpfs", "vboxsf", "vmhgfs", "prl_fs", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone"}
    | {"fuse.glusterfs", "fuse.ceph", "fuse.vmhgfs-fuse", "fuse.grpcfuse"}
)
_MOUNTS = "/proc/self/mountinfo"


def outbox_path(given: str | os.PathLike[str] | None) -> str:
    """The absolute path of an outbox; symbolic links are resolved, so that all names of a file share its locks.

    Args:
        given: the path; `~` is the user's home folder, and a path that is not absolute is resolved now. None, or the
            value of `$MONTRA_OUTBOX`: that one, and if it is blank, `montra/usage.db` in `$XDG_STATE_HOME` or
            `~/.local/state`.

    Raises:
        ConfigError: not the path of a file.
    """
    if given is not None and not _is_path(given):
        raise ConfigError(f"path: the path of a file, not {type(given).__name__}")
    name = os.fsdecode(given) if given is not None else _default_path()
    if name and name.isspace():
        if name != os.environ.get("MONTRA_OUTBOX"):
            raise ConfigError("path: the path of a file, not blank")
        name = _default_path()
    if "://" in name:  # it may hold a password: don't show it
        raise ConfigError("path: the path of a file, not a URL; for Redis use RedisOutbox, or UsageReporter's default")
    if name in ("", ":memory:") or "\0" in name:
        raise ConfigError("path: the path of a file; for an outbox in memory, use MemoryOutbox()")
    real = os.path.realpath(os.path.expanduser(name))
    if os.path.isdir(real):
        raise ConfigError(f"path: {real} is a folder; give the path of a file")
    return real


def _is_path(value: object) -> bool:
    return isinstance(value, (str, bytes, os.PathLike))


def _default_path() -> str:
    chosen = os.environ.get("MONTRA_OUTBOX", "")
    if chosen and not chosen.isspace():
        return chosen
    state = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):  # as the specification of these folders wants it
        state = os.path.expanduser("~/.local/state")
    if not os.path.isabs(state):
        raise ConfigError("path: this user has no home folder; give a path, or set MONTRA_OUTBOX")
    return os.path.join(state, "montra", "usage.db")


def create_folder(path: str) -> None:
    """Create the folder of a file, and those above it, for the user only (0700). Existing ones are not changed.

    Args:
        path: the file.

    Raises:
        OSError: it can't be created.
    """
    folder = Path(path).parent
    missing = [level for level in (folder, *folder.parents) if not level.exists()]
    for level in reversed(missing):
        level.mkdir(mode=0o700, exist_ok=True)


def create_file(path: str) -> bool:
    """Create a file for the user only (0600), durably. SQLite gives the same mode to those beside it.

    An existing file is not opened: closing it would end the locks that SQLite has on it in this process.

    Args:
        path: the file.

    Returns:
        Whether there was none.

    Raises:
        OSError: it can't be created.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return False
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return True


def identity(path: str) -> tuple[int, int] | None:
    """The device and inode of a file; None when there is no such file.

    Args:
        path: the file.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def set_aside(path: str) -> str:
    """Rename a damaged database, and the files beside it.

    Args:
        path: the database.

    Returns:
        Its new path.

    Raises:
        OSError: it can't be renamed.
    """
    base = aside = f"{path}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    number = 1
    while os.path.lexists(aside):
        number += 1
        aside = f"{base}-{number}"
    os.rename(path, aside)
    for suffix in WAL_SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            os.rename(path + suffix, aside + suffix)
    return aside


def refuse_shared_file_system(path: str, mounts: str = _MOUNTS) -> None:
    """Refuse file systems that other machines write to, too: locks and shared memory don't work there.

    Args:
        path: the file. Its folder exists.
        mounts: the list of mounts of Linux. Other systems have none; SQLite and the locks tell what does not work.

    Raises:
        ConfigError: it is on one of them.
    """
    try:
        lines = Path(mounts).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    kind = _file_system(path, lines)
    if kind in _SHARED_FILE_SYSTEMS:
        raise ConfigError(
            f"path: {path} is on a file system of the type {kind}, where locks and shared memory don't work; "
            "use a folder on a local disk, or RedisOutbox"
        )


def _file_system(path: str, lines: list[str]) -> str | None:
    """The type of the file system of a path. Of mounts on the same folder, the last one counts."""
    longest, kind = -1, None
    for line in lines:
        left, separator, right = line.partition(" - ")
        fields, types = left.split(" "), right.split(" ")
        if not separator or len(fields) < 5:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[4])
        inside = point == "/" or path == point or path.startswith(point + "/")
        if inside and len(point) >= longest:
            longest, kind = len(point), types[0]
    return kind
