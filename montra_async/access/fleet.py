"""`Fleet`: the holds of an `Access` whose counters are in Redis."""

from __future__ import annotations

import asyncio
import os
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

from ..core.errors import MontraError
from . import redis_scripts as scripts
from .checker import Checker
from .decision import AccessDecision, Key
from .errors import AccessDeniedError, AccessUnavailableError, LimitExceededError
from .fleet_usage import FleetUsage
from .last_loop import Post
from .ledger import Ledger
from .meter_counters import log
from .numbers import amount_of, redis_units
from .redis_holds import RedisHolds
from .reservation import Reservation


class _Reply(NamedTuple):
    """What Redis says to a hold."""

    status: str
    """`held`; `unknown`: there is no recent answer of the service; `denied`; `exceeded`."""
    usage: int | Decimal
    limit: int | Decimal | None
    remaining: int | Decimal | None
    age: float
    may_gain: bool


class Fleet(FleetUsage):
    """Reserves and ends holds in Redis, and counts there what is recorded without one.

    Args:
        holds: Redis.
        ledger: answers and settings.
        checker: asks the service.
        post: runs functions on an event loop. None: on the caller's, or else the one that was used last.
    """

    def __init__(
        self,
        holds: RedisHolds,
        ledger: Ledger,
        checker: Checker,
        post: Post | None = None,
    ) -> None:
        super().__init__(holds, ledger, post)
        self._checker = checker

    def _reset(self) -> None:
        super()._reset()
        self._open: set[Reservation] = set()
        self._renewing: dict[asyncio.AbstractEventLoop, asyncio.Task[None]] = {}
        self._flights: dict[tuple[asyncio.AbstractEventLoop, Key], asyncio.Task[MontraError | None]] = {}

    # Holds

    async def reserve(self, hold: Reservation, amount: int | Decimal) -> None:
        """Have a hold hold `amount` units altogether.

        Args:
            hold: the hold.
            amount: number of units that it has afterwards.

        Raises:
            AccessDeniedError: there are not so many.
            AccessUnavailableError: Redis can't be used, or the service can't be asked and the setting says to raise.
        """
        self._enter()
        is_new = hold.state == "new"
        if is_new:
            hold.fleet_id = os.urandom(12).hex()
        try:
            await self._reserve(hold, amount)
        except FallbackAllowed:  # Redis has answered
            raise
        except (asyncio.CancelledError, AccessUnavailableError):  # it may be, or become, reserved
            if is_new:
                self._send(scripts.SETTLE, hold.key, hold.fleet_id, 0, 0)
            else:
                self._send(scripts.RESERVE, hold.key, *self._arguments(hold, hold.estimate, 2**50))
            raise
        hold.estimate = amount
        hold.epoch = self._epoch
        if is_new:
            hold.state = "open"
            hold.expires_at = self._ledger.clock() + hold.ttl
            with self._lock:
                self._open.add(hold)
            self._start_renewing()

    async def _reserve(self, hold: Reservation, amount: int | Decimal) -> None:
        settings = self._settings
        reply = await self._attempt(hold, amount, settings.ttl + settings.stale_ttl)
        if reply.status == "held":
            if reply.age > settings.ttl:
                self._refresh(hold.key)
            return
        asked = reply.status == "unknown" or reply.age >= settings.deny_ttl or reply.may_gain
        if asked:
            problem = await asyncio.shield(self._refresh(hold.key))
            if problem is not None and reply.status == "unknown":
                self._refuse_without_service(hold, problem)
            reply = await self._attempt(hold, amount, settings.ttl if problem is None else settings.max_stale)
            if reply.status == "unknown":
                self._refuse_fallback(hold, problem or AccessUnavailableError("the service's answer is not in Redis"))
        if reply.status != "held":
            raise self._denied(hold, amount, reply)

    async def _attempt(self, hold: Reservation, amount: int | Decimal, max_age: float) -> _Reply:
        found = await self._holds.run(scripts.RESERVE, hold.key, *self._arguments(hold, amount, max_age))
        status, *numbers = words(found)
        limit = numbers.pop(2)
        scale, used, held, age, uncertain = map(int, numbers)
        exact_limit = None if limit == "-" else int(limit)
        remaining = None if exact_limit is None else max(0, exact_limit - used - held)
        seconds = age / 1000
        may_gain = uncertain > 0 and seconds >= min(1.0, self._settings.deny_ttl)
        return _Reply(
            status,
            amount_of(used, scale),
            None if exact_limit is None else amount_of(exact_limit, scale),
            None if remaining is None else amount_of(remaining, scale),
            seconds,
            may_gain,
        )

    def _arguments(self, hold: Reservation, amount: int | Decimal, max_age: float) -> tuple[Any, ...]:
        lease = round(1000 * min(self._holds.lease, hold.ttl))
        return (hold.fleet_id, *redis_units(amount), lease, round(1000 * max_age), self._key_life)

    def _refuse_without_service(self, hold: Reservation, problem: MontraError) -> None:
        """
        Raises:
            MontraError: it is not an outage.
            AccessDeniedError: it is one, and the setting says to deny.
        """
        decision = self._checker.without_service(hold.key, problem)
        if decision.source == "fallback":
            self._refuse_fallback(hold, problem)

    def _refuse_fallback(self, hold: Reservation, problem: MontraError) -> None:
        """
        Raises:
            AccessUnavailableError: the setting says to raise; `Allowed` if it says to allow.
            AccessDeniedError: the setting says to deny.
        """
        decision = self._checker.fallback(problem)
        if decision.allowed:
            raise FallbackAllowed(str(problem))
        customer_id, _, slug = hold.key
        raise AccessDeniedError(f"access of {customer_id} to {slug} can't be determined right now", decision)

    def _denied(self, hold: Reservation, amount: int | Decimal, reply: _Reply) -> AccessDeniedError:
        customer_id, _, slug = hold.key
        allowed = reply.status == "exceeded" and bool(reply.remaining)
        known = self._ledger.find(hold.key)
        reason = "limit_reached" if reply.status == "exceeded" else None if known is None else known.reason
        decision = AccessDecision(
            allowed,
            "cached",
            reason=None if allowed else reason,
            usage=reply.usage,
            limit=reply.limit,
            remaining=reply.remaining,
            asked_at=self._ledger.clock() - reply.age,
            clock=self._ledger.clock,
        )
        if reply.status == "denied":
            return AccessDeniedError(f"{customer_id} has no access to {slug}: {reason}", decision)
        problem = f"{customer_id} has {reply.remaining} of {reply.limit} units of {slug} left, not {amount}"
        return LimitExceededError(problem, decision, amount)

    async def end(self, hold: Reservation, used: int | Decimal) -> None:
        """End a hold and count what it used. If Redis can't be used, the hold ends when its lease does.

        Args:
            hold: the hold.
            used: number of units; 0 for none.
        """
        self._enter()
        await asyncio.wait([self._end(hold, used)])  # which does not cancel it

    def end_later(self, hold: Reservation, used: int | Decimal) -> None:
        """End a hold and count what it used, without waiting for Redis.

        Args:
            hold: the hold.
            used: number of units; 0 for none.
        """
        self._end(hold, used)

    def _end(self, hold: Reservation, used: int | Decimal) -> asyncio.Future[Any]:
        with self._lock:
            self._open.discard(hold)
        future = self._send(scripts.SETTLE, hold.key, hold.fleet_id, *redis_units(used))
        future.add_done_callback(partial(self._ended, hold.key, used))
        return future

    def _ended(self, key: Key, used: int | Decimal, done: asyncio.Future[Any]) -> None:
        """Count without the hold what was not, or may not have been, counted with it: rather twice than not at all."""
        if done.cancelled():  # the event loop ends; the next one counts it
            if used:
                self._add(key, used, 0)
            return
        error = done.exception()
        if error is not None:
            log.warning("a hold stays until its lease ends: %s", error)
        if used and (error is not None or not done.result()):  # it had expired
            self.count(key, used, 0)

    def stop_renewing(self, hold: Reservation) -> None:
        """Let a hold that could not be settled live once more: it may be settled again, or never.

        Args:
            hold: the hold.
        """
        with self._lock:
            hold.renews = False
            hold.expires_at = self._ledger.clock() + hold.ttl

    async def renew(self, hold: Reservation) -> bool:
        """Begin a hold's life anew. Returns whether it still had its units."""
        self._enter()
        alive = await self._send(scripts.RENEW, hold.key, hold.fleet_id, round(1000 * self._holds.lease))
        return bool(alive)

    def _start_renewing(self) -> None:
        loop = asyncio.get_running_loop()
        if loop not in self._renewing:
            for ended in [one for one in list(self._renewing) if one.is_closed()]:
                self._renewing.pop(ended, None)
            self._renewing[loop] = loop.create_task(self._renew_open())

    async def _renew_open(self) -> None:
        """Renew the open holds as long as there are any: those of this process are not those of a dead one."""
        loop = asyncio.get_running_loop()
        try:
            while self._open:
                await asyncio.sleep(self._holds.lease / 3)
                now = self._ledger.clock()
                with self._lock:  # other event loops and threads make and end holds, too
                    self._open -= {hold for hold in self._open if not hold.renews and hold.expires_at <= now}
                    alive = list(self._open)
                for hold in alive:
                    lease = round(1000 * min(self._holds.lease, hold.ttl))
                    self._send(scripts.RENEW, hold.key, hold.fleet_id, lease)
        finally:
            self._renewing.pop(loop, None)

    def _send(self, script: str, key: Key, *args: Any) -> asyncio.Future[Any]:
        return self._holds.send(script, key, *args)

    # The service's answers

    def _refresh(self, key: Key) -> asyncio.Task[MontraError | None]:
        """Ask the service, once for all who want to know, and tell Redis."""
        loop = self._enter()
        task = self._flights.get((loop, key))
        if task is None:
            task = self._flights[loop, key] = loop.create_task(self._ask(key))
            task.add_done_callback(lambda _: self._flights.pop((loop, key), None))
        return task

    async def _ask(self, key: Key) -> MontraError | None:
        try:
            base, scale, now = words(await self._holds.run(scripts.ASK, key))
            began = self._ledger.clock()
            for _ in range(3):
                outcome = await self._checker.ask(key, of_service=True)
                if isinstance(outcome, MontraError):
                    return outcome
                if (outcome.asked_at or 0.0) >= began:  # else the question was older than what Redis was asked
                    break
            answer = self._ledger.server_answer(key)
            if answer is None:
                return AccessUnavailableError("the service's answer is not known any more")
            numbers = [redis_units(answer.usage or 0), redis_units(answer.limit or 0, up=False)]
            common = max(one for _, one in numbers)
            usage, limit = (units * 10 ** (common - one) for units, one in numbers)
            limits = "-" if answer.limit is None else limit
            life = round(1000 * self._settings.local_usage_ttl)
            arguments = (base, scale, now, int(answer.allowed), limits, usage, common, life, self._key_life)
            await self._holds.run(scripts.ANSWER, key, *arguments)
        except MontraError as error:
            return error
        return None

    def invalidate(self, key: Key) -> None:
        """Have the service asked again by the fleet."""
        try:
            is_here = asyncio.get_running_loop() is self._last.loop
        except RuntimeError:
            is_here = False
        if is_here:
            self._forget(key)  # before what the caller does next
        else:
            self._post(partial(self._forget, key))

    def _forget(self, key: Key) -> None:
        self._enter()
        self._send(scripts.FORGET, key)

    async def aclose(self) -> None:
        """Stop renewing, and finish what is under way on this event loop."""
        task = self._renewing.pop(asyncio.get_running_loop(), None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._flush()
        await self._holds.aclose()


class FallbackAllowed(AccessUnavailableError):
    """Redis or the service can't be used, and the setting says to allow: this process counts alone."""


def words(reply: Any) -> list[str]:
    """The words of a script's reply."""
    text: str = reply.decode() if isinstance(reply, bytes) else reply
    return text.split(" ")
