"""Threads of a store's own, for what can't be awaited."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class StoreThreads:
    """A few threads, started when they are needed, and started anew after a fork.

    Not those of the event loop: handlers may keep all of them busy, and claims must be renewed while handlers run.
    """

    def __init__(self, most: int = 4) -> None:
        self._most = most
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0

    async def run(self, work: Callable[[], T], timeout: float | None = None) -> T:
        """Do it in a thread.

        Raises:
            TimeoutError: it took longer; it may still happen.
        """
        if self._pool is None or self._process != os.getpid():
            self._pool, self._process = ThreadPoolExecutor(self._most, "montra-webhook-store"), os.getpid()
        future = asyncio.wrap_future(self._pool.submit(work))
        try:
            await asyncio.wait((future,), timeout=timeout)  # not `wait_for`: before Python 3.12 it loses cancellations
            if not future.done():
                raise TimeoutError
            return future.result()
        finally:
            future.cancel()
            del future  # its error holds this frame, and this frame would hold it
