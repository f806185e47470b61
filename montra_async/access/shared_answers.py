"""`SharedAnswers`: what an `Access` asks of `RedisAnswers`. When Redis can't be used, it is as if there were none."""

from __future__ import annotations

import asyncio
import math
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

from ..core.errors import MontraError
from ..core.models.json import dumps, loads
from .decision import AccessDecision, Key
from .errors import AccessUnavailableError
from .last_loop import LastLoop, Post
from .ledger import Ledger
from .meter_counters import log
from .numbers import parsed_amount
from .redis_answers import RedisAnswers

_RETRY_SECONDS = 1.0
_LOG_SECONDS = 60.0
_MAX_PENDING = 10_000
"""Maximum number of customers whose change waits for Redis; with more, it is a change of all."""
_MAX_SIZE = 4096
"""Maximum number of bytes of an answer."""


class SharedAnswer(NamedTuple):
    """An answer of the service that some process of the fleet has been given."""

    allowed: bool
    reason: str | None
    usage: int | Decimal | None
    limit: int | Decimal | None
    asked_at: float
    """When the service was asked, by the ledger's clock."""


class Look(NamedTuple):
    """What Redis says."""

    now: int
    """The time of Redis in milliseconds."""
    answer: SharedAnswer | None


class SharedAnswers:
    """Finds and keeps answers in Redis, and tells the fleet of changes.

    Args:
        redis: Redis.
        ledger: settings and clock.
        service: URL of the service.
        post: runs functions on an event loop. None: on the caller's, or else the one that was used last.
    """

    def __init__(self, redis: RedisAnswers, ledger: Ledger, service: str, post: Post | None = None) -> None:
        self._redis = redis
        self._ledger = ledger
        self._service = service
        self._life = ledger.settings.ttl + ledger.settings.stale_ttl
        self._last = LastLoop()
        self._post: Post = self._last.post if post is None else post
        self._away_until = -math.inf
        self._logged_at = -math.inf
        self._reset()

    def _reset(self) -> None:
        self._epoch = self._ledger.epoch
        self._pending: dict[str | None, object] = {}
        """Changes that Redis may not know of, by customer. None: of all customers."""
        self._untold: dict[str | None, object] = {}
        """Changes that are not on their way to Redis."""
        self._retrying: asyncio.AbstractEventLoop | None = None

    @property
    def is_usable(self) -> bool:
        """Whether Redis could be used the last time, or is worth another try."""
        return self._ledger.clock() >= self._away_until

    @property
    def local_ttl(self) -> float:
        """Seconds for which an answer is used from memory. Without Redis, it is not limited."""
        return self._redis.local_ttl if self.is_usable else math.inf

    def _enter(self) -> None:
        """Use the running loop."""
        self._leave_parent()
        self._last.loop = asyncio.get_running_loop()

    def _leave_parent(self) -> None:
        """A forked child forgets the connections of its parent, and the changes that the parent tells."""
        if self._epoch != self._ledger.epoch:
            self._reset()
            self._redis.after_fork_in_child()

    async def look(self, key: Key) -> Look | None:
        """Look for an answer. Returns None when Redis can't be used.

        Args:
            key: customer, kind and slug.
        """
        self._enter()
        if not self.is_usable:
            return None
        try:
            for customer_id in (key[0], None):
                change = self._pending.get(customer_id)
                if change is not None:  # what Redis has may be older
                    await self._redis.change(self._service, customer_id, self._life)
                    self._confirm(customer_id, change)
            sent_at = self._ledger.clock()
            now, asked, text = await self._redis.look(self._service, key)
        except AccessUnavailableError as error:
            self._failed(error)
            return None
        if text is None:
            return Look(now, None)
        return Look(now, _parsed(text, sent_at - max(0, now - asked) / 1000))

    def keep(self, key: Key, asked: int, answer: AccessDecision) -> None:
        """Keep an answer of the service in Redis soon.

        Args:
            key: customer, kind and slug.
            asked: `Look.now` of before the service was asked.
            answer: the answer, with the service's own numbers.
        """
        numbers = [None if one is None else str(one) for one in (answer.usage, answer.limit)]
        text = dumps([answer.allowed, answer.reason, *numbers])
        if len(text) <= _MAX_SIZE:
            life = self._life if answer.allowed else self._ledger.settings.deny_ttl
            self._redis.keep(self._service, key, asked, life, text).add_done_callback(self._done)

    def invalidate(self, customer_id: str | None) -> None:
        """Have all processes ask again. Any thread may call it.

        Args:
            customer_id: only for this customer. None: for all.
        """
        self._leave_parent()
        if len(self._pending) >= _MAX_PENDING:
            customer_id = None
        self._pending[customer_id] = self._untold[customer_id] = object()
        self._post(self._tell)

    def _tell(self) -> None:
        """Tell Redis of changes."""
        self._enter()
        while self._untold:
            customer_id, change = self._untold.popitem()
            told = self._redis.change(self._service, customer_id, self._life)
            told.add_done_callback(partial(self._told, customer_id, change))

    def _told(self, customer_id: str | None, change: object, done: asyncio.Future[Any]) -> None:
        if not done.cancelled() and done.exception() is None:
            self._confirm(customer_id, change)
            return
        self._done(done)
        if self._pending.get(customer_id) is change:
            self._untold[customer_id] = change
            loop = done.get_loop()
            if self._retrying is not loop and not loop.is_closed():
                self._retrying = loop
                loop.call_later(_RETRY_SECONDS, self._retry)

    def _retry(self) -> None:
        self._retrying = None
        self._tell()

    def _confirm(self, customer_id: str | None, change: object) -> None:
        if self._pending.get(customer_id) is change:  # else it has changed again meanwhile
            self._pending.pop(customer_id, None)

    def _done(self, done: asyncio.Future[Any]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        now = self._ledger.clock()
        self._away_until = now + _RETRY_SECONDS
        if now - self._logged_at >= _LOG_SECONDS:
            self._logged_at = now
            log.warning("answers are not shared right now, each process asks the service: %.300s", error)

    async def aclose(self) -> None:
        """Finish what is under way on this event loop."""
        self._tell()
        await self._redis.aclose()


def _parsed(text: bytes | str, asked_at: float) -> SharedAnswer | None:
    """What Redis keeps may be anything."""
    try:
        if len(text) > _MAX_SIZE:
            return None
        allowed, reason, usage, limit = loads(text if isinstance(text, bytes) else text.encode())
        if not isinstance(allowed, bool) or not (reason is None or isinstance(reason, str)):
            return None
        return SharedAnswer(allowed, reason, parsed_amount(usage), parsed_amount(limit), asked_at)
    except (ValueError, TypeError, ArithmeticError, MontraError):
        return None


def is_recent(answer: SharedAnswer, ledger: Ledger) -> bool:
    """Whether an answer is within its time to live, or may be given once more while the service is asked.

    Args:
        answer: the answer.
        ledger: settings and clock.
    """
    settings = ledger.settings
    age = ledger.clock() - answer.asked_at
    return age <= (settings.ttl + settings.stale_ttl if answer.allowed else settings.deny_ttl)
