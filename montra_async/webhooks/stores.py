"""What has been handled: remembered durably, so that an event that comes twice is handled once.

An event is claimed before its handlers run and marked as done after they succeeded. A claim ends by itself after its
lease: when the process that holds it dies, the next delivery is handled.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

from ..core.errors import ConfigError
from ..core.locks import ProcessLock

REMEMBERED = 30 * 24 * 3600.0
"""Seconds for which an event that is done stays remembered, by default."""

_CENTURY = 100 * 365 * 24 * 3600


class Claim(str, Enum):
    """What became of a claim: it is ours, somebody else is at it, or it was done before."""

    OURS = "ours"
    BUSY = "busy"
    DONE = "done"


class EventStore(Protocol):
    """Remembers events. Safe for any number of processes that share it.

    `event_id` is a key that the receiver makes of the event's id, its source and the endpoint: 64 hexadecimal digits.
    `token` tells one claim from a later one of the same event: who lost the claim can neither finish nor release it.

    A store with an attribute `remembered`, seconds or None for ever, is refused by receivers that take older events.
    """

    async def claim(self, event_id: str, token: str, lease: float) -> Claim:
        """Take an event for `lease` seconds, unless it is taken or done."""
        ...

    async def renew(self, event_id: str, token: str, lease: float) -> bool:
        """Keep it for another `lease` seconds; False when the claim was lost."""
        ...

    async def done(self, event_id: str, token: str, *, forever: bool = False) -> bool:
        """It was handled; False when the claim was lost.

        `forever`: the event doesn't say when it happened, so it never becomes too old. It must not be forgotten.
        """
        ...

    async def release(self, event_id: str, token: str) -> None:
        """It was not handled: the next delivery may try."""
        ...


def new_token() -> str:
    return secrets.token_hex(12)


def checked_retention(remembered: Any) -> float | None:
    """Seconds, or None for ever."""
    return None if remembered is None else checked_seconds("remembered", remembered, " (None to forget nothing)")


def checked_seconds(name: str, value: Any, hint: str = "") -> float:
    right = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < _CENTURY
    if not right:
        raise ConfigError(f"{name}: seconds, more than 0 and less than a century{hint}")
    return float(value)


def end_of_memory(now: float, remembered: float | None, *, forever: bool) -> float:
    """Until when an event that is done now stays remembered, in seconds since 1970; infinity is for ever."""
    return math.inf if forever or remembered is None else now + remembered


class MemoryStore:
    """Forgets everything with the process: for tests and development.

    Args:
        clock: seconds since 1970.
        remembered: seconds for which an event that is done stays remembered; None for as long as the process lives.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time, remembered: float | None = REMEMBERED) -> None:
        self.remembered = checked_retention(remembered)
        self._clock = clock
        self._lock = ProcessLock()
        self._events: dict[str, tuple[str | None, float]] = {}
        self._swept_at = 0

    async def claim(self, event_id: str, token: str, lease: float) -> Claim:
        now = self._clock()
        with self._lock:
            self._sweep(now)
            held = self._events.get(event_id)
            if held is not None and held[1] > now:
                return Claim.DONE if held[0] is None else Claim.BUSY
            self._events[event_id] = (token, now + lease)
            return Claim.OURS

    def _sweep(self, now: float) -> None:
        """Forget what is over, each time that twice as much has come together: each event costs the same."""
        if len(self._events) < 2 * self._swept_at + 64:
            return
        self._events = {one: held for one, held in self._events.items() if held[1] > now}
        self._swept_at = len(self._events)

    async def renew(self, event_id: str, token: str, lease: float) -> bool:
        return self._change(event_id, token, (token, self._clock() + lease))

    async def done(self, event_id: str, token: str, *, forever: bool = False) -> bool:
        until = end_of_memory(self._clock(), self.remembered, forever=forever)
        return self._change(event_id, token, (None, until))

    async def release(self, event_id: str, token: str) -> None:
        self._change(event_id, token, None)

    def _change(self, event_id: str, token: str, to: tuple[str | None, float] | None) -> bool:
        with self._lock:
            held = self._events.get(event_id)
            if held is None or held[0] != token:
                return False
            if to is None:
                del self._events[event_id]
            else:
                self._events[event_id] = to
            return True
