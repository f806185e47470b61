"""The synchronous facade with the face of the async client: each call blocks a thread, as legacy code does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import montra_sync

_END = object()


class Awaited:
    def __init__(self, client: montra_sync.Montra) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name == "with_options":
            return lambda **options: Awaited(method(**options))
        if name.startswith("iter_"):
            return lambda **options: _iterate(method(**options))
        return _in_thread(method)

    async def __aenter__(self) -> Awaited:
        assert self._client.__enter__() is self._client
        return self

    async def __aexit__(self, *error: Any) -> None:
        await asyncio.to_thread(self._client.__exit__, *error)


def awaited(*args: Any, **settings: Any) -> Any:
    """Makes what `Montra(...)` makes, but synchronous below."""
    return Awaited(montra_sync.Montra(*args, **settings))


def _in_thread(method: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*args: Any, **fields: Any) -> Any:
        return await asyncio.to_thread(method, *args, **fields)

    return call


async def _iterate(items: Iterator[Any]) -> AsyncIterator[Any]:
    try:
        while (item := await asyncio.to_thread(next, items, _END)) is not _END:
            yield item
    finally:
        await asyncio.to_thread(items.close)  # type: ignore[attr-defined]
