"""Usage in a fleet: all of it counts in Redis, whatever happens to Redis, to a hold or to an event loop."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from montra_async.access import Access, AccessDeniedError, HoldEndedError, RedisHolds
from montra_async.access.fleet import Fleet
from montra_async.access.ledger import Ledger
from montra_async.access.redis_lines import _Line
from montra_async.access.settings import AccessSettings

from .conftest import Clock, Service, Usage, settled
from .redis_server import Redis, server as server
from .test_redis import Join, free, join as join, until_free

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")


async def test_usage_of_a_hold_that_has_expired(join: Join, service: Service) -> None:
    service.limit = 100
    (access, _), (other, _) = join(), join()
    hold = await access.hold("c", "m", estimate=90, ttl=0.05)
    await until_free(other, 100)
    await hold.settle(90)
    await until_free(other, 10)


async def test_a_hold_that_has_expired_guards_no_block(join: Join, service: Service) -> None:
    service.limit = 100
    (access, _), (other, _) = join(), join()
    hold = await access.hold("c", "m", estimate=100)
    hold.expires_at = access._clock()
    with pytest.raises(HoldEndedError, match="expired"):
        async with hold:
            pytest.fail("it is not guarded")
    with pytest.raises(HoldEndedError, match="expired"):
        await hold.renew()
    await hold.release()
    await until_free(other, 100)


async def test_entering_a_hold_does_not_ask_redis(
    join: Join, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails there would leave a hold that nobody ends."""
    service.limit = 100
    (access, _), (other, _) = join(), join()
    hold = await access.hold("c", "m", estimate=40)
    hold.expires_at = access._clock() + 60
    with monkeypatch.context() as patch:
        _fail_after(patch, carried_out=False)
        await hold.__aenter__()
        assert hold.expires_at > access._clock() + 60
    await hold.__aexit__(None, None, None)
    await until_free(other, 60)


@pytest.mark.parametrize("carried_out", [False, True])
async def test_usage_when_redis_is_away_at_the_end_of_a_hold(
    join: Join, service: Service, monkeypatch: pytest.MonkeyPatch, carried_out: bool
) -> None:
    service.limit = 100
    (access, _), (other, _) = join(lease=1), join()
    hold = await access.hold("c", "m", estimate=40)
    with monkeypatch.context() as patch:
        _fail_after(patch, carried_out)
        await hold.settle(40)
    await until_free(other, 20 if carried_out else 60)  # rather twice than not at all


def _fail_after(patch: pytest.MonkeyPatch, carried_out: bool) -> None:
    execute = _Line._execute

    async def fail(line: _Line, batch: Any) -> Any:
        if carried_out:
            await execute(line, batch)
        raise ConnectionError("away")

    patch.setattr(_Line, "_execute", fail)


async def test_a_hold_that_may_have_been_reserved(
    join: Join, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis has carried it out, and the reply did not arrive."""
    service.limit = 100
    (access, _), (other, _) = join(), join()
    kept = await access.hold("c", "m", estimate=10)
    with monkeypatch.context() as patch:
        _fail_after(patch, carried_out=True)
        with pytest.raises(AccessDeniedError):
            await access.hold("c", "m", estimate=50)
        with pytest.raises(Exception, match="away"):
            await kept.extend(20)
        await settled()
    await until_free(other, 90)
    await kept.settle(5)
    await until_free(other, 95)


async def test_usage_whose_end_is_cancelled(join: Join, service: Service) -> None:
    service.limit = 100
    (access, _), (other, _) = join(), join()
    hold = await access.hold("c", "m", estimate=90, ttl=0.05)
    await until_free(other, 100)
    task = asyncio.create_task(hold.settle(90))
    while hold.state != "ended":  # noqa: ASYNC110 - until it is recorded
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_free(other, 10)


async def test_fine_amounts(join: Join, service: Service) -> None:
    service.limit = 100
    (access, usage), (other, _) = join(), join()
    await usage.record("c", "m", amount=Decimal(1) / 3)
    await usage.record("c", "m", amount=60)
    await until_free(other, Decimal("39.666666"))
    async with access.hold("c", "m", estimate=Decimal(10) / 3) as hold:
        assert await free(other) == Decimal("36.333332")
        hold.amount = Decimal(2) / 3
    await until_free(other, Decimal("38.999999"))


async def test_fine_amounts_of_a_large_limit(join: Join, service: Service) -> None:
    service.limit = 10**12
    (_, usage), (other, _) = join(), join()
    hold = await other.hold("c", "m", estimate=10**12 - 10**6)
    await usage.record("c", "m", amount=Decimal(1) / 3)
    await until_free(other, Decimal("999999.666"))
    await hold.release()


async def test_units_that_are_too_large_are_not_counted_for_ever(
    join: Join, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    service.limit = 100
    (access, usage), (other, _) = join(), join()
    await access.hold("c", "m", estimate=1)
    await usage.record("c", "m", amount=2**60)
    while "units beyond 2^53" not in caplog.text:  # noqa: ASYNC110 - Redis has no event for it
        await asyncio.sleep(0.005)
    fleet: Any = access._fleet
    assert not fleet._uncounted
    await usage.record("c", "m", amount=9)
    await until_free(other, 90)


def test_usage_counts_on_every_event_loop(server: Redis) -> None:
    server.flush()
    holds = RedisHolds(server.url, timeout=30)
    made: list[Any] = []

    def run(main: Callable[[Access, Usage, Access], Coroutine[Any, Any, None]]) -> None:
        async def whole() -> None:
            service = Service()
            service.limit = 100
            usage = Usage(service)
            if not made:
                made.append(Access(service, usage, fleet=holds))  # type: ignore[arg-type]
            else:
                usage.observers = [made[0]]
            async with Access(service, Usage(service), fleet=RedisHolds(server.url, timeout=30)) as other:  # type: ignore[arg-type]
                await main(made[0], usage, other)
            await holds.aclose()

        asyncio.run(whole())

    async def first(access: Access, usage: Usage, other: Access) -> None:
        access.recorded("c", "m", 1)
        async with access.hold("c", "m", estimate=1):
            pass
        await usage.record("c", "m", amount=10)
        await until_free(other, 88)

    async def second(access: Access, usage: Usage, other: Access) -> None:
        await usage.record("c", "m", amount=10)
        await until_free(other, 76)

    run(first)
    made[0].recorded("c", "m", 2)  # without a loop
    run(second)


async def test_holds_of_several_event_loops_are_renewed(join: Join, service: Service, server: Redis) -> None:
    service.limit = 1000
    (access, _), (other, _) = join(lease=4), join()
    over = threading.Event()

    async def some(number: int) -> None:
        async with access.hold("c", "m", estimate=10) as kept:
            for _ in range(number):
                async with access.hold("c", "m", estimate=1):
                    pass
            await asyncio.to_thread(over.wait)
            kept.amount = 0
        fleet: Any = access._fleet
        await fleet.aclose()

    threads = [asyncio.create_task(asyncio.to_thread(asyncio.run, some(100))) for _ in range(3)]
    async with access.hold("c", "m", estimate=10) as kept:
        try:
            await until_free(other, 1000 - 40 - 300)
            await asyncio.to_thread(server.wait_for_renewals)
            assert await free(other) == 1000 - 40 - 300
        finally:
            over.set()
        await asyncio.gather(*threads)
        kept.amount = 0
    await until_free(other, 700)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_while_threads_record(tmp_path: Path) -> None:
    fleet = _fleet()
    ended = threading.Event()

    def record() -> None:
        while not ended.is_set():
            fleet.recorded(KEY, 1)

    threads = [threading.Thread(target=record) for _ in range(2)]
    for one in threads:
        one.start()
    try:
        for _ in range(20):
            child = os.fork()
            if not child:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(20)
                fleet.recorded(KEY, 1)
                os._exit(0 if fleet._uncounted == {KEY: [1, 0]} else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        ended.set()
        for one in threads:
            one.join()


KEY = ("c", "meter", "m")


def _fleet() -> Fleet:
    checker: Any = None
    holds = RedisHolds("redis://127.0.0.1:9/0")
    return Fleet(holds, Ledger(AccessSettings(), Clock()), checker, lambda _: None)


class Told:
    """A reporter that tells a fleet of events, all of the same amount."""

    def __init__(self) -> None:
        self.fleet = _fleet()
        self.ended_holds = 0

    def plain(self, kind: str) -> Iterator[None]:
        self.fleet.recorded(KEY, 5)
        yield
        if kind == "lost":
            self.fleet.failed(KEY, 5)

    def hold(self, kind: str) -> Iterator[None]:
        self.fleet.expect(KEY, 5)
        yield
        if kind == "hold refused":
            self.fleet.not_recorded(KEY, 5)
            return
        self.fleet.recorded(KEY, 5)
        yield
        if kind == "hold failed":
            self.fleet.failed(KEY, 5)
            yield
            self.fleet.not_recorded(KEY, 5)
        else:
            self.fleet.settled(KEY, 5)
            self.ended_holds += 1

    def cancelled(self, kind: str) -> Iterator[None]:
        self.fleet.expect(KEY, 5)
        yield
        steps = [self.fleet.recorded, self.fleet.handed_over]
        for step in steps if kind == "cancelled" else reversed(steps):
            step(KEY, 5)
            yield
        self.ended_holds += 1


@pytest.mark.parametrize("seed", range(300))
def test_equal_amounts_are_told_apart_by_their_number(seed: int) -> None:
    """Whatever the order in which a reporter tells of usage, and of which: the sum is right in the end."""
    chance, told = random.Random(seed), Told()
    kinds = {"plain": told.plain, "lost": told.plain}
    kinds |= {"hold": told.hold, "hold refused": told.hold, "hold failed": told.hold}
    cancelled = {"cancelled": told.cancelled, "cancelled early": told.cancelled} if seed % 2 else {}
    kinds |= cancelled
    chosen = [chance.choice(list(kinds)) for _ in range(chance.randrange(1, 8))]
    running = [kinds[one](one) for one in chosen]
    while running:
        one = chance.choice(running)
        if next(one, "end") == "end":
            running.remove(one)
    real = sum(one in ("plain", "hold", *cancelled) for one in chosen)
    counted = told.fleet._uncounted.get(KEY, [0, 0])[0] + 5 * told.ended_holds
    if cancelled and {"lost", "hold failed"} & set(chosen):
        assert counted >= 5 * real  # it is not known whether the one that failed was the one that was cancelled
    else:
        assert counted == 5 * real
        assert not told.fleet._settling
