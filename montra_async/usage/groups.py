"""Groups of events that are stored together, and whose callers wait for it."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from ..core.errors import MontraError
from .events import Event


class Group(Protocol):
    """Events that somebody waits for."""

    events: list[Event]

    def resolve(self, error: MontraError | None) -> None:
        """Tell those who wait that the events are stored, or why not. Called by the writer; must not raise or block.

        Args:
            error: why they are not stored.
        """
        ...

    def split(self, count: int) -> tuple[Group, Group]:
        """Divide the group.

        Args:
            count: number of events in the first part, at least 1 and fewer than there are.
        """
        ...


def split_off(groups: deque[Group], loose: deque[Event], limit: int) -> tuple[list[Group], list[Event]]:
    """Take the first events; a group that is larger is divided.

    Args:
        groups: they come first.
        loose: events that nobody waits for.
        limit: maximum number of events.
    """
    part: list[Group] = []
    left = limit
    while groups and left:
        group = groups.popleft()
        if len(group.events) > left:
            group, rest = group.split(left)
            groups.appendleft(rest)
        part.append(group)
        left -= len(group.events)
    return part, [loose.popleft() for _ in range(min(left, len(loose)))]
