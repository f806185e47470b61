"""Holds: who gets units, what is recorded, and that nothing leaks whatever happens to the one who holds."""

from __future__ import annotations

import asyncio
import decimal
import os
import random
from collections.abc import Callable
from decimal import Decimal

import pytest

from montra_async import CallInfo, ConfigError, InvalidArgumentError, NetworkError
from montra_async.access import (
    Access,
    AccessDeniedError,
    AccessUnavailableError,
    Hold,
    HoldEndedError,
    LimitExceededError,
)
from montra_async.usage.errors import OutboxError

from .conftest import Clock, Service, Usage, settled

DOWN = NetworkError("connection refused", CallInfo(method="GET", path="/entitlements"))


async def free(access: Access, customer: str = "c") -> object:
    return (await access.check(customer, meter="m")).remaining


async def test_what_was_used_is_recorded_and_the_rest_is_free(access: Access, service: Service, usage: Usage) -> None:
    service.limit = 5000
    async with access.hold("c", "m", estimate=2000) as hold:
        assert await free(access) == 3000
        hold.amount = 700
    assert await free(access) == 4300
    assert usage.outbox == [("c", "m", 700, None, None)]
    found = await access.check("c", meter="m")
    assert (found.usage, found.limit) == (700, 5000)


async def test_the_estimate_is_recorded_by_default_under_the_callers_key(access: Access, usage: Usage) -> None:
    async with access.hold("c", "m", estimate=5, idempotency_key="job-1", metadata={"a": 1}) as hold:
        assert (hold.customer_id, hold.meter_slug, hold.amount, hold.estimate) == ("c", "m", 5, 5)
        assert "c m 5 open" in repr(hold)
    assert usage.outbox == [("c", "m", 5, {"a": 1}, "job-1")]


async def test_a_stream_adds_what_it_used(access: Access, service: Service, usage: Usage) -> None:
    """It begins with nothing, whatever the estimate is."""
    service.limit = 100
    async with access.hold("cust_1", "tokens", estimate=50) as hold:
        for part in (2, 3, Decimal("0.5")):
            hold.add(part)
        with pytest.raises(InvalidArgumentError):
            hold.add(-1)
        assert hold.amount == Decimal("5.5")
    assert [one[2] for one in usage.outbox] == [Decimal("5.5")]


async def test_more_than_the_estimate_is_recorded_in_full(access: Access, service: Service, usage: Usage) -> None:
    service.limit = 100
    async with access.hold("c", "m", estimate=10) as hold:
        hold.amount = 130
    assert usage.total["c", "m"] == 130
    found = await access.check("c", meter="m")
    assert (found.allowed, found.reason, found.usage, found.remaining) == (False, "limit_reached", 130, 0)


async def test_nothing_is_recorded_for_nothing(access: Access, service: Service, usage: Usage) -> None:
    service.limit = 100
    async with access.hold("c", "m", estimate=10) as hold:
        hold.amount = 0
    assert usage.outbox == []
    assert await free(access) == 100


async def test_an_exception_releases_everything_and_records_nothing(
    access: Access, service: Service, usage: Usage
) -> None:
    service.limit = 100
    with pytest.raises(ZeroDivisionError):
        async with access.hold("c", "m", estimate=10) as hold:
            hold.amount = 5
            raise ZeroDivisionError
    assert usage.outbox == []
    assert await free(access) == 100


@pytest.mark.parametrize(("amount", "recorded"), [(5, 5), (None, 0)])
async def test_an_exception_records_what_was_set_if_that_is_wanted(
    access: Access, usage: Usage, amount: int | None, recorded: int
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with access.hold("c", "m", estimate=10, record_on_error=True) as hold:
            assert hold.record_on_error
            if amount is not None:
                hold.amount = amount
            raise ZeroDivisionError
    assert usage.total["c", "m"] == recorded


async def test_whoever_finds_too_few_units_is_told_how_many_there_are(access: Access, service: Service) -> None:
    service.limit, service.usage["c", "m"] = 100, 40
    async with access.hold("c", "m", estimate=50):
        with pytest.raises(LimitExceededError, match="c has 10 of 100 units of m left, not 11") as caught:
            await access.hold("c", "m", estimate=11)
        error = caught.value
        assert (error.usage, error.limit, error.remaining, error.requested) == (40, 100, 10, 11)
        assert error.decision.allowed


async def test_without_a_plan_there_is_no_hold(access: Access, service: Service) -> None:
    service.plan = False
    with pytest.raises(AccessDeniedError, match="no_plan") as caught:
        await access.hold("c", "m")
    assert not isinstance(caught.value, LimitExceededError)


async def test_without_a_limit_there_is_room_for_everything(access: Access, usage: Usage) -> None:
    async with access.hold("c", "m", estimate=10**30) as hold:
        hold.amount = 1
    assert usage.total["c", "m"] == 1


async def test_of_ten_thousand_exactly_a_thousand_pass(access: Access, service: Service, usage: Usage) -> None:
    service.limit = 1000
    passed = []

    async def one(number: int) -> None:
        await asyncio.sleep(0)
        async with access.hold("c", "m"):
            passed.append(number)
            for _ in range(random.randrange(5)):
                await asyncio.sleep(0)

    results = await asyncio.gather(*(one(number) for number in range(10_000)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, LimitExceededError)]
    assert (len(passed), len(refused)) == (1000, 9000)
    assert usage.total["c", "m"] == 1000


async def test_a_cold_burst_makes_one_request(access: Access, service: Service) -> None:
    service.limit = 1000
    holds = await asyncio.gather(*(access.hold("c", "m") for _ in range(1000)))
    assert service.asked.total() == 1
    assert await free(access) == 0
    for hold in holds:
        await hold.release()
    assert await free(access) == 1000


async def test_threads_do_not_exceed_a_limit_together(access: Access, service: Service, usage: Usage) -> None:
    service.limit = 500
    await access.check("c", meter="m")

    async def some() -> int:
        passed = 0
        for _ in range(300):
            try:
                async with access.hold("c", "m"):
                    passed += 1
            except LimitExceededError:
                pass
        return passed

    passed = await asyncio.gather(*(asyncio.to_thread(asyncio.run, some()) for _ in range(4)))
    assert sum(passed) == 500
    assert usage.total["c", "m"] == 500


async def test_exact_amounts(access: Access, service: Service, usage: Usage) -> None:
    service.limit = 1
    async with access.hold("c", "m", estimate=Decimal("0.1")) as first:
        async with access.hold("c", "m", estimate=0.2) as second:
            assert await free(access) == Decimal("0.7")
            second.amount = Decimal("0.000000000000000000000000000000000000000000001")
        first.amount = Decimal("1E-1")
    found = await access.check("c", meter="m")
    assert found.usage == Decimal("0.100000000000000000000000000000000000000000001")
    with pytest.raises(LimitExceededError):
        await access.hold("c", "m", estimate=Decimal("0.9"))
    async with access.hold("c", "m", estimate=Decimal("0.899999999999999999999999999999999999999999999")):
        assert await free(access) == 0
    assert (await access.check("c", meter="m")).usage == 1


class TestWithoutABlock:
    async def test_settling(self, access: Access, service: Service, usage: Usage) -> None:
        service.limit = 100
        hold = await access.hold("c", "m", estimate=10)
        await hold.settle(7)
        assert usage.total["c", "m"] == 7
        assert await free(access) == 93
        for call in (hold.settle, hold.renew, lambda: hold.extend(1)):
            with pytest.raises(HoldEndedError):
                await call()
        await hold.release()
        assert await free(access) == 93

    async def test_extending(self, access: Access, service: Service, usage: Usage) -> None:
        service.limit = 100
        async with access.hold("c", "m", estimate=10) as hold:
            await hold.extend(Decimal("89.5"))
            assert await free(access) == Decimal("0.5")
            with pytest.raises(LimitExceededError):
                await hold.extend(1)
        assert usage.total["c", "m"] == Decimal("99.5")

    async def test_a_hold_is_used_once(self, access: Access) -> None:
        hold: Hold = access.hold("c", "m")
        with pytest.raises(HoldEndedError):
            await hold.settle()
        async with await hold:
            with pytest.raises(HoldEndedError, match="once"):
                await hold
        with pytest.raises(HoldEndedError):
            await hold.settle()

    async def test_settled_inside_its_block(self, access: Access, usage: Usage) -> None:
        async with access.hold("c", "m", estimate=10) as hold:
            await hold.settle(3)
        assert usage.total["c", "m"] == 3


class TestLife:
    async def test_a_forgotten_hold_returns_its_units(
        self, access: Access, service: Service, clock: Clock, usage: Usage, caplog: pytest.LogCaptureFixture
    ) -> None:
        service.limit = 100
        hold = await access.hold("c", "m", estimate=100, ttl=50)
        clock.go(49)
        with pytest.raises(LimitExceededError):
            await access.hold("c", "m")
        clock.go(2)
        await access.hold("c", "m")
        assert "1 holds expired" in caplog.text
        with pytest.raises(HoldEndedError, match="expired"):
            await hold.renew()
        with pytest.raises(HoldEndedError, match="expired"):
            async with hold:
                pass
        await hold.settle(30)  # it has used them all the same
        assert usage.total["c", "m"] == 30
        assert await free(access) == 69

    async def test_a_renewed_hold_keeps_them(self, access: Access, service: Service, clock: Clock) -> None:
        service.limit = 100
        hold = await access.hold("c", "m", estimate=100, ttl=50)
        for _ in range(5):
            clock.go(49)
            await hold.renew()
        with pytest.raises(LimitExceededError):
            await access.hold("c", "m")

    async def test_a_block_begins_the_life_anew(self, access: Access, service: Service, clock: Clock) -> None:
        service.limit = 100
        hold = await access.hold("c", "m", estimate=100, ttl=50)
        clock.go(49)
        async with hold:
            assert hold.expires_at == clock() + 50

    async def test_a_block_renews_itself(self, access: Access, service: Service, clock: Clock) -> None:
        service.limit = 100
        async with access.hold("c", "m", estimate=100) as hold:
            clock.go(10_000)
            with pytest.raises(LimitExceededError):
                await access.hold("c", "m")
            await hold.renew()
        assert (await access.check("c", meter="m")).usage == 100

    async def test_checks_see_what_has_expired(self, access: Access, service: Service, clock: Clock) -> None:
        service.limit = 100
        await access.hold("c", "m", estimate=100, ttl=4)
        assert await free(access) == 0
        clock.go(6)
        assert await free(access) == 100


class TestNumberOfMeters:
    """However many customers there are, a process counts for a bounded number of them."""

    async def test_those_that_know_nothing_are_forgotten(
        self, make: Callable[..., Access], service: Service, usage: Usage
    ) -> None:
        access = make(max_entries=10)
        service.limit = 100
        for number in range(200):
            async with access.hold(f"c{number}", "m") as hold:
                hold.amount = 0
        assert len(access._ledger.counters) <= 20
        assert (await access.check("c199", meter="m")).remaining == 100

    async def test_holds_are_not(self, make: Callable[..., Access], service: Service) -> None:
        access = make(max_entries=10)
        service.limit = 1
        holds = [await access.hold(f"c{number}", "m") for number in range(200)]
        assert all(hold.state == "open" for hold in holds)
        for number in range(200):
            with pytest.raises(LimitExceededError):
                await access.hold(f"c{number}", "m")

    async def test_unless_their_life_is_over(self, make: Callable[..., Access], service: Service, clock: Clock) -> None:
        access = make(max_entries=10)
        for number in range(200):
            await access.hold(f"c{number}", "m", ttl=1)
            clock.go(2)
        assert len(access._ledger.counters) <= 20

    async def test_unsent_usage_is_counted_for_many_and_not_for_all(
        self, make: Callable[..., Access], usage: Usage, caplog: pytest.LogCaptureFixture
    ) -> None:
        access = make(max_entries=10)
        for number in range(39):
            await usage.record(f"c{number}", "m", amount=2)
        assert (await access.check("c0", meter="m")).usage == 2
        assert caplog.messages == []
        for number in range(39, 400):
            await usage.record(f"c{number}", "m", amount=2)
        assert len(access._ledger.counters) <= 80
        assert (await access.check("c399", meter="m")).usage == 2
        assert "no longer counted: too many" in caplog.text


class TestRecordedUsage:
    async def test_it_counts_at_once_and_once(
        self, access: Access, service: Service, usage: Usage, clock: Clock
    ) -> None:
        service.limit = 100
        await access.check("c", meter="m")
        await usage.record("c", "m", amount=30)
        assert await free(access) == 70
        usage.deliver()
        assert await free(access) == 70
        clock.go(100)
        assert await free(access) == 70
        assert service.asked.total() == 2
        await usage.record("c", "m", amount=1)
        assert await free(access) == 69

    async def test_before_anything_is_known(self, access: Access, service: Service, usage: Usage) -> None:
        service.limit = 100
        await usage.record("c", "m", amount=30)
        assert await free(access) == 70

    async def test_what_could_not_be_stored_does_not_count(
        self, access: Access, service: Service, usage: Usage
    ) -> None:
        service.limit = 100
        await access.check("c", meter="m")
        usage.error = OutboxError("disk full")
        with pytest.raises(OutboxError):
            await usage.record("c", "m", amount=30)
        assert await free(access) == 100
        hold = await access.hold("c", "m", estimate=10)
        with pytest.raises(OutboxError):
            await hold.settle(7)
        assert await free(access) == 100
        usage.error = None
        await hold.settle(7)  # may be tried again
        assert await free(access) == 93

    async def test_delivered_while_the_service_is_asked(
        self, access: Access, service: Service, usage: Usage, clock: Clock
    ) -> None:
        service.limit = 100
        await access.check("c", meter="m")
        await usage.record("c", "m", amount=60)
        clock.go(100)
        service.open.clear()
        asking = asyncio.create_task(access.check("c", meter="m"))
        await settled()  # the service has computed its answer, without the 60
        usage.deliver()
        service.open.set()
        assert (await asking).remaining == 40
        with pytest.raises(LimitExceededError):
            await access.hold("c", "m", estimate=41)
        clock.go(5)
        assert (await access.hold("c", "m", estimate=40)).state == "open"

    async def test_acknowledged_late_counts_twice_for_a_moment_and_never_too_little(
        self, access: Access, service: Service, usage: Usage, clock: Clock
    ) -> None:
        service.limit = 100
        await access.check("c", meter="m")
        await usage.record("c", "m", amount=60)
        usage.count_at_service()
        clock.go(100)
        assert await free(access) == 0  # 60 by the service, 60 unconfirmed
        usage.acknowledge()
        clock.go(5)
        assert await free(access) == 40
        # A hold asks again by itself.
        await usage.record("c", "m", amount=10)
        usage.count_at_service()
        access.invalidate("c")
        assert await free(access) == 20
        usage.acknowledge()
        clock.go(1)
        await access.hold("c", "m", estimate=30)

    async def test_given_up_does_not_count_any_more_after_the_next_answer(
        self, access: Access, service: Service, usage: Usage, clock: Clock
    ) -> None:
        service.limit = 100
        await access.check("c", meter="m")
        await usage.record("c", "m", amount=60)
        access.given_up("c", "m", 60)
        assert await free(access) == 40
        clock.go(100)
        assert await free(access) == 100

    async def test_sent_by_another_process(
        self, make: Callable[..., Access], service: Service, usage: Usage, clock: Clock
    ) -> None:
        access = make(local_usage_ttl=1000)
        service.limit = 100
        for _ in range(200):
            await access.check("c", meter="m")
            await usage.record("c", "m", amount=1)
            service.usage["c", "m"] = 0  # the billing period is short
            clock.go(100)
        remaining = await free(access)
        assert isinstance(remaining, int)
        assert 80 <= remaining <= 90  # what was recorded within the last 1,000 to 2,000 s still counts

    async def test_usage_of_others_is_ignored(self, access: Access, service: Service) -> None:
        service.limit = 100
        access.delivered("c", "m", 50)
        access.failed("c", "m", 50)
        assert await free(access) == 100


class TestWithoutTheService:
    async def test_the_last_numbers_are_used(
        self, access: Access, service: Service, usage: Usage, clock: Clock
    ) -> None:
        service.limit = 100
        await access.check("c", meter="m")
        service.error = DOWN
        clock.go(1000)
        async with access.hold("c", "m", estimate=70):
            pass
        with pytest.raises(LimitExceededError):
            await access.hold("c", "m", estimate=31)
        assert usage.total["c", "m"] == 70

    async def test_the_setting_decides(self, make: Callable[..., Access], service: Service, usage: Usage) -> None:
        service.error = DOWN
        with pytest.raises(AccessDeniedError) as caught:
            await make().hold("c", "m")
        assert caught.value.decision.source == "fallback"
        with pytest.raises(AccessUnavailableError):
            await make(on_unavailable="raise").hold("c", "m")
        async with make(on_unavailable="allow").hold("c", "m", estimate=10):
            pass
        assert usage.total["c", "m"] == 10


class TestCancellation:
    async def test_before_it_is_handed_over(self, access: Access, service: Service, usage: Usage) -> None:
        service.limit = 100
        await access.check("c", meter="m")
        usage.room.clear()
        hold = await access.hold("c", "m", estimate=10)
        settling = asyncio.create_task(hold.settle(4))
        await settled()
        settling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await settling
        assert await free(access) == 90  # still held
        usage.room.set()
        await settled()
        assert usage.total["c", "m"] == 4
        assert await free(access) == 96

    async def test_while_it_is_being_stored(self, access: Access, service: Service, usage: Usage) -> None:
        service.limit = 100
        await access.check("c", meter="m")
        usage.stored.clear()
        hold = await access.hold("c", "m", estimate=10)
        settling = asyncio.create_task(hold.settle(4))
        await settled()
        settling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await settling
        assert usage.total["c", "m"] == 4
        assert await free(access) == 96

    @pytest.mark.parametrize("seed", range(20))
    async def test_anywhere(self, access: Access, service: Service, usage: Usage, seed: int) -> None:
        chance = random.Random(seed)
        service.limit = 50
        used = 0

        async def one() -> None:
            nonlocal used
            async with access.hold("c", "m", estimate=chance.randrange(1, 5)) as hold:
                await asyncio.sleep(0)
                hold.amount = chance.randrange(0, 4)
                await asyncio.sleep(0)
                used += hold.amount  # from here on it counts

        async def flicker() -> None:
            for event in (usage.room, usage.stored, service.open) * 20:
                event.clear()
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)
                event.set()

        tasks = [asyncio.create_task(one()) for _ in range(100)]
        flickering = asyncio.create_task(flicker())
        while not flickering.done():
            if chance.random() < 0.3:
                chance.choice(tasks).cancel()
            await asyncio.sleep(0)
        await asyncio.gather(*tasks, return_exceptions=True)
        await settled()
        assert usage.total["c", "m"] == used
        service.limit = 10**6
        access.invalidate()
        assert await free(access) == 10**6 - used


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
async def test_a_child_has_no_holds_of_its_parent(access: Access, service: Service, usage: Usage) -> None:
    service.limit = 100
    hold = await access.hold("c", "m", estimate=40)
    await usage.record("c", "m", amount=3)
    child = os.fork()
    if not child:
        try:
            found = access.peek("c", meter="m")
            assert (found.source, found.remaining) == ("cached", 97)
            with pytest.raises(HoldEndedError, match="parent"):
                hold.settle().send(None)
            fresh = access.hold("c", "m", estimate=97)
            assert access.try_reserve(fresh)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)  # noqa: ASYNC222
    assert status == 0
    assert await free(access) == 57


@pytest.mark.parametrize("wrong", [
    {"estimate": 0}, {"estimate": -1}, {"estimate": "1"}, {"estimate": float("nan")}, {"ttl": 0}, {"ttl": "1"},
    {"idempotency_key": ""}, {"metadata": 5}, {"meter": ""}, {"customer_id": None},
])  # fmt: skip
async def test_arguments_are_checked(access: Access, wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidArgumentError):
        access.hold(**{"customer_id": "c", "meter": "m", **wrong})  # type: ignore[arg-type]


async def test_a_hold_needs_a_reporter(service: Service) -> None:
    with pytest.raises(ConfigError, match="UsageReporter"):
        Access(service).hold("c", "m")  # type: ignore[arg-type]


async def test_the_decimal_context_of_a_thread_does_not_round(access: Access, service: Service, usage: Usage) -> None:
    service.limit = 10**8
    with decimal.localcontext(decimal.Context(prec=4)):
        assert (await access.check("d", meter="m")).remaining == 10**8
        async with access.hold("c", "m", estimate=Decimal("1234567.25")) as hold:
            await hold.extend(Decimal("0.5"))
            hold.add(Decimal("1234567.125"))
            hold.add(Decimal("0.125"))
        assert (hold.estimate, hold.amount) == (Decimal("1234567.75"), Decimal("1234567.25"))
        service.limit, service.usage["e", "m"] = Decimal("1234567.25"), Decimal("0.125")  # type: ignore[assignment]
        assert await free(access, "e") == Decimal("1234567.125")
    assert usage.outbox == [("c", "m", Decimal("1234567.25"), None, None)]


async def test_a_recorder_that_breaks_keeps_nothing(access: Access, service: Service, usage: Usage) -> None:
    service.limit = 100

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    usage.record = broken  # type: ignore[assignment]
    with pytest.raises(RuntimeError):
        async with access.hold("c", "m", estimate=10):
            pass
    assert await free(access) == 100
    assert not access._ledger._settling


async def test_a_hold_that_expires_while_it_is_recorded(
    access: Access, service: Service, usage: Usage, clock: Clock
) -> None:
    """Its usage may never be told of."""
    service.limit = 100
    usage.room.clear()
    hold = await access.hold("c", "m", estimate=10)
    task = asyncio.create_task(hold.settle())
    await settled()
    clock.go(10_000)
    assert await free(access) == 100
    assert not access._ledger._settling
    usage.room.set()
    await task
    assert await free(access) == 90


async def test_slugs_of_which_nothing_is_known_are_forgotten(make: Callable[..., Access]) -> None:
    access = make(max_entries=10)
    for number in range(200):
        access.peek("c", feature=f"feature-{number}")
        await access.check("c", feature=f"feature-{number}")
        await access.check("c", meter=f"meter-{number}")
    assert all(len(one) <= 21 for one in access._ledger._cache.slugs.values())
    access.invalidate("c")
    assert access.peek("c", feature="feature-199").source == "stale"
