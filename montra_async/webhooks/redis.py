"""The memory of handled events in Redis, for receivers on several machines. Needs the extra `montra[redis]`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .stores import REMEMBERED, Claim

if TYPE_CHECKING:
    from redis import Redis

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
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""


class RedisStore:
    """Events as keys `montra:webhook:<id>` that expire by themselves.

    Redis must not evict them (`noeviction`), and what it acknowledged must survive it (`appendonly yes`), if an event
    must never be handled twice.

    Args:
        client: a `redis.Redis` (not the asyncio one: this store works on every event loop, and without any), or a URL.
        prefix: of the keys.
        remembered: seconds for which an event that is done stays remembered.
    """

    def __init__(self, client: Redis | str, *, prefix: str = "montra:webhook:", remembered: float = REMEMBERED) -> None:
        if isinstance(client, str):
            try:
                from redis import Redis as Client
            except ImportError:
                raise ImportError("RedisStore needs redis: pip install 'montra[redis]'") from None

            client = Client.from_url(client)  # pyright: ignore[reportUnknownMemberType]
        self._client: Any = client
        self._prefix = prefix
        self._remembered = remembered
        self._claim = self._client.register_script(_CLAIM)
        self._if_ours = self._client.register_script(_IF_OURS)

    async def claim(self, event_id: str, token: str, lease: float) -> Claim:
        answer = await asyncio.to_thread(self._claim, keys=[self._key(event_id)], args=[token, _milliseconds(lease)])
        return Claim(answer.decode() if isinstance(answer, bytes) else answer)

    async def renew(self, event_id: str, token: str, lease: float) -> bool:
        return await self._change(event_id, token, token, lease)

    async def done(self, event_id: str, token: str) -> bool:
        return await self._change(event_id, token, "done", self._remembered)

    async def release(self, event_id: str, token: str) -> None:
        await self._change(event_id, token, "", 1)

    async def _change(self, event_id: str, token: str, to: str, seconds: float) -> bool:
        args: list[str | int] = [token, to, _milliseconds(seconds)]
        return bool(await asyncio.to_thread(self._if_ours, keys=[self._key(event_id)], args=args))

    def _key(self, event_id: str) -> str:
        return f"{self._prefix}{event_id}"


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
