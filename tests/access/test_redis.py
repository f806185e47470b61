"""Holds of a fleet, with a real Redis and real processes."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest

from montra_async import CallInfo, ConfigError, NetworkError
from montra_async.access import (
    Access,
    AccessDeniedError,
    AccessUnavailableError,
    HoldEndedError,
    LimitExceededError,
    RedisHolds,
)
from montra_async.usage.errors import OutboxError, ReporterClosedError

from .conftest import Clock, Service, Usage, settled
from .fleet_worker import LIMIT
from .redis_server import Redis, server as server

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")

ROOT = Path(__file__).parents[2]
DOWN = NetworkError("connection refused", CallInfo(method="GET", path="/entitlements"))


@pytest.fixture
async def join(server: Redis, service: Service, clock: Clock) -> AsyncIterator[Callable[..., tuple[Access, Usage]]]:
    """Another process of the fleet."""
    server.flush()
    made: list[Access] = []

    def join(url: str = server.url, lease: float = 30, **settings: Any) -> tuple[Access, Usage]:
        usage = Usage(service)
        access: Any = Access(service, usage, fleet=RedisHolds(url, lease=lease, timeout=30), **settings)  # type: ignore[arg-type]
        made.append(access)
        return access, usage

    yield join
    for one in made:
        await one.aclose()


Join = Callable[..., tuple[Access, Usage]]


async def free(access: Access) -> Any:
    """Units that are free in the fleet."""
    try:
        await access.hold("c", "m", estimate=10**9)
    except LimitExceededError as error:
        return error.remaining
    raise AssertionError("it fits")


async def until_free(access: Access, units: Any) -> None:
    """Wait for what Redis is told in the background, and for leases."""
    with anyio.fail_after(30):
        while await free(access) != units:  # noqa: ASYNC110 - Redis has no event for it
            await asyncio.sleep(0.005)


async def test_a_fleet_uses_a_limit_up_together_and_exactly(join: Join, service: Service) -> None:
    service.limit = 100
    members = [join() for _ in range(3)]

    async def one(number: int) -> int:
        access, _ = members[number % 3]
        try:
            async with access.hold("c", "m"):
                await asyncio.sleep(0)
        except LimitExceededError:
            return 0
        return 1

    assert sum(await asyncio.gather(*(one(number) for number in range(500)))) == 100
    assert sum(usage.total["c", "m"] for _, usage in members) == 100


async def test_a_cold_burst_asks_once_and_the_next_process_not_at_all(join: Join, service: Service) -> None:
    service.limit = 1000
    (access, _), (other, _) = join(), join()
    holds = await asyncio.gather(*(access.hold("c", "m") for _ in range(300)))
    assert service.asked.total() == 1
    await other.hold("c", "m", estimate=700)
    assert service.asked.total() == 1
    with pytest.raises(LimitExceededError, match="c has 0 of 1000 units of m left, not 1"):
        await other.hold("c", "m")
    await asyncio.gather(*(hold.release() for hold in holds))
    await access.hold("c", "m", estimate=300)


async def test_the_life_of_a_hold(join: Join, service: Service) -> None:
    service.limit = 100
    access, usage = join()
    async with access.hold("c", "m", estimate=10) as hold:
        assert await free(access) == 90
        await hold.extend(Decimal("9.5"))
        assert await free(access) == Decimal("80.5")
        with pytest.raises(LimitExceededError):
            await hold.extend(81)
        await hold.renew()
        hold.amount = Decimal("2.25")
    assert await free(access) == Decimal("97.75")
    assert usage.total["c", "m"] == Decimal("2.25")
    with pytest.raises(ZeroDivisionError):
        async with access.hold("c", "m", estimate=10):
            raise ZeroDivisionError
    assert await free(access) == Decimal("97.75")
    for call in (hold.settle, hold.renew, lambda: hold.extend(1)):
        with pytest.raises(HoldEndedError):
            await call()
    hold = await access.hold("c", "m")
    await hold.settle(0)
    assert await free(access) == Decimal("97.75")


async def test_other_answers(join: Join, service: Service) -> None:
    access, _ = join()
    async with access.hold("c", "m", estimate=2**52):  # no limit
        pass
    service.plan = False
    with pytest.raises(AccessDeniedError, match="no_plan") as caught:
        await access.hold("d", "m")
    assert not isinstance(caught.value, LimitExceededError)


async def test_delivered_usage_is_not_counted_twice_for_long(join: Join, service: Service) -> None:
    service.limit = 100
    (access, usage), (other, others) = join(deny_ttl=0.001), join(deny_ttl=0.001)
    for member in (access, other):
        async with member.hold("c", "m", estimate=20):
            pass
    await usage.record("c", "m", amount=10)  # without a hold
    await until_free(other, 50)
    usage.deliver()
    others.deliver()
    assert await free(other) >= 0
    await until_free(access, 50)
    assert service.usage["c", "m"] == 50


async def test_what_can_not_be_recorded(join: Join, service: Service) -> None:
    service.limit = 100
    access, usage = join()
    hold = await access.hold("c", "m", estimate=10)
    for error in (OutboxError("disk full"), ConfigError("another API"), ReporterClosedError("closed")):
        usage.error = error
        if isinstance(error, ReporterClosedError):
            usage.observers = []  # it refuses before it tells anybody
        with pytest.raises(type(error)):
            await hold.settle(4)
    usage.error, usage.observers = None, [access]
    assert await free(access) == 90  # still held
    await hold.settle(4)
    await until_free(access, 96)


@pytest.mark.parametrize("seed", range(5))
async def test_cancelled_anywhere(join: Join, service: Service, seed: int) -> None:
    import random

    chance = random.Random(seed)
    service.limit = 1000
    access, usage = join()
    used = 0

    async def one() -> None:
        nonlocal used
        async with access.hold("c", "m", estimate=5) as hold:
            await asyncio.sleep(0)
            hold.amount = chance.randrange(4)
            used += hold.amount

    tasks = [asyncio.create_task(one()) for _ in range(100)]
    while not all(task.done() for task in tasks):
        chance.choice(tasks).cancel()
        await asyncio.sleep(0 if chance.random() < 0.8 else 0.002)
    await settled()
    assert usage.total["c", "m"] == used
    await until_free(access, 1000 - used)


async def test_an_invalidation_reaches_the_fleet(join: Join, service: Service) -> None:
    service.limit = 100
    (access, _), (other, _) = join(), join()
    await access.hold("c", "m")
    service.limit = 200
    access.invalidate("c")
    await settled()
    while True:
        try:
            await other.hold("c", "m", estimate=150)
            break
        except LimitExceededError:
            await asyncio.sleep(0.002)


async def test_a_hold_right_after_an_invalidation_asks_the_service(join: Join, service: Service) -> None:
    """Also when Redis does not know the script of invalidations yet."""
    service.limit = 10
    access, _ = join()
    assert await free(access) == 10
    asked = service.asked["c", "m"]
    access.invalidate("c")
    async with access.hold("c", "m", estimate=5):
        assert service.asked["c", "m"] == asked + 1


def worker(server: Redis, mode: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.access.fleet_worker", server.url, mode]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


async def test_processes_use_a_limit_up_together(join: Join, server: Redis) -> None:
    workers = [worker(server, "use") for _ in range(3)]
    lines = [(await asyncio.to_thread(one.communicate, timeout=60))[0].split() for one in workers]
    assert [one.returncode for one in workers] == [0, 0, 0]
    assert sum(len(one) for one in lines) == LIMIT - 1  # an estimate of 2 does not fit when 1 is left


async def test_a_hold_that_can_not_be_recorded_ends_with_its_life(join: Join, service: Service, clock: Clock) -> None:
    service.limit = 100
    access, usage = join(lease=1, clock=clock)
    usage.error = OutboxError("disk full")
    with pytest.raises(OutboxError):
        async with access.hold("c", "m", estimate=40, ttl=1) as hold:
            hold.amount = 10
    assert await free(access) == 60
    clock.now += 2
    until = time.monotonic() + 60
    while await free(access) != 100:
        assert time.monotonic() < until
        await asyncio.sleep(0.05)


async def test_the_holds_of_a_killed_process_return(join: Join, server: Redis, service: Service) -> None:
    service.limit = LIMIT
    access, _ = join()
    holder = worker(server, "hold")
    try:
        assert holder.stdout is not None
        await asyncio.to_thread(holder.stdout.readline)
        assert await free(access) == 0
        await asyncio.to_thread(server.wait_for_renewals)
        assert await free(access) == 0
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    await until_free(access, LIMIT)


class TestWithoutRedis:
    async def test_the_setting_decides(self, join: Join, service: Service) -> None:
        service.limit = 100
        url = "redis://:hunter2@127.0.0.1:9/0"
        with pytest.raises(AccessDeniedError) as denied:
            await join(url)[0].hold("c", "m")
        assert denied.value.decision.source == "fallback"
        with pytest.raises(AccessUnavailableError) as unavailable:
            await join(url, on_unavailable="raise")[0].hold("c", "m")
        assert (
            "hunter2" not in f"{unavailable.value!r} {unavailable.value.__cause__!r} {unavailable.value.__context__!r}"
        )
        access, usage = join(url, on_unavailable="allow")
        async with access.hold("c", "m", estimate=60) as hold:
            await hold.extend(10)
            with pytest.raises(LimitExceededError):  # this process counts alone
                await access.hold("c", "m", estimate=31)
        assert usage.total["c", "m"] == 70

    async def test_it_goes_away_and_comes_back(
        self, tmp_path: Path, join: Join, service: Service, caplog: pytest.LogCaptureFixture
    ) -> None:
        service.limit = 100
        redis = Redis(tmp_path)
        redis.start()
        try:
            access, usage = join(redis.url)
            hold = await access.hold("c", "m", estimate=10)
            redis.stop()
            await hold.settle(4)  # it is recorded all the same
            assert usage.total["c", "m"] == 4
            assert "until its lease ends" in caplog.text
            with pytest.raises(AccessDeniedError):
                await access.hold("c", "m")
            redis.start()
            async with access.hold("c", "m", estimate=10):
                pass
        finally:
            redis.stop()

    async def test_the_service_is_down(self, join: Join, service: Service) -> None:
        service.limit = 100
        access, usage = join()
        await access.hold("c", "m", estimate=50)
        service.error = DOWN
        access.invalidate("c")
        with pytest.raises(AccessDeniedError):
            await access.hold("d", "m")
        allowing, usage = join(on_unavailable="allow")
        async with allowing.hold("d", "m"):
            pass
        assert usage.total["d", "m"] == 1


@pytest.mark.parametrize("wrong", ["http://x", 5, object()])
def test_what_is_no_redis(wrong: Any) -> None:
    with pytest.raises((ConfigError, TypeError)):
        RedisHolds(wrong)


def test_a_url_with_a_password_is_not_shown() -> None:
    assert "hunter2" not in repr(RedisHolds("redis://:hunter2@127.0.0.1:1/0"))
    with pytest.raises(ConfigError) as caught:
        RedisHolds("redis://:hunter2@127.0.0.1:1/x?socket_timeout=y")
    assert "hunter2" not in f"{caught.value!r}{caught.value.__cause__!r}{caught.value.__context__!r}"
