"""The memory of handled events in Redis, for receivers on several machines. Needs the extra `montra[redis]`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ..core.errors import ConfigError
from ..core.redaction import Secret
from .errors import WebhookStoreError
from .stores import REMEMBERED, Claim, checked_retention, checked_seconds
from .threads import StoreThreads

if TYPE_CHECKING:
    from redis import Redis

TIMEOUT = 5.0
"""Seconds that one use of the store takes at most, by default."""

_CLAIM = """
local held = redis.call('GET', KEYS[1])
if held == 'done' then return 'done' end
if held then return 'busy' end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 'ours'
"""
_IF_OURS = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then return redis.call('DEL', KEYS[1]) end
if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[2]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
"""


class RedisStore:
    """Events as keys `montra:webhook:<digest>` that expire by themselves.

    Redis must not evict them (`noeviction`), and what it acknowledged must survive it (`appendonly yes`), if an event
    must never be handled twice.

    Args:
        client: a `redis.Redis` (not the asyncio one: this store works on every event loop, and without any), or a URL.
            Give a client of your own a `socket_timeout`: a thread that waits for Redis can't be stopped.
        prefix: of the keys.
        remembered: seconds for which an event that is done stays remembered; None for ever.
        timeout: seconds that one use of the store may take.

    Raises:
        WebhookStoreError: from every use, when Redis can't be reached, refuses, or takes too long.
    """

    def __init__(
        self,
        client: Redis | str,
        *,
        prefix: str = "montra:webhook:",
        remembered: float | None = REMEMBERED,
        timeout: float = TIMEOUT,
    ) -> None:
        given: Any = Secret(client) if isinstance(client, str) else client
        del client  # a URL may hold a password, which a traceback with local variables must not show
        self.remembered = checked_retention(remembered)
        self._timeout = checked_seconds("timeout", timeout)
        self._client: Any = _from_url(given, self._timeout) if isinstance(given, Secret) else given
        if not callable(getattr(self._client, "register_script", None)) or _is_asyncio(self._client):
            raise TypeError(
                f"client: a redis.Redis, or a URL, not {type(self._client).__name__} of {_home(self._client)}"
            )
        self._prefix = prefix
        self._threads = StoreThreads()
        self._claim = self._client.register_script(_CLAIM)
        self._if_ours = self._client.register_script(_IF_OURS)

    async def claim(self, event_id: str, token: str, lease: float) -> Claim:
        answer = await self._run(self._claim, event_id, token, _milliseconds(lease))
        return Claim(answer.decode() if isinstance(answer, bytes) else answer)

    async def renew(self, event_id: str, token: str, lease: float) -> bool:
        return bool(await self._run(self._if_ours, event_id, token, token, _milliseconds(lease)))

    async def done(self, event_id: str, token: str, *, forever: bool = False) -> bool:
        end = "" if forever or self.remembered is None else _milliseconds(self.remembered)
        return bool(await self._run(self._if_ours, event_id, token, "done", end))

    async def release(self, event_id: str, token: str) -> None:
        await self._run(self._if_ours, event_id, token, "", "")

    async def _run(self, script: Any, event_id: str, *args: str | int) -> Any:
        """Run a script. What redis raises stays here: its frames hold the password of the connection."""
        try:
            return await self._threads.run(
                lambda: script(keys=[f"{self._prefix}{event_id}"], args=list(args)), self._timeout
            )
        except (asyncio.TimeoutError, TimeoutError):  # two classes before Python 3.11
            problem = f"no answer of Redis within {self._timeout:g} s"
        except Exception as error:
            problem = f"{type(error).__name__}: {error!s:.300}"
        raise WebhookStoreError(problem)

    def __repr__(self) -> str:
        return f"<RedisStore {getattr(self, '_prefix', '')}>"


def _from_url(url: Secret, timeout: float) -> Any:
    try:
        from redis import Redis
    except ImportError:
        raise ImportError("RedisStore needs redis: pip install 'montra[redis]'") from None
    try:
        return Redis.from_url(url.reveal(), socket_timeout=timeout, socket_connect_timeout=timeout)  # pyright: ignore[reportUnknownMemberType]
    except Exception as error:
        problem = f"client: not the URL of a Redis, e.g. redis://localhost:6379/0 ({type(error).__name__})"
    raise ConfigError(problem)


def _is_asyncio(client: Any) -> bool:
    return _home(client).startswith("redis.asyncio")


def _home(client: Any) -> str:
    return type(client).__module__


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
