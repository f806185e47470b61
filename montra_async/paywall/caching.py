"""Answers that are kept for a while, and calls that are made once for all who want them at the same time."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

MOST_ENTRIES = 10_000


class Cache(Generic[T]):
    """Values by key with their age. At most `MOST_ENTRIES`; the least recently used go first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._kept: OrderedDict[Hashable, tuple[float, T]] = OrderedDict()

    def get(self, key: Hashable, *, younger_than: float) -> T | None:
        found = self._kept.get(key)
        if found is None:
            return None
        kept_at, value = found
        if self.clock() - kept_at >= younger_than:
            return None
        self._kept.move_to_end(key)
        return value

    def put(self, key: Hashable, value: T) -> None:
        self._kept[key] = (self.clock(), value)
        self._kept.move_to_end(key)
        if len(self._kept) > MOST_ENTRIES:
            self._kept.popitem(last=False)

    def change(self, key: Hashable, change: Callable[[T], T]) -> None:
        """Change a value that is there; its age stays."""
        if key in self._kept:
            kept_at, value = self._kept[key]
            self._kept[key] = (kept_at, change(value))

    def drop(self, key: Hashable) -> None:
        self._kept.pop(key, None)


class Flights:
    """Calls under way, by event loop and key: whoever wants the same waits for the one that is there."""

    def __init__(self) -> None:
        self._under_way: dict[tuple[asyncio.AbstractEventLoop, Hashable], _Flight] = {}

    async def join(self, key: Hashable, make: Callable[[], Awaitable[T]], *, lands: bool = False) -> T:
        """The result of `make`, which runs in a task of its own: a caller that is cancelled takes nobody with it.

        When all callers were cancelled, so is the call, unless it `lands` in any case.
        """
        loop = asyncio.get_running_loop()
        where = (loop, key)
        flight = self._under_way.get(where)
        if flight is None:
            flight = self._under_way[where] = _Flight(loop.create_task(_run(make)))
            flight.task.add_done_callback(lambda _: self._under_way.pop(where, None))
        flight.waiting += 1
        try:
            result: T = await asyncio.shield(flight.task)
            return result
        finally:
            flight.waiting -= 1
            if not flight.waiting and not lands and not flight.task.done():
                self._under_way.pop(where, None)
                flight.task.cancel()


class _Flight:
    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.waiting = 0


async def _run(make: Callable[[], Awaitable[T]]) -> T:
    return await make()
