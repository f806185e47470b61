"""A service that answers as the test wants, a reporter that keeps what it is told, and a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest

from montra_async import CallInfo, Entitlement, MontraError
from montra_async.access import Access

CALL = CallInfo(method="GET", path="/entitlements")


class Clock:
    """Virtual time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def go(self, seconds: float) -> None:
        self.now += seconds


class Service:
    """Stands in for the client: has usage and limits, and answers once `open` is set."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, str]] = Counter()
        self.limit: int | float | None = None
        self.usage: Counter[tuple[str, str]] = Counter()
        self.features: set[str] = set()
        self.plan = True
        self.error: MontraError | None = None
        self.open = asyncio.Event()
        self.open.set()

    async def _wait(self, key: tuple[str, str]) -> None:
        self.asked[key] += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error

    async def check_entitlement(self, customer_id: str, meter_slug: str) -> Entitlement:
        await self._wait((customer_id, meter_slug))
        if not self.plan:
            found = Entitlement(has_access=False, usage=0, type="meter", reason="no_plan")
            await self.open.wait()
            return found
        usage = self.usage[customer_id, meter_slug]
        allowed = self.limit is None or usage < self.limit
        reason = None if allowed else "limit_reached"
        found = Entitlement(has_access=allowed, usage=usage, limit=self.limit, type="meter", reason=reason)
        await self.open.wait()
        return found

    async def check_feature_access(self, customer_id: str, feature_slug: str) -> Entitlement:
        await self._wait((customer_id, feature_slug))
        allowed = feature_slug in self.features
        found = Entitlement(has_access=allowed, type="feature", reason=None if allowed else "not_in_plan")
        await self.open.wait()
        return found


class Usage:
    """Stands in for the reporter: keeps what was recorded until the test has it delivered."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.observers: list[Any] = []
        self.outbox: list[tuple[str, str, int | Decimal, Any, str | None]] = []
        self.total: Counter[tuple[str, str]] = Counter()
        self.error: MontraError | None = None
        self.telling: set[Any] = set()
        self.room = asyncio.Event()
        self.room.set()
        self.stored = asyncio.Event()
        self.stored.set()

    def add_observer(self, observer: Any) -> None:
        self.observers.append(observer)

    def remove_observer(self, observer: Any) -> None:
        self.observers.remove(observer)

    async def record(
        self,
        customer_id: str,
        meter_slug: str,
        *,
        amount: Any = 1,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        # Like the reporter: handed over at once, observers are told a moment later.
        told = asyncio.get_running_loop().create_task(self._tell(customer_id, meter_slug, amount))
        self.telling.add(told)
        told.add_done_callback(self.telling.discard)
        if self.error is None:
            self.outbox.append((customer_id, meter_slug, amount, metadata, idempotency_key))
            self.total[customer_id, meter_slug] += amount
        error = self.error
        await asyncio.shield(told)
        if error is not None:
            for one in self.observers:
                one.failed(customer_id, meter_slug, amount)
            raise error
        await self.stored.wait()

    async def _tell(self, customer_id: str, meter_slug: str, amount: int | Decimal) -> None:
        await self.room.wait()
        for one in self.observers:
            one.recorded(customer_id, meter_slug, amount)

    def count_at_service(self) -> None:
        """The service counts everything; the reporter does not know yet."""
        for customer_id, meter_slug, amount, *_ in self.outbox:
            self.service.usage[customer_id, meter_slug] += amount

    def acknowledge(self) -> None:
        for customer_id, meter_slug, amount, *_ in self.outbox:
            for one in self.observers:
                one.delivered(customer_id, meter_slug, amount)
        self.outbox = []

    def deliver(self) -> None:
        self.count_at_service()
        self.acknowledge()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def service() -> Service:
    return Service()


@pytest.fixture
async def usage(service: Service) -> Usage:
    return Usage(service)


@pytest.fixture
async def make(service: Service, usage: Usage, clock: Clock) -> Any:
    made: list[Access] = []

    def make(**settings: Any) -> Access:
        made.append(Access(service, usage, clock=clock, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    service.open.set()
    for one in made:
        await one.aclose()


@pytest.fixture
async def access(make: Callable[..., Access]) -> Access:
    return make()


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)
