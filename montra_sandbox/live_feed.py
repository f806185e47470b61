"""What happens in a sandbox, as it happens: for the dashboard, `montra listen` and `montra logs tail`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import attrs

LiveKind: TypeAlias = Literal["request", "delivery", "clock", "reset"]

MAX_READERS: int = 50
"""Most readers of one stream: each holds a connection."""
KEEP_ALIVE: float = 15.0
"""Seconds after which a stream on which nothing happens gives a sign of life."""
_MAX_KEPT = 1_000


@attrs.frozen
class LiveMessage:
    """One thing that happened.

    Attributes:
        number: 1, 2, 3, ...
        kind: what kind of thing.
        make_data: makes its JSON; called only if somebody reads it.
    """

    number: int
    kind: LiveKind
    make_data: Callable[[], dict[str, Any]]


class LiveFeed:
    """The latest messages, and who waits for the next ones. It is used in the server's thread only.

    Nothing is queued per reader: one that is slow misses what is no longer kept, and costs nothing.
    """

    def __init__(self) -> None:
        self._kept: deque[LiveMessage] = deque(maxlen=_MAX_KEPT)
        self._waiters: set[asyncio.Future[None]] = set()
        self._is_closed = False
        self.last_number: int = 0

    @property
    def is_closed(self) -> bool:
        """Whether the sandbox stops, and readers shall end."""
        return self._is_closed

    def publish(self, kind: LiveKind, make_data: Callable[[], dict[str, Any]]) -> None:
        """Tell all readers.

        Args:
            kind: what kind of thing happened.
            make_data: makes its JSON.
        """
        self.last_number += 1
        self._kept.append(LiveMessage(self.last_number, kind, make_data))
        self.wake()

    def after(self, number: int) -> list[LiveMessage]:
        """The kept messages with a higher number, oldest first.

        Args:
            number: the last one that the reader has seen.
        """
        missing = min(self.last_number - number, len(self._kept))
        return [] if missing <= 0 else list(self._kept)[-missing:]

    def _next_change(self) -> asyncio.Future[None]:
        """A future that ends when something has happened since this call. Cancel it if it is not awaited any more."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._is_closed:
            waiter.set_result(None)
        else:
            self._waiters.add(waiter)
            waiter.add_done_callback(self._waiters.discard)
        return waiter

    async def wait_for_change(self, timeout: float) -> bool:
        """Wait until something happens; False when the time is over. Nothing is missed between a look and this call.

        Args:
            timeout: how long, in seconds.
        """
        change = self._next_change()
        try:
            done, _ = await asyncio.wait([change], timeout=timeout)
        finally:
            change.cancel()
        return bool(done)

    def wake(self) -> None:
        """Let all readers look."""
        for waiter in list(self._waiters):
            if not waiter.done():
                waiter.set_result(None)

    def close(self) -> None:
        """Let all readers end."""
        self._is_closed = True
        self.wake()
