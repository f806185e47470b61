"""`Cache`: values that are kept for a limited time, by key.

A key consists of facts: what was sent (address, digest of the token, language, headers). It never contains the identity
of an object, which a later object may have. A caller without such a fact shares no entry. The comment beside each cache
says what makes its keys unique.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from ..core.concurrency import ProcessLock

T = TypeVar("T")

MAX_ENTRIES = 10_000


def digest(secret: str) -> str:
    """The SHA-256 digest of a token, for use in keys: the token can't be computed from it."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class Cache(Generic[T]):
    """Values by key, each with its age. The oldest entry is removed first.

    Args:
        ttl: seconds that an entry is valid.
        max_entries: maximum number of entries. Default: 10,000.
        clock: returns the time in seconds. Default: `time.monotonic`.
    """

    def __init__(
        self, *, ttl: float, max_entries: int = MAX_ENTRIES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.clock = clock
        self._ttl = ttl
        self._max_entries = max_entries
        self._entries: dict[Hashable, tuple[float, T]] = {}  # in the order of age
        self._lock = ProcessLock()  # one client may serve event loops in several threads

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable, *, max_age: float = math.inf) -> T | None:
        """The value of `key`; None when there is no entry, or it has expired, or is `max_age` seconds old."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        stored_at, value = entry
        age = self.clock() - stored_at
        return value if age < self._ttl and age < max_age else None

    def put(self, key: Hashable, value: T) -> None:
        """Store a value, with an age of 0."""
        now = self.clock()
        with self._lock:
            self._entries.pop(key, None)
            self._entries[key] = (now, value)
            while len(self._entries) > self._max_entries or now - self._oldest() >= self._ttl:
                del self._entries[next(iter(self._entries))]

    def update(self, key: Hashable, change: Callable[[T], T]) -> None:
        """Replace the value of an existing entry by `change(value)`. Its age stays."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries[key] = (entry[0], change(entry[1]))

    def remove(self, key: Hashable) -> None:
        """Remove an entry, if there is one."""
        with self._lock:
            self._entries.pop(key, None)

    def _oldest(self) -> float:
        return next(iter(self._entries.values()))[0]
