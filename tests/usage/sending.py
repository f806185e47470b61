"""A sender on virtual time, with an outbox in memory and a scripted service."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from montra_async.core.errors import ApiError, CallInfo, NetworkError, error_class
from montra_async.usage.events import Settlement
from montra_async.usage.sending.sender import Sender

from .fake_outbox import FakeOutbox

CALL = CallInfo(method="POST", path="/usage")


def answer(status: int, code: str = "", message: str = "no", retry_after: float | None = None) -> ApiError:
    return error_class(status)(
        message, status=status, code=code or f"http_{status}", call=CALL, retry_after=retry_after
    )


def lost(sent: bool = True) -> NetworkError:
    return NetworkError("the connection was closed", CALL, sent=sent)


class Service:
    """Counts each key once.

    Attributes:
        takes: seconds that an answer takes.
        behave: called with each key; what it returns is raised. What it raises itself is not seen as handled.
        sums: counted units by customer.
        counted: keys that were counted.
        keys: how often each key has arrived.
        in_flight: requests being handled.
        most_in_flight: the largest number of requests at once.
        arrivals: when each request has arrived.
        problems: what the sender did wrong.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.takes = 0.01
        self.behave: Callable[[str], BaseException | None] = lambda key: None
        self.after: Callable[[str], BaseException | None] = lambda key: None
        self.sums: Counter[str] = Counter()
        self.keys: Counter[str] = Counter()
        self.in_flight = self.most_in_flight = 0
        self.arrivals: list[float] = []
        self.problems: list[str] = []
        self._clock = clock
        self.counted: set[str] = set()
        self._paused_until = 0.0

    async def report(
        self, customer_id: str, meter_slug: str, *, amount: Any, metadata: Any, idempotency_key: str
    ) -> bool:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.arrivals.append(self._clock())
        self.keys[idempotency_key] += 1
        if self._clock() < self._paused_until - 1e-6:
            self.problems.append(f"sent {self._paused_until - self._clock()} s before the end of a pause")
        try:
            refused = self.behave(idempotency_key)
            await asyncio.sleep(self.takes)
            if refused is not None:
                self._paused_until = max(self._paused_until, self._clock() + (getattr(refused, "retry_after", 0) or 0))
                raise refused
            if idempotency_key not in self.counted:
                self.counted.add(idempotency_key)
                self.sums[customer_id] += amount
            failure = self.after(idempotency_key)
            if failure is not None:
                raise failure
            return True
        finally:
            self.in_flight -= 1


class Bench:
    """A running sender and what is around it."""

    def __init__(self, **settings: Any) -> None:
        loop = asyncio.get_running_loop()
        self.clock = loop.time
        self.outbox = FakeOutbox(loop.time)
        self.service = Service(loop.time)
        self.observed: list[Settlement] = []
        settings.setdefault("report", self.service.report)
        settings.setdefault("random", random.Random(1).random)
        if "renew_after" in settings:
            settings["renew"] = self.outbox.renew
        self.sender = Sender(exchange=self.outbox.exchange, observe=self.observed.append, clock=loop.time, **settings)
        self.task = asyncio.ensure_future(self.sender.run())

    async def until(self, condition: Callable[[], bool], seconds: float = 3600.0) -> None:
        """Wait on virtual time."""
        start = self.clock()
        while not condition():
            passed = self.clock() - start
            assert passed < seconds, f"not within {seconds} s: {self.sender.state}"
            await asyncio.sleep(min(0.05, max(0.001, passed / 50)))

    async def until_settled(self, seconds: float = 3600.0) -> None:
        await self.until(lambda: not self.outbox.claimed and not self.outbox.waiting, seconds)


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Bench]:
    bench = Bench(**settings)
    try:
        yield bench
    finally:
        await bench.sender.stop(0)
        await asyncio.gather(bench.task, return_exceptions=True)
        problems = bench.outbox.problems + bench.service.problems
        assert problems == [], problems[:3]


def times(count: int, error: Callable[[], BaseException]) -> Callable[[str], BaseException | None]:
    """Behaves badly some times."""
    left = [count]

    def behave(key: str) -> BaseException | None:
        left[0] -= 1
        return error() if left[0] >= 0 else None

    return behave
