"""An outbox in memory that checks how a sender uses it, and requests for it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence

from montra_async.usage.errors import OutboxError
from montra_async.usage.events import Outcome, Settlement, UsageRequest
from montra_async.usage.outbox import Exchange

_numbers = itertools.count(1)


def usage_request(customer_id: str = "cust_1", units: int = 1, *, metadata: str | None = None) -> UsageRequest:
    number = next(_numbers)
    return UsageRequest(number, f"key-{number}", customer_id, "tokens", units, 0, metadata, 1, 0.0, 0, False)


class FakeOutbox:
    """Claims in the order of due times.

    Attributes:
        takes: seconds that an exchange takes.
        failing: the exchanges that fail, counted from 1.
        errors: errors that the next exchanges raise, one each.
        claimed: requests that are claimed, by their ids.
        delivered: requests that were settled as delivered, in order.
        refused: settlements as refused, in order.
        retried: settlements as to be tried again, in order.
        exchanges: number of exchanges.
        most_claimed: the largest number of requests that were claimed at once.
        problems: what the sender did wrong.
    """

    def __init__(self, clock: Callable[[], float], takes: float = 0.002) -> None:
        self.takes = takes
        self.errors: list[Exception] = []
        self.claimed: dict[int | str, UsageRequest] = {}
        self.delivered: list[UsageRequest] = []
        self.refused: list[Settlement] = []
        self.retried: list[Settlement] = []
        self.renewed: list[UsageRequest] = []
        self.lost_on_renewal: set[int | str] = set()
        self.renewal_errors: list[Exception] = []
        self.exchanges = 0
        self.most_claimed = 0
        self.flushes: list[bool] = []
        self.problems: list[str] = []
        self.failing: set[int] = set()
        self._clock = clock
        self._waiting: list[tuple[float, UsageRequest]] = []
        self._busy = False

    def add(self, *requests: UsageRequest) -> None:
        self._waiting += [(self._clock(), request) for request in requests]

    @property
    def waiting(self) -> list[UsageRequest]:
        return [request for _, request in self._waiting]

    async def exchange(self, settlements: Sequence[Settlement], limit: int, flush: bool) -> Exchange:
        self._check(not self._busy, "two exchanges at once")
        self._busy = True
        try:
            await asyncio.sleep(self.takes)
            self.exchanges += 1
            self.flushes.append(flush)
            if self.exchanges in self.failing:
                raise outbox_error()
            if self.errors:
                raise self.errors.pop(0)
            for settlement in settlements:
                self._settle(settlement)
            return self._claim(limit)
        finally:
            self._busy = False

    async def renew(self, requests: Sequence[UsageRequest]) -> list[UsageRequest]:
        self._check(not self._busy, "a renewal during an exchange")
        if self.renewal_errors:
            raise self.renewal_errors.pop(0)
        self.renewed += requests
        for request in requests:
            if request.id in self.lost_on_renewal:
                del self.claimed[request.id]
        return [request for request in requests if request.id not in self.lost_on_renewal]

    def _check(self, condition: bool, problem: str) -> None:
        if not condition:
            self.problems.append(problem)

    def _settle(self, settlement: Settlement) -> None:
        request = settlement.request
        self._check(self.claimed.pop(request.id, None) == request, f"{request} was settled, and was not claimed")
        if settlement.outcome is Outcome.DELIVERED:
            self.delivered.append(request)
        elif settlement.outcome is Outcome.REFUSED:
            self.refused.append(settlement)
        else:
            self.retried.append(settlement)
            kept = request._replace(ambiguous=request.ambiguous or settlement.sent)
            self._waiting.append((self._clock() + settlement.delay, kept))

    def _claim(self, limit: int) -> Exchange:
        now = self._clock()
        self._waiting.sort(key=lambda one: one[0])
        claimed: list[UsageRequest] = []
        while self._waiting and len(claimed) < limit and self._waiting[0][0] <= now:
            request = self._waiting.pop(0)[1]
            claimed.append(request._replace(attempts=request.attempts + 1))
        self.claimed.update((request.id, request) for request in claimed)
        self.most_claimed = max(self.most_claimed, len(self.claimed))
        next_due = max(0.0, self._waiting[0][0] - now) if self._waiting else None
        return Exchange(claimed, next_due, [])


def outbox_error() -> OutboxError:
    return OutboxError("no space left")
