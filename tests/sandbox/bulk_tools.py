"""What tests of bulk calls share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from montra_async import BulkResult


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
