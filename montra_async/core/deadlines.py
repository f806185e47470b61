"""A total time-out that costs a call almost nothing.

A timer per call is a heap operation, a handle and a context manager: several microseconds for something that nearly
never fires. Here the calls of one event loop share a single timer, set to the earliest deadline; beginning and ending
a call is a dictionary entry.
"""

from __future__ import annotations

import asyncio
import math
from types import TracebackType

_COUNTS_NOTHING = int
"""For `task.cancelling()` and `task.uncancel()`: before Python 3.11 most tasks have neither."""


class Deadlines:
    """The deadlines of the calls in flight on one event loop: `open`, with the moment of each.

    `fires_at` is when the timer will look at them.
    """

    __slots__ = ("_timer", "fires_at", "loop", "open")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.open: dict[Deadline, float] = {}
        self.fires_at = math.inf
        self.loop = loop
        self._timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.fires_at = math.inf

    def arm(self, at: float) -> None:
        self.close()
        self.fires_at = at
        self._timer = self.loop.call_at(at, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self.fires_at = math.inf
        now = self.loop.time()
        for deadline in [one for one, at in self.open.items() if at <= now]:
            del self.open[deadline]
            deadline.expire()
        if self.open:
            self.arm(min(self.open.values()))


class Deadline:
    """`with Deadline(...)` around the awaits of one call: past `at` they end, with `expired` set.

    The cancellation it causes is turned into `TimeoutError`; one that came from outside passes through untouched.
    """

    __slots__ = ("_at", "_cancelling", "_deadlines", "_task", "expired")

    def __init__(self, deadlines: Deadlines, at: float) -> None:
        self._deadlines = deadlines
        self._at = at
        self.expired = False

    def __enter__(self) -> Deadline:
        task = asyncio.current_task(self._deadlines.loop)
        assert task is not None, "aiohttp refuses to work outside a task"
        self._task = task
        self._cancelling: int = getattr(task, "cancelling", _COUNTS_NOTHING)()
        deadlines, at = self._deadlines, self._at
        deadlines.open[self] = at
        if at < deadlines.fires_at:
            deadlines.arm(at)
        return self

    def expire(self) -> None:
        self.expired = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.open.pop(self, None)
        if not self.expired:
            return
        ours = getattr(self._task, "uncancel", _COUNTS_NOTHING)() <= self._cancelling
        if ours and kind is asyncio.CancelledError:
            raise TimeoutError from error
