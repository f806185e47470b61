"""`LastLoop`: runs functions on the event loop of the caller, or else on the one that was used last."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeAlias

Post: TypeAlias = Callable[[Callable[[], None]], None]
"""Runs a function on an event loop, without waiting for it. Any thread may call it."""


class LastLoop:
    """The event loop that was used last. Any thread may post to it."""

    loop: asyncio.AbstractEventLoop | None = None

    def post(self, function: Callable[[], None]) -> None:
        """Run a function on an event loop soon. Does nothing when there is none.

        Args:
            function: must not block.
        """
        try:
            loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            loop = self.loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it is closed
                loop.call_soon_threadsafe(function)

    def is_gone(self) -> bool:
        """Whether what was posted to it may never run: there was none, it is closed, or the caller runs on another."""
        loop = self.loop
        if loop is None or loop.is_closed():
            return True
        try:
            return asyncio.get_running_loop() is not loop
        except RuntimeError:
            return False
