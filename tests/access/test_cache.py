"""What is answered from memory, for how long, and what happens when the service can't be asked."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from montra_async import (
    AuthenticationError,
    CallInfo,
    ConfigError,
    InvalidArgumentError,
    NetworkError,
    NotFoundError,
    RateLimitError,
)
from montra_async.access import Access, AccessUnavailableError

from .conftest import Clock, Service, settled

CALL = CallInfo(method="GET", path="/entitlements")
DOWN = NetworkError("connection refused", CALL)


def error(kind: Any, status: int, **more: Any) -> Any:
    return kind("no", status=status, code="no", call=CALL, **more)


async def test_the_first_answer_is_fresh_and_the_next_ones_come_from_memory(
    access: Access, service: Service, clock: Clock
) -> None:
    service.limit, service.usage["c", "m"] = 10, 4
    first = await access.check("c", meter="m")
    assert (first.allowed, first.source, first.usage, first.limit, first.remaining) == (True, "fresh", 4, 10, 6)
    clock.go(7)
    for found in (await access.check("c", meter="m"), access.peek("c", meter="m")):
        assert (found.allowed, found.source, found.age, found.reason) == (True, "cached", 7.0, None)
    assert service.asked.total() == 1


async def test_a_no_is_false_in_a_condition_and_lives_shorter(access: Access, service: Service, clock: Clock) -> None:
    found = await access.check("c", feature="sso")
    assert not found
    assert found.reason == "not_in_plan"
    service.features.add("sso")
    clock.go(4.9)
    assert (await access.check("c", feature="sso")).source == "cached"
    clock.go(0.2)
    assert await access.check("c", feature="sso")
    assert service.asked.total() == 2


async def test_a_stale_yes_is_given_at_once_while_the_service_is_asked_in_the_background(
    access: Access, service: Service, clock: Clock
) -> None:
    service.features.add("sso")
    await access.check("c", feature="sso")
    clock.go(31)
    service.features.clear()
    service.open.clear()
    for _ in range(3):
        found = await access.check("c", feature="sso")
        assert (found.allowed, found.source, found.age) == (True, "stale", 31.0)
    service.open.set()
    await settled()
    assert not await access.check("c", feature="sso")
    assert service.asked.total() == 2


async def test_after_the_stale_time_a_caller_waits(access: Access, service: Service, clock: Clock) -> None:
    service.features.add("sso")
    await access.check("c", feature="sso")
    clock.go(91)
    service.features.clear()
    found = await access.check("c", feature="sso")
    assert (found.allowed, found.source) == (False, "fresh")


async def test_a_cold_burst_asks_once(access: Access, service: Service) -> None:
    found = await asyncio.gather(*(access.check("c", meter="m") for _ in range(1000)))
    assert all(found)
    assert service.asked == {("c", "m"): 1}


async def test_a_cancelled_caller_does_not_cancel_the_others(access: Access, service: Service) -> None:
    service.open.clear()
    callers = [asyncio.create_task(access.check("c", meter="m")) for _ in range(3)]
    await settled()
    callers[0].cancel()
    service.open.set()
    assert [one.source for one in await asyncio.gather(*callers[1:])] == ["fresh", "fresh"]
    assert service.asked.total() == 1


async def test_peek_knows_nothing_at_first_asks_in_the_background_and_never_says_yes_without_an_answer(
    access: Access, service: Service, clock: Clock
) -> None:
    found = access.peek("c", meter="m")
    assert (found.allowed, found.source, found.age) == (False, "unknown", None)
    await settled()
    assert access.peek("c", meter="m").source == "cached"
    clock.go(31)
    service.error = DOWN
    assert access.peek("c", meter="m").source == "stale"
    await settled()
    clock.go(3600)
    assert access.peek("c", meter="m").source == "unknown"


async def test_peek_works_without_an_event_loop(access: Access, service: Service) -> None:
    await access.check("c", meter="m")
    assert (await asyncio.to_thread(access.peek, "c", meter="m")).source == "cached"
    assert (await asyncio.to_thread(access.peek, "d", meter="m")).source == "unknown"
    assert service.asked.total() == 1


@pytest.mark.parametrize("arguments", [
    {}, {"meter": "m", "feature": "f"}, {"meter": ""}, {"feature": " "}, {"meter": 5}, {"meter": []},
    {"feature": "\ud800"},
])  # fmt: skip
async def test_arguments_are_checked_also_when_the_answer_is_in_memory(access: Access, arguments: Any) -> None:
    await access.check("c", feature="f")
    await access.check("c", meter="m")
    with pytest.raises(InvalidArgumentError):
        await access.check("c", **arguments)
    with pytest.raises(InvalidArgumentError):
        access.peek("c", **arguments)
    with pytest.raises(InvalidArgumentError):
        await access.check({}, meter="m")  # type: ignore[arg-type]


class TestInvalidation:
    @pytest.mark.parametrize("scope", [("c",), (), ("c", "sso")])
    async def test_the_service_is_asked_again(self, access: Access, service: Service, scope: tuple[str, ...]) -> None:
        service.features.add("sso")
        await access.check("c", feature="sso")
        service.features.clear()
        access.invalidate(*scope[:1], feature=scope[1] if len(scope) > 1 else None)
        assert access.peek("c", feature="sso").source == "stale"
        assert not await access.check("c", feature="sso")

    @pytest.mark.parametrize("scope", [{"customer_id": "d"}, {"feature": "other"}, {"meter": "sso"}])
    async def test_others_are_left_alone(self, access: Access, service: Service, scope: dict[str, str]) -> None:
        service.features.add("sso")
        await access.check("c", feature="sso")
        access.invalidate(**scope)
        assert access.peek("c", feature="sso").source == "cached"

    async def test_an_answer_on_its_way_may_be_older_than_the_change(self, access: Access, service: Service) -> None:
        service.open.clear()
        before = asyncio.create_task(access.check("c", feature="sso"))
        await settled()
        service.features.add("sso")
        access.invalidate("c")
        after = asyncio.create_task(access.check("c", feature="sso"))
        await settled()
        service.open.set()
        assert not await before
        assert await after
        assert await access.check("c", feature="sso")
        assert service.asked.total() == 2

    async def test_the_old_answer_helps_when_the_service_is_down(self, access: Access, service: Service) -> None:
        service.features.add("sso")
        await access.check("c", feature="sso")
        access.invalidate()
        service.error = DOWN
        assert (await access.check("c", feature="sso")).source == "stale"

    async def test_both_meter_and_feature_are_refused(self, access: Access) -> None:
        with pytest.raises(InvalidArgumentError):
            access.invalidate("c", meter="m", feature="f")


class TestWithoutTheService:
    async def test_the_last_answer_is_used_up_to_max_stale(
        self, access: Access, service: Service, clock: Clock
    ) -> None:
        service.features.add("sso")
        await access.check("c", feature="sso")
        service.error = DOWN
        clock.go(3599)
        found = await access.check("c", feature="sso")
        assert (found.allowed, found.source, found.age) == (True, "stale", 3599.0)
        clock.go(2)
        found = await access.check("c", feature="sso")
        assert (found.allowed, found.source, found.reason) == (False, "fallback", "unavailable")

    async def test_the_setting_decides(self, make: Callable[..., Access], service: Service) -> None:
        service.error = DOWN
        found = await make(on_unavailable="allow").check("c", feature="sso")
        assert (found.allowed, found.source, found.reason) == (True, "fallback", None)
        with pytest.raises(AccessUnavailableError, match="connection refused"):
            await make(on_unavailable="raise").check("c", feature="sso")

    async def test_a_silent_service_is_waited_for_up_to_the_timeout(
        self, make: Callable[..., Access], service: Service
    ) -> None:
        service.open.clear()
        assert (await make(timeout=0.01).check("c", feature="sso")).source == "fallback"

    async def test_after_failures_in_a_row_it_is_left_alone_for_a_while(
        self, access: Access, service: Service, clock: Clock
    ) -> None:
        service.error = DOWN
        for number in range(20):
            assert (await access.check(f"c{number}", feature="sso")).source == "fallback"
        assert service.asked.total() == 3
        service.error = None
        clock.go(31)
        assert (await access.check("c", feature="sso")).source == "fresh"
        assert (await access.check("d", feature="sso")).source == "fresh"

    async def test_a_rate_limit_is_respected_at_once(self, access: Access, service: Service, clock: Clock) -> None:
        service.error = error(RateLimitError, 429, retry_after=10.0)
        await access.check("c", feature="sso")
        service.error = None
        clock.go(9)
        assert (await access.check("c", feature="sso")).source == "fallback"
        clock.go(2)
        assert (await access.check("c", feature="sso")).source == "fresh"

    async def test_an_unknown_customer_is_an_error_whatever_was_known(
        self, access: Access, service: Service, clock: Clock
    ) -> None:
        await access.check("c", feature="sso")
        service.error = error(NotFoundError, 404)
        clock.go(100)
        raised = []
        for _ in range(2):
            with pytest.raises(NotFoundError) as caught:
                await access.check("c", feature="sso")
            raised.append(caught.value)
        assert raised[0] is not raised[1]  # each caller has an error of its own

    async def test_a_refused_key_is_an_error_only_without_an_answer(
        self, make: Callable[..., Access], service: Service, clock: Clock
    ) -> None:
        access = make(on_unavailable="allow")
        await access.check("c", feature="sso")
        service.error = error(AuthenticationError, 401)
        clock.go(100)
        assert (await access.check("c", feature="sso")).source == "stale"
        with pytest.raises(AuthenticationError):
            await access.check("d", feature="sso")

    async def test_a_bug_of_the_client_is_an_error_of_ours(self, access: Access, service: Service) -> None:
        service.features = None  # type: ignore[assignment]
        assert (await access.check("c", feature="sso")).source == "fallback"


class TestBounds:
    async def test_there_are_never_more_entries_and_those_in_use_stay(
        self, make: Callable[..., Access], service: Service
    ) -> None:
        access = make(max_entries=100)
        for number in range(1000):
            await access.check(f"c{number}", feature="sso")
            assert access.peek("c0", feature="sso").source == "cached"
            assert len(access._answers) <= 100

    @pytest.mark.parametrize("wrong", [
        {"ttl": -1}, {"ttl": "1"}, {"ttl": True}, {"deny_ttl": float("nan")}, {"timeout": 0},
        {"max_stale": float("inf")},         {"on_unavailable": "maybe"}, {"hold_ttl": 0},
    ])  # fmt: skip
    def test_settings_are_checked(self, wrong: Any) -> None:
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            Access(None, **wrong)  # type: ignore[arg-type]

    @pytest.mark.parametrize("wrong", [0, 1.5, "1"])
    def test_the_bound_is_a_whole_number(self, wrong: Any) -> None:
        with pytest.raises(InvalidArgumentError, match="max_entries"):
            Access(None, max_entries=wrong)  # type: ignore[arg-type]


async def test_a_decision_is_a_value(access: Access, service: Service) -> None:
    service.limit = 10
    first, second = await access.check("c", meter="m"), await access.check("d", meter="m")
    assert first == second
    assert hash(first) == hash(second)
    assert first != access.peek("c", meter="m")  # another source
    assert first != "first"
    copy = pickle.loads(pickle.dumps(first))
    assert (copy.allowed, copy.limit, copy.source, copy.age) == (True, 10, "fresh", None)
    assert "allowed=True, source='fresh'" in repr(first)
