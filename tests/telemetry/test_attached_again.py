"""Telemetry that is attached again, replaced or taken off: nothing is counted twice, and nothing is lost."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import weakref
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest

from montra_async import Montra
from montra_async.access import Access
from montra_async.telemetry import Telemetry, instrument, uninstrument
from montra_async.usage import MemoryOutbox, UsageReporter
from montra_async.webhooks import MemoryStore, WebhookReceiver, sign
from montra_sandbox import Sandbox

from .conftest import Seen

POOL = ("in_use", "waiting", "size")
SECRET = "whsec_of_the_tests"


@pytest.fixture
async def customer(montra: Montra) -> str:
    """The id of a customer; there is a meter `tokens`."""
    model = await montra.create_pricing_model(name="Pro")
    await montra.create_meter(model.id, name="Tokens", slug="tokens", aggregation="sum")
    return (await montra.create_customer(name="A", email="a@example.com")).id


def events(seen: Seen, outcome: str = "delivered") -> float:
    return seen.value("montra.usage.events", montra__usage__outcome=outcome)


async def record(reporter: UsageReporter, customer: str, count: int) -> None:
    for _ in range(count):
        await reporter.record(customer, "tokens")
    assert await reporter.flush(30) == 0


def in_child(function: Callable[[], Any]) -> Any:
    """What a function returns in a forked child."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            os.write(writing, json.dumps(function()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        found = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(found)


def again(telemetry: Telemetry, thing: object) -> None:
    telemetry.instrument(thing)


def off_and_on(telemetry: Telemetry, thing: object) -> None:
    telemetry.uninstrument(thing)
    telemetry.instrument(thing)


@pytest.mark.parametrize("change", [again, off_and_on])
async def test_a_reporter_once_more(
    montra: Montra, seen: Seen, customer: str, change: Callable[[Telemetry, object], None]
) -> None:
    async with UsageReporter(montra, MemoryOutbox()) as reporter:
        seen.instrument(reporter)
        await record(reporter, customer, 5)
        for _ in range(3):
            change(seen.telemetry, reporter)
            assert events(seen) == events(seen, "stored") == 5
        await record(reporter, customer, 2)
        assert events(seen) == events(seen, "stored") == 7
        assert seen.value("montra.usage.requests", montra__usage__outcome="delivered") == 7
        assert seen.value("montra.usage.queue.waiting") == 0
        assert len(seen.points("montra.usage.queue.waiting")) == 1
    assert events(seen) == 7


async def test_a_reporter_gets_another_telemetry(montra: Montra, seen: Seen, another: Seen, customer: str) -> None:
    async with UsageReporter(montra, MemoryOutbox()) as reporter:
        seen.instrument(reporter)
        await record(reporter, customer, 5)
        another.instrument(reporter)
        await record(reporter, customer, 2)
        assert (events(seen), events(another)) == (5, 2)
        assert seen.points("montra.usage.queue.waiting") == []
        assert len(another.points("montra.usage.queue.waiting")) == 1
        seen.instrument(reporter)
        await record(reporter, customer, 1)
        assert (events(seen), events(another)) == (6, 2)


async def test_another_telemetry_with_the_same_providers(montra: Montra, seen: Seen, customer: str) -> None:
    """Both observe the same instruments: what one has counted must not be counted by the other."""
    async with UsageReporter(montra, MemoryOutbox()) as reporter:
        seen.instrument(reporter)
        await record(reporter, customer, 5)
        second = instrument(reporter, tracer_provider=seen.tracer_provider, meter_provider=seen.meter_provider)
        await record(reporter, customer, 1)
        assert second is not seen.telemetry
        assert sum(point.value for point in seen.points("montra.usage.events")) == 12  # six stored, six delivered


async def test_what_is_done_without_telemetry_is_not_counted(montra: Montra, seen: Seen, customer: str) -> None:
    async with UsageReporter(montra, MemoryOutbox()) as reporter:
        await record(reporter, customer, 4)
        seen.instrument(reporter)
        await record(reporter, customer, 2)
        uninstrument(reporter)
        await record(reporter, customer, 8)
        seen.instrument(reporter)
        await record(reporter, customer, 1)
    assert events(seen) == events(seen, "stored") == 3


@pytest.mark.parametrize("read_before", [False, True])
async def test_reporters_that_are_gone_before_anyone_reads(
    montra: Montra, seen: Seen, customer: str, read_before: bool
) -> None:
    gone: list[weakref.ref[Any]] = []

    async def job() -> None:
        async with UsageReporter(montra, MemoryOutbox()) as reporter:
            seen.instrument(reporter)
            await record(reporter, customer, 2)
            if read_before:
                events(seen)
            await record(reporter, customer, 3)
            gone.append(weakref.ref(reporter._engine))

    for _ in range(3):
        await job()
    gc.collect()
    assert len([one for one in gone if one() is not None]) <= 1  # a thread may not have ended yet
    assert events(seen) == events(seen, "stored") == 15


async def test_reporters_that_are_gone_are_not_collected_until_someone_reads(
    montra: Montra, seen: Seen, customer: str
) -> None:
    """A process whose metrics nobody reads keeps a few numbers, not some for each reporter that it ever had."""
    for _ in range(5):
        async with UsageReporter(montra, MemoryOutbox()) as reporter:
            seen.instrument(reporter)
            await record(reporter, customer, 1)
        del reporter
        gc.collect()
    assert len(seen.telemetry._recorder.usage._watched) <= 2
    assert events(seen) == 5


async def test_two_telemetries_of_one_provider(sandbox: Sandbox, seen: Seen, customer: str) -> None:
    """`instrument` once for each object: an SDK leaves out the callbacks of an instrument that it has already."""
    providers: Any = {"tracer_provider": seen.tracer_provider, "meter_provider": seen.meter_provider}
    async with (
        Montra(sandbox.api_key, sandbox.base_url, pool_size=3) as first,
        Montra(sandbox.api_key, sandbox.base_url, pool_size=4) as second,
        UsageReporter(second, MemoryOutbox()) as reporter,
    ):
        for one in (first, second, reporter):
            instrument(one, **providers)
        await first.list_customers()
        await record(reporter, customer, 2)
        assert [point.value for point in seen.points("montra.client.pool.size")] == [7]
        assert events(seen) == 2


def test_a_global_provider_that_is_set_later() -> None:
    """In a process of its own, because it can be set once."""
    script = """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from montra_async import Montra
from montra_async.telemetry import instrument

def sizes():
    found = reader.get_metrics_data()
    return [
        (point.value)
        for resource in found.resource_metrics for scope in resource.scope_metrics for one in scope.metrics
        if one.name == "montra.client.pool.size" for point in one.data.data_points
    ]

clients = [Montra("sk_test_1", "http://127.0.0.1:1", pool_size=size) for size in (1, 2, 4, 8, 16)]
instrument(clients[0])
instrument(clients[1])
reader = InMemoryMetricReader()
provider = MeterProvider([reader])
metrics.set_meter_provider(provider)
instrument(clients[2])
instrument(clients[3], meter_provider=provider)
instrument(clients[0])
import asyncio
async def main():
    for client in clients:
        try:
            await client.with_options(max_attempts=1).list_customers()
        except Exception:
            pass
    print(sizes())
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.returncode) == ("[15]", 0), done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
async def test_a_forked_child_does_not_report_what_its_parent_has_done(
    montra: Montra, seen: Seen, customer: str
) -> None:
    async with UsageReporter(montra, MemoryOutbox()) as ended:
        seen.instrument(ended)
        await record(ended, customer, 2)
    del ended
    async with UsageReporter(montra, MemoryOutbox()) as reporter:
        seen.instrument(reporter)
        await record(reporter, customer, 3)
        gc.collect()
        assert events(seen) == 5
        assert in_child(lambda: events(seen)) == 0
        assert events(seen) == 5


# Clients


@pytest.mark.parametrize("change", [again, off_and_on])
async def test_a_client_once_more(sandbox: Sandbox, seen: Seen, change: Callable[[Telemetry, object], None]) -> None:
    async with Montra(sandbox.api_key, sandbox.base_url, pool_size=3) as montra:
        seen.instrument(montra)
        await montra.list_customers()
        change(seen.telemetry, montra)
        await montra.list_customers()
        assert [point.value for point in seen.points("montra.client.pool.size")] == [3]
        assert seen.value("montra.client.pool.in_use") == 0
        assert seen.value("http.client.request.duration") == 2
        assert seen.value("montra.client.operation.duration") == 2
        uninstrument(montra)
        assert type(montra) is Montra
        assert [seen.points(f"montra.client.pool.{name}") for name in POOL] == [[], [], []]


async def test_a_client_gets_another_telemetry(sandbox: Sandbox, seen: Seen, another: Seen) -> None:
    async with Montra(sandbox.api_key, sandbox.base_url, pool_size=3) as montra:
        seen.instrument(montra)
        await montra.list_customers()
        another.instrument(montra)
        await montra.list_customers()
        assert seen.points("montra.client.pool.size") == []
        assert [point.value for point in another.points("montra.client.pool.size")] == [3]
        for one in (seen, another):
            assert one.value("http.client.request.duration") == 1
            assert one.value("montra.client.operation.duration") == 1
            assert len(one.named("montra.list_customers")) == 1


async def test_a_client_keeps_its_telemetry_when_its_reporter_loses_it(montra: Montra, seen: Seen) -> None:
    reporter = UsageReporter(montra, MemoryOutbox())
    seen.instrument(montra, reporter)
    uninstrument(reporter)
    await montra.list_customers()
    assert seen.value("http.client.request.duration") == 1
    assert seen.value("montra.client.operation.duration") == 1
    assert len(seen.points("montra.client.pool.size")) == 1
    uninstrument(montra)
    await montra.list_customers()
    assert seen.value("http.client.request.duration") == 1
    assert seen.points("montra.client.pool.size") == []
    assert "Traced" not in type(montra._transport).__name__


async def test_a_reporter_keeps_its_telemetry_when_its_client_loses_it(
    montra: Montra, seen: Seen, customer: str
) -> None:
    async with UsageReporter(montra, MemoryOutbox()) as reporter:
        seen.instrument(montra, reporter)
        uninstrument(montra)
        await record(reporter, customer, 1)
        assert len(seen.named("POST /usage")) == 1
        uninstrument(reporter)
        await record(reporter, customer, 1)
    assert len(seen.named("POST /usage")) == 1
    assert "Traced" not in type(montra._transport).__name__


# Webhooks and access


def delivery(event_id: str) -> tuple[bytes, dict[str, str]]:
    data = {"id": "cust_1", "name": "Ada", "email": "ada@example.com"}
    now = datetime.now(timezone.utc).isoformat()
    body = json.dumps({"id": event_id, "type": "customer.created", "created_at": now, "data": data}).encode()
    return body, {"Montra-Signature": sign(body, SECRET)}


@pytest.mark.parametrize("change", [again, off_and_on])
async def test_a_receiver_once_more(seen: Seen, another: Seen, change: Callable[[Telemetry, object], None]) -> None:
    receiver = WebhookReceiver(SECRET, store=MemoryStore())
    seen.instrument(receiver)
    await receiver.handle(*delivery("evt_1"))
    change(seen.telemetry, receiver)
    await receiver.handle(*delivery("evt_2"))
    assert seen.value("montra.webhook.events") == seen.value("montra.webhook.duration") == 2
    assert len(seen.named("montra.webhook")) == 2
    another.instrument(receiver)
    await receiver.handle(*delivery("evt_3"))
    assert (seen.value("montra.webhook.events"), another.value("montra.webhook.events")) == (2, 1)


@pytest.mark.parametrize("change", [again, off_and_on])
async def test_access_once_more(
    montra: Montra, seen: Seen, another: Seen, customer: str, change: Callable[[Telemetry, object], None]
) -> None:
    async with Access(montra) as access:
        seen.instrument(access)
        await access.check(customer, meter="tokens")
        change(seen.telemetry, access)
        await access.check(customer, meter="tokens")
        assert seen.value("montra.access.decisions") == 2
        another.instrument(access)
        await access.check(customer, meter="tokens")
        assert (seen.value("montra.access.decisions"), another.value("montra.access.decisions")) == (2, 1)
