"""Appends groups of events to an outbox in Redis, each of them once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol

from ..errors import OutboxError, OutboxUncertainError
from ..events import Event
from . import redis_scripts as scripts
from .redis_codec import Part, parts_of, text_of
from .redis_scripts import Script

GROUP_MEMORY = 7 * 24 * 3600
"""Seconds for which Redis remembers the number of a writer's last group."""

_STAGE_MEMORY = 3600


class RunScript(Protocol):
    """Runs a script of the outbox. Returns its reply, which begins with a word."""

    def __call__(self, script: Script, *args: Any, writer: str | None = None) -> list[Any]: ...


class RedisWriter:
    """Numbers the groups that it appends, so that Redis adds none of them twice.

    After an answer was lost, it goes on under a new name: the number of that group stays the last one of the old name,
    and Redis can be asked for it.

    Args:
        run: runs a script.
    """

    def __init__(self, run: RunScript) -> None:
        self._run = run
        self._in_doubt: tuple[str, frozenset[str]] | None = None
        self._rename()

    def _rename(self) -> None:
        self.name: str = os.urandom(12).hex()
        self._number = 0

    def append(self, events: Sequence[Event], window: float, max_events: int, max_size: int) -> list[Any]:
        """Append events as a group.

        Args:
            events: at least one.
            window: seconds for which a sum stays open.
            max_events: maximum number of events in the outbox.
            max_size: maximum size of the outbox in bytes.

        Returns:
            The reply: `ok`; `full` with the number of events and bytes; or what went wrong. Nothing is added then.

        Raises:
            OutboxUncertainError: Redis has not answered, so that the events may be recorded.
            OutboxError: Redis can't be reached or refuses. Nothing was recorded.
        """
        events = self._not_recorded_yet(events)
        if not events:
            return ["ok"]
        if self._number == 0:
            self._register()
        self._number += 1  # never used for another group, also when this one is interrupted
        try:
            reply = self._append(parts_of(events), window, max_events, max_size)
        except OutboxUncertainError as error:
            error.group = f"{self.name}-{self._number}"
            self._in_doubt = error.group, frozenset(event.key for event in events)
            self._rename()
            raise
        if reply[0] not in ("ok", "full"):
            self._rename()
        return reply

    def _register(self) -> None:
        """Let Redis know of this writer: a writer that it does not know later is one that it has forgotten."""
        try:
            self._run(scripts.REGISTER, GROUP_MEMORY)
            return
        except OutboxUncertainError as error:
            problem = str(error)
        raise OutboxError(problem)  # nothing was recorded

    def _append(self, parts: Sequence[Part], window: float, max_events: int, max_size: int) -> list[Any]:
        staged = len(parts) if len(parts) > 1 else 0
        if staged:
            self._stage(parts)
        events, size = sum(part.events for part in parts), sum(part.size for part in parts)
        bounds = (max_events, max_size, events, size, staged)
        lines = () if staged else (parts[0].sums, parts[0].singles)
        return self._run(scripts.APPEND, self._number, GROUP_MEMORY, window, *bounds, *lines)

    def _stage(self, parts: Sequence[Part]) -> None:
        """Send the parts of a large group. It is recorded when all of them are there."""
        try:
            for at, part in enumerate(parts, 1):
                self._run(scripts.STAGE, at, _STAGE_MEMORY, part.sums, part.singles)
            return
        except OutboxUncertainError as error:
            problem = str(error)
        raise OutboxError(problem)

    def _not_recorded_yet(self, events: Sequence[Event]) -> Sequence[Event]:
        """Leave out what a group has recorded whose answer was lost."""
        if self._in_doubt is None:
            return events
        group, keys = self._in_doubt
        # What Redis has forgotten so soon it has lost, and the group with it.
        recorded = self.was_recorded(group) is True
        self._in_doubt = None
        return [event for event in events if event.key not in keys] if recorded else events

    def was_recorded(self, group: str) -> bool | None:
        """Find out whether a group was recorded whose answer was lost. If not, it never will be.

        Args:
            group: `OutboxUncertainError.group`, of any process.

        Returns:
            None: Redis does not remember.

        Raises:
            OutboxError: Redis can't be reached or refuses.
        """
        writer, _, number = group.rpartition("-")
        answer = text_of(self._run(scripts.RESOLVE, number, GROUP_MEMORY, writer=writer)[1])
        return None if answer == "forgotten" else answer == "added"
