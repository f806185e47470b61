"""Session storages: in memory, in a file, or your own."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import logging
import os
import secrets
from collections.abc import Awaitable, Callable
from decimal import Decimal
from inspect import isawaitable
from pathlib import Path
from typing import Any, Protocol

from ..core.type_guards import is_array, is_object
from .auth_models import AuthSession
from .errors import PaywallError
from .token_responses import stored_session

log: logging.Logger = logging.getLogger("montra")

_MAX_FILE_SIZE = 1024 * 1024


class SessionStorage(Protocol):
    """Stores the session of one user. Each method may be a coroutine, or a plain function that does not block.

    A session is `AuthSession.to_dict()`: a dict that can be written as JSON. It holds the user's tokens.
    """

    def load(self) -> dict[str, Any] | Awaitable[dict[str, Any] | None] | None:
        """Load the session.

        Returns:
            What was saved last; None when there is nothing.
        """
        ...

    def save(self, session: dict[str, Any]) -> Awaitable[None] | None:
        """Store the session. Replaces the one that was saved before.

        Args:
            session: the session as a dict that can be written as JSON.
        """
        ...

    def clear(self) -> Awaitable[None] | None:
        """Remove the session, if there is one."""
        ...


class _HiddenSession:
    """A session without a `repr`: error reporters record the local variables of frames."""

    __slots__ = ("session",)

    def __init__(self, session: dict[str, Any]) -> None:
        self.session = session


class MemorySessionStorage:
    """Stores the session in memory, as long as this object exists."""

    def __init__(self) -> None:
        self._hidden: _HiddenSession | None = None

    def load(self) -> dict[str, Any] | None:
        """A copy of the session; None when there is none."""
        return None if self._hidden is None else copy.deepcopy(self._hidden.session)

    def save(self, session: dict[str, Any]) -> None:
        """Store a copy of the session.

        Args:
            session: the session as a dict.
        """
        self._hidden = _HiddenSession(copy.deepcopy(session))

    def clear(self) -> None:
        """Remove the session, if there is one."""
        self._hidden = None


class FileSessionStorage:
    """Stores the session as JSON in a file that only its owner can read (mode 0600).

    The file is replaced atomically: a reader sees the old session or the new one.

    Args:
        path: path of the file. Its directory must exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    async def load(self) -> dict[str, Any] | None:
        """Read the file, in a thread.

        Returns:
            None when there is no file, or it holds no JSON object of at most 1 MiB.

        Raises:
            OSError: the file can't be read.
        """
        return await asyncio.to_thread(self._read)

    async def save(self, session: dict[str, Any]) -> None:
        """Write the file, in a thread.

        Args:
            session: the session as a dict that can be written as JSON.

        Raises:
            OSError: the file can't be written.
        """
        await asyncio.to_thread(self._write, session)

    async def clear(self) -> None:
        """Delete the file, if there is one, in a thread.

        Raises:
            OSError: the file can't be deleted.
        """
        await asyncio.to_thread(self._path.unlink, missing_ok=True)

    def _read(self) -> dict[str, Any] | None:
        try:
            with open(self._path, "rb") as file:
                content = file.read(_MAX_FILE_SIZE + 1)
            session = json.loads(content) if len(content) <= _MAX_FILE_SIZE else None
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError):
            session = None
        if not is_object(session):
            log.warning("%s holds no valid session; it is ignored", self._path)
            return None
        return session

    def _write(self, session: dict[str, Any]) -> None:
        temporary = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(json.dumps(session))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    def __repr__(self) -> str:
        return f"<FileSessionStorage {getattr(self, '_path', '?')}>"


async def load(storage: SessionStorage) -> AuthSession | None:
    """The session in a storage; None when there is none, or it is not valid.

    Raises:
        PaywallError: `storage_failed`.
    """
    value = await _call_storage("load", storage.load)
    if value is None:
        return None
    session = stored_session(value)
    if session is None:
        log.warning("%s holds no valid session; it is ignored", type(storage).__name__)
    return session


async def save(storage: SessionStorage, session: AuthSession) -> None:
    """
    Raises:
        PaywallError: `storage_failed`.
    """
    await _call_storage("save", lambda: storage.save(_as_json(session.to_dict())))


async def clear(storage: SessionStorage) -> None:
    """
    Raises:
        PaywallError: `storage_failed`.
    """
    await _call_storage("clear", storage.clear)


def is_shared(storage: SessionStorage) -> bool:
    """Whether another process may use the same storage."""
    return not isinstance(storage, MemorySessionStorage)


async def _call_storage(name: str, method: Callable[[], Any]) -> Any:
    """The result of a storage's method. Its errors may quote tokens, so only their type is reported.

    Raises:
        PaywallError: `storage_failed`.
    """
    try:
        result = method()
        return await result if isawaitable(result) else result
    except Exception as error:
        reason = f": {os.strerror(error.errno)}" if isinstance(error, OSError) and isinstance(error.errno, int) else ""
        problem = f"the session's storage could not {name} ({type(error).__name__}{reason})"
    raise PaywallError("storage_failed", problem)


def _as_json(value: Any) -> Any:
    """JSON that any storage can write: a number with a fraction is a float."""
    if isinstance(value, Decimal):
        return float(value)
    if is_object(value):
        return {name: _as_json(item) for name, item in value.items()}
    if is_array(value):
        return [_as_json(item) for item in value]
    return value
