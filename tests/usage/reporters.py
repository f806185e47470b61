"""Reporters of both packages with one face."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import montra_sync
import montra_sync.usage
from montra_async import Montra
from montra_async.usage import MemoryOutbox, UsageReporter


class AwaitedReporter:
    """The synchronous reporter: each call blocks a thread."""

    def __init__(self, base_url: str, outbox: Any, settings: dict[str, Any]) -> None:
        self.client = montra_sync.Montra("sk_test_sandbox", base_url)
        self.reporter = montra_sync.usage.UsageReporter(self.client, outbox, **settings)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.reporter, name)
        if name in ("record_nowait", "add_observer", "remove_observer"):
            return found
        if name == "invocation":
            return self._invocation

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(found, *args, **kwargs)

        return call

    @asynccontextmanager
    async def _invocation(self, *args: Any) -> Any:
        context = self.reporter.invocation(*args)
        await asyncio.to_thread(context.__enter__)
        try:
            yield
        except BaseException as error:
            if not await asyncio.to_thread(context.__exit__, type(error), error, error.__traceback__):
                raise
        else:
            await asyncio.to_thread(context.__exit__, None, None, None)

    async def aclose(self) -> int:
        return await asyncio.to_thread(self.reporter.close)

    async def __aenter__(self) -> AwaitedReporter:
        await asyncio.to_thread(self.reporter.__enter__)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
        self.client.close()


def make_async(base_url: str, outbox: Any = None, **settings: Any) -> Any:
    return UsageReporter(Montra("sk_test_sandbox", base_url), outbox or MemoryOutbox(), **settings)


def make_sync(base_url: str, outbox: Any = None, **settings: Any) -> Any:
    return AwaitedReporter(base_url, outbox or MemoryOutbox(), settings)
