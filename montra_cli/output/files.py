"""Files that are complete or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ..failures import FAILED, CliError


def write_file(path: str, parts: Iterable[bytes]) -> None:
    """Write a file at once: until all parts are there, an existing one stays as it is.

    Args:
        path: path of the file.
        parts: its content, which may take long.

    Raises:
        CliError: it can't be written.
    """
    target = Path(path)
    if target.exists() and not target.is_file():  # /dev/stdout, a FIFO
        with target.open("wb") as stream:
            stream.writelines(parts)
        return
    target = target.resolve()
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    except OSError as error:
        raise CliError(f"{path}: {error.strerror}", FAILED) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, _mode_of(target))
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def _mode_of(target: Path) -> int:
    """The mode of the file that is replaced; for a new one, as private as the user has set it."""
    if target.exists():
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
