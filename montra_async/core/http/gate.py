"""A semaphore whose door stands open while there is room: then entering is a subtraction, and nothing is awaited."""

from __future__ import annotations

import asyncio


class Gate:
    """At most `size` inside; who has to wait goes in in the order of coming. Of one event loop."""

    __slots__ = ("_free", "_line", "_waiting")

    def __init__(self, size: int) -> None:
        self._free = size
        self._line = asyncio.Semaphore(0)
        self._waiting = 0

    def enter(self) -> bool:
        """Go in, if that is possible at once."""
        if not self._free:
            return False
        self._free -= 1
        return True

    async def wait(self) -> None:
        """Go in as soon as there is room."""
        self._waiting += 1
        try:
            await self._line.acquire()
        finally:
            self._waiting -= 1

    def leave(self) -> None:
        if self._waiting:  # a place that is left stays in the line: nobody who comes later finds it first
            self._line.release()
        else:
            self._free += 1
