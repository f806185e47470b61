"""Groups what the tasks of an event loop record during one turn of it, so that the writer is told once per turn."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable

from ..core.errors import ConfigError, MontraError
from .errors import OutboxError, copy_of
from .events import Event
from .groups import Group


class _Turn:
    """The events of one turn, and the futures of the tasks that wait for them."""

    __slots__ = ("events", "futures", "loop")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, events: list[Event], futures: list[asyncio.Future[None]]
    ) -> None:
        self.loop = loop
        self.events: list[Event] = events
        self.futures = futures

    def resolve(self, error: MontraError | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(self.resolve_here, error)

    def resolve_here(self, error: MontraError | None) -> None:
        """The same on the loop."""
        for future in self.futures:
            if not future.done():
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(copy_of(error))

    def split(self, count: int) -> tuple[Group, Group]:
        first = _Turn(self.loop, self.events[:count], self.futures[:count])
        return first, _Turn(self.loop, self.events[count:], self.futures[count:])


class Turns:
    """Hands over the events of coroutines.

    Args:
        hand_over: gives events to the writer.
    """

    def __init__(self, hand_over: Callable[[Group], None]) -> None:
        self._hand_over = hand_over
        self.renew()

    def renew(self) -> None:
        """Forget the current turn: in a forked child, it is the parent's."""
        self._current = threading.local()

    def record(self, event: Event) -> asyncio.Future[None]:
        """Hand over an event. The future is done when it is stored."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigError("no asyncio event loop is running: use the UsageReporter of montra_sync.usage") from None
        turn: _Turn | None = getattr(self._current, "turn", None)
        if turn is None or turn.loop is not loop:
            turn = self._current.turn = _Turn(loop, [], [])
            loop.call_soon(self._end, turn)
        future: asyncio.Future[None] = loop.create_future()
        turn.events.append(event)
        turn.futures.append(future)
        return future

    def _end(self, turn: _Turn) -> None:
        if getattr(self._current, "turn", None) is turn:
            self._current.turn = None
        try:
            self._hand_over(turn)
        except MontraError as error:
            turn.resolve_here(error)
        except Exception as error:  # nobody must wait for ever
            turn.resolve_here(OutboxError(f"recording failed with {type(error).__name__}"))
            raise
