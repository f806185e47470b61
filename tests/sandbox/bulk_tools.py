"""What tests of bulk calls share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from montra_async import ApiResponse, BulkProgress, BulkResult
from montra_async.core.bulk_calls import BulkRun


def person(i: int) -> dict[str, Any]:
    return {"name": f"Person {i}", "email": f"person-{i}@example.com"}


async def collect(results: AsyncIterator[BulkResult[Any]]) -> list[BulkResult[Any]]:
    return sorted([one async for one in results])


def running() -> list[Any]:
    """Calls of bulk calls that are in flight."""
    return [one for one in asyncio.all_tasks() if "BulkRun" in repr(one)]


async def until(true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = asyncio.get_running_loop().time() + 30
    while not true():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.002)


class Calls:
    """Calls that end when they are told to, and note when they were cancelled.

    Args:
        concurrency: number of calls at the same time.
        on_progress: the hook.
    """

    def __init__(self, concurrency: int = 5, on_progress: Callable[[BulkProgress], object] | None = None) -> None:
        self.going: dict[int, asyncio.Future[None]] = {}
        self.cancelled: set[int] = set()
        self.slow_to_end = 0.0
        self.run: BulkRun[int] = BulkRun(
            self.call, self.send, pool_size=100, concurrency=concurrency, batch_key="b", on_progress=on_progress
        )

    async def call(self, number: int, idempotency_key: str = "") -> int:
        return number

    async def send(self, call: Any, *, number: int, idempotency_key: str) -> ApiResponse[int]:
        self.going[number] = asyncio.get_running_loop().create_future()
        try:
            await self.going[number]
        except asyncio.CancelledError:
            await asyncio.sleep(self.slow_to_end)
            self.cancelled.add(number)
            raise
        return ApiResponse(data=number)

    def end(self, *numbers: int) -> None:
        for number in numbers:
            self.going[number].set_result(None)


def numbers(count: int) -> list[dict[str, int]]:
    return [{"number": i} for i in range(count)]
