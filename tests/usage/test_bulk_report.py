"""`report_usage_many` of both reporters where something goes wrong: nothing is lost, nothing is counted twice."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from montra_async import ConfigError, InvalidArgumentError, Montra
from montra_async.usage import MemoryOutbox, SqliteOutbox, UsageReporter
from montra_async.usage.errors import OutboxUncertainError
from montra_async.usage.events import Event

from ..contract_watch import WatchedSandbox
from .reporters import make_async, make_sync


@pytest.fixture(params=[make_async, make_sync], ids=["async", "sync"])
def make(request: pytest.FixtureRequest) -> Any:
    """Makes reporters of both packages."""
    return request.param


@pytest.fixture
async def customer(montra: Montra) -> str:
    plan = await montra.create_pricing_model(name="Pro", is_default=True)
    await montra.create_meter(plan.id, name="Tokens", slug="tokens")
    return (await montra.create_customer(name="Ada", email="ada@example.com")).id


async def used(montra: Montra, customer: str) -> Decimal:
    return Decimal(str((await montra.check_entitlement(customer, "tokens")).usage))


async def test_items_that_did_not_fit_can_be_sent_again(
    make: Any, sandbox: WatchedSandbox, montra: Montra, customer: str
) -> None:
    todo = [{"customer_id": customer, "meter_slug": "tokens"}] * 300
    rounds = 0
    async with make(sandbox.base_url, MemoryOutbox(max_events=120), concurrency=2) as usage:
        while todo:
            results = await usage.report_usage_many(todo)
            assert {one.status for one in results} <= {"delivered", "failed"}
            assert all("full" in one.message and one.idempotency_key for one in results if one.status == "failed")
            todo = [todo[one.index] for one in results if one.status == "failed"]
            rounds += 1
    assert rounds > 1
    assert await used(montra, customer) == 300


class _Forgetful(MemoryOutbox):
    """Stores events, and once doesn't say so: as Redis when its answer is lost."""

    lost = False

    def append(self, events: Sequence[Event]) -> None:
        super().append(events)
        if not self.lost:
            self.lost = True
            raise OutboxUncertainError("no answer")


async def test_items_that_may_be_recorded_can_be_sent_again_under_their_keys(
    make: Any, sandbox: WatchedSandbox, montra: Montra, customer: str
) -> None:
    item = {"customer_id": customer, "meter_slug": "tokens"}
    async with make(sandbox.base_url, _Forgetful()) as usage:
        (first,) = await usage.report_usage_many([item])
        assert (first.status, bool(first.idempotency_key)) == ("uncertain", True)
        (second,) = await usage.report_usage_many([{**item, "idempotency_key": first.idempotency_key}])
        assert second.status == "delivered"
    assert await used(montra, customer) == 1


async def test_a_key_stands_for_one_item(make: Any, sandbox: WatchedSandbox, montra: Montra, customer: str) -> None:
    item = {"customer_id": customer, "meter_slug": "tokens", "idempotency_key": "job-1"}
    items = [{**item, "amount": amount} for amount in (1, 20, 1)] + [{**item, "metadata": {"a": 1}}]
    async with make(sandbox.base_url) as usage:
        results = await usage.report_usage_many(items)
        assert [one.status for one in results] == ["delivered", "invalid", "delivered", "invalid"]
        assert results[1].message == "idempotency_key: item 0 has the same, with other arguments"
        assert [one.index for one in results] == [0, 1, 2, 3]
        assert await usage.list_parked() == []
    assert await used(montra, customer) == 1
    assert sandbox.requests[-2].operation == "report_usage"


async def test_a_key_stands_for_one_item_also_when_the_first_is_settled(
    sandbox: WatchedSandbox, montra: Montra, customer: str
) -> None:
    item = {"customer_id": customer, "meter_slug": "tokens", "idempotency_key": "job-1"}

    async with make_async(sandbox.base_url) as usage:

        def items() -> Iterator[dict[str, Any]]:
            yield item
            yield from [{"customer_id": customer, "meter_slug": "tokens", "amount": 0}] * 999
            asyncio.run_coroutine_threadsafe(usage.flush(), loop).result(30)
            yield item

        loop = asyncio.get_running_loop()
        results = await usage.report_usage_many(items())
    assert (results[0].status, results[-1].status, results[-1].index) == ("delivered", "delivered", 1000)
    assert await used(montra, customer) == 1


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keys=st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(1, 2)), max_size=12),
    room=st.integers(1, 12),
)
def test_what_is_delivered_is_what_is_counted(keys: list[tuple[str | None, int]], room: int) -> None:
    async def run() -> None:
        async with WatchedSandbox() as sandbox, Montra(sandbox.api_key, sandbox.base_url) as montra:
            plan = await montra.create_pricing_model(name="Pro", is_default=True)
            await montra.create_meter(plan.id, name="Tokens", slug="tokens")
            ada = (await montra.create_customer(name="Ada", email="ada@example.com")).id
            items = [{"customer_id": ada, "meter_slug": "tokens", "idempotency_key": k, "amount": a} for k, a in keys]
            async with make_async(sandbox.base_url, MemoryOutbox(max_events=room)) as usage:
                results = await usage.report_usage_many(items)
                await usage.flush()
            assert len(results) == len(items)
            counted: dict[object, int] = {}
            for (key, amount), one in zip(keys, results, strict=True):
                if one.status == "delivered":
                    assert counted.setdefault(key or one.index, amount) == amount
            assert await used(montra, ada) == sum(counted.values())

    asyncio.run(run())


async def test_the_hook_may_use_the_reporter(make: Any, sandbox: WatchedSandbox, montra: Montra, customer: str) -> None:
    sandbox.add_fault(kind="latency", seconds=0.3, path="/usage", times=4)
    async with make(sandbox.base_url, concurrency=2) as usage:
        recorder = getattr(usage, "reporter", usage)

        def hook(recorded: int, settled: int) -> None:
            calls.append((recorded, settled))
            if make is make_sync:
                recorder.record(customer, "tokens")  # waits until the writer has stored it
            else:
                recorder.record_nowait(customer, "tokens")

        calls: list[tuple[int, int]] = []
        results = await usage.report_usage_many(
            [{"customer_id": customer, "meter_slug": "tokens"}] * 6, on_progress=hook
        )
        assert [one.status for one in results] == ["delivered"] * 6
    assert (calls[0][0], calls[-1]) == (6, (6, 6))
    assert calls == sorted(calls)
    assert await used(montra, customer) == 6 + len(calls)


async def test_a_hook_that_raises_is_not_called_again(
    make: Any, sandbox: WatchedSandbox, customer: str, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    def hook(recorded: int, settled: int) -> None:
        calls.append(recorded)
        raise ValueError("of the hook")

    async with make(sandbox.base_url) as usage:
        results = await usage.report_usage_many(
            [{"customer_id": customer, "meter_slug": "tokens"}] * 3, on_progress=hook
        )
    assert [one.status for one in results] == ["delivered"] * 3
    assert len(calls) == 1
    assert [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR] == [
        "on_progress of report_usage_many failed; it is not called again"
    ]


async def test_a_coroutine_function_is_no_hook(make: Any, sandbox: WatchedSandbox, montra: Montra) -> None:
    async def hook(*_: object) -> None: ...

    async with make(sandbox.base_url) as usage:
        with pytest.raises(InvalidArgumentError, match="on_progress: a plain function"):
            await usage.report_usage_many([], on_progress=hook)
    wrong: Any = hook
    with pytest.raises(InvalidArgumentError, match="on_progress: a plain function"):
        async for _ in montra.report_usage_many([], on_progress=wrong):
            pass


async def test_bulk_reports_leave_the_threads_of_the_application_alone(unused_tcp_port: int) -> None:
    usage = make_async(f"http://127.0.0.1:{unused_tcp_port}/api/v1", exit_timeout=0.05)
    items = [{"customer_id": "cust_1", "meter_slug": "tokens"}]
    waiting = [asyncio.create_task(usage.report_usage_many(items)) for _ in range(40)]  # more than asyncio has threads
    while (await usage.stats()).stored < 40:  # noqa: ASYNC110 - nobody tells of it
        await asyncio.sleep(0.01)
    assert await asyncio.wait_for(asyncio.to_thread(lambda: "ran"), 30) == "ran"
    await asyncio.wait_for(usage.aclose(), 30)
    for task in waiting:
        task.cancel()
    for task in waiting:
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_reporter_that_can_not_begin_is_closed(
    make: Any, sandbox: WatchedSandbox, customer: str, montra: Montra, tmp_path: Path
) -> None:
    outbox = SqliteOutbox(tmp_path / "usage.db")
    for _ in range(2):
        with pytest.raises(ConfigError, match="coalesce: nope"):
            async with make(sandbox.base_url, outbox, coalesce=["nope"]):
                pass
    async with make(sandbox.base_url, outbox) as usage:
        await usage.record(customer, "tokens")
    assert await used(montra, customer) == 1


async def test_looking_at_a_closed_reporter_leaves_its_outbox_closed(
    make: Any, sandbox: WatchedSandbox, customer: str, montra: Montra, tmp_path: Path
) -> None:
    outbox = SqliteOutbox(tmp_path / "usage.db")
    async with make(sandbox.base_url, outbox) as usage:
        await usage.record(customer, "tokens")
    assert (await usage.stats()).delivered == 1
    assert await usage.list_parked() == []
    async with UsageReporter(montra, outbox) as another:
        await another.record(customer, "tokens")
        with pytest.raises(ConfigError, match="another reporter"):
            await usage.stats()
    assert await used(montra, customer) == 2
