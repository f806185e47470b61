"""A deduplication store in Redis, for receivers on several machines. Needs the extra `montra[redis]`."""

from __future__ import annotations

from typing import Any, Protocol

from ..core.durations import Duration, positive_seconds
from ..core.errors import ConfigError
from ..core.hints import missing_extra
from ..core.redaction import Secret, SecretText
from .errors import WebhookStoreError
from .stores import RETENTION, Claim, retention_seconds

TIMEOUT = 5.0
"""Seconds that one call of the store may wait for Redis, by default."""

_CLAIM = """
local held = redis.call('GET', KEYS[1])
if held == 'done' then return 'done' end
if held then return 'in_progress' end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 'acquired'
"""
_IF_CLAIMED = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then return redis.call('DEL', KEYS[1]) end
if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[2]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
"""


class RedisClient(Protocol):
    """What `RedisStore` uses of a `redis.Redis`."""

    def register_script(self, script: Any) -> Any:
        """Prepare a Lua script.

        Args:
            script: the script.
        """
        ...


class RedisStore:
    """A store of keys `montra:webhook:<digest>`, which expire by themselves.

    So that an event is never handled twice, Redis must not evict the keys (`noeviction`) and must keep what it has
    acknowledged (`appendonly yes`).

    Args:
        client: a `redis.Redis`, or a URL. Give a client of your own a `socket_timeout` and a
            `socket_connect_timeout`: without them, a thread may wait for Redis for ever, with `handle_blocking` the
            calling one. A `redis.asyncio.Redis` needs a store of your own, wrapped in `AsyncStoreAdapter`.
        prefix: the prefix of the keys. Default: "montra:webhook:".
        retention: how long a done event stays recorded, as a timedelta or seconds; None for ever. Default: 30 days.
        timeout: how long `WebhookReceiver.handle` waits for one call, as a timedelta or seconds. With a URL, it is
            also the connection's time-out. Default: 5 s.

    Raises:
        ConfigError: the URL or a duration is not valid.
        ImportError: a URL was given, and redis is not installed.
        TypeError: `client` is neither a `redis.Redis` nor a URL.
    """

    def __init__(
        self,
        client: RedisClient | SecretText,
        *,
        prefix: str = "montra:webhook:",
        retention: Duration | None = RETENTION,
        timeout: Duration = TIMEOUT,
    ) -> None:
        given: Any = Secret(client) if isinstance(client, str) else client
        del client  # a URL may contain a password, which a traceback with local variables must not show
        self.retention: float | None = retention_seconds(retention)
        """Seconds for which a done event stays recorded; None for ever."""
        self.timeout: float = positive_seconds("timeout", timeout)
        """Seconds that one call may take."""
        self._client: Any = _from_url(given, self.timeout) if isinstance(given, Secret) else given
        if not callable(getattr(self._client, "register_script", None)) or _is_asyncio(self._client):
            raise TypeError(
                f"client: a redis.Redis, or a URL, not {type(self._client).__name__} of {type(self._client).__module__}"
            )
        self._prefix = prefix
        self._claim = self._client.register_script(_CLAIM)
        self._if_claimed = self._client.register_script(_IF_CLAIMED)

    def claim(self, key: str, token: str, claim_ttl: float) -> Claim:
        """Claim an event, unless it is claimed or done.

        Args:
            key: the event's key.
            token: identifies this claim.
            claim_ttl: seconds after which the claim expires.

        Raises:
            WebhookStoreError: Redis can't be reached, refuses, or takes too long.
        """
        result = self._run(self._claim, key, token, _milliseconds(claim_ttl))
        return Claim(result.decode() if isinstance(result, bytes) else result)

    def renew(self, key: str, token: str, claim_ttl: float) -> bool:
        """Extend a claim. Returns False when it was lost.

        Args:
            key: the event's key.
            token: identifies the claim.
            claim_ttl: seconds from now after which the claim expires.

        Raises:
            WebhookStoreError: Redis can't be reached, refuses, or takes too long.
        """
        return bool(self._run(self._if_claimed, key, token, token, _milliseconds(claim_ttl)))

    def done(self, key: str, token: str, *, forever: bool = False) -> bool:
        """Mark an event as handled. Returns False when the claim was lost.

        Args:
            key: the event's key.
            token: identifies the claim.
            forever: never forget the event. Default: False.

        Raises:
            WebhookStoreError: Redis can't be reached, refuses, or takes too long.
        """
        end = "" if forever or self.retention is None else _milliseconds(self.retention)
        return bool(self._run(self._if_claimed, key, token, "done", end))

    def release(self, key: str, token: str) -> None:
        """Give a claim back without marking the event.

        Args:
            key: the event's key.
            token: identifies the claim.

        Raises:
            WebhookStoreError: Redis can't be reached, refuses, or takes too long.
        """
        self._run(self._if_claimed, key, token, "", "")

    def _run(self, script: Any, key: str, *args: str | int) -> Any:
        """Run a script. Errors of redis are replaced: their frames contain the connection's password."""
        try:
            return script(keys=[f"{self._prefix}{key}"], args=list(args))
        except Exception as error:
            problem = f"{type(error).__name__}: {error!s:.300}"
        raise WebhookStoreError(problem)

    def __repr__(self) -> str:
        return f"<RedisStore {getattr(self, '_prefix', '')}>"


def _from_url(url: Secret, timeout: float) -> Any:
    try:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise missing_extra("RedisStore", "redis", error) from None
    try:
        return Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
            url.reveal(),
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),  # redis-py repeats by default, which would exceed the time-out
        )
    except Exception as error:
        problem = f"client: not the URL of a Redis, e.g. redis://localhost:6379/0 ({type(error).__name__})"
    raise ConfigError(problem)


def _is_asyncio(client: Any) -> bool:
    return type(client).__module__.startswith("redis.asyncio")


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
