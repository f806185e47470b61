"""A total time-out that costs a call almost nothing.

A timer per call is a heap operation, a handle and a context manager: several microseconds for something that nearly
never fires. Here the calls of one event loop share a single timer, set to the earliest deadline; beginning and ending
a call is a dictionary entry.
"""

from __future__ import annotations

import asyncio
from types import TracebackType


class Deadlines:
    """The deadlines of the calls in flight on one event loop."""

    __slots__ = ("_fires_at", "_loop", "_open", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._open: dict[Deadline, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = 0.0

    def start(self, deadline: Deadline) -> None:
        self._open[deadline] = deadline.at
        if self._timer is None or deadline.at < self._fires_at:
            self._arm(deadline.at)

    def stop(self, deadline: Deadline) -> None:
        self._open.pop(deadline, None)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, at: float) -> None:
        self.close()
        self._fires_at = at
        self._timer = self._loop.call_at(at, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = self._loop.time()
        for deadline in [one for one, at in self._open.items() if at <= now]:
            del self._open[deadline]
            deadline.expire()
        if self._open:
            self._arm(min(self._open.values()))


class Deadline:
    """`with Deadline(...)` around the awaits of one call: past `at` they end, with `expired` set.

    The cancellation it causes is turned into `TimeoutError`; one that came from outside passes through untouched.
    """

    __slots__ = ("_cancelling", "_deadlines", "_task", "at", "expired")

    def __init__(self, deadlines: Deadlines, at: float) -> None:
        self._deadlines = deadlines
        self.at = at
        self.expired = False

    def __enter__(self) -> Deadline:
        task = asyncio.current_task()
        assert task is not None, "aiohttp refuses to work outside a task"
        self._task = task
        self._cancelling: int = _call(task, "cancelling")
        self._deadlines.start(self)
        return self

    def expire(self) -> None:
        self.expired = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.stop(self)
        if not self.expired:
            return
        ours = _call(self._task, "uncancel") <= self._cancelling
        if ours and kind is asyncio.CancelledError:
            raise TimeoutError from error


def _call(task: asyncio.Task[object], method: str) -> int:
    """`task.cancelling()` or `task.uncancel()`; before Python 3.11 most tasks have neither, and count nothing."""
    count: int = getattr(task, method, int)()
    return count
