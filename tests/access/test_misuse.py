"""Mistakes in using `Access` and its holds are errors, in both twins."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

import montra_async
import montra_async.usage as async_usage
import montra_sync
import montra_sync.usage as sync_usage_module
from montra_async import ConfigError
from montra_async.access import Access, AccessDecision, HoldEndedError, LimitExceededError
from montra_async.frameworks import guards
from montra_async.usage import MemoryOutbox, OutboxError
from montra_sync import access as sync_access

from .conftest import Service, Usage, settled


class SyncUsage:
    """Stands in for the synchronous reporter."""

    def __init__(self) -> None:
        self.total = 0
        self.error: Exception | None = None
        self.observer: Any = None

    def add_observer(self, observer: Any) -> None:
        self.observer = observer

    def remove_observer(self, observer: Any) -> None:
        self.observer = None

    def record(self, customer_id: str, meter_slug: str, *, amount: Any = 1, **_: Any) -> None:
        self.observer.recorded(customer_id, meter_slug, amount)
        if self.error is not None:
            self.observer.failed(customer_id, meter_slug, amount)
            raise self.error
        self.total += amount


@pytest.fixture
def sync_usage() -> SyncUsage:
    return SyncUsage()


@pytest.fixture
def sync(service: Service, sync_usage: SyncUsage) -> Iterator[sync_access.Access]:
    service.limit = 10
    with sync_access.Access(service, sync_usage) as made:  # type: ignore[arg-type]
        yield made


@pytest.fixture
async def ten(access: Access, service: Service) -> Access:
    service.limit = 10
    return access


class TestAHoldGuardsOnce:
    async def test_one_hold_in_a_loop(self, ten: Access, usage: Usage) -> None:
        served, hold = 0, ten.hold("c", "m", estimate=4)
        with pytest.raises(HoldEndedError, match="once"):
            for _ in range(100):
                async with hold:
                    served += 1
        assert (served, usage.total["c", "m"]) == (1, 4)

    def test_one_hold_in_a_loop_sync(self, sync: sync_access.Access, sync_usage: SyncUsage) -> None:
        served, hold = 0, sync.hold("c", "m", estimate=4)
        with pytest.raises(HoldEndedError, match="once"):
            for _ in range(100):
                with hold:
                    served += 1
        assert (served, sync_usage.total) == (1, 4)

    @pytest.mark.parametrize("end", ["settle", "release"])
    async def test_an_ended_hold(self, ten: Access, end: str) -> None:
        hold = await ten.hold("c", "m")
        await getattr(hold, end)()
        with pytest.raises(HoldEndedError, match="once"):
            async with hold:
                pytest.fail("it is not guarded")

    @pytest.mark.parametrize("end", ["settle", "release"])
    def test_an_ended_hold_sync(self, sync: sync_access.Access, end: str) -> None:
        hold = sync.hold("c", "m").acquire()
        getattr(hold, end)()
        with pytest.raises(HoldEndedError, match="once"), hold:
            pytest.fail("it is not guarded")

    async def test_nested(self, ten: Access, usage: Usage) -> None:
        async with ten.hold("c", "m", estimate=4) as hold:
            with pytest.raises(HoldEndedError, match="once"):
                async with hold:
                    pytest.fail("it is not guarded")
            assert hold.state == "open"
        assert usage.total["c", "m"] == 4

    def test_nested_sync(self, sync: sync_access.Access, sync_usage: SyncUsage) -> None:
        with sync.hold("c", "m", estimate=4) as hold:
            with pytest.raises(HoldEndedError, match="once"), hold:
                pytest.fail("it is not guarded")
            assert hold.state == "open"
        assert sync_usage.total == 4

    async def test_awaited_first_it_guards_one_block(self, ten: Access, usage: Usage) -> None:
        async with await ten.hold("c", "m", estimate=4) as hold:
            pass
        with pytest.raises(HoldEndedError, match="once"):
            async with hold:
                pytest.fail("it is not guarded")
        assert usage.total["c", "m"] == 4

    def test_acquired_first_it_guards_one_block_sync(self, sync: sync_access.Access, sync_usage: SyncUsage) -> None:
        with sync.hold("c", "m", estimate=4).acquire() as hold:
            pass
        with pytest.raises(HoldEndedError, match="once"), hold:
            pytest.fail("it is not guarded")
        assert sync_usage.total == 4

    def test_acquired_and_expired_it_guards_no_block_sync(self, sync: sync_access.Access) -> None:
        hold = sync.hold("c", "m", estimate=4, ttl=0.001).acquire()
        time.sleep(0.002)
        with pytest.raises(HoldEndedError, match="expired"), hold:
            pytest.fail("it is not guarded")

    @pytest.mark.parametrize("known", [False, True])
    @pytest.mark.parametrize("acquired", [False, True])
    async def test_concurrent_tasks(
        self, ten: Access, service: Service, usage: Usage, known: bool, acquired: bool
    ) -> None:
        """With nothing known, all of them enter while the first asks the service."""
        if known:
            await ten.check("c", meter="m")
        hold = ten.hold("c", "m")
        if acquired:
            await hold
        served = 0

        async def one() -> None:
            nonlocal served
            async with hold:
                served += 1
                await asyncio.sleep(0)

        results = await asyncio.gather(*(one() for _ in range(5)), return_exceptions=True)
        assert [type(result) for result in results] == [type(None), *4 * [HoldEndedError]]
        assert (served, usage.total["c", "m"]) == (1, 1)

    @pytest.mark.parametrize("acquired", [False, True])
    def test_concurrent_threads_sync(self, sync: sync_access.Access, sync_usage: SyncUsage, acquired: bool) -> None:
        sync.check("c", meter="m")
        start = threading.Barrier(4)

        def one(hold: sync_access.Hold) -> int:
            start.wait(20)
            try:
                with hold:
                    return 1
            except HoldEndedError:
                return 0

        with ThreadPoolExecutor(4) as pool:
            for number in range(1, 11):
                hold = sync.hold("c", "m")
                if acquired:
                    hold.acquire()
                assert sum(pool.map(one, [hold] * 4)) == 1
                assert sync_usage.total == number

    async def test_a_refused_hold_may_be_tried_again(self, ten: Access, usage: Usage) -> None:
        hold = ten.hold("c", "m", estimate=4)
        async with ten.hold("c", "m", estimate=7) as other:
            for _ in range(2):
                with pytest.raises(LimitExceededError):
                    async with hold:
                        pytest.fail("there are 3")
            with pytest.raises(LimitExceededError):
                await hold
            other.amount = 6
        async with hold:
            pass
        assert usage.total["c", "m"] == 10

    def test_a_refused_hold_may_be_tried_again_sync(self, sync: sync_access.Access, sync_usage: SyncUsage) -> None:
        hold = sync.hold("c", "m", estimate=4)
        with sync.hold("c", "m", estimate=7) as other:
            for _ in range(2):
                with pytest.raises(LimitExceededError), hold:
                    pytest.fail("there are 3")
            with pytest.raises(LimitExceededError):
                hold.acquire()
            other.amount = 6
        with hold:
            pass
        assert sync_usage.total == 10

    async def test_a_hold_without_units_says_how_to_get_them(self, ten: Access) -> None:
        hold = ten.hold("c", "m")
        with pytest.raises(HoldEndedError, match=r"no units yet: .*await access\.hold"):
            await hold.settle(1)
        await hold

    def test_a_hold_without_units_says_how_to_get_them_sync(self, sync: sync_access.Access) -> None:
        hold = sync.hold("c", "m")
        for call in (lambda: hold.settle(1), lambda: hold.extend(1), hold.renew):
            with pytest.raises(HoldEndedError, match=r"no units yet: .*\.acquire\(\)"):
                call()
        hold.acquire()

    def test_a_hold_that_is_never_entered_warns(self, ten: Access, sync: sync_access.Access) -> None:
        """Its usage would be missing."""
        with pytest.warns(RuntimeWarning, match=r"a hold of m was never entered, .*: use it in `async with`, or get"):
            ten.hold("c", "m", estimate=5)
        with pytest.warns(RuntimeWarning, match=r"a hold of m was never entered, .*: use it in `with`, or get it"):
            sync.hold("c", "m", estimate=5)

    async def test_a_hold_that_was_refused_does_not(self, ten: Access, sync: sync_access.Access) -> None:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            for _ in range(2):
                with pytest.raises(LimitExceededError):
                    await ten.hold("c", "m", estimate=11)
                with pytest.raises(LimitExceededError):
                    await asyncio.to_thread(sync.hold("c", "m", estimate=11).acquire)
            gc.collect()
        assert not [one for one in seen if "never entered" in str(one.message)]

    def test_a_hold_is_not_copied(self, ten: Access, sync: sync_access.Access) -> None:
        """Its units would be used twice."""
        for hold in (ten.hold("c", "m"), sync.hold("c", "m")):
            for copied in (copy.copy, copy.deepcopy, pickle.dumps):
                with pytest.raises(TypeError, match="a hold can't be copied or pickled"):
                    copied(hold)
            hold.begin()


class TestAnAmountIsSetBeforeTheEnd:
    @pytest.mark.parametrize("late", [lambda hold: setattr(hold, "amount", 50), lambda hold: hold.add(3)])
    async def test_after_the_block(self, ten: Access, usage: Usage, late: Callable[[Any], None]) -> None:
        async with ten.hold("c", "m", estimate=4) as hold:
            hold.amount = 1
        with pytest.raises(HoldEndedError, match="inside the block"):
            late(hold)
        assert (hold.amount, usage.total["c", "m"]) == (1, 1)

    @pytest.mark.parametrize("late", [lambda hold: setattr(hold, "amount", 50), lambda hold: hold.add(3)])
    def test_after_the_block_sync(
        self, sync: sync_access.Access, sync_usage: SyncUsage, late: Callable[[Any], None]
    ) -> None:
        with sync.hold("c", "m", estimate=4) as hold:
            hold.amount = 1
        with pytest.raises(HoldEndedError, match="inside the block"):
            late(hold)
        assert (hold.amount, sync_usage.total) == (1, 1)

    async def test_while_it_is_recorded(self, ten: Access, usage: Usage) -> None:
        hold = await ten.hold("c", "m", estimate=4)
        usage.stored.clear()
        settling = asyncio.create_task(hold.settle(2))
        await settled()
        with pytest.raises(HoldEndedError, match="inside the block"):
            hold.add(1)
        with pytest.raises(HoldEndedError, match="settling"):
            await hold.settle(3)
        usage.stored.set()
        await settling
        assert (hold.amount, usage.total["c", "m"]) == (2, 2)

    async def test_settled_a_second_time(self, ten: Access, usage: Usage) -> None:
        hold = await ten.hold("c", "m", estimate=4)
        await hold.settle(2)
        with pytest.raises(HoldEndedError, match="it is ended"):
            await hold.settle(3)
        assert (hold.amount, usage.total["c", "m"]) == (2, 2)

    def test_settled_a_second_time_sync(self, sync: sync_access.Access, sync_usage: SyncUsage) -> None:
        hold = sync.hold("c", "m", estimate=4).acquire()
        hold.settle(2)
        with pytest.raises(HoldEndedError, match="it is ended"):
            hold.settle(3)
        assert (hold.amount, sync_usage.total) == (2, 2)

    async def test_before_the_block_and_after_a_failed_settlement(self, ten: Access, usage: Usage) -> None:
        hold = ten.hold("c", "m", estimate=4)
        hold.amount = 1
        usage.error = OutboxError("disk full")
        with pytest.raises(OutboxError):
            async with hold:
                hold.add(1)
        usage.error = None
        hold.add(1)
        await hold.settle()
        assert usage.total["c", "m"] == 3

    def test_before_the_block_and_after_a_failed_settlement_sync(
        self, sync: sync_access.Access, sync_usage: SyncUsage
    ) -> None:
        hold = sync.hold("c", "m", estimate=4)
        hold.amount = 1
        sync_usage.error = OutboxError("disk full")
        with pytest.raises(OutboxError), hold:
            hold.add(1)
        sync_usage.error = None
        hold.add(1)
        hold.settle()
        assert sync_usage.total == 3


@pytest.fixture
def parts() -> Iterator[tuple[Any, Any, Any, Any]]:
    """A client and a reporter of each package."""
    key, url = "sk_test_x", "http://127.0.0.1:9/api/v1"
    montra, sync_montra = montra_async.Montra(key, url), montra_sync.Montra(key, url)
    usage = async_usage.UsageReporter(montra, MemoryOutbox(), send=False)
    sync_usage = sync_usage_module.UsageReporter(sync_montra, MemoryOutbox(), send=False)
    yield montra, usage, sync_montra, sync_usage
    sync_usage.close()
    asyncio.run(usage.aclose())
    asyncio.run(montra.aclose())
    sync_montra.close()


class TestThePartsAreOfOnePackage:
    def test_they_fit(self, parts: tuple[Any, ...]) -> None:
        montra, usage, sync_montra, sync_usage = parts
        Access(montra, usage)
        sync_access.Access(sync_montra, sync_usage)

        class Own(sync_usage_module.UsageReporter):
            """An application's."""

        own = Own(sync_montra, MemoryOutbox(), send=False)
        sync_access.Access(sync_montra, own)
        with pytest.raises(ConfigError, match=r"montra_async\.usage\.UsageReporter, not .*Own"):
            Access(montra, own)  # type: ignore[arg-type]
        own.close()

    def test_an_asynchronous_access(self, parts: tuple[Any, ...]) -> None:
        montra, usage, sync_montra, sync_usage = parts
        for wrong, problem in (
            ((montra, sync_usage), r"usage: .*montra_async\.usage\.UsageReporter, not montra_sync\.usage\.UsageRepor"),
            ((sync_montra, usage), r"montra: .*montra_async\.Montra, not montra_sync\.Montra"),
            ((sync_montra,), r"montra: .*montra_async\.Montra, not montra_sync\.Montra"),
            ((usage, montra), r"arguments.*Access\(montra, usage\)"),
            ((sync_usage, sync_montra), r"arguments.*Access\(montra, usage\)"),
            ((usage,), r"montra: .*not montra_async\.usage\.UsageReporter"),
            ((montra, montra), r"usage: .*not montra_async\.Montra"),
            ((montra, "file.db"), r"usage: .*not str"),
        ):
            with pytest.raises(ConfigError, match=problem):
                Access(*wrong)

    def test_a_synchronous_access(self, parts: tuple[Any, ...]) -> None:
        montra, usage, sync_montra, sync_usage = parts
        for wrong, problem in (
            ((sync_montra, usage), r"usage: .*montra_sync\.usage\.UsageReporter, not montra_async\.usage\.UsageRepor"),
            ((montra, usage), r"usage: .*montra_sync\.usage\.UsageReporter, not montra_async\.usage\.UsageReporter"),
            ((sync_usage, sync_montra), r"arguments.*Access\(montra, usage\)"),
            ((usage, montra), r"arguments.*Access\(montra, usage\)"),
            ((sync_usage,), r"montra: .*not montra_sync\.usage\.UsageReporter"),
            ((sync_montra, 5), r"usage: .*not int"),
        ):
            with pytest.raises(ConfigError, match=problem):
                sync_access.Access(*wrong)

    def test_a_coroutine_function_records_nothing_synchronously(self, service: Service, usage: Usage) -> None:
        with pytest.raises(ConfigError, match=r"usage: .*montra_sync\.usage\.UsageReporter, not .*Usage"):
            sync_access.Access(service, usage)  # type: ignore[arg-type]
        assert usage.observers == []

    def test_a_synchronous_access_takes_an_asynchronous_client(self, parts: tuple[Any, ...]) -> None:
        montra, _, _, sync_usage = parts
        assert sync_access.Access(montra, sync_usage).check("c", feature="f").source == "fallback"

    def test_reporters(self, parts: tuple[Any, ...]) -> None:
        montra, usage, sync_montra, sync_usage = parts
        with pytest.raises(ConfigError, match=r"montra_async\.Montra, not montra_sync\.Montra; .*montra_sync"):
            async_usage.UsageReporter(sync_montra, MemoryOutbox())
        for kind, wrong, name in (
            (async_usage.UsageReporter, usage, r"montra_async\.usage\.UsageReporter"),
            (sync_usage_module.UsageReporter, sync_usage, r"montra_sync\.usage\.UsageReporter"),
            (sync_usage_module.UsageReporter, "sk_test", "str"),
        ):
            with pytest.raises(ConfigError, match=f"montra: .*, not {name}"):
                kind(wrong, MemoryOutbox())
        with sync_usage_module.UsageReporter(montra, MemoryOutbox(), send=False) as made:
            made.record("c", "m")


class TestARefusalTellsHeldFromUsed:
    async def test_it(self, ten: Access, service: Service) -> None:
        service.usage["c", "m"] = 2
        async with ten.hold("c", "m", estimate=7):
            with pytest.raises(LimitExceededError) as caught:
                await ten.hold("c", "m", estimate=8)
        refused(caught.value)

    def test_it_sync(self, sync: sync_access.Access, service: Service) -> None:
        service.usage["c", "m"] = 2
        with sync.hold("c", "m", estimate=7), pytest.raises(LimitExceededError) as caught:
            sync.hold("c", "m", estimate=8).acquire()
        refused(caught.value)

    async def test_what_is_used_stays_used(self, ten: Access) -> None:
        hold = await ten.hold("c", "m", estimate=7)
        await hold.settle()
        with pytest.raises(LimitExceededError) as caught:
            await ten.hold("c", "m", estimate=4)
        assert caught.value.held == 0
        assert not caught.value.decision.may_pass_later(4)

    def test_it_is_exact(self) -> None:
        tiny = Decimal(1).scaleb(-40)
        found = AccessDecision(True, "cached", usage=tiny, limit=1, remaining=Decimal("0.25"))
        assert found.held == Decimal("0." + "74" + "9" * 38)
        assert found.may_pass_later(Decimal("0." + "9" * 40))
        assert not found.may_pass_later(1)
        assert AccessDecision(True, "cached").held is None
        assert AccessDecision(False, "cached", usage=12, limit=10, remaining=0).held == 0

    @pytest.mark.parametrize(("requested", "words"), [
        (8, "a retry may succeed"), (9, "not enough left"), (None, "a retry may succeed"),
    ])  # fmt: skip
    def test_the_response(self, requested: int | None, words: str) -> None:
        decision = AccessDecision(False, "cached", usage=2, limit=10, remaining=0, reason="limit_reached")
        if requested is None:
            denial = guards.denial_of_decision("quota", "m", decision)
            assert denial is not None
        else:
            denial = guards.denial_of_hold("m", LimitExceededError("", decision, requested), decision)
        assert (denial.status, denial.code, denial.extra["held"]) == (402, "quota_exceeded", 8)
        assert words in denial.detail


def refused(error: LimitExceededError) -> None:
    assert (error.usage, error.held, error.remaining, error.requested) == (2, 7, 1, 8)
    assert error.decision.may_pass_later(8)
    assert not error.decision.may_pass_later(9)
    assert pickle.loads(pickle.dumps(error)).held == 7
