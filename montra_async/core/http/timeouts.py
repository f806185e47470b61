"""A total timeout that costs a call almost nothing.

A timer per call is a heap operation, a handle and a context manager: several microseconds for something that nearly
never fires. Here the calls of one event loop share a single timer, set to the earliest deadline; beginning and ending
a call is a dictionary entry.

Deadlines belong to the event loop and to the call, never to a client or a session: closing either disarms none.
Closing a session ends the calls that are under way on it, in whatever phase they are, the way a deadline does.
"""

from __future__ import annotations

import asyncio
import math
import weakref
from types import TracebackType
from typing import Any

from ..errors import ConfigError

_OURS = "montra: the deadline has passed"
_SOON = 0.001  # seconds


class Deadlines:
    """The deadlines of the calls in flight on one event loop: `open`, with the loop time of each.

    `fires_at` is the loop time at which the timer will look at them.
    """

    __slots__ = ("__weakref__", "_timer", "fires_at", "open")

    def __init__(self) -> None:
        self.open: dict[Deadline, float] = {}
        self.fires_at = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def end_all_of(self, owner: object) -> None:
        """End the calls of `owner` now, because it is being closed."""
        current = asyncio.current_task()
        for deadline in [one for one in self.open if one.owner is owner and one.task is not current]:
            deadline.owner_closed = True
            self._end(deadline)

    def _end(self, deadline: Deadline) -> None:
        del self.open[deadline]
        if not deadline.expire():
            self.open[deadline] = at = asyncio.get_running_loop().time() + _SOON
            if at < self.fires_at:
                self.arm(at)

    def arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.fires_at = at
        self._timer = asyncio.get_running_loop().call_at(at, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self.fires_at = math.inf
        now = asyncio.get_running_loop().time()
        for deadline in [one for one, at in self.open.items() if at <= now]:
            self._end(deadline)
        if self.open:
            self.arm(min(self.open.values()))


_by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Deadlines] = weakref.WeakKeyDictionary()


def deadlines_of(loop: asyncio.AbstractEventLoop) -> Deadlines:
    """The deadlines of an event loop, shared by all clients on it."""
    found = _by_loop.get(loop)
    if found is None:
        for reference in _by_loop.keyrefs():  # a copy: loops of other threads come and go meanwhile
            ended = reference()
            if ended is not None and ended.is_closed():
                _by_loop.pop(ended, None)  # a timer that never fired keeps its loop alive
        found = _by_loop[loop] = Deadlines()
    return found


class Deadline:
    """`with Deadline(...)` around the awaits of one call: past `at` they end, with `expired` set.

    The cancellation it causes becomes `TimeoutError`; one that came from outside passes through untouched. Deadlines
    may stand inside each other; the earliest ends the innermost await, and only its own block sees the `TimeoutError`.

    Args:
        deadlines: of the running event loop.
        at: loop time (`loop.time() + seconds`).
        owner: whose closing ends the block as well, with `owner_closed` set.
    """

    __slots__ = ("_at", "_cancelling", "_deadlines", "expired", "owner", "owner_closed", "task")

    def __init__(self, deadlines: Deadlines, at: float, owner: object = None) -> None:
        self._deadlines = deadlines
        self._at = at
        self.owner = owner
        self.owner_closed = False
        self.expired = False

    def __enter__(self) -> Deadline:
        """
        Raises:
            ConfigError: not inside an asyncio task.
        """
        task: Any = asyncio.current_task()
        if task is None:
            raise ConfigError("the call is made outside an asyncio task: use asyncio.run() or await it in a task")
        self.task = task
        self._cancelling: int = task.cancelling() if hasattr(task, "cancelling") else 0
        deadlines, at = self._deadlines, self._at
        deadlines.open[self] = at
        if at < deadlines.fires_at:
            deadlines.arm(at)
        return self

    def expire(self) -> bool:
        """Cancel the call. False when it is being cancelled by somebody else, and another look is needed."""
        task = self.task
        if hasattr(task, "uncancel"):
            task.cancel()
        elif _is_being_cancelled(task):
            return False
        else:
            task._cancel_message = _OURS  # a later cancellation from outside replaces it
            task.cancel(_OURS)
        self.expired = True
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.open.pop(self, None)
        if not self.expired:
            return
        task = self.task
        if hasattr(task, "uncancel"):
            ours = task.uncancel() <= self._cancelling
        else:
            ours = task._cancel_message == _OURS
            task._cancel_message = None
        if ours and kind is asyncio.CancelledError:
            raise TimeoutError from error


def _is_being_cancelled(task: Any) -> bool:
    """Python 3.10 doesn't count cancellations: the second one before the task wakes up vanishes without a trace."""
    while task is not None:
        if getattr(task, "_must_cancel", False) or task.cancelled():
            return True
        task = getattr(task, "_fut_waiter", None)
    return False
