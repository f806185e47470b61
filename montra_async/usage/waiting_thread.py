"""A thread that waits until its events are stored."""

from __future__ import annotations

import threading

from ..core.errors import MontraError
from .events import Event
from .groups import Group


class WaitingThread:
    """The events of a thread, which waits for them.

    Args:
        events: at least one.
    """

    __slots__ = ("_open", "_stored", "events", "failed")

    def __init__(self, events: list[Event]) -> None:
        self.events: list[Event] = events
        self.failed: list[tuple[list[Event], MontraError]] = []
        """The events that are not stored, and why not. Complete when `wait` returns."""
        self._open = 1  # parts that are not resolved; changed by the writer only
        self._stored = threading.Lock()
        self._stored.acquire()

    def wait(self) -> MontraError | None:
        """Wait until all are stored. Returns the first error of those that are not."""
        self._stored.acquire()
        return self.failed[0][1] if self.failed else None

    def resolve(self, error: MontraError | None) -> None:
        """See `Group`.

        Args:
            error: why the events are not stored.
        """
        self.resolve_part(self.events, error)

    def resolve_part(self, events: list[Event], error: MontraError | None) -> None:
        """Tell of some of the events that they are stored, or why not.

        Args:
            events: those of the part.
            error: why they are not stored.
        """
        if error is not None:
            self.failed.append((events, error))
        self._open -= 1
        if not self._open:
            self._stored.release()

    def split(self, count: int) -> tuple[Group, Group]:
        """See `Group`.

        Args:
            count: number of events in the first part.
        """
        return self.part(self.events[:count], 1), self.part(self.events[count:], 0)

    def part(self, events: list[Event], more: int) -> Group:
        """Some of the events.

        Args:
            events: those of the part.
            more: by how many the number of parts grows.
        """
        self._open += more
        return _Part(events, self)


class _Part:
    """Some of the events of a thread."""

    def __init__(self, events: list[Event], whole: WaitingThread) -> None:
        self.events: list[Event] = events
        self._whole = whole

    def resolve(self, error: MontraError | None) -> None:
        self._whole.resolve_part(self.events, error)

    def split(self, count: int) -> tuple[Group, Group]:
        return self._whole.part(self.events[:count], 1), self._whole.part(self.events[count:], 0)
