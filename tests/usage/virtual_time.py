"""An event loop whose time jumps to the next timer as soon as nothing else is left to do."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Doesn't wait: where another selector would, time goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        events = super().select(0)
        if events or timeout == 0:
            return events
        if timeout is None:
            raise RuntimeError("all tasks wait for something that never happens")
        self.now += max(timeout, 0.0)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A deterministic loop: no clock, and a limit to the turns, so that a busy loop fails instead of hanging."""

    def __init__(self, max_turns: int = 20_000_000) -> None:
        self._jumping = _JumpingSelector()
        self._turns_left = max_turns
        super().__init__(self._jumping)
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._jumping.now

    def _run_once(self) -> None:
        self._turns_left -= 1
        if self._turns_left < 0:
            raise RuntimeError("the loop never comes to rest")
        super()._run_once()  # type: ignore[misc]


def run(main: Coroutine[Any, Any, T], max_turns: int = 20_000_000) -> T:
    """Run a coroutine on virtual time. Fails if it leaves a task, or an error that nobody has seen, behind."""
    loop = VirtualTimeLoop(max_turns)
    problems: list[str] = []
    loop.set_exception_handler(lambda _, context: problems.append(str(context.get("exception") or context["message"])))
    asyncio.set_event_loop(loop)
    try:
        result = loop.run_until_complete(main)
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        assert not left, f"tasks are left: {left}"
        assert not problems, problems
        return result
    finally:
        asyncio.set_event_loop(None)
        loop.close()
