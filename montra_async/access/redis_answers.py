"""`RedisAnswers`: the service's answers in Redis, for all processes of a fleet. `montra[redis]`."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from ..core.durations import Duration, positive_seconds
from ..core.redaction import Secret, SecretText
from .decision import Key
from .errors import AccessUnavailableError
from .redis_lines import RedisLines

_BEGIN = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
"""

_LOOK = (
    _BEGIN
    + """
-- KEYS: a customer's hash. ARGV: field
local found = redis.call('HMGET', KEYS[1], 'changed', ARGV[1])
if not found[2] then return {now} end
local asked = tonumber(string.match(found[2], '^%d+'))
if asked <= (tonumber(found[1]) or 0) then return {now} end
return {now, asked, string.match(found[2], '^%d+ (.*)$')}
"""
)
"""The time, and the answer with the time at which the service was asked, if nothing has changed since."""

_KEEP = """
-- KEYS: a customer's hash. ARGV: field, when the service was asked, life in ms, maximum number of fields, the answer
local found = redis.call('HMGET', KEYS[1], 'changed', ARGV[1])
local asked = tonumber(ARGV[2])
if asked <= (tonumber(found[1]) or 0) then return 0 end
if found[2] and tonumber(string.match(found[2], '^%d+')) > asked then return 0 end
if not found[2] and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then
  redis.call('DEL', KEYS[1])
  if found[1] then redis.call('HSET', KEYS[1], 'changed', found[1]) end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[5])
local life = tonumber(ARGV[3])
if redis.call('PTTL', KEYS[1]) < life then redis.call('PEXPIRE', KEYS[1], life) end
return 1
"""
"""Keeps an answer, unless a newer one is known, or access has changed since the service was asked."""

_CHANGE_ONE = (
    _BEGIN
    + """
-- KEYS: a customer's hash. ARGV: life of the note in ms
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'changed', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
"""
)
"""Deletes a customer's answers, and refuses those that were asked for before."""

_CHANGE_ALL = (
    _BEGIN
    + """
-- KEYS: the time of the last change of everybody's access. ARGV: life of the note in ms
redis.call('SET', KEYS[1], string.format('%.0f', now), 'PX', ARGV[1])
return 1
"""
)

_CHANGED_ALL = "return redis.call('GET', KEYS[1])"

_MAX_FIELDS = 1000
"""Maximum number of a customer's answers. More can only come from slugs that don't exist."""
_CHANGE_SECONDS = 3600.0
"""How long Redis remembers a change at least: longer than any question to the service takes."""


class RedisAnswers:
    """Keeps the service's answers for all processes of a fleet, which ask Redis before they ask the service.

        access = Access(montra, usage, shared_answers=RedisAnswers("redis://localhost:6379/0"))

    A process that has just started finds what the others know. What one process invalidates, e.g. because it was sent a
    webhook, is invalid in all: `check` does not use an older answer when `local_ttl` has passed since then, plus one
    round trip to Redis. `peek` never waits: it may give an older answer once more, as `stale`, and looks in Redis in
    the background.

    If Redis can't be used, everything is as without it, and it is tried again a second later: the service is asked, and
    changes that other processes see are seen here when the time to live of the answers has passed.

    Keys have no ids of customers in them, and expire. Redis may evict them.

    Args:
        client: a URL, or a `redis.asyncio.Redis` (or `RedisCluster`), which is used on its event loop only. Give a
            client of your own time-outs.
        prefix: the prefix of the keys. Give each merchant one of its own. Default: "montra:answers:".
        local_ttl: how long a process uses an answer from its memory before it looks in Redis again, as a timedelta or
            seconds. Default: 1 s.
        timeout: how long a question waits for Redis before it goes to the service, as a timedelta or seconds.
            Default: 0.5 s.

    Raises:
        ConfigError: the URL or a duration is not valid.
        ImportError: a URL was given, and redis is not installed.
        TypeError: `client` is neither.
    """

    def __init__(
        self,
        client: SecretText | Any,
        *,
        prefix: str = "montra:answers:",
        local_ttl: Duration = 1.0,
        timeout: Duration = 0.5,
    ) -> None:
        given: Any = Secret(client) if isinstance(client, str) else client
        del client  # a URL may contain a password, which a traceback with local variables must not show
        self.local_ttl: float = positive_seconds("local_ttl", local_ttl)
        """Seconds that a process uses an answer from its memory."""
        self._prefix = prefix
        self._lines = RedisLines(given, positive_seconds("timeout", timeout), "RedisAnswers")

    async def look(self, service: str, key: Key) -> tuple[int, int, bytes | str | None]:
        """Look for an answer.

        Args:
            service: URL of the service.
            key: customer, kind and slug.

        Returns:
            The time of Redis in milliseconds; by that time, when the service was asked; the answer. It is None if there
            is none that is newer than the last change.

        Raises:
            AccessUnavailableError: Redis can't be reached, refuses, or takes too long.
        """
        # Two keys, and so two scripts, because in a cluster they are in two places.
        everybody = self._lines.send(_CHANGED_ALL, self._everybody(service))
        one = self._lines.send(_LOOK, self._customer(service, key[0]), _field(key))
        await asyncio.wait((everybody, one))
        changed, (now, *found) = everybody.result(), one.result()
        try:
            if not found or found[0] <= int(changed or 0):
                return now, 0, None
        except ValueError:
            raise AccessUnavailableError("Redis: its keys are used by something else") from None
        return now, found[0], found[1]

    def keep(self, service: str, key: Key, asked: int, life: float, answer: bytes) -> asyncio.Future[Any]:
        """Begin to keep an answer.

        Args:
            service: URL of the service.
            key: customer, kind and slug.
            asked: the time of Redis before the service was asked, in milliseconds.
            life: seconds for which the answer may be of use.
            answer: the answer.
        """
        arguments = (_field(key), asked, _milliseconds(life), _MAX_FIELDS, answer)
        return self._lines.send(_KEEP, self._customer(service, key[0]), *arguments)

    def change(self, service: str, customer_id: str | None, life: float) -> asyncio.Future[Any]:
        """Begin to invalidate answers.

        Args:
            service: URL of the service.
            customer_id: the customer. None: all.
            life: seconds for which an answer may be of use.
        """
        milliseconds = _milliseconds(life + _CHANGE_SECONDS)
        if customer_id is None:
            return self._lines.send(_CHANGE_ALL, self._everybody(service), milliseconds)
        return self._lines.send(_CHANGE_ONE, self._customer(service, customer_id), milliseconds)

    def _everybody(self, service: str) -> tuple[bytes]:
        return (f"{self._prefix}all:{_digest(service)}".encode(),)

    def _customer(self, service: str, customer_id: str) -> tuple[bytes]:
        return (f"{self._prefix}{_digest(service, customer_id)}".encode(),)

    def after_fork_in_child(self) -> None:
        """Forget the parent's connections, without closing them."""
        self._lines.after_fork_in_child()

    async def aclose(self) -> None:
        """Finish what is under way on this event loop, and close its connections, unless the client is yours."""
        await self._lines.aclose()

    def __repr__(self) -> str:
        return f"<RedisAnswers {getattr(self, '_prefix', '')}>"


def _field(key: Key) -> str:
    return _digest(key[1], key[2])


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode(errors="replace")).hexdigest()[:32]


def _milliseconds(seconds: float) -> int:
    return max(1, round(1000 * seconds))
