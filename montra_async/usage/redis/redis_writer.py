"""Appends groups of events to an outbox in Redis, each of them once."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ..clocks import boot_seconds
from ..errors import OutboxError, OutboxUncertainError
from ..events import Event
from . import redis_scripts as scripts
from .redis_codec import Part, parts_of, text_of
from .redis_scripts import Script

GROUP_MEMORY = 7 * 24 * 3600
"""Seconds for which Redis remembers the number of a writer's last group."""

_STAGE_MEMORY = 3600
_MOST_KEPT = 100_000


class RunScript(Protocol):
    """Runs a script of the outbox. Returns its reply, which begins with a word."""

    def __call__(self, script: Script, *args: Any, writer: str | None = None) -> list[Any]: ...


class RedisWriter:
    """Numbers the groups that it appends, so that Redis adds none of them twice.

    After an answer was lost, it goes on under a new name: the number of that group stays the last one of the old name,
    and Redis can be asked for it.

    What turns out to be recorded is remembered until an append that contains it has succeeded: those before may fail.

    Args:
        run: runs a script.
        clock: seconds, never goes back. Default: the clock since the start of the machine.
    """

    def __init__(self, run: RunScript, clock: Callable[[], float] = boot_seconds) -> None:
        self._run = run
        self._clock = clock
        self._in_doubt: dict[str, frozenset[str]] = {}
        self._recorded: dict[str, None] = {}  # keys, in their order
        self._rename()

    def _rename(self) -> None:
        self.name: str = os.urandom(12).hex()
        self._number = 0
        self._registered_at = 0.0

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
        self._resolve()
        new = [event for event in events if event.key not in self._recorded] if self._recorded else events
        reply = self._append_group(new, window, max_events, max_size) if new else ["ok"]
        if self._recorded and reply[0] == "ok":
            for event in events:
                self._recorded.pop(event.key, None)
        return reply

    def _append_group(self, events: Sequence[Event], window: float, max_events: int, max_size: int) -> list[Any]:
        self._register()
        self._number += 1  # never used for another group, also when this one is interrupted
        try:
            reply = self._append(parts_of(events), window, max_events, max_size)
        except OutboxUncertainError as error:
            error.group = f"{self.name}-{self._number}"
            self._in_doubt[error.group] = frozenset(event.key for event in events)
            self._rename()
            raise
        if reply[0] not in ("ok", "full"):
            self._rename()
        return reply

    def _register(self) -> None:
        """Let Redis know of this writer: a writer that it does not know later is one that it has forgotten."""
        now = self._clock()
        if self._number and now - self._registered_at < GROUP_MEMORY / 2:
            return
        try:
            self._run(scripts.REGISTER, GROUP_MEMORY)
            self._registered_at = now
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

    def _resolve(self) -> None:
        """Find out what the groups have recorded whose answers were lost."""
        for group, keys in list(self._in_doubt.items()):
            # What Redis has forgotten so soon it has lost, and the group with it.
            if self.was_recorded(group):
                self._recorded.update(dict.fromkeys(keys))
            del self._in_doubt[group]
        while len(self._recorded) > _MOST_KEPT:  # nobody appends them again
            del self._recorded[next(iter(self._recorded))]

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
