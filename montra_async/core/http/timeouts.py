"""Total time-outs with one timer per event loop.

A timer per call is a heap operation, a handle and a context manager: several microseconds for something that hardly
ever fires. Here the calls of one event loop share a single timer, set to the earliest deadline; the beginning and the
end of a call are one dictionary operation each.

Deadlines belong to the event loop and to the call, not to a client or a session: closing either leaves the others in
force. Closing a session ends the calls that are in flight on it, in whatever phase they are, as a deadline does.
"""

from __future__ import annotations

import asyncio
import math
import weakref
from types import TracebackType
from typing import Any

from ..errors import ConfigError
from .aiohttp_compat import cancel_with_mark, take_mark

_MARK = "montra: the deadline has passed"
_RETRY_SECONDS = 0.001


class Deadlines:
    """The deadlines of the calls in flight on one event loop.

    Attributes:
        open: the deadlines, with the loop time of each.
        fires_at: the loop time at which the timer fires; infinity when it is not set.
    """

    __slots__ = ("__weakref__", "_timer", "fires_at", "open")

    def __init__(self) -> None:
        self.open: dict[Deadline, float] = {}
        self.fires_at: float = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def end_all_of(self, owner: object) -> None:
        """End the calls of `owner` now, because it is being closed. The current task is spared."""
        current = asyncio.current_task()
        for deadline in [one for one in self.open if one.owner is owner and one.task is not current]:
            deadline.owner_closed = True
            self._end(deadline)

    def _end(self, deadline: Deadline) -> None:
        del self.open[deadline]
        if not deadline.expire():
            self.open[deadline] = at = asyncio.get_running_loop().time() + _RETRY_SECONDS
            if at < self.fires_at:
                self.set_timer(at)

    def set_timer(self, at: float) -> None:
        """Have the timer fire at a loop time."""
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
            self.set_timer(min(self.open.values()))


_by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Deadlines] = weakref.WeakKeyDictionary()


def deadlines_of(loop: asyncio.AbstractEventLoop) -> Deadlines:
    """The deadlines of an event loop, shared by all clients on it."""
    found = _by_loop.get(loop)
    if found is None:
        for reference in _by_loop.keyrefs():  # a copy: other threads add and remove their loops meanwhile
            ended = reference()
            if ended is not None and ended.is_closed():
                _by_loop.pop(ended, None)  # a timer that never fired keeps its loop alive
        found = _by_loop[loop] = Deadlines()
    return found


class Deadline:
    """`with Deadline(...)` around the awaits of one call cancels them at a loop time, and sets `expired`.

    The cancellation becomes a `TimeoutError`; one that came from outside stays a cancellation. Deadlines may be nested:
    the earliest cancels the innermost await, and only its own block raises the `TimeoutError`.

    Args:
        deadlines: of the running event loop.
        at: loop time (`loop.time() + seconds`).
        owner: when it is closed, the block ends as well, with `owner_closed` set.

    Attributes:
        expired: whether it has ended the block.
        owner: as given.
        owner_closed: whether the block ended because its owner was closed.
        task: the task that runs the block.
    """

    __slots__ = ("_at", "_cancelling", "_deadlines", "expired", "owner", "owner_closed", "task")

    def __init__(self, deadlines: Deadlines, at: float, owner: object = None) -> None:
        self._deadlines = deadlines
        self._at = at
        self.task: Any = None
        self.owner: object = owner
        self.owner_closed: bool = False
        self.expired: bool = False

    def __enter__(self) -> Deadline:
        """
        Raises:
            ConfigError: not inside an asyncio task.
        """
        task: Any = asyncio.current_task()
        if task is None:
            raise ConfigError("the call is made outside an asyncio task: use asyncio.run() or await it in a task")
        self.task = task
        # Before Python 3.11 only tasks of other packages (backports.asyncio.runner) count their cancellations.
        self._cancelling: int = task.cancelling() if hasattr(task, "cancelling") else 0
        deadlines, at = self._deadlines, self._at
        deadlines.open[self] = at
        if at < deadlines.fires_at:
            deadlines.set_timer(at)
        return self

    def expire(self) -> bool:
        """Cancel the block. False when somebody else is cancelling it, and it has to be tried again."""
        if hasattr(self.task, "uncancel"):
            self.task.cancel()
        elif not cancel_with_mark(self.task, _MARK):
            return False
        self.expired = True
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.open.pop(self, None)
        if not self.expired:
            return
        task = self.task
        ours = task.uncancel() <= self._cancelling if hasattr(task, "uncancel") else take_mark(task, _MARK)
        if ours and kind is asyncio.CancelledError:
            raise TimeoutError from error
