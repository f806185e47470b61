"""`RedisHolds`: counters and holds in Redis, for processes that must not exceed a limit together. `montra[redis]`."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from ..core.durations import Duration, positive_seconds
from ..core.redaction import Secret, SecretText
from .decision import Key
from .redis_lines import RedisLines

_MAX_KEYS = 10_000
"""Maximum number of customers and meters whose keys are kept in memory."""


class RedisHolds:
    """Keeps what a fleet of processes holds and has recorded, so that together they never exceed a limit.

        access = Access(montra, usage, fleet=RedisHolds("redis://localhost:6379/0"))

    A hold takes one round trip, and so does its end; what many tasks do at once shares one. All keys of a customer and
    meter are in one slot of a cluster. Redis must not evict them (`noeviction`). What Redis forgets, because it is
    restarted without persistence, is asked from the service again; holds at that time don't count any more.

    Usage that is recorded without a hold counts in Redis a moment later, and does not count in a process that has no
    `Access` with the same Redis.

    Args:
        client: a URL, or a `redis.asyncio.Redis` (or `RedisCluster`), which is used on its event loop only. Give a
            client of your own time-outs.
        prefix: the prefix of the keys. Default: "montra:access:".
        lease: how long the holds of a process that has died stay held, as a timedelta or seconds. Open blocks renew
            theirs. Default: 60 s.
        timeout: how long a call waits for Redis, as a timedelta or seconds. Default: 2 s.

    Raises:
        ConfigError: the URL or a duration is not valid.
        ImportError: a URL was given, and redis is not installed.
        TypeError: `client` is neither.
    """

    def __init__(
        self,
        client: SecretText | Any,
        *,
        prefix: str = "montra:access:",
        lease: Duration = 60.0,
        timeout: Duration = 2.0,
    ) -> None:
        given: Any = Secret(client) if isinstance(client, str) else client
        del client  # a URL may contain a password, which a traceback with local variables must not show
        self.lease: float = positive_seconds("lease", lease)
        """Seconds that a hold lasts without being renewed."""
        self._prefix = prefix
        self._keys: dict[Key, tuple[bytes, bytes, bytes]] = {}
        self._lines = RedisLines(given, positive_seconds("timeout", timeout), "RedisHolds")

    async def run(self, script: str, key: Key, *args: Any) -> Any:
        """Run a script for a customer and meter.

        It is carried out, or will be, also if this call is cancelled.

        Args:
            script: one of `redis_scripts`.
            key: customer, kind and slug.
            args: the script's arguments.

        Raises:
            AccessUnavailableError: Redis can't be reached, refuses, or takes too long.
        """
        return await self.send(script, key, *args)

    def send(self, script: str, key: Key, *args: Any) -> asyncio.Future[Any]:
        """Begin to run a script. Scripts of an event loop run in their order.

        Args:
            script: one of `redis_scripts`.
            key: customer, kind and slug.
            args: the script's arguments.
        """
        # All arguments in one word list: see `redis_scripts`.
        return self._lines.send(script, self._keys.get(key) or self._keys_of(key), " ".join(map(str, args)))

    def _keys_of(self, key: Key) -> tuple[bytes, bytes, bytes]:
        digest = hashlib.sha256(f"{key[0]}\0{key[2]}".encode(errors="replace")).hexdigest()[:32]
        name = f"{self._prefix}{{{digest}}}".encode()
        if len(self._keys) >= _MAX_KEYS:
            self._keys.clear()
        keys = self._keys[key] = (name + b":sums", name + b":units", name + b":ends")
        return keys

    def after_fork_in_child(self) -> None:
        """Forget the parent's connections, without closing them."""
        self._lines.after_fork_in_child()

    async def aclose(self) -> None:
        """Finish what is under way on this event loop, and close its connections, unless the client is yours."""
        await self._lines.aclose()

    def __repr__(self) -> str:
        return f"<RedisHolds {getattr(self, '_prefix', '')}>"
