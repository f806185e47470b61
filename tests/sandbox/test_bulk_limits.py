"""Bulk calls and the limits of the service and the client: too many requests, refused keys, connections."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import montra_sync
from montra_async import (
    ApiError,
    ApiResponse,
    AuthenticationError,
    BulkResult,
    CallInfo,
    Customer,
    Montra,
    RateLimitError,
    Timeout,
)
from montra_async.core.bulk_calls import BulkRun, run_all

from ..contract_watch import WatchedSandbox
from .bulk_tools import collect, person, until

# Too many requests


async def test_too_many_requests_are_no_failures(montra: Montra, sandbox: WatchedSandbox) -> None:
    sandbox.add_fault(kind="rate_limit", retry_after=0, times=4)
    single = montra.with_options(max_attempts=1)
    results = await collect(single.create_customers([person(i) for i in range(6)], concurrency=3, batch_key="b"))
    assert [one.status for one in results] == ["ok"] * 6
    assert len(await montra.list_customers()) == 6


async def test_what_an_earlier_round_may_have_done_is_not_forgotten(unwatched: Montra, sandbox: WatchedSandbox) -> None:
    sandbox.add_fault(kind="drop_after", times=1)
    sandbox.add_fault(kind="rate_limit", retry_after=0, times=1)
    sandbox.add_fault(kind="status", status=401, times=1)
    twice = unwatched.with_options(max_attempts=2)
    (result,) = await collect(twice.create_customers([person(1)]))
    assert isinstance(result.error, AuthenticationError)
    assert result.error.may_have_executed
    assert len(await unwatched.list_customers()) == 1


class _Limited:
    """A call that has too many requests for some time, and notes when it was made."""

    def __init__(self, refusals: int, retry_after: float | None) -> None:
        self.refusals = refusals
        self.retry_after = retry_after
        self.calls = 0
        self.run: BulkRun[int]

    async def call(self, number: int, idempotency_key: str) -> int:
        return number

    async def send(self, call: Any, **arguments: Any) -> ApiResponse[int]:
        loop = asyncio.get_running_loop()
        assert loop.time() >= self.run._paused_until
        self.calls += 1
        await asyncio.sleep(0)
        if self.calls <= self.refusals:
            info = CallInfo(method="POST", path="/x")
            raise RateLimitError("slow down", status=429, code="x", call=info, retry_after=self.retry_after)
        return ApiResponse(data=await call(**arguments))


def limited(refusals: int, retry_after: float | None, concurrency: int = 3) -> _Limited:
    made = _Limited(refusals, retry_after)
    made.run = BulkRun(made.call, made.send, pool_size=100, concurrency=concurrency, batch_key="b", on_progress=None)
    return made


async def test_nothing_is_sent_during_a_pause() -> None:
    made = limited(3, 0.05)
    results = await collect(run_all(made.run, [{"number": i, "idempotency_key": f"k{i}"} for i in range(9)]))
    assert [one.value for one in results] == list(range(9))
    assert made.calls == 12


async def test_a_service_that_never_has_time_is_a_failure_in_the_end() -> None:
    made = limited(10**6, 0.0, concurrency=1)
    [result] = await collect(run_all(made.run, [{"number": 1, "idempotency_key": "k"}]))
    assert isinstance(result.error, RateLimitError)
    assert made.calls == 9


async def test_pauses_are_longer_each_time_and_bounded() -> None:
    made = limited(0, None)
    now = asyncio.get_running_loop().time()
    for round_number, seconds in ((0, 1), (3, 8), (9, 60)):
        made.run._pause(None, round_number)
        assert 0 <= made.run._paused_until - now - seconds < 1


async def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    made = limited(0, None)
    made.run._pause(50, 0)
    until = made.run._paused_until
    made.run._pause(1, 0)
    assert made.run._paused_until == until


async def test_a_service_that_asks_for_a_long_pause_ends_it_at_once(sandbox: WatchedSandbox) -> None:
    sandbox.add_fault(kind="rate_limit", retry_after=61, times=1)
    before = len(sandbox.list_requests())
    async with Montra(sandbox.api_key, sandbox.base_url) as montra:
        results = await collect(montra.create_customers(map(person, range(50)), concurrency=1))
    assert [one.status for one in results] == ["failed"] + ["skipped"] * 49
    assert {one.error for one in results} == {results[0].error}
    assert isinstance(results[0].error, RateLimitError)
    assert (results[0].error.retry_after, results[1].idempotency_key) == (61, None)
    assert len(sandbox.list_requests()) - before == 1


async def test_a_pause_of_a_minute_is_made() -> None:
    made = limited(1, 60.0)
    made.run._pause = lambda retry_after, round_number: None  # type: ignore[method-assign]
    [result] = await collect(run_all(made.run, [{"number": 1, "idempotency_key": "k"}]))
    assert (result.status, made.calls) == ("ok", 2)


class _Refusing:
    """Calls whose key is refused, in the order in which they are let go."""

    def __init__(self) -> None:
        self.errors: dict[int, Exception] = {}
        self.going: dict[int, asyncio.Event] = {}
        self.run: BulkRun[int] = BulkRun(
            self.call, self.send, pool_size=3, concurrency=1000, batch_key="b", on_progress=None
        )

    async def call(self, number: int, idempotency_key: str = "") -> int:
        return number

    async def send(self, call: Any, *, number: int, idempotency_key: str) -> ApiResponse[int]:
        self.going[number] = asyncio.Event()
        await self.going[number].wait()
        self.errors[number] = _error(AuthenticationError)
        raise self.errors[number]


def _error(kind: type[ApiError], retry_after: float | None = None) -> ApiError:
    info = CallInfo(method="POST", path="/x")
    return kind("no", status=429 if kind is RateLimitError else 401, code="x", call=info, retry_after=retry_after)


async def test_what_is_skipped_has_the_first_refusal_as_its_error() -> None:
    made = _Refusing()
    results = aiter(run_all(made.run, [{"number": i} for i in range(5)]))
    first = asyncio.ensure_future(anext(results))
    await until(lambda: len(made.going) == 3)
    for number in (1, 0, 2):
        made.going[number].set()
        await until(lambda number=number: number in made.errors)  # type: ignore[misc]
    found = sorted([await first, *[one async for one in results]])
    assert [one.status for one in found] == ["failed"] * 3 + ["skipped"] * 2
    assert [one.error for one in found] == [made.errors[i] for i in (0, 1, 2, 1, 1)]


async def test_a_refused_key_ends_a_pause() -> None:
    """The second call is refused while the first waits for a minute."""

    async def call(number: int, idempotency_key: str = "") -> int:
        return number

    async def send(call: Any, *, number: int, idempotency_key: str) -> ApiResponse[int]:
        begun.add(number)
        if number == 0:
            await until(lambda: 1 in begun)
            raise _error(RateLimitError, 60.0)
        await until(lambda: bool(bulk._pausing))
        raise _error(AuthenticationError)

    begun: set[int] = set()
    bulk: BulkRun[int] = BulkRun(call, send, pool_size=2, concurrency=2, batch_key=None, on_progress=None)
    results = await asyncio.wait_for(collect(run_all(bulk, [{"number": 0}, {"number": 1}])), 30)
    assert [one.status for one in results] == ["skipped", "failed"]


# Connections


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_no_more_calls_at_once_than_connections(sandbox: WatchedSandbox, kind: str) -> None:
    """A call that waits for a connection for longer than the pool's time-out would fail."""
    sandbox.add_fault(kind="latency", seconds=0.1, times=20)
    given: dict[str, Any] = {"pool_size": 2, "timeout": Timeout(pool=0.001)}

    def work() -> list[BulkResult[Customer]]:
        with montra_sync.Montra(sandbox.api_key, sandbox.base_url, **given) as client:
            return sorted(client.create_customers(map(person, range(20)), concurrency=100))

    if kind == "sync":
        results = await asyncio.to_thread(work)
    else:
        async with Montra(sandbox.api_key, sandbox.base_url, **given) as montra:
            results = await collect(montra.create_customers(map(person, range(20)), concurrency=100))
    assert [one.status for one in results] == ["ok"] * 20
