"""Spans of the paywall service's calls: sessions, shared calls, caches, work in the background, streams, failover."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from opentelemetry.trace import StatusCode

from montra_async.core.http import failover
from montra_async.paywall import ApiGatewayClient, AuthClient, BillingClient, PaywallError
from montra_sandbox import Sandbox

from ..sandbox.paywall_server import PaywallServer, paywall_server
from ..scripted import scripted_server
from .conftest import Seen, facts

PATH = "/api/v1/paywall/{id}"


@pytest.fixture
async def server() -> AsyncIterator[PaywallServer]:
    async with paywall_server() as running:
        yield running


@pytest.fixture
async def billing(server: PaywallServer, seen: Seen) -> AsyncIterator[BillingClient]:
    async with BillingClient("pw_secretpaywall", server.url, "sk_test_key") as client:
        seen.instrument(client)
        yield client.for_user(email="ada@example.com")


async def test_callers_that_share_a_request_are_linked_with_it(
    billing: BillingClient, seen: Seen, server: PaywallServer
) -> None:
    server.seconds["user-state"] = 0.05
    await asyncio.gather(*(billing.get_user() for _ in range(3)))
    assert server.count("user-state") == 1
    calls = seen.named("paywall.get_user")
    request = seen.one(f"GET {PATH}/user-state")
    assert request.parent is not None
    leader = next(one for one in calls if one.context.span_id == request.parent.span_id)
    joined = [one for one in calls if one is not leader]
    assert "montra.joined" not in facts(leader)
    for one in joined:
        assert facts(one)["montra.joined"] is True
        assert facts(one)["montra.attempts"] == 0
        assert [link.context.span_id for link in one.links] == [leader.context.span_id]


async def test_a_leader_that_leaves_does_not_take_the_request_with_it(
    billing: BillingClient, seen: Seen, server: PaywallServer
) -> None:
    server.seconds["user-state"] = 0.1
    first = asyncio.ensure_future(billing.get_user())
    while not server.asked:  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0)
    second = asyncio.ensure_future(billing.get_user())
    await asyncio.sleep(0)
    first.cancel()
    await second
    ends = {facts(one).get("error.type") for one in seen.named("paywall.get_user")}
    assert ends == {"CancelledError", None}
    assert seen.one(f"GET {PATH}/user-state").status.status_code is StatusCode.UNSET


async def test_an_answer_from_the_cache_is_a_span_without_requests(billing: BillingClient, seen: Seen) -> None:
    await billing.get_user()
    seen.clear()
    await billing.get_user()
    assert seen.tree() == {"paywall.get_user": {}}
    assert facts(seen.one("paywall.get_user"))["montra.attempts"] == 0


async def test_another_name_of_a_call_is_no_span_of_its_own(billing: BillingClient, seen: Seen) -> None:
    await billing.get_prices()
    assert seen.tree() == {"paywall.list_prices": {f"GET {PATH}/bootstrap": {}}}


async def test_work_in_the_background_has_a_trace_of_its_own(
    billing: BillingClient, seen: Seen, server: PaywallServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await billing.bootstrap()
    seen.clear()
    monkeypatch.setattr("montra_async.paywall.catalog.BOOTSTRAP_FRESH", -1.0)
    await billing.bootstrap()
    for _ in range(2000):
        if len(seen.named("paywall.bootstrap")) == 2:
            break
        await asyncio.sleep(0.005)
    background = next(one for one in seen.named("paywall.bootstrap") if "montra.background" in facts(one))
    starter = next(one for one in seen.named("paywall.bootstrap") if one is not background)
    assert background.parent is None
    assert background.context.trace_id != starter.context.trace_id
    assert [link.context.span_id for link in background.links] == [starter.context.span_id]
    request = seen.one(f"GET {PATH}/bootstrap")
    assert request.parent
    assert request.parent.span_id == background.context.span_id
    assert facts(starter)["montra.attempts"] == 0


async def test_a_token_that_was_refused_is_refreshed_within_the_call(server: PaywallServer, seen: Seen) -> None:
    async with (
        AuthClient("pw", server.url) as auth,
        BillingClient("pw", server.url, "sk_test_key") as client,
    ):
        await auth._store_session(server.session("ada"))
        seen.instrument(auth, client)
        billing = client.for_user(auth=auth)
        await billing.get_user()
        seen.clear()
        server.refuses = True
        with pytest.raises(PaywallError):
            await billing.get_user(force=True)
    names = [span.name for span in seen.spans()]
    assert names.count(f"GET {PATH}/user-state") == 2
    assert names.count("paywall.refresh") == 1
    tree = seen.tree()["paywall.get_user"]
    assert tree["paywall.refresh"] == {f"POST {PATH}/auth/refresh": {}}
    second = seen.named(f"GET {PATH}/user-state")[1]
    assert facts(second)["http.request.resend_count"] == 1
    assert "at:ada" not in repr([facts(one) for one in seen.spans()])


# Streams


@pytest.fixture
async def gateway(sandbox: Sandbox, seen: Seen) -> AsyncIterator[ApiGatewayClient]:
    async with AuthClient(sandbox.paywall_id, sandbox.url) as auth:
        await auth.sign_in_anonymously()
        async with ApiGatewayClient(sandbox.paywall_id, sandbox.url, auth=auth) as client:
            seen.instrument(client)
            yield client


NAME = "POST /api/v1/api-gateway/{provider_id}/{path}"


async def test_a_stream_ends_its_spans_when_it_has_been_read(
    gateway: ApiGatewayClient, sandbox: Sandbox, seen: Seen
) -> None:
    sandbox.set_provider(sandbox.paywall_id, "openai", events=["a", "b"])
    async with await gateway.call("openai", "v1/secret/path?user=ada", body={}) as response:
        assert seen.spans() == []
        async for _ in response.iter_sse():
            pass
        call, request = seen.one("paywall.call"), seen.one(NAME)
    assert facts(request)["montra.stream.complete"] is True
    assert request.parent
    assert request.parent.span_id == call.context.span_id
    assert call.status.status_code is request.status.status_code is StatusCode.UNSET
    assert "secret" not in repr((facts(call), facts(request)))
    assert seen.value("http.client.request.duration") == 1


async def test_a_stream_that_is_left(gateway: ApiGatewayClient, sandbox: Sandbox, seen: Seen) -> None:
    sandbox.set_provider(sandbox.paywall_id, "openai", events=["a"] * 50, pause=0.2)
    async with await gateway.call("openai", body={}) as response:
        async for _ in response.iter_sse():
            break
    assert facts(seen.one(NAME))["montra.stream.complete"] is False
    assert seen.one("paywall.call").status.status_code is StatusCode.UNSET


async def test_a_stream_that_is_forgotten(gateway: ApiGatewayClient, sandbox: Sandbox, seen: Seen) -> None:
    sandbox.set_provider(sandbox.paywall_id, "openai", events=["a"] * 50, pause=0.2)
    response: Any = await gateway.call("openai", body={})
    del response
    gc.collect()
    assert facts(seen.one(NAME))["montra.stream.complete"] is False
    assert seen.one("paywall.call").status.status_code is StatusCode.UNSET


async def test_a_stream_of_a_client_that_is_closed(seen: Seen) -> None:
    async with scripted_server() as server:
        server.says([b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ndata: a\n\n"])
        async with ApiGatewayClient("pw", server.url) as gateway:
            seen.instrument(gateway)
            response = await gateway.call("openai", body={})
            chunks = response.iter_chunks()
            assert await anext(chunks) == b"data: a\n\n"
            await gateway.aclose()
            with pytest.raises(PaywallError):
                await anext(chunks)
    request = seen.one(NAME)
    assert facts(request)["montra.stream.complete"] is False


async def test_a_stream_whose_connection_breaks(seen: Seen) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ndata")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with ApiGatewayClient("pw", f"http://127.0.0.1:{port}") as client:
        seen.instrument(client)
        response = await client.call("openai")
        with pytest.raises(PaywallError):
            await response.read()
    server.close()
    for span in (seen.one(NAME), seen.one("paywall.call")):
        assert facts(span)["error.type"] == "NetworkError"
        assert span.status.status_code is StatusCode.ERROR


async def test_an_error_instead_of_a_stream(gateway: ApiGatewayClient, sandbox: Sandbox, seen: Seen) -> None:
    sandbox.set_provider(sandbox.paywall_id, "openai", enabled=False)
    with pytest.raises(PaywallError) as caught:
        await gateway.call("openai", body={})
    assert facts(seen.one("paywall.call"))["montra.error.code"] == caught.value.code


async def test_a_call_on_the_mirror_says_so(seen: Seen) -> None:
    failover.forget_choices()
    async with scripted_server() as mirror:
        mirror.says([b'HTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\n{"settings":{},"prices":[]} '])
        async with BillingClient("pw", "http://127.0.0.1:1", edge_fallback=mirror.url) as billing:
            seen.instrument(billing)
            await billing.bootstrap()
    failover.forget_choices()
    first, second = seen.named(f"GET {PATH}/bootstrap")
    assert (facts(first)["server.port"], facts(first)["error.type"]) == (1, "NetworkError")
    assert facts(second)["server.port"] == int(mirror.url.rpartition(":")[2])
    assert facts(second)["montra.mirror"] is True
    assert "montra.mirror" not in facts(first)


async def test_a_charge_is_the_debit(billing: BillingClient, seen: Seen) -> None:
    with pytest.raises(PaywallError):  # this server has no such answer
        async with billing.metered("gpt-4", 5):
            pass
    assert seen.tree() == {"paywall.debit_tokens": {f"POST {PATH}/balances": {}}}
