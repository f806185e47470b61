"""The file of profiles, `~/.config/montra/config.toml`. It holds keys: only its owner may read it."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .failures import FAILED, USAGE, CliError
from .json_types import is_object

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

_MAX_SIZE = 1024 * 1024


def config_path() -> Path:
    """Where the file is: `$MONTRA_CONFIG`, else in `$XDG_CONFIG_HOME` or `~/.config`."""
    if given := os.environ.get("MONTRA_CONFIG"):
        return Path(given)
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".config") / "montra" / "config.toml"


def read_config() -> TOMLDocument:
    """The file; an empty document when there is none.

    Raises:
        CliError: it can't be read, is not TOML, or others may read it.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    path = config_path()
    try:
        with path.open("rb") as file:
            _check_access(path, os.fstat(file.fileno()))
            raw = file.read(_MAX_SIZE + 1)
    except FileNotFoundError:
        return tomlkit.document()
    except OSError as error:
        raise CliError(f"{path}: {error.strerror}", USAGE) from None
    if len(raw) > _MAX_SIZE:
        raise CliError(f"{path}: larger than 1 MiB", USAGE)
    try:
        return tomlkit.parse(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise CliError(f"{path}: not UTF-8", USAGE) from None
    except TOMLKitError as error:  # its message may hold a line with a key
        line, column = getattr(error, "line", "?"), getattr(error, "col", "?")
        raise CliError(f"{path}: not TOML (line {line}, column {column})", USAGE) from None


def profile_tables(document: TOMLDocument) -> dict[str, dict[str, Any]]:
    """The profiles by name.

    Args:
        document: the file.

    Raises:
        CliError: it is not built as expected.
    """
    whole: dict[str, Any] = document.unwrap()
    profiles: Any = whole.get("profiles", {})
    if is_object(profiles) and all(is_object(one) for one in profiles.values()):
        return {name: dict(one) for name, one in profiles.items()}
    raise CliError(f"{config_path()}: [profiles.NAME] must be tables", USAGE)


def write_config(document: TOMLDocument) -> None:
    """Replace the file at once, readable by its owner only.

    Args:
        document: what it shall hold.

    Raises:
        CliError: it can't be written.
    """
    path = config_path()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = path.resolve()  # a link stays one
        handle, name = tempfile.mkstemp(prefix=".config-", dir=target.parent)  # with the mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(document.as_string().encode())
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise CliError(f"{path}: {error.strerror}", FAILED) from None


def _check_access(path: Path, info: os.stat_result) -> None:
    """Refuse a file that others may read or change, as ssh does with keys."""
    if os.name != "posix":
        return
    if not stat.S_ISREG(info.st_mode):
        raise CliError(f"{path}: not a regular file", USAGE)
    if info.st_uid not in (os.geteuid(), 0):
        raise CliError(f"{path}: belongs to another user", USAGE)
    if stat.S_IMODE(info.st_mode) & 0o077:
        raise CliError(f"{path}: others may read or change it, and it holds keys", USAGE, f"Run: chmod 600 {path}")
