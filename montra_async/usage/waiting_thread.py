"""A thread that waits until its events are stored."""

from __future__ import annotations

import threading

from ..core.errors import MontraError
from .events import Event
from .writer import Group


class WaitingThread:
    """The events of a thread, which waits for them.

    Args:
        events: at least one.
    """

    __slots__ = ("_open", "_problem", "_stored", "events")

    def __init__(self, events: list[Event]) -> None:
        self.events: list[Event] = events
        self._problem: MontraError | None = None
        self._open = 1  # parts that are not resolved; changed by the writer only
        self._stored = threading.Lock()
        self._stored.acquire()

    def wait(self) -> MontraError | None:
        """Wait until all are stored. Returns the first error of those that are not."""
        self._stored.acquire()
        return self._problem

    def resolve(self, error: MontraError | None) -> None:
        """See `Group`."""
        self._problem = self._problem or error
        self._open -= 1
        if not self._open:
            self._stored.release()

    def split(self, count: int) -> tuple[Group, Group]:
        """See `Group`."""
        self._open += 1
        return _Part(self.events[:count], self), _Part(self.events[count:], self)


class _Part:
    """Some of the events of a thread."""

    def __init__(self, events: list[Event], whole: WaitingThread) -> None:
        self.events: list[Event] = events
        self._whole = whole

    def resolve(self, error: MontraError | None) -> None:
        self._whole.resolve(error)

    def split(self, count: int) -> tuple[Group, Group]:
        self._whole._open += 1
        return _Part(self.events[:count], self._whole), _Part(self.events[count:], self._whole)
