"""The synchronous facades with the face of the async clients: each call blocks a thread, as legacy code does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import montra_sync

_END = object()
_RENAMED = {"aclose": "close"}
_PLAIN = {"with_options", "for_user", "set_identity", "with_storage", "metered"}
"""Methods that are no coroutines in the async clients either."""


class Awaited:
    def __init__(self, facade: Any) -> None:
        object.__setattr__(self, "facade", facade)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.facade, _RENAMED.get(name, name))
        if not callable(value):
            return value
        if name in _PLAIN:
            return lambda *args, **fields: _wrapped(value(*map(_bare, args), **_all_bare(fields)))
        if name.startswith("iter_"):
            return lambda *args, **fields: _iterate(value(*args, **fields))
        return _in_thread(value)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.facade, name, value)

    def __repr__(self) -> str:
        return repr(self.facade)

    async def __aenter__(self) -> Awaited:
        assert await asyncio.to_thread(self.facade.__enter__) is self.facade
        return self

    async def __aexit__(self, *error: Any) -> None:
        await asyncio.to_thread(self.facade.__exit__, *error)


def awaited(*args: Any, **settings: Any) -> Any:
    """Makes what `Montra(...)` makes, but synchronous below."""
    return Awaited(montra_sync.Montra(*args, **settings))


def awaited_kind(facade: Callable[..., Any]) -> Callable[..., Any]:
    """Makes what another client makes, but synchronous below."""
    return lambda *args, **settings: Awaited(facade(*map(_bare, args), **_all_bare(settings)))


def _bare(value: Any) -> Any:
    return value.facade if isinstance(value, Awaited) else value


def _all_bare(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: _bare(value) for name, value in fields.items()}


def _wrapped(value: Any) -> Any:
    return Awaited(value) if hasattr(value, "_async") else value


def _in_thread(method: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*args: Any, **fields: Any) -> Any:
        return _wrapped(await asyncio.to_thread(method, *map(_bare, args), **_all_bare(fields)))

    return call


async def _iterate(items: Iterator[Any]) -> AsyncIterator[Any]:
    try:
        while (item := await asyncio.to_thread(next, items, _END)) is not _END:
            yield item
    finally:
        await asyncio.to_thread(items.close)  # type: ignore[attr-defined]
