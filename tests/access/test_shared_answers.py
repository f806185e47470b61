"""Answers that a fleet shares, with a real Redis."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest

from montra_async import CallInfo, ConfigError, NetworkError
from montra_async.access import Access, AccessDecision, LimitExceededError, RedisAnswers
from montra_async.access.base import BaseAccess
from montra_sync.access import Access as SyncAccess

from .conftest import Clock, Service, Usage, settled
from .redis_server import Redis, server as server

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")

DOWN = NetworkError("connection refused", CallInfo(method="GET", path="/entitlements"))
Join = Callable[..., Access]


@pytest.fixture
async def join(server: Redis, service: Service, clock: Clock) -> AsyncIterator[Join]:
    """Another process of the fleet."""
    server.flush()
    made: list[Access] = []

    def join(url: str = server.url, usage: Any = None, **settings: Any) -> Access:
        if "ttl" in settings or "deny_ttl" in settings:  # ages are by the clock of Redis
            settings["clock"] = time.monotonic
        answers = RedisAnswers(url, timeout=30)
        montra: Any = service
        made.append(Access(montra, usage, shared_answers=answers, **{"clock": clock, **settings}))
        return made[-1]

    yield join
    for one in made:
        await one.aclose()


async def kept(access: Access) -> None:
    """Wait until Redis has what it was told: it is told in order."""
    shared = access._checker.shared
    assert shared is not None
    assert await shared.look(("other", "feature", "other")) is not None
    assert not shared._pending


async def eventually(condition: Callable[[], object]) -> None:
    """Wait for what happens in the background."""
    with anyio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.002)


def facts(decision: AccessDecision) -> tuple[Any, ...]:
    return decision.allowed, decision.reason, decision.usage, decision.limit, decision.remaining


async def test_a_cold_process_asks_redis_before_the_service(join: Join, service: Service) -> None:
    service.limit, service.usage["c", "m"] = 100, 7
    service.features = {"sso"}
    access = join()
    first = [await access.check("c", meter="m"), await access.check("c", feature="sso"),
             await access.check("c", feature="no")]  # fmt: skip
    await kept(access)
    asked = service.asked.total()
    other = join()
    found = [await other.check("c", meter="m"), await other.check("c", feature="sso"),
             await other.check("c", feature="no")]  # fmt: skip
    assert service.asked.total() == asked == 3
    assert [one.source for one in first] == ["fresh"] * 3
    assert [one.source for one in found] == ["cached"] * 3
    assert [facts(one) for one in found] == [facts(one) for one in first]
    assert found[2].reason == "not_in_plan"


async def test_numbers_stay_exact(join: Join, service: Service) -> None:
    service.limit, service.usage["c", "m"] = 100.5, Decimal("0.1")  # type: ignore[assignment]
    access = join()
    await access.check("c", meter="m")
    await kept(access)
    found = await join().check("c", meter="m")
    assert (found.usage, found.limit, found.remaining) == (Decimal("0.1"), Decimal("100.5"), Decimal("100.4"))


async def test_peek_finds_it_in_the_background(join: Join, service: Service) -> None:
    service.features = {"sso"}
    access = join()
    await access.check("c", feature="sso")
    await kept(access)
    other = join()
    assert other.peek("c", feature="sso").source == "unknown"
    await eventually(lambda: other.peek("c", feature="sso"))
    assert service.asked.total() == 1


@pytest.mark.parametrize("who", ["c", None])
async def test_a_change_reaches_all_within_local_ttl(
    join: Join, service: Service, clock: Clock, who: str | None
) -> None:
    service.features = {"sso"}
    access, other = join(), join()
    assert await access.check("c", feature="sso")
    await kept(access)
    assert await other.check("c", feature="sso")
    service.features = set()
    access.invalidate(who)
    await kept(access)
    clock.go(0.9)
    assert await other.check("c", feature="sso")  # from memory
    clock.go(0.2)
    assert not await other.check("c", feature="sso")
    assert not await access.check("c", feature="sso")
    assert service.asked.total() <= 3


async def test_other_customers_keep_their_answers(join: Join, service: Service, clock: Clock) -> None:
    access = join()
    await access.check("c", feature="sso")
    await access.check("d", feature="sso")
    access.invalidate("c")
    await kept(access)
    cold = join()
    await cold.check("d", feature="sso")
    assert service.asked["d", "sso"] == 1
    await cold.check("c", feature="sso")
    assert service.asked["c", "sso"] == 2


async def test_an_answer_from_before_a_change_is_not_kept(join: Join, service: Service) -> None:
    service.features = {"sso"}
    slow, access = join(), join()
    service.open.clear()
    asking = asyncio.create_task(slow.check("c", feature="sso"))
    await eventually(lambda: service.asked)
    service.features = set()
    access.invalidate("c")
    await kept(access)
    service.open.set()
    assert await asking  # asked before the change
    await kept(slow)
    assert not await join().check("c", feature="sso")


async def test_a_process_does_not_take_back_its_own_change(join: Join, service: Service) -> None:
    service.features = {"sso"}
    access = join()
    for feature in ("sso", "other"):
        await access.check("c", feature=feature)
    service.features = set()
    access.invalidate("c")
    assert not await access.check("c", feature="sso")  # without a pause in which Redis could be told


async def test_memory_is_used_for_local_ttl_and_redis_after_that(join: Join, service: Service, clock: Clock) -> None:
    service.features = {"sso"}
    access = join()
    await access.check("c", feature="sso")
    for _ in range(20):
        clock.go(1.1)
        await kept(access)
        assert await access.check("c", feature="sso")
    assert service.asked.total() == 1


async def test_an_old_yes_is_given_once_more_while_the_service_is_asked(join: Join, service: Service) -> None:
    service.features = {"sso"}
    access = join(ttl=0.05)
    await access.check("c", feature="sso")
    await kept(access)
    await asyncio.sleep(0.1)  # the age is by the clock of Redis
    other = join(ttl=0.05)
    found = await other.check("c", feature="sso")
    assert (found.allowed, found.source) == (True, "stale")
    await eventually(lambda: service.asked.total() == 2)


async def test_an_old_no_is_not_given(join: Join, service: Service) -> None:
    access = join(deny_ttl=0.05)
    assert not await access.check("c", feature="sso")
    await kept(access)
    await asyncio.sleep(0.1)
    service.features = {"sso"}
    assert await join(deny_ttl=0.05).check("c", feature="sso")


async def test_holds_never_exceed_the_limit_with_an_older_answer(
    join: Join, service: Service, usage: Usage, clock: Clock
) -> None:
    service.limit = 100
    other = join()
    await other.check("c", meter="m")  # usage 0
    await kept(other)
    access = join(usage=usage)
    for _ in range(10):
        async with access.hold("c", "m", estimate=10):
            pass
        usage.deliver()
        clock.go(1.1)  # memory is too old: Redis says what was true before
    with pytest.raises(LimitExceededError):
        await access.hold("c", "m")
    assert service.usage["c", "m"] == 100


async def test_a_denial_asks_the_service_itself(join: Join, service: Service, usage: Usage) -> None:
    service.limit = 10
    access = join(usage=usage, deny_ttl=0.05)
    async with access.hold("c", "m", estimate=10):
        pass
    usage.deliver()
    service.limit = 30
    await asyncio.sleep(0.1)
    await access.hold("c", "m", estimate=15)


class TestWithoutRedis:
    async def test_the_service_is_asked(
        self, join: Join, service: Service, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        service.features = {"sso"}
        access = join("redis://:hunter2@127.0.0.1:9/0")
        with caplog.at_level(logging.WARNING, "montra"):
            for number in range(20):
                assert (await access.check(f"c{number}", feature="sso")).source == "fresh"
                clock.go(1.5)
        assert len([one for one in caplog.records if "not shared" in one.message]) == 1
        assert "hunter2" not in caplog.text
        assert service.asked.total() == 20

    async def test_memory_lasts_as_long_as_without_it(self, join: Join, service: Service, clock: Clock) -> None:
        service.features = {"sso"}
        access = join("redis://127.0.0.1:9/0")
        await access.check("c", feature="sso")
        clock.go(29)
        assert (await access.check("c", feature="sso")).source == "cached"
        assert service.asked.total() == 1

    async def test_a_change_is_told_when_it_is_back(
        self, tmp_path: Path, join: Join, service: Service, clock: Clock
    ) -> None:
        service.features = {"sso"}
        redis = Redis(tmp_path)
        redis.start()
        try:
            access, other = join(redis.url), join(redis.url)
            await access.check("c", feature="sso")
            await kept(access)
            shared = access._checker.shared
            assert shared is not None
            assert redis.process is not None
            redis.stop(save=True)
            service.features = set()
            access.invalidate("c")
            await eventually(lambda: not shared.is_usable)
            assert not await access.check("c", feature="sso")
            redis.start()
            clock.go(2)
            await eventually(lambda: not shared._pending)
            assert not await other.check("c", feature="sso")
        finally:
            redis.stop()

    async def test_the_service_is_down(self, join: Join, service: Service, clock: Clock) -> None:
        service.features = {"sso"}
        access = join()
        await access.check("c", feature="sso")
        await kept(access)
        service.error = DOWN
        other = join()
        for number in range(5):
            assert not await other.check(f"d{number}", feature="sso")
        asked = service.asked.total()
        assert await other.check("c", feature="sso")  # Redis is asked also while the service is left alone
        assert service.asked.total() == asked

    async def test_foreign_content(self, join: Join, server: Redis, service: Service) -> None:
        import redis

        service.features = {"sso"}
        access = join()
        await access.check("c", feature="sso")
        await kept(access)
        with redis.Redis.from_url(server.url) as client:
            (name,) = client.keys("montra:answers:*")
            (field,) = client.hkeys(name)
            asked = client.hget(name, field).split(b" ")[0]
            for wrong in (
                b"{",
                b"[]",
                b"[1,null,null,null]",
                b'[true,null,"x","1"]',
                b"[true,5,null,null]",
                b"[" * 5000,
            ):
                client.hset(name, field, asked + b" " + wrong)
                assert (await join().check("c", feature="sso")).source == "fresh"
            client.hset(name, field, "nothing")
            assert (await join().check("c", feature="sso")).source == "fresh"
            client.set(name, "x")
            assert (await join().check("c", feature="sso")).source == "fresh"
            client.delete(name)
            await join().check("c", feature="sso")
            await settled()


async def test_one_customer_has_a_bounded_number_of_answers(join: Join, server: Redis) -> None:
    import redis

    access = join()
    for number in range(1100):
        await access.check("c", feature=f"f{number}")
    await kept(access)
    with redis.Redis.from_url(server.url) as client:
        (name,) = client.keys("montra:answers:*")
        assert client.hlen(name) <= 1000
        assert 0 < client.pttl(name) <= 90_000


def test_threads(server: Redis) -> None:
    server.flush()
    service: Any = Sso()
    made = [SyncAccess(service, shared_answers=RedisAnswers(server.url, local_ttl=0.05, timeout=30)) for _ in range(2)]
    access, other = made
    try:
        assert access.check("c", feature="sso")
        until(lambda: other.check("c", feature="sso").allowed)
        service.allowed = False
        access.invalidate("c")
        until(lambda: not other.check("c", feature="sso"))
        assert service.asked <= 3
    finally:
        for one in made:
            one.close()


class Sso:
    allowed = True
    asked = 0

    async def check_feature_access(self, customer_id: str, feature_slug: str) -> Any:
        from montra_async import Entitlement

        self.asked += 1
        return Entitlement(has_access=self.allowed, type="feature")


def until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        threading.Event().wait(0.005)
    raise AssertionError("it does not become true")


def test_the_fast_path_does_not_know_of_it() -> None:
    for method in (BaseAccess.peek, Access.check, SyncAccess.check):
        assert not {"shared", "_checker.shared", "_fleet"} & set(method.__code__.co_names)


@pytest.mark.parametrize("wrong", ["http://x", 5, object()])
def test_what_is_no_redis(wrong: Any) -> None:
    with pytest.raises((ConfigError, TypeError)):
        RedisAnswers(wrong)


def test_settings() -> None:
    assert "hunter2" not in repr(RedisAnswers("redis://:hunter2@127.0.0.1:1/0"))
    with pytest.raises(ConfigError):
        RedisAnswers("redis://127.0.0.1:1/0", local_ttl=0)
