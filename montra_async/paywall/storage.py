"""Where sessions of signed-in users live: in memory, in a file, or where you say."""

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
from .errors import PaywallError
from .models import AuthSession
from .token_responses import stored_session

log = logging.getLogger("montra")

_LARGEST_FILE = 1024 * 1024


class SessionStorage(Protocol):
    """Keeps the session of one user. The methods may be coroutines or plain functions (which should be quick).

    What is kept is `AuthSession.to_dict()`: a dict of strings that JSON can hold. It carries secrets.
    """

    def load(self) -> dict[str, Any] | Awaitable[dict[str, Any] | None] | None:
        """What was saved last; None when there is nothing."""
        ...

    def save(self, session: dict[str, Any]) -> Awaitable[None] | None: ...

    def clear(self) -> Awaitable[None] | None: ...


class _Hidden:
    """A session that error reporters do not show."""

    __slots__ = ("session",)

    def __init__(self, session: dict[str, Any]) -> None:
        self.session = session


class MemorySessionStorage:
    """Keeps the session as long as this object lives."""

    def __init__(self) -> None:
        self._kept: _Hidden | None = None

    def load(self) -> dict[str, Any] | None:
        return None if self._kept is None else copy.deepcopy(self._kept.session)

    def save(self, session: dict[str, Any]) -> None:
        self._kept = _Hidden(copy.deepcopy(session))

    def clear(self) -> None:
        self._kept = None


class FileSessionStorage:
    """Keeps the session in a file that only its owner can read (0600). It is replaced as a whole: a reader finds the
    old session or the new one, never a part."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    async def load(self) -> dict[str, Any] | None:
        return await asyncio.to_thread(self._read)

    async def save(self, session: dict[str, Any]) -> None:
        await asyncio.to_thread(self._write, session)

    async def clear(self) -> None:
        await asyncio.to_thread(self._path.unlink, missing_ok=True)

    def _read(self) -> dict[str, Any] | None:
        try:
            with open(self._path, "rb") as file:
                content = file.read(_LARGEST_FILE + 1)
            kept = json.loads(content) if len(content) <= _LARGEST_FILE else None
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError):
            kept = None
        if not is_object(kept):
            log.warning("%s holds no session, which is as good as no file", self._path)
            return None
        return kept

    def _write(self, session: dict[str, Any]) -> None:
        new = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(json.dumps(session))
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise

    def __repr__(self) -> str:
        return f"<FileSessionStorage {getattr(self, '_path', '?')}>"


async def load(storage: SessionStorage) -> AuthSession | None:
    """What a storage keeps; what is no session is as good as none.

    Raises:
        PaywallError: `storage_failed`.
    """
    found = await _asked("load", storage.load)
    if found is None:
        return None
    session = stored_session(found)
    if session is None:
        log.warning("what %s keeps is no session, which is as good as none", type(storage).__name__)
    return session


async def save(storage: SessionStorage, session: AuthSession) -> None:
    """
    Raises:
        PaywallError: `storage_failed`.
    """
    await _asked("save", lambda: storage.save(_plain(session.to_dict())))


async def clear(storage: SessionStorage) -> None:
    """
    Raises:
        PaywallError: `storage_failed`.
    """
    await _asked("clear", storage.clear)


def is_shared(storage: SessionStorage) -> bool:
    """May another process use the same storage?"""
    return not isinstance(storage, MemorySessionStorage)


async def _asked(what: str, ask: Callable[[], Any]) -> Any:
    """The result of a storage's method. Its errors may quote what they failed to keep, so only their kind is told."""
    try:
        given = ask()
        return await given if isawaitable(given) else given
    except Exception as error:
        said = f": {os.strerror(error.errno)}" if isinstance(error, OSError) and error.errno is not None else ""
        problem = f"the session's storage could not {what} ({type(error).__name__}{said})"
    raise PaywallError("storage_failed", problem)


def _plain(value: Any) -> Any:
    """JSON that any storage can keep: a number with a fraction is a float."""
    if isinstance(value, Decimal):
        return float(value)
    if is_object(value):
        return {name: _plain(one) for name, one in value.items()}
    if is_array(value):
        return [_plain(one) for one in value]
    return value
