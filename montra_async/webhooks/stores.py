"""Deduplication stores: they record which events have been handled, so that an event is handled once.

An event is claimed before its handlers run and marked as done after they succeeded. A claim expires after its TTL: when
the process that holds it dies, the next delivery of the event is handled.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable
from datetime import timedelta
from enum import Enum
from typing import Any, ClassVar, Protocol

from ..core.concurrency import ProcessLock
from ..core.durations import Duration, positive_seconds

RETENTION = timedelta(days=30)
"""How long an event that is done stays recorded, by default."""

STORE_METHODS = ("claim", "renew", "done", "release")


class Claim(str, Enum):
    """The result of claiming an event: the claim was acquired, another delivery holds it, or the event is done."""

    ACQUIRED = "acquired"
    IN_PROGRESS = "in_progress"
    DONE = "done"


class DeduplicationStore(Protocol):
    """A store with plain methods, which any number of threads and processes may call at the same time.

    `key` identifies an event: 64 hexadecimal digits, a digest of the event's id, its source and the receiver's
    namespace. `token` identifies one claim: whoever has lost a claim can neither finish nor release it.

    The methods may block: `WebhookReceiver.handle` calls them in threads. A store whose methods never wait for a disk
    or the network says so with an attribute `blocking = False` and is called on the event loop. A store whose methods
    are coroutine functions is wrapped in `AsyncStoreAdapter`.

    Two more attributes are optional: `retention`, the seconds for which done events stay recorded or None for ever,
    which a receiver compares with its `max_age`; and `timeout`, the seconds for which `handle` waits for one call.
    """

    def claim(self, key: str, token: str, claim_ttl: float, /) -> Claim:
        """Claim an event, unless it is claimed or done.

        Args:
            key: the event's key.
            token: identifies this claim.
            claim_ttl: seconds after which the claim expires.
        """
        ...

    def renew(self, key: str, token: str, claim_ttl: float, /) -> bool:
        """Extend a claim.

        Args:
            key: the event's key.
            token: identifies the claim.
            claim_ttl: seconds from now after which the claim expires.

        Returns:
            False when the claim was lost.
        """
        ...

    def done(self, key: str, token: str, /, *, forever: bool = False) -> bool:
        """Mark an event as handled.

        Args:
            key: the event's key.
            token: identifies the claim.
            forever: never forget the event: it has no date, so that no copy of it is ever too old. Default: False.

        Returns:
            False when the claim was lost.
        """
        ...

    def release(self, key: str, token: str, /) -> None:
        """Give a claim back without marking the event: the next delivery may claim it.

        Args:
            key: the event's key.
            token: identifies the claim.
        """
        ...


def new_token() -> str:
    return secrets.token_hex(12)


def retention_seconds(retention: Any) -> float | None:
    """Convert a store's `retention` to seconds; None is for ever."""
    return None if retention is None else positive_seconds("retention", retention, " (None: never forget)")


def end_of_retention(now: float, retention: float | None, *, forever: bool) -> float:
    """Return until when an event that is done now stays recorded, in seconds since 1970; infinity is for ever."""
    return math.inf if forever or retention is None else now + retention


class MemoryStore:
    """A store in this process' memory, for tests and development: it forgets everything when the process ends.

    Args:
        clock: returns the time in seconds since 1970. Default: `time.time`.
        retention: how long a done event stays recorded, as a timedelta or seconds; None for as long as the process
            lives. Default: 30 days.

    Raises:
        ConfigError: `retention` is not valid.
    """

    blocking: ClassVar[bool] = False
    """The methods never wait: `WebhookReceiver.handle` calls them on the event loop."""

    def __init__(self, *, clock: Callable[[], float] = time.time, retention: Duration | None = RETENTION) -> None:
        self.retention: float | None = retention_seconds(retention)
        """Seconds for which a done event stays recorded; None for ever."""
        self._clock = clock
        self._lock = ProcessLock()
        self._events: dict[str, tuple[str | None, float]] = {}
        self._size_after_sweep = 0

    def claim(self, key: str, token: str, claim_ttl: float) -> Claim:
        """Claim an event, unless it is claimed or done.

        Args:
            key: the event's key.
            token: identifies this claim.
            claim_ttl: seconds after which the claim expires.
        """
        now = self._clock()
        with self._lock:
            self._sweep(now)
            entry = self._events.get(key)
            if entry is not None and entry[1] > now:
                return Claim.DONE if entry[0] is None else Claim.IN_PROGRESS
            self._events[key] = (token, now + claim_ttl)
            return Claim.ACQUIRED

    def _sweep(self, now: float) -> None:
        """Remove expired entries each time that the number of entries has doubled: the cost per event is constant."""
        if len(self._events) < 2 * self._size_after_sweep + 64:
            return
        self._events = {key: entry for key, entry in self._events.items() if entry[1] > now}
        self._size_after_sweep = len(self._events)

    def renew(self, key: str, token: str, claim_ttl: float) -> bool:
        """Extend a claim. Returns False when it was lost.

        Args:
            key: the event's key.
            token: identifies the claim.
            claim_ttl: seconds from now after which the claim expires.
        """
        return self._change(key, token, (token, self._clock() + claim_ttl))

    def done(self, key: str, token: str, *, forever: bool = False) -> bool:
        """Mark an event as handled. Returns False when the claim was lost.

        Args:
            key: the event's key.
            token: identifies the claim.
            forever: never forget the event. Default: False.
        """
        until = end_of_retention(self._clock(), self.retention, forever=forever)
        return self._change(key, token, (None, until))

    def release(self, key: str, token: str) -> None:
        """Give a claim back without marking the event.

        Args:
            key: the event's key.
            token: identifies the claim.
        """
        self._change(key, token, None)

    def _change(self, key: str, token: str, to: tuple[str | None, float] | None) -> bool:
        with self._lock:
            entry = self._events.get(key)
            if entry is None or entry[0] != token:
                return False
            if to is None:
                del self._events[key]
            else:
                self._events[key] = to
            return True
