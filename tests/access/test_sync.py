"""The synchronous `Access`, with the sandbox: the same rules without an event loop."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from montra_async import ConfigError, InvalidArgumentError
from montra_async.access.settings import AccessSettings
from montra_async.usage import OutboxError
from montra_sandbox import Sandbox
from montra_sync import Montra, NotFoundError
from montra_sync.access import Access, AccessDeniedError, HoldEndedError, LimitExceededError
from montra_sync.usage import MemoryOutbox, UsageReporter

from .conftest import Clock


class Shop:
    """A merchant with a meter that has a limit, and a customer."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        sandbox.reset()
        self.montra = Montra(sandbox.api_key, sandbox.base_url)
        self.plan = self.montra.create_pricing_model(name="Free", is_default=True).id
        self.montra.create_meter(name="T", slug="m", pricing_model_id=self.plan)
        self.montra.create_feature(self.plan, name="SSO", slug="sso")
        self.customer = self.montra.create_customer(name="Ada", email="ada@example.com").id

    def limit(self, units: int) -> None:
        self.sandbox.set_limit(pricing_model_id=self.plan, meter_slug="m", max_amount=units)


@pytest.fixture(scope="module")
def served() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def shop(served: Sandbox) -> Iterator[Shop]:
    made = Shop(served)
    yield made
    made.montra.close()


@pytest.fixture
def usage(shop: Shop) -> Iterator[UsageReporter]:
    with UsageReporter(shop.montra, MemoryOutbox()) as made:
        yield made


def test_answers_come_from_memory(shop: Shop) -> None:
    clock = Clock()
    with Access(shop.montra, clock=clock) as access:
        first = access.check(shop.customer, feature="sso")
        assert (first.allowed, first.source) == (True, "fresh")
        for found in (access.check(shop.customer, feature="sso"), access.peek(shop.customer, feature="sso")):
            assert found.source == "cached"
        clock.go(31)
        assert access.check(shop.customer, feature="sso").source == "stale"
        while access.peek(shop.customer, feature="sso").source != "cached":  # the background loop asks
            threading.Event().wait(0.005)
        access.invalidate(shop.customer)
        assert access.check(shop.customer, feature="sso").source == "fresh"
        with pytest.raises(NotFoundError):
            access.check("cust_none", meter="m")
        with pytest.raises(InvalidArgumentError):
            access.check([], meter="m")  # type: ignore[arg-type]


def test_peek_asks_in_the_background(shop: Shop) -> None:
    with Access(shop.montra) as access:
        assert access.peek(shop.customer, feature="sso").source == "unknown"
        while access.peek(shop.customer, feature="sso").source != "cached":
            threading.Event().wait(0.005)


def test_own_writes(shop: Shop) -> None:
    with Access(shop.montra) as access:
        assert not access.check(shop.customer, feature="new")
        access.watch(shop.montra).create_feature(shop.plan, name="New", slug="new")
        assert access.check(shop.customer, feature="new")


def test_threads_use_a_limit_up_together_and_exactly(shop: Shop, usage: UsageReporter) -> None:
    shop.limit(200)
    with Access(shop.montra, usage) as access:

        def some(_: int) -> int:
            passed = 0
            for _ in range(50):
                try:
                    with access.hold(shop.customer, "m"):
                        passed += 1
                except LimitExceededError:
                    pass
            return passed

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(some, range(8))) == 200
        assert usage.flush(20) == 0
        assert shop.montra.check_entitlement(shop.customer, "m").usage == 200


def test_a_hold_records_what_was_used(shop: Shop, usage: UsageReporter) -> None:
    shop.limit(100)

    def free() -> Any:
        return access.check(shop.customer, meter="m").remaining

    with Access(shop.montra, usage) as access:
        with access.hold(shop.customer, "m", estimate=10) as hold:
            assert free() == 90
            hold.extend(5)
            hold.renew()
            hold.amount = 3
        with pytest.raises(ZeroDivisionError), access.hold(shop.customer, "m", estimate=10) as hold:
            hold.amount = 1
            raise ZeroDivisionError
        with pytest.raises(ZeroDivisionError), access.hold(shop.customer, "m", record_on_error=True) as hold:
            hold.amount = 2
            raise ZeroDivisionError
        with access.hold(shop.customer, "m").acquire() as hold:
            hold.settle(4)
        with access.hold(shop.customer, "m") as hold:
            hold.release()
        with access.hold(shop.customer, "m") as hold:
            hold.amount = 0
        assert free() == 91
        for call in (hold.settle, hold.renew, lambda: hold.extend(1)):
            with pytest.raises(HoldEndedError):
                call()
        with pytest.raises(HoldEndedError, match="once"):
            hold.acquire()
        with pytest.raises(LimitExceededError) as caught:
            access.hold(shop.customer, "m", estimate=92).acquire()
        assert caught.value.remaining == 91
        assert usage.flush(20) == 0
        assert shop.montra.check_entitlement(shop.customer, "m").usage == 9


def test_what_can_not_be_recorded_may_be_tried_again(shop: Shop) -> None:
    class Full:
        """A reporter on a full disk, which is then closed."""

        def __init__(self) -> None:
            self.error: Exception | None = OutboxError("disk full")
            self.observers: list[Any] = []

        def add_observer(self, observer: Any) -> None:
            self.observers.append(observer)

        def remove_observer(self, observer: Any) -> None:
            self.observers.remove(observer)

        def record(self, customer_id: str, meter_slug: str, *, amount: Any = 1, **_: Any) -> None:
            [observer] = self.observers
            if isinstance(self.error, ConfigError):  # before it is handed over
                raise self.error
            observer.recorded(customer_id, meter_slug, amount)
            if isinstance(self.error, OutboxError):
                observer.failed(customer_id, meter_slug, amount)
            if self.error is not None:
                raise self.error

    shop.limit(100)
    reporter = Full()
    with Access(shop.montra, reporter) as access:
        hold = access.hold(shop.customer, "m", estimate=10).acquire()
        for error in (OutboxError("disk full"), ConfigError("closed")):
            reporter.error = error
            with pytest.raises(type(error)):
                hold.settle(5)
            assert access.check(shop.customer, meter="m").remaining == 100
        reporter.error = None
        hold.settle(5)
        assert access.check(shop.customer, meter="m").remaining == 95
        reporter.error = KeyboardInterrupt()  # type: ignore[assignment]
        hold = access.hold(shop.customer, "m", estimate=10).acquire()
        with pytest.raises(KeyboardInterrupt):
            hold.settle(5)
        assert access.check(shop.customer, meter="m").remaining == 90
    with pytest.raises(ConfigError, match="UsageReporter"):
        Access(shop.montra).hold(shop.customer, "m")


def test_without_the_service() -> None:
    with Montra("sk_test_x", "http://127.0.0.1:9/api/v1", max_attempts=1, timeout=5) as montra:
        assert Access(montra).check("c", feature="sso").source == "fallback"
        with UsageReporter(montra, MemoryOutbox(), exit_timeout=0.01, send=False) as usage:
            with pytest.raises(AccessDeniedError):
                Access(montra, usage).hold("c", "m").acquire()
            with Access(montra, usage, on_unavailable="allow").hold("c", "m"):
                pass


def test_both_twins_have_the_same_settings() -> None:
    import inspect

    from montra_async.access import Access as AsyncAccess

    ours, theirs = (inspect.signature(one).parameters for one in (Access, AsyncAccess))
    names = {one.name for one in AccessSettings.__attrs_attrs__}  # type: ignore[attr-defined]
    for parameters in (ours, theirs):
        assert names < set(parameters)
        for one in AccessSettings.__attrs_attrs__:  # type: ignore[attr-defined]
            assert parameters[one.name].default == one.default
