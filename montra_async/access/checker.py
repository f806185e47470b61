"""`Checker`: asks the service, once for all who want to know the same, and decides when it can't be asked."""

from __future__ import annotations

import asyncio
import copy
import logging
import math
from decimal import Decimal
from functools import partial
from typing import TypeAlias

from ..client import Montra
from ..core import validation
from ..core.current_operation import in_background
from ..core.errors import (
    ApiError,
    InvalidResponseError,
    MontraError,
    NetworkError,
    NotFoundError,
    RateLimitError,
    ServerError,
    without_frames,
)
from ..resources.features import Entitlement
from .decision import INVALID, METER, AccessDecision, Key
from .errors import AccessUnavailableError
from .ledger import Ask, Ledger
from .shared_answers import Look, SharedAnswers, is_recent

log: logging.Logger = logging.getLogger("montra")

_FAILURES = 3
"""Failures in a row after which the service is not asked for a while."""
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_LOG_SECONDS = 60.0

_Asked: TypeAlias = AccessDecision | MontraError


class _Flight:
    """A question in progress, in a task of its own."""

    __slots__ = ("ask", "loop", "of_service", "task")

    def __init__(self, ask: Ask, loop: asyncio.AbstractEventLoop, of_service: bool) -> None:
        self.ask = ask
        self.loop = loop
        self.of_service = of_service
        self.task: asyncio.Task[_Asked]


class Checker:
    """Asks the service.

    Args:
        ledger: keeps the answers.
        montra: the client.
    """

    def __init__(self, ledger: Ledger, montra: Montra) -> None:
        self._ledger = ledger
        self._settings = ledger.settings
        self._montra = montra
        self.shared: SharedAnswers | None = None
        """Answers of a fleet, which are looked at first."""
        self._flights: dict[tuple[asyncio.AbstractEventLoop, Key, bool], _Flight] = {}
        self._tasks: set[asyncio.Task[_Asked]] = set()  # the event loop itself holds tasks only weakly
        self._epoch = 0
        self._failures = 0
        self._paused_until = -math.inf
        self._logged_at = -math.inf

    async def check(self, key: Key) -> AccessDecision:
        """What is known, or else the service's answer.

        Raises:
            AccessUnavailableError: nobody knows, and the setting says to raise.
            NotFoundError: the customer or the meter does not exist.
            ApiError: the service refuses the question, and there is no usable answer.
        """
        now = self._ledger.clock()
        found = self._ledger.find(key)
        if found is not None:
            if now < found.fresh_until:
                return found
            if self.may_be_stale(found, now):
                self.start(key)
                return found.replace(source="stale")
        outcome = await self.ask(key)
        return outcome if isinstance(outcome, AccessDecision) else self.without_service(key, outcome)

    def may_be_stale(self, found: AccessDecision, now: float) -> bool:
        """Whether an answer that is too old may be given once more, while the service is asked."""
        if self.shared is not None and self.shared.is_usable:  # another process may have invalidated it
            return False
        return found.allowed and found.fresh_until != INVALID and now < found.fresh_until + self._settings.stale_ttl

    async def ask(self, key: Key, *, of_service: bool = False) -> _Asked:
        """Ask the service, or wait for the answer to a question in progress. Returns the decision, or the error.

        Args:
            key: the key.
            of_service: an answer that the service gave to another process is not enough.
        """
        flight = self._join(key, of_service)
        if flight is None:
            return AccessUnavailableError(f"the service is not asked for a moment, after {self._failures} failures")
        done, _ = await asyncio.wait([flight.task], timeout=self._settings.timeout)
        if not done:
            return AccessUnavailableError(f"the service did not answer within {self._settings.timeout:g} s")
        if flight.task.cancelled():
            return AccessUnavailableError("the question was cancelled: the event loop is ending")
        return flight.task.result()

    def start(self, key: Key) -> None:
        """Ask the service in the background, unless it is being asked. Needs a running event loop."""
        self._join(key, background=True)

    def _join(self, key: Key, of_service: bool = False, *, background: bool = False) -> _Flight | None:
        loop = asyncio.get_running_loop()
        if self._epoch != self._ledger.epoch:  # a forked child: the parent's questions are not answered here
            self._epoch = self._ledger.epoch
            self._flights, self._tasks = {}, set()
        name = (loop, key, of_service)
        flight = self._flights.get(name)
        if flight is not None and not flight.ask.outdated:
            return flight
        if self._is_paused and (of_service or self.shared is None or not self.shared.is_usable):
            return None
        self._discard_ended()
        flight = self._flights[name] = _Flight(self._ledger.begin(key), loop, of_service)
        work = partial(self._fly, flight)
        flight.task = loop.create_task(in_background(work) if background else work())
        self._tasks.add(flight.task)
        flight.task.add_done_callback(self._tasks.discard)
        return flight

    @property
    def _is_paused(self) -> bool:
        return self._ledger.clock() < self._paused_until

    def _discard_ended(self) -> None:
        for name, flight in [(name, one) for name, one in list(self._flights.items()) if one.loop.is_closed()]:
            self._flights.pop(name, None)
            self._ledger.failed(flight.ask)

    async def _fly(self, flight: _Flight) -> _Asked:
        ask = flight.ask
        answered = False
        try:
            look = None if self.shared is None else await self.shared.look(ask.key)
            if look is not None and (found := self._found(flight, look)) is not None:
                return found
            if self.shared is not None and self._is_paused:  # this question was only for Redis
                return AccessUnavailableError(f"the service is not asked for a moment, after {self._failures} failures")
            decision = self._answered(ask, await self._request(ask.key), look)
            answered = True
        except MontraError as error:
            without_frames(error)  # their local variables hold the request
            self._failed(error)
            return error
        except Exception as error:
            log.exception("asking for access failed unexpectedly")
            return AccessUnavailableError(f"asking failed unexpectedly with {type(error).__name__}")
        finally:
            if not answered:
                self._ledger.failed(ask)
            name = (flight.loop, ask.key, flight.of_service)
            if self._flights.get(name) is flight:
                del self._flights[name]
        self._failures = 0
        return decision

    async def _request(self, key: Key) -> Entitlement:
        customer_id, kind, slug = key
        if kind == METER:
            return await self._montra.check_entitlement(customer_id, slug)
        return await self._montra.check_feature_access(customer_id, slug)

    def _found(self, flight: _Flight, look: Look) -> AccessDecision | None:
        """The decision of a shared answer, if it will do. If it is old, the service is asked in the background."""
        answer, ask, shared = look.answer, flight.ask, self.shared
        if answer is None or shared is None or flight.of_service or not is_recent(answer, self._ledger):
            return None
        decision = self._ledger.found(ask, *answer, shared.local_ttl)
        if self._ledger.clock() < decision.fresh_until:
            return decision
        if not decision.allowed or ask.outdated:
            return None
        self._join(ask.key, of_service=True, background=True)
        return decision.replace(source="stale")

    def _answered(self, ask: Ask, found: Entitlement, look: Look | None) -> AccessDecision:
        usage = limit = None
        if ask.key[1] == METER:
            usage, limit = _exact("usage", found.usage), _exact("limit", found.limit)
            if usage is None:  # without it, a limit can't be counted against: `has_access` decides
                limit = None
        shared = self.shared
        if shared is None:
            return self._ledger.answered(ask, found.has_access, found.reason, usage, limit)
        local_ttl = shared.local_ttl
        decision = self._ledger.answered(ask, found.has_access, found.reason, usage, limit, local_ttl=local_ttl)
        if look is not None and not ask.outdated:
            own = AccessDecision(found.has_access, "fresh", reason=found.reason, usage=usage, limit=limit)
            shared.keep(ask.key, look.now, own)
        return decision

    def _failed(self, error: MontraError) -> None:
        if not is_outage(error):
            return
        now = self._ledger.clock()
        self._failures += 1
        if self._failures >= _FAILURES or isinstance(error, RateLimitError):
            pause = _FIRST_PAUSE * 2 ** min(self._failures - 1, 10)
            self._paused_until = now + min(max(pause, error.retry_after or 0.0), _LONGEST_PAUSE)
        if now - self._logged_at >= _LOG_SECONDS:
            self._logged_at = now
            log.warning("access can't be checked right now: %s: %.300s", type(error).__name__, error)

    def without_service(self, key: Key, error: MontraError) -> AccessDecision:
        """The decision when the service has not answered.

        Raises:
            AccessUnavailableError: nobody knows, and the setting says to raise.
            ApiError: it is not the service's fault, and there is no usable answer.
        """
        if isinstance(error, NotFoundError):
            raise copy.copy(error)
        found = self._ledger.find(key)
        if found is not None and (found.age or 0.0) <= self._settings.max_stale:
            return found.replace(source="stale")
        if not is_outage(error):
            raise copy.copy(error)  # of its own: a shared error would collect the frames of all callers
        return self.fallback(error)

    def fallback(self, error: MontraError) -> AccessDecision:
        """What the setting `on_unavailable` decides.

        Raises:
            AccessUnavailableError: that is to raise.
        """
        policy = self._settings.on_unavailable
        if policy == "raise":
            raise AccessUnavailableError(f"access can't be determined: {error}") from None
        allowed = policy == "allow"
        return AccessDecision(allowed, "fallback", reason=None if allowed else "unavailable")

    async def aclose(self) -> None:
        """Cancel the questions in progress on this event loop."""
        loop = asyncio.get_running_loop()
        tasks = [flight.task for flight in list(self._flights.values()) if flight.loop is loop]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def is_outage(error: MontraError) -> bool:
    """Whether the service can't answer at the moment, as opposed to a refusal."""
    if isinstance(error, ApiError):
        return isinstance(error, (ServerError, RateLimitError, InvalidResponseError)) or error.status == 408
    return isinstance(error, (NetworkError, AccessUnavailableError))


def _exact(name: str, value: int | float | None) -> int | Decimal | None:
    return None if value is None else validation.number(name, max(value, 0))
