"""`Cache`: responses that are kept for a while.

Keys are facts: what was sent (address, digest of the token, language, headers), never the identity of an object, which
a later object may have. A caller without such a fact shares nothing. The comment beside each cache says what makes its
keys unique.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from ..core.locks import ProcessLock

T = TypeVar("T")

MOST_ENTRIES = 10_000


def digest(secret: str) -> str:
    """What stands for a token in keys: nobody can read the token from it, and no two tokens have the same."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class Cache(Generic[T]):
    """Values by key with their age. At most `max_entries`, none older than `ttl` seconds; the oldest go first."""

    def __init__(
        self, *, ttl: float, max_entries: int = MOST_ENTRIES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.clock = clock
        self._ttl = ttl
        self._max_entries = max_entries
        self._kept: dict[Hashable, tuple[float, T]] = {}  # in the order of age
        self._lock = ProcessLock()  # one client may serve event loops in several threads

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, *, younger_than: float = math.inf) -> T | None:
        found = self._kept.get(key)
        if found is None:
            return None
        kept_at, value = found
        age = self.clock() - kept_at
        return value if age < self._ttl and age < younger_than else None

    def put(self, key: Hashable, value: T) -> None:
        now = self.clock()
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = (now, value)
            while len(self._kept) > self._max_entries or now - self._oldest() >= self._ttl:
                del self._kept[next(iter(self._kept))]

    def change(self, key: Hashable, change: Callable[[T], T]) -> None:
        """Change a value that is there; its age stays."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept[key] = (found[0], change(found[1]))

    def drop(self, key: Hashable) -> None:
        with self._lock:
            self._kept.pop(key, None)

    def _oldest(self) -> float:
        return next(iter(self._kept.values()))[0]
