"""Where sessions of signed-in users live: in memory, in a file, or where you say."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
from collections.abc import Awaitable
from inspect import isawaitable
from pathlib import Path
from typing import Any, Protocol

from ..core.serde import SerdeError
from ..core.shapes import is_object
from .models import AuthSession


class SessionStorage(Protocol):
    """Keeps the session of one user. The methods may be coroutines or plain functions (which should be quick).

    What is kept is `AuthSession.to_dict()`: a dict of strings that JSON can hold. It carries secrets.
    """

    def load(self) -> dict[str, Any] | Awaitable[dict[str, Any] | None] | None:
        """What was saved last; None when there is nothing."""
        ...

    def save(self, session: dict[str, Any]) -> Awaitable[None] | None: ...

    def clear(self) -> Awaitable[None] | None: ...


class MemorySessionStorage:
    """Keeps the session as long as this object lives."""

    def __init__(self) -> None:
        self._kept: dict[str, Any] | None = None

    def load(self) -> dict[str, Any] | None:
        return self._kept

    def save(self, session: dict[str, Any]) -> None:
        self._kept = session

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
        await asyncio.to_thread(self._write, json.dumps(session))

    async def clear(self) -> None:
        await asyncio.to_thread(self._path.unlink, missing_ok=True)

    def _read(self) -> dict[str, Any] | None:
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            return None  # not ours, or broken: as good as none
        return kept if is_object(kept) else None

    def _write(self, text: str) -> None:
        new = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise

    def __repr__(self) -> str:
        return f"<FileSessionStorage {self._path}>"


async def load(storage: SessionStorage) -> AuthSession | None:
    """What a storage keeps; what is no session is as good as none."""
    kept = storage.load()
    found = await kept if isawaitable(kept) else kept
    if found is None:
        return None
    try:
        return AuthSession.from_dict(found)
    except (SerdeError, TypeError, ValueError):
        return None


async def save(storage: SessionStorage, session: AuthSession) -> None:
    saved = storage.save(session.to_dict())
    if isawaitable(saved):
        await saved


async def clear(storage: SessionStorage) -> None:
    cleared = storage.clear()
    if isawaitable(cleared):
        await cleared
