"""Holds of a fleet whose processes use threads, with a real Redis and real processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from montra_async import ConfigError, Entitlement, MontraError
from montra_async.usage.errors import OutboxError, ReporterClosedError
from montra_sync.access import (
    Access,
    AccessDeniedError,
    AccessUnavailableError,
    HoldEndedError,
    LimitExceededError,
    RedisHolds,
)

from .redis_server import Redis, server as server
from .sync_fleet_worker import LIMIT

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")

ROOT = Path(__file__).parents[2]
NO_REDIS = "redis://:hunter2@127.0.0.1:9/0"


class Service:
    def __init__(self) -> None:
        self.limit = 100
        self.asked = 0

    async def check_entitlement(self, customer_id: str, meter_slug: str) -> Entitlement:
        self.asked += 1
        return Entitlement(has_access=True, usage=0, limit=self.limit)


class Usage:
    """Stands in for the reporter."""

    def __init__(self) -> None:
        self.observers: list[Any] = []
        self.total: Counter[str] = Counter()
        self.error: BaseException | None = None
        self._lock = threading.Lock()

    def add_observer(self, observer: Any) -> None:
        self.observers.append(observer)

    def remove_observer(self, observer: Any) -> None:
        self.observers.remove(observer)

    def record(self, customer_id: str, meter_slug: str, *, amount: Any = 1, **_: Any) -> None:
        if isinstance(self.error, ReporterClosedError):  # it refuses before it tells anybody
            raise self.error
        for one in self.observers:
            one.recorded(customer_id, meter_slug, amount)
        if isinstance(self.error, MontraError):
            for one in self.observers:
                one.failed(customer_id, meter_slug, amount)
        if self.error is not None:
            raise self.error
        with self._lock:
            self.total[meter_slug] += amount


@pytest.fixture
def service() -> Service:
    return Service()


Join = Callable[..., tuple[Access, Usage]]


@pytest.fixture
def join(server: Redis, service: Service) -> Iterator[Join]:
    """Another process of the fleet."""
    server.flush()
    made: list[Access] = []

    def join(url: str = server.url, lease: float = 30, **settings: Any) -> tuple[Access, Usage]:
        usage = Usage()
        made.append(Access(service, usage, fleet=RedisHolds(url, lease=lease, timeout=30), **settings))  # type: ignore[arg-type]
        return made[-1], usage

    yield join
    for one in made:
        one.close()


def free(access: Access) -> Any:
    """Units that are free in the fleet."""
    with pytest.raises(LimitExceededError) as caught:
        access.hold("c", "m", estimate=10**9).acquire()
    return caught.value.remaining


def until_free(access: Access, units: Any) -> None:
    """Wait for what Redis is told in the background, and for leases."""
    for _ in range(4000):
        if free(access) == units:
            return
        time.sleep(0.005)
    raise AssertionError(f"{free(access)} are free, not {units}")


def test_threads_of_a_fleet_use_a_limit_up_exactly(join: Join, service: Service) -> None:
    members = [join() for _ in range(3)]

    def one(number: int) -> int:
        try:
            with members[number % 3][0].hold("c", "m"):
                return 1
        except LimitExceededError:
            return 0

    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(one, range(300))) == 100
    assert sum(usage.total["m"] for _, usage in members) == 100


def test_the_life_of_a_hold(join: Join) -> None:
    access, usage = join()
    with access.hold("c", "m", estimate=10) as hold:
        assert free(access) == 90
        hold.extend(Decimal("9.5"))
        assert free(access) == Decimal("80.5")
        with pytest.raises(LimitExceededError):
            hold.extend(81)
        hold.renew()
        hold.amount = Decimal("2.25")
    assert free(access) == Decimal("97.75")
    assert usage.total["m"] == Decimal("2.25")
    with pytest.raises(ZeroDivisionError), access.hold("c", "m", estimate=10):
        raise ZeroDivisionError
    assert free(access) == Decimal("97.75")
    calls: list[Callable[[], object]] = [hold.settle, hold.renew, lambda: hold.extend(1)]
    for call in calls:
        with pytest.raises(HoldEndedError):
            call()
    access.hold("c", "m").acquire().settle(0)
    assert free(access) == Decimal("97.75")


def test_usage_without_a_hold_counts_also_before_the_first_one(join: Join) -> None:
    access, usage = join()
    other, _ = join()
    usage.record("c", "m", amount=10)
    until_free(other, 90)
    usage.record("c", "m", amount=5)
    until_free(other, 85)
    until_free(access, 85)


def test_what_can_not_be_recorded(join: Join) -> None:
    access, usage = join()
    hold = access.hold("c", "m", estimate=10).acquire()
    for error in (OutboxError("disk full"), ConfigError("another API"), ReporterClosedError("closed")):
        usage.error = error
        with pytest.raises(type(error)):
            hold.settle(4)
    until_free(access, 90)  # still held
    usage.error = None
    hold.settle(4)
    until_free(access, 96)


def test_ctrl_c_while_it_is_recorded(join: Join) -> None:
    access, usage = join()
    hold = access.hold("c", "m", estimate=10).acquire()
    usage.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        hold.settle(4)
    until_free(access, 96)


def test_an_invalidation_reaches_the_fleet(join: Join, service: Service) -> None:
    (access, _), (other, _) = join(), join()
    access.hold("c", "m").acquire()
    service.limit = 200
    access.invalidate("c")
    until_free(other, 199)


def worker(server: Redis, mode: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.access.sync_fleet_worker", server.url, mode]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_processes_of_threads_use_a_limit_up_together(join: Join, server: Redis) -> None:
    workers = [worker(server, "use") for _ in range(3)]
    lines = [one.communicate(timeout=60)[0].split() for one in workers]
    assert [one.returncode for one in workers] == [0, 0, 0]
    assert sum(len(one) for one in lines) == LIMIT - 1  # an estimate of 2 does not fit when 1 is left


def test_the_holds_of_a_killed_process_return(join: Join, server: Redis, service: Service) -> None:
    service.limit = LIMIT
    access, _ = join()
    holder = worker(server, "hold")
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert free(access) == 0
        server.wait_for_renewals()
        assert free(access) == 0
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    until_free(access, LIMIT)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_holds_of_its_own(join: Join) -> None:
    access, _ = join()
    hold = access.hold("c", "m", estimate=10).acquire()
    child = os.fork()
    if not child:
        status = 1
        try:
            with pytest.raises(HoldEndedError):
                hold.renew()
            hold.release()  # nothing: it is the parent's
            own = access.hold("c", "m", estimate=20).acquire()
            status = 0 if free(access) == 70 else 2
            own.release()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert free(access) == 90
    hold.settle(5)
    assert free(access) == 95


class TestWithoutRedis:
    def test_the_setting_decides(self, join: Join) -> None:
        with pytest.raises(AccessDeniedError) as denied:
            join(NO_REDIS)[0].hold("c", "m").acquire()
        assert denied.value.decision.source == "fallback"
        with pytest.raises(AccessUnavailableError) as unavailable:
            join(NO_REDIS, on_unavailable="raise")[0].hold("c", "m").acquire()
        shown = f"{unavailable.value!r} {unavailable.value.__cause__!r} {unavailable.value.__context__!r}"
        assert "hunter2" not in shown
        access, usage = join(NO_REDIS, on_unavailable="allow")
        with access.hold("c", "m", estimate=60) as hold:
            hold.extend(10)
            with pytest.raises(LimitExceededError):  # this process counts alone
                access.hold("c", "m", estimate=31).acquire()
        assert usage.total["m"] == 70

    def test_it_goes_away_and_comes_back(self, tmp_path: Path, join: Join, caplog: pytest.LogCaptureFixture) -> None:
        redis = Redis(tmp_path)
        redis.start()
        try:
            access, usage = join(redis.url)
            hold = access.hold("c", "m", estimate=10).acquire()
            redis.stop()
            hold.settle(4)  # it is recorded all the same
            assert usage.total["m"] == 4
            assert "until its lease ends" in caplog.text
            with pytest.raises(AccessDeniedError):
                access.hold("c", "m").acquire()
            redis.start()
            with access.hold("c", "m", estimate=10):
                pass
        finally:
            redis.stop()


def test_usage_of_a_hold_that_has_expired(join: Join) -> None:
    (access, _), (other, _) = join(), join()
    hold = access.hold("c", "m", estimate=90, ttl=0.05).acquire()
    until_free(other, 100)
    hold.settle(90)
    until_free(other, 10)
