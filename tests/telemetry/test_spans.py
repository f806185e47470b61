"""Spans of calls and of their requests, against the sandbox."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.trace import SpanKind, StatusCode

import montra_async
from montra_async import Montra, MontraDeprecationWarning, NetworkError, NotFoundError, RequestTimeoutError, ServerError
from montra_async.core.deprecation import deprecated
from montra_async.core.http.transport import Transport
from montra_async.telemetry import Telemetry, instrument, uninstrument
from montra_sandbox import Sandbox

from ..conftest import struck
from ..scripted import scripted_server
from .conftest import Seen, facts


@pytest.fixture
async def traced(montra: Montra, seen: Seen) -> Montra:
    seen.instrument(montra)
    return montra


async def test_a_call_is_one_span_with_one_child(traced: Montra, seen: Seen, sandbox: Sandbox) -> None:
    await traced.create_customer(name="Ada Lovelace", email="ada@example.com")
    call, request = seen.one("montra.create_customer"), seen.one("POST /customers")
    assert request.parent is not None
    assert request.parent.span_id == call.context.span_id
    assert (call.kind, request.kind) == (SpanKind.INTERNAL, SpanKind.CLIENT)
    assert (call.status.status_code, request.status.status_code) == (StatusCode.UNSET, StatusCode.UNSET)
    recorded = list(sandbox.requests)[-1]
    port = int(sandbox.url.rpartition(":")[2])
    assert facts(request) == {
        "http.request.method": "POST",
        "url.template": "/customers",
        "server.address": "127.0.0.1",
        "server.port": port,
        "http.response.status_code": 200,
        "montra.request_id": recorded.id,
    }
    assert facts(call) == {
        "montra.service": "montra",
        "montra.operation": "create_customer",
        "montra.attempts": 1,
        "montra.request_id": recorded.id,
    }


async def test_a_raw_response_is_a_call_as_every_other(traced: Montra, seen: Seen) -> None:
    response = await traced.with_raw_response(traced.list_customers)
    assert seen.tree() == {"montra.list_customers": {"GET /customers": {}}}
    assert facts(seen.one("montra.list_customers"))["montra.request_id"] == response.request_id
    uninstrument(traced)
    seen.clear()
    await traced.with_raw_response(traced.list_customers)
    assert seen.spans() == []


class _Older(Montra):
    """A client two of whose calls are deprecated."""


for _name in ("list_meters", "iter_audit_logs"):
    setattr(_Older, _name, deprecated("Since 0.1.0, removed in 0.3.0: use another.")(getattr(Montra, _name)))


async def test_deprecated_calls_are_calls(seen: Seen, sandbox: Sandbox) -> None:
    async with _Older(sandbox.api_key, sandbox.base_url) as montra:
        seen.instrument(montra)
        with pytest.warns(MontraDeprecationWarning, match=r"list_meters"):
            await montra.list_meters()
        with pytest.warns(MontraDeprecationWarning, match=r"iter_audit_logs"):
            assert [one async for one in montra.iter_audit_logs()] == []
    assert {"montra.list_meters", "montra.iter_audit_logs"} <= set(seen.tree())


async def test_each_item_of_a_bulk_call_is_a_call(traced: Montra, seen: Seen) -> None:
    items = [{"name": "Ada", "email": f"ada{n}@example.com"} for n in range(3)]
    with seen.tracer_provider.get_tracer("app").start_as_current_span("import"):
        assert [one.status async for one in traced.create_customers(items)] == ["ok"] * 3
    assert seen.tree() == {"import": {"montra.create_customer": {"POST /customers": {}}}}
    assert len(seen.named("montra.create_customer")) == 3


async def test_a_retry_is_another_child_and_an_event(traced: Montra, seen: Seen, sandbox: Sandbox) -> None:
    sandbox.add_fault(kind="status", status=503, retry_after=0)
    await traced.list_customers()
    first, second = seen.named("GET /customers")
    assert facts(first)["error.type"] == "503"
    assert first.status.status_code is StatusCode.ERROR
    assert "http.request.resend_count" not in facts(first)
    assert facts(second)["http.request.resend_count"] == 1
    assert facts(second)["http.response.status_code"] == 200
    call = seen.one("montra.list_customers")
    assert facts(call)["montra.attempts"] == 2
    assert call.status.status_code is StatusCode.UNSET
    assert [(event.name, dict(event.attributes or {})) for event in call.events] == [
        ("montra.retry", {"montra.retry.pause": 0.0, "montra.retry.reason": "503"})
    ]
    assert seen.value("montra.client.operation.attempts", montra__operation="list_customers") == 1
    assert seen.points("montra.client.operation.attempts")[0].sum == 2


async def test_an_error_has_class_and_code_and_no_message(traced: Montra, seen: Seen) -> None:
    with pytest.raises(NotFoundError):
        await traced.get_customer("cust_secretid")
    call, request = seen.one("montra.get_customer"), seen.one("GET /customers/{id}")
    assert facts(call)["error.type"] == "NotFoundError"
    assert facts(call)["montra.error.code"] == "not_found"
    assert facts(request)["error.type"] == "404"
    for span in (call, request):
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description is None
        assert not span.events
        assert "secretid" not in repr((span.name, facts(span)))


async def test_a_replay_says_so(traced: Montra, seen: Seen) -> None:
    given = {"name": "A", "email": "a@example.com", "idempotency_key": "job-1"}
    await traced.create_customer(**given)
    assert "montra.replayed" not in facts(seen.one("montra.create_customer"))
    seen.clear()
    await traced.create_customer(**given)
    assert facts(seen.one("montra.create_customer"))["montra.replayed"] is True
    assert facts(seen.one("POST /customers"))["montra.replayed"] is True
    assert "job-1" not in repr([facts(span) for span in seen.spans()])


async def test_calls_below_the_users_span(traced: Montra, seen: Seen, sandbox: Sandbox) -> None:
    tracer = seen.tracer_provider.get_tracer("application")
    with tracer.start_as_current_span("checkout"):
        await traced.list_customers()
        await asyncio.gather(traced.list_meters(), traced.list_features())
    assert seen.tree() == {
        "checkout": {
            "montra.list_customers": {"GET /customers": {}},
            "montra.list_meters": {"GET /meters": {}},
            "montra.list_features": {"GET /features": {}},
        }
    }


async def test_the_trace_context_is_sent(seen: Seen) -> None:
    async with scripted_server() as server:
        server.says([b"HTTP/1.1 503 No\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"], [ENVELOPE])
        async with Montra("sk_test_1", server.url, headers={"traceparent": "mine"}) as montra:
            seen.instrument(montra)
            token = context.attach(baggage.set_baggage("tenant", "nine"))
            try:
                await montra.list_customers()
            finally:
                context.detach(token)
    sent = [_header(head, "traceparent") for head in server.heads]
    ids = [
        f"00-{one.context.trace_id:032x}-{one.context.span_id:016x}-{one.context.trace_flags:02x}"
        for one in seen.named("GET /customers")
    ]
    assert sent == ids
    assert len(set(ids)) == 2
    assert [_header(head, "baggage") for head in server.heads] == ["tenant=nine"] * 2


ENVELOPE = b'HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n{"success":true,"data":[]}'


def _header(head: bytes, name: str) -> str:
    found = [
        line.partition(b": ")[2].decode() for line in head.split(b"\r\n") if line.lower().startswith(name.encode())
    ]
    assert len(found) == 1, head
    return found[0]


async def test_a_call_of_several_requests_is_one_span(traced: Montra, seen: Seen) -> None:
    model = await traced.create_pricing_model(name="Pro")
    seen.clear()
    await traced.create_customer_with_subscription(model.id, name="A", email="a@example.com")
    assert seen.tree() == {
        "montra.create_customer_with_subscription": {"POST /customers": {}, "POST /subscriptions": {}}
    }
    assert facts(seen.one("montra.create_customer_with_subscription"))["montra.attempts"] == 2


async def test_an_iteration_is_one_span_and_not_the_parent_of_what_its_reader_does(traced: Montra, seen: Seen) -> None:
    for number in range(3):
        await traced.create_pricing_model(name=f"Plan {number}")
    seen.clear()
    tracer = seen.tracer_provider.get_tracer("application")
    async for _ in traced.iter_audit_logs(page_size=2):
        with tracer.start_as_current_span("reading"):
            pass
    assert seen.tree() == {"montra.iter_audit_logs": {"GET /audit-logs": {}}, "reading": {}}
    assert len(seen.named("GET /audit-logs")) > 1


async def test_an_iteration_that_is_left_ends_its_span(traced: Montra, seen: Seen) -> None:
    for number in range(3):
        await traced.create_pricing_model(name=f"Plan {number}")
    async with contextlib.aclosing(traced.iter_audit_logs(page_size=1)) as logs:
        async for _ in logs:
            break
    assert seen.one("montra.iter_audit_logs").status.status_code is StatusCode.UNSET


# How calls end


async def test_no_connection(seen: Seen) -> None:
    async with Montra("sk_test_1", "http://127.0.0.1:1", max_attempts=1) as montra:
        seen.instrument(montra)
        with pytest.raises(NetworkError):
            await montra.list_customers()
    request = facts(seen.one("GET /customers"))
    assert request["error.type"] == "NetworkError"
    assert request["montra.error.cause"] == "ConnectionRefusedError"
    assert "http.response.status_code" not in request
    assert facts(seen.one("montra.list_customers"))["error.type"] == "NetworkError"


async def test_a_connection_that_breaks_is_another_attempt(traced: Montra, seen: Seen, sandbox: Sandbox) -> None:
    sandbox.add_fault(kind="drop_before")
    await traced.list_customers()
    first, second = seen.named("GET /customers")
    assert facts(first)["error.type"] == "NetworkError"
    assert facts(second)["http.request.resend_count"] == 1


async def test_a_time_out_of_the_call(traced: Montra, seen: Seen, sandbox: Sandbox) -> None:
    sandbox.add_fault(kind="latency", seconds=60)
    with pytest.raises(RequestTimeoutError):
        await traced.with_options(timeout=0.1).list_customers()
    for name in ("montra.list_customers", "GET /customers"):
        span = seen.one(name)
        assert facts(span)["error.type"] == "RequestTimeoutError"
        assert span.status.status_code is StatusCode.ERROR
    assert facts(seen.one("GET /customers"))["montra.error.phase"] == "total"


async def test_a_read_time_out(traced: Montra, seen: Seen, sandbox: Sandbox) -> None:
    sandbox.add_fault(kind="latency", seconds=60)
    hasty = traced.with_options(timeout=montra_async.Timeout(read=0.05), max_attempts=1)
    with pytest.raises(RequestTimeoutError):
        await hasty.list_customers()
    assert facts(seen.one("GET /customers"))["montra.error.phase"] == "read"


async def test_a_cancellation(traced: Montra, seen: Seen, sandbox: Sandbox) -> None:
    sandbox.add_fault(kind="latency", seconds=60)
    task = asyncio.ensure_future(traced.list_customers())
    await struck(sandbox)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for name in ("montra.list_customers", "GET /customers"):
        assert facts(seen.one(name))["error.type"] == "CancelledError"


async def test_a_client_that_is_closed(traced: Montra, seen: Seen, sandbox: Sandbox) -> None:
    sandbox.add_fault(kind="latency", seconds=60)
    task = asyncio.ensure_future(traced.list_customers())
    await struck(sandbox)
    await traced.aclose()
    with pytest.raises(NetworkError):
        await task
    for name in ("montra.list_customers", "GET /customers"):
        assert facts(seen.one(name))["error.type"] == "NetworkError"


async def test_a_full_pool(sandbox: Sandbox, seen: Seen) -> None:
    sandbox.add_fault(kind="latency", seconds=60)
    options = montra_async.Timeout(pool=0.05)
    async with Montra(sandbox.api_key, sandbox.base_url, pool_size=1, timeout=options) as montra:
        seen.instrument(montra)
        first = asyncio.ensure_future(montra.list_customers())
        await struck(sandbox)
        with pytest.raises(montra_async.PoolTimeoutError):
            await montra.list_meters()
        first.cancel()
        await asyncio.wait([first])
    assert facts(seen.one("GET /meters"))["error.type"] == "PoolTimeoutError"
    assert facts(seen.one("GET /meters"))["montra.error.phase"] == "pool"


async def test_a_refused_argument_is_a_span_without_requests(traced: Montra, seen: Seen) -> None:
    with pytest.raises(montra_async.InvalidArgumentError):
        await traced.get_customer("")
    call = facts(seen.one("montra.get_customer"))
    assert (call["error.type"], call["montra.attempts"]) == ("InvalidArgumentError", 0)


# What is instrumented


async def test_views_are_instrumented_and_a_client_can_be_shown(traced: Montra, seen: Seen) -> None:
    view = traced.with_options(timeout=5)
    await view.list_customers()
    assert seen.tree() == {"montra.list_customers": {"GET /customers": {}}}
    assert isinstance(view, Montra)
    assert repr(view).startswith("<Montra http://127.0.0.1:")


async def test_a_class_of_the_users(sandbox: Sandbox, seen: Seen) -> None:
    class Mine(Montra):
        __slots__ = ("tenant",)

        async def list_customers(self) -> Any:
            return [one.email for one in await super().list_customers()]

    async with Mine(sandbox.api_key, sandbox.base_url) as montra:
        seen.instrument(montra)
        montra.tenant = "nine"
        assert await montra.with_options(timeout=5).list_customers() == []
        assert isinstance(montra, Mine)
    assert seen.tree() == {"montra.list_customers": {"GET /customers": {}}}


async def test_a_client_without_telemetry_is_as_before(montra: Montra, seen: Seen) -> None:
    before = (type(montra), type(montra._transport), set(vars(montra)), set(vars(montra._transport)))
    seen.instrument(montra, montra)
    view = montra.with_options(timeout=5)
    uninstrument(montra)
    uninstrument(montra)
    assert (type(montra), type(montra._transport), set(vars(montra)), set(vars(montra._transport))) == before
    assert before[:2] == (Montra, Transport)
    await montra.list_customers()
    await view.list_customers()  # it was made meanwhile
    async for _ in view.iter_audit_logs():
        pass
    assert seen.spans() == []


async def test_instrumenting_again_replaces(montra: Montra, seen: Seen) -> None:
    instrument(montra)  # with the global providers, which record nothing
    await montra.list_customers()
    assert seen.spans() == []
    seen.instrument(montra)
    await montra.list_customers()
    assert len(seen.spans()) == 2


@pytest.mark.parametrize("thing", [None, "montra", object(), Montra])
def test_something_else_is_refused(thing: object, montra: Montra) -> None:
    with pytest.raises(TypeError, match="telemetry can be attached to a client"):
        instrument(montra, thing)
    assert type(montra) is Montra
    with pytest.raises(TypeError, match="telemetry can be attached to a client"):
        Telemetry().uninstrument(thing)


async def test_requests_of_no_call_have_a_span(seen: Seen) -> None:
    """As the command `montra api` makes them."""
    async with scripted_server() as server:
        server.says([ENVELOPE])
        async with Montra("sk_test_1", server.url) as montra:
            seen.instrument(montra)
            request = montra._request("GET", "/nothing/of/ours/cust_1")
            await montra._send(request, montra._service.decode_empty)
    span = seen.one("GET")
    assert "url.template" not in facts(span)
    assert span.parent is None


async def test_a_sampled_out_trace_records_nothing_and_works(montra: Montra) -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    instrument(montra, tracer_provider=TracerProvider(sampler=ALWAYS_OFF))
    with pytest.raises(NotFoundError):
        await montra.get_customer("cust_1")
    await montra.list_customers()


async def test_a_server_error_after_all_attempts(traced: Montra, seen: Seen, sandbox: Sandbox) -> None:
    sandbox.add_fault(kind="status", status=500, retry_after=0, times=3)
    with pytest.raises(ServerError):
        await traced.list_customers()
    assert [facts(one).get("http.request.resend_count") for one in seen.named("GET /customers")] == [None, 1, 2]
    assert len(seen.one("montra.list_customers").events) == 2


async def test_no_span_is_left_current(traced: Montra) -> None:
    await traced.list_customers()
    with pytest.raises(NotFoundError):
        await traced.get_customer("cust_1")
    assert not trace.get_current_span().get_span_context().is_valid
