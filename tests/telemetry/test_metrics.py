"""Metrics of clients, webhooks, usage and access."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

import montra_sync
import montra_sync.access
import montra_sync.usage
from montra_async import Montra, NotFoundError
from montra_async.access import Access, AccessDeniedError, LimitExceededError
from montra_async.usage import MemoryOutbox, SqliteOutbox, UsageReporter
from montra_async.webhooks import MemoryStore, WebhookReceiver, sign
from montra_sandbox import Sandbox

from ..conftest import struck
from ..scripted import scripted_server
from .conftest import Seen, facts

SECRET = "whsec_of_the_tests"


async def test_the_duration_of_requests(montra: Montra, seen: Seen, sandbox: Sandbox) -> None:
    seen.instrument(montra)
    await montra.list_customers()
    with pytest.raises(NotFoundError):
        await montra.get_customer("cust_1")
    points = {point.attributes["url.template"]: point for point in seen.points("http.client.request.duration")}
    assert dict(points["/customers/{id}"].attributes) == {
        "http.request.method": "GET",
        "url.template": "/customers/{id}",
        "server.address": "127.0.0.1",
        "server.port": int(sandbox.url.rpartition(":")[2]),
        "http.response.status_code": 404,
        "error.type": "404",
    }
    buckets = points["/customers"].explicit_bounds
    assert tuple(buckets) == (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
    assert 0 < points["/customers"].sum < 10
    assert seen.value("montra.client.operation.duration", error__type="NotFoundError") == 1


async def test_the_pool(sandbox: Sandbox, seen: Seen) -> None:
    sandbox.add_fault(kind="latency", seconds=60, times=2)
    async with Montra(sandbox.api_key, sandbox.base_url, pool_size=2) as montra:
        seen.instrument(montra)
        calls = [asyncio.ensure_future(montra.list_customers()) for _ in range(5)]
        await struck(sandbox)
        state = {name: seen.value(f"montra.client.pool.{name}") for name in ("in_use", "waiting", "size")}
        assert state == {"in_use": 2, "waiting": 3, "size": 2}
        assert dict(seen.points("montra.client.pool.in_use")[0].attributes)["montra.service"] == "montra"
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        assert seen.value("montra.client.pool.in_use") == seen.value("montra.client.pool.waiting") == 0


async def test_clients_of_one_server_are_added_up_and_not_kept_alive(sandbox: Sandbox, seen: Seen) -> None:
    clients = [Montra(sandbox.api_key, sandbox.base_url, pool_size=3) for _ in range(4)]
    seen.instrument(*clients)
    for client in clients:
        await client.list_customers()
    assert [point.value for point in seen.points("montra.client.pool.size")] == [12]
    gone = [weakref.ref(client) for client in clients] + [weakref.ref(client._transport) for client in clients]
    for client in clients:
        await client.aclose()
    del client, clients
    gc.collect()
    assert [one for one in gone if one() is not None] == []
    assert seen.points("montra.client.pool.size") == []


# Webhooks


def delivery(kind: str = "customer.created", event_id: str = "evt_1", secret: str = SECRET) -> Any:
    data = {"id": "cust_secret", "name": "Ada", "email": "ada@example.com"}
    now = datetime.now(timezone.utc).isoformat()
    body = json.dumps({"id": event_id, "type": kind, "created_at": now, "data": data}).encode()
    return body, {"Montra-Signature": sign(body, secret)}


def receiver_of(seen: Seen, **settings: Any) -> WebhookReceiver:
    receiver = WebhookReceiver(SECRET, store=MemoryStore(), **settings)
    seen.instrument(receiver)

    @receiver.on("customer.created", "made.up")
    async def created(event: Any) -> None:
        if event.id == "evt_bad":
            raise KeyError(event.data.email)
        with seen.tracer_provider.get_tracer("application").start_as_current_span("handler"):
            pass

    return receiver


@pytest.mark.parametrize("blocking", [False, True])
async def test_what_becomes_of_webhooks(
    seen: Seen, blocking: bool, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = receiver_of(seen, max_body_size=10_000)

    async def handle(body: bytes, headers: Any) -> int:
        if blocking:
            return (await asyncio.to_thread(receiver.handle_blocking, body, headers)).status
        return (await receiver.handle(body, headers)).status

    statuses = [
        await handle(*delivery()),
        await handle(*delivery()),
        await handle(*delivery("customer.updated", "evt_2")),
        await handle(*delivery(event_id="evt_bad")),
        await handle(*delivery("made.up", "evt_3")),
        await handle(*delivery(secret="another")),
        await handle(b"x" * 10_001, {}),
        await handle(b"{}", {"Montra-Signature": sign(b"{}", SECRET)}),
        receiver.too_large().status,
    ]
    assert statuses == [200, 200, 200, 500, 200, 401, 413, 400, 413]
    counts = {
        tuple(point.attributes.get(f"montra.webhook.{name}") for name in ("outcome", "event_type")): point.value
        for point in seen.points("montra.webhook.events")
        if "error.type" not in point.attributes
    }
    assert counts == {
        ("handled", "customer.created"): 1,
        ("duplicate", "customer.created"): 1,
        ("ignored", None): 1,
        ("handled", "other"): 1,
    }
    problems = {
        point.attributes["error.type"]: (point.attributes["montra.webhook.outcome"], point.value)
        for point in seen.points("montra.webhook.events")
        if "error.type" in point.attributes
    }
    assert problems == {
        "failed": ("failed", 1),
        "wrong_signature": ("refused", 1),
        "too_large": ("refused", 2),
        "unreadable": ("refused", 1),
    }
    assert seen.value("montra.webhook.duration") == 9
    handled = [one for one in seen.spans() if one.name == "handler"]
    parents = {span.context.span_id: span for span in seen.named("montra.webhook")}
    assert all(one.parent is not None and one.parent.span_id in parents for one in handled)
    assert len(handled) == 2
    text = repr([facts(span) for span in seen.spans()])
    assert not any(secret in text for secret in ("evt_", "cust_", "ada@", SECRET, "made.up"))


async def test_a_receiver_that_is_left_alone_again(seen: Seen) -> None:
    receiver = receiver_of(seen)
    seen.telemetry.uninstrument(receiver)
    assert type(receiver) is WebhookReceiver
    assert (await receiver.handle(*delivery())).status == 200
    assert seen.points("montra.webhook.events") == []


async def test_the_webhook_is_below_the_frameworks_span(seen: Seen) -> None:
    receiver = receiver_of(seen)
    with seen.tracer_provider.get_tracer("application").start_as_current_span("POST /webhooks"):
        await receiver.handle(*delivery())
    assert seen.tree() == {"POST /webhooks": {"montra.webhook": {"handler": {}}}}


async def test_a_handler_that_is_interrupted(seen: Seen) -> None:
    receiver = WebhookReceiver(SECRET, store=MemoryStore())
    seen.instrument(receiver)
    begun = asyncio.Event()

    @receiver.on("customer.created")
    async def created(_: Any) -> None:
        begun.set()
        await asyncio.sleep(60)

    handling = asyncio.ensure_future(receiver.handle(*delivery()))
    await begun.wait()
    for task in receiver._tasks:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handling
    assert facts(seen.one("montra.webhook"))["montra.webhook.outcome"] == "interrupted"


# Usage


async def test_a_reporter(montra: Montra, seen: Seen, sandbox: Sandbox) -> None:
    customer = await montra.create_customer(name="A", email="a@example.com")
    model = await montra.create_pricing_model(name="Pro")
    await montra.create_meter(model.id, name="Tokens", slug="tokens", aggregation="sum")
    reporter = UsageReporter(montra, MemoryOutbox())
    seen.instrument(reporter)
    assert "montra.usage.queue.waiting" not in seen.metrics()  # nothing is open yet
    async with reporter:
        for number in range(5):
            await reporter.record(customer.id, "tokens", amount=2, idempotency_key=f"job-{number}")
        await reporter.record("cust_nobody", "tokens")
        await reporter.flush(30)
        await reporter.record(customer.id, "tokens", amount=2, idempotency_key="job-0")
        await reporter.flush(30)
        outcomes = {
            point.attributes["montra.usage.outcome"]: point.value for point in seen.points("montra.usage.events")
        }
        assert outcomes == {"stored": 7, "failed": 0, "dropped": 0, "delivered": 6}
        assert seen.value("montra.usage.requests", montra__usage__outcome="delivered") == 6
        assert seen.value("montra.usage.requests", montra__usage__outcome="refused") == 1
        assert seen.value("montra.usage.queue.waiting") == 0
        assert seen.value("montra.usage.queue.parked") == 1
        assert seen.value("montra.usage.duplicates") == 1
    assert "montra.usage.queue.waiting" not in seen.metrics()
    spans = seen.named("montra.report_usage")
    assert len(spans) == 7
    assert all(span.parent is None for span in spans)
    assert "cust_" not in repr([facts(span) for span in seen.spans()])


async def test_a_reporter_that_is_instrumented_while_it_sends(montra: Montra, seen: Seen, sandbox: Sandbox) -> None:
    customer = await montra.create_customer(name="A", email="a@example.com")
    model = await montra.create_pricing_model(name="Pro")
    await montra.create_meter(model.id, name="Tokens", slug="tokens")
    async with UsageReporter(montra, MemoryOutbox()) as reporter:
        await reporter.record(customer.id, "tokens", idempotency_key="job-0")
        await reporter.flush(30)
        seen.instrument(reporter)
        for _ in range(2):
            await reporter.record(customer.id, "tokens", idempotency_key="job-1")
            await reporter.flush(30)
        assert len(seen.named("montra.report_usage")) == 2
        assert seen.value("montra.usage.duplicates") == 1
        seen.telemetry.uninstrument(reporter)
        await reporter.record(customer.id, "tokens", idempotency_key="job-2")
        await reporter.flush(30)
    assert len(seen.named("montra.report_usage")) == 2


async def test_a_backlog(seen: Seen, tmp_path: Path) -> None:
    """Nothing listens: events wait, and are told by number and age."""
    montra = Montra("sk_test_1", "http://127.0.0.1:1", max_attempts=1)
    reporter = UsageReporter(montra, SqliteOutbox(tmp_path / "usage.db"), send=False)
    seen.instrument(reporter)
    await reporter.start()
    for _ in range(3):
        await reporter.record("cust_1", "tokens")
    assert seen.value("montra.usage.queue.waiting") == 3
    assert seen.points("montra.usage.queue.oldest_age")[0].value >= 0
    await reporter.aclose()
    seen.telemetry.uninstrument(reporter)
    assert seen.value("montra.usage.events", montra__usage__outcome="stored") == 3  # counters never go back


async def test_a_synchronous_reporter(seen: Seen, sandbox: Sandbox) -> None:
    def run() -> None:
        montra = montra_sync.Montra(sandbox.api_key, sandbox.base_url)
        customer = montra.create_customer(name="A", email="a@example.com")
        model = montra.create_pricing_model(name="Pro")
        montra.create_meter(model.id, name="Tokens", slug="tokens")
        reporter = montra_sync.usage.UsageReporter(montra, MemoryOutbox())
        seen.instrument(reporter)
        with seen.tracer_provider.get_tracer("application").start_as_current_span("request"), reporter:
            reporter.record(customer.id, "tokens")
            assert reporter.flush(30) == 0
        seen.telemetry.uninstrument(reporter)
        montra.close()

    await asyncio.to_thread(run)
    assert seen.one("montra.report_usage").parent is None
    assert seen.value("montra.usage.events", montra__usage__outcome="delivered") == 1


# Access


async def test_decisions_about_access(montra: Montra, seen: Seen) -> None:
    customer = await montra.create_customer(name="A", email="a@example.com")
    model = await montra.create_pricing_model(name="Pro")
    await montra.create_meter(model.id, name="Tokens", slug="tokens")
    await montra.create_subscription(customer.id, model.id)
    reporter = UsageReporter(montra, MemoryOutbox())
    access = Access(montra, reporter)
    seen.instrument(access, montra)
    assert await access.check(customer.id, meter="tokens")
    assert await access.check(customer.id, meter="tokens")
    assert not await access.check(customer.id, feature="sso")
    access.peek(customer.id, meter="tokens")
    with pytest.raises(NotFoundError):
        await access.check("cust_nobody", meter="tokens")
    found = {
        (point.attributes.get("montra.access.source"), point.attributes.get("montra.access.allowed")): point.value
        for point in seen.points("montra.access.decisions")
    }
    assert found == {("fresh", True): 1, ("cached", True): 2, ("fresh", False): 1, (None, None): 1}
    async with access.hold(customer.id, "tokens", estimate=5):
        pass
    assert seen.value("montra.access.holds", montra__access__allowed=True) == 1
    await access.aclose()
    await reporter.aclose()  # sends what the hold has recorded
    seen.telemetry.uninstrument(access)
    assert type(access) is Access


async def test_a_hold_that_is_denied(seen: Seen, sandbox: Sandbox, montra: Montra) -> None:
    customer = await montra.create_customer(name="A", email="a@example.com")
    model = await montra.create_pricing_model(name="Pro")
    await montra.create_meter(model.id, name="Tokens", slug="tokens")
    await montra.create_subscription(customer.id, model.id)
    sandbox.set_limit(pricing_model_id=model.id, meter_slug="tokens", max_amount=3)
    access = Access(montra, UsageReporter(montra, MemoryOutbox(), send=False))
    seen.instrument(access)
    with pytest.raises(LimitExceededError):
        async with access.hold(customer.id, "tokens", estimate=5):
            pass
    assert seen.value("montra.access.holds", montra__access__allowed=False) == 1
    await access.aclose()
    assert issubclass(LimitExceededError, AccessDeniedError)


async def test_a_stale_answer_is_renewed_in_a_trace_of_its_own(montra: Montra, seen: Seen) -> None:
    customer = await montra.create_customer(name="A", email="a@example.com")
    model = await montra.create_pricing_model(name="Pro")
    await montra.create_meter(model.id, name="Tokens", slug="tokens")
    await montra.create_subscription(customer.id, model.id)
    now = [1000.0]
    access = Access(montra, clock=lambda: now[0])
    seen.instrument(access, montra)
    await access.check(customer.id, meter="tokens")
    seen.clear()
    now[0] += 45
    with seen.tracer_provider.get_tracer("application").start_as_current_span("request"):
        assert (await access.check(customer.id, meter="tokens")).source == "stale"
    for _ in range(2000):
        if seen.named("montra.check_entitlement"):
            break
        await asyncio.sleep(0.005)
    renewed, request = seen.one("montra.check_entitlement"), seen.one("request")
    assert renewed.parent is None
    assert [link.context.span_id for link in renewed.links] == [request.context.span_id]
    assert facts(renewed)["montra.background"] is True
    await access.aclose()


async def test_a_synchronous_access(seen: Seen, sandbox: Sandbox) -> None:
    def run() -> None:
        montra = montra_sync.Montra(sandbox.api_key, sandbox.base_url)
        customer = montra.create_customer(name="A", email="a@example.com")
        access = montra_sync.access.Access(montra)
        seen.instrument(access, montra)
        with seen.tracer_provider.get_tracer("application").start_as_current_span("request"):
            assert not access.check(customer.id, feature="sso")
        access.close()
        montra.close()

    await asyncio.to_thread(run)
    assert seen.value("montra.access.decisions", montra__access__source="fresh") == 1
    assert "montra.check_feature_access" in seen.tree()["request"]


async def test_usage_that_was_counted_before_by_its_code(seen: Seen) -> None:
    body = b'{"success":false,"error":{"code":"duplicate_event","message":"cust_1"}}'
    head = b"HTTP/1.1 409 Conflict\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with scripted_server() as server:
        server.says([head + body])
        async with UsageReporter(Montra("sk_test_1", server.url), MemoryOutbox()) as reporter:
            seen.instrument(reporter)
            await reporter.record("cust_1", "tokens")
            assert await reporter.flush(30) == 0
    assert seen.value("montra.usage.duplicates") <= 1
