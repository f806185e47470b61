"""The metered gateway: streams, quota, tokens, headers, bodies."""

from __future__ import annotations

import asyncio
import gc
import io
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from montra_async.paywall import Balance, PaywallError, QuotaExceededError
from montra_sandbox import Sandbox

from ..conftest import Service


@pytest.fixture
async def auth(service: Service) -> AsyncIterator[Any]:
    """A signed-in user with 3 tokens a day."""
    async with service.auth() as client:
        await client.sign_in_anonymously()
        yield client


@pytest.fixture
async def gateway(service: Service, auth: Any) -> AsyncIterator[Any]:
    async with service.gateway(auth=auth, pool_size=1, timeout=20) as client:
        yield client


def _stream(sandbox: Sandbox, *events: Any, **fields: Any) -> None:
    sandbox.set_provider(sandbox.paywall_id, "openai", events=list(events), **fields)


async def test_server_sent_events(gateway: Any, sandbox: Sandbox) -> None:
    _stream(sandbox, {"n": 1}, "two\nlines", "grüße €")
    async with await gateway.call("openai", "v1/chat/completions", body={"stream": True}) as answer:
        assert (answer.status, answer.query_type) == (200, "gpt-4")
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        events = [event async for event in answer.iter_sse()]
    assert [event.data for event in events] == ['{"n":1}', "two\nlines", "grüße €", "[DONE]"]
    assert events[0].json() == {"n": 1}
    with pytest.raises(ValueError, match=r"column"):
        events[3].json()


async def test_lines_chunks_text_and_bytes(gateway: Any, sandbox: Sandbox) -> None:
    _stream(sandbox, "a", "ü")
    async with await gateway.call("openai") as answer:
        assert [line async for line in answer.iter_lines()] == ["data: a", "", "data: ü", "", "data: [DONE]", ""]
    async with await gateway.call("openai") as answer:
        assert (
            b"".join([chunk async for chunk in answer.iter_chunks()])
            == "data: a\n\ndata: ü\n\ndata: [DONE]\n\n".encode()
        )
    answer = await gateway.call("openai")  # read to its end, it lets go by itself
    assert (await answer.text()).count("ü") == 1
    with pytest.raises(PaywallError, match="read already"):
        await answer.text()


async def test_a_response_is_streamed(gateway: Any, sandbox: Sandbox) -> None:
    _stream(sandbox, "first", "second", pause=0.3)
    async with await gateway.call("openai") as answer:
        async for event in answer.iter_sse():
            assert event.data == "first"
            break
    assert sandbox.streams() == [{"sent": 1, "finished": False}]


async def test_backpressure(gateway: Any, sandbox: Sandbox) -> None:
    """The response has 32 MB. The part that is not read is neither sent nor buffered."""
    sandbox.set_provider(sandbox.paywall_id, "openai", events=["x" * 100_000] * 320)
    async with await gateway.call("openai") as answer:
        chunks = answer.iter_chunks()
        await anext(chunks)
        for _ in range(20):
            before = sandbox.streams()[0]["sent"]
            await asyncio.sleep(0.05)
            if sandbox.streams()[0]["sent"] == before:
                break
        assert before < 200
        await chunks.aclose()


async def test_a_closed_stream_releases_its_connection(gateway: Any, sandbox: Sandbox) -> None:
    """The pool has one connection. Every way to leave the stream must release it."""
    _stream(sandbox, *["x"] * 50, pause=0.02)
    sandbox.set_paywall(sandbox.paywall_id, tokenization={"gpt-4": {"daily_trial": 100}})
    async with await gateway.call("openai") as answer:
        pass
    with pytest.raises(PaywallError, match="closed before it was read"):
        await answer.read()
    async with await gateway.call("openai") as answer:
        with pytest.raises(ZeroDivisionError):
            async for _ in answer.iter_sse():
                _ = 1 / 0
    answer = await gateway.call("openai")
    await answer.aclose()
    await answer.aclose()
    answer = await gateway.call("openai")
    lines = answer.iter_lines()
    await anext(lines)
    await lines.aclose()
    assert (await (await gateway.call("echo")).json())["method"] == "POST"


async def test_a_response_keeps_its_client_alive(service: Service, auth: Any, sandbox: Sandbox) -> None:
    _stream(sandbox, "a", "b", pause=0.1)
    answer = await service.gateway(auth=auth).call("openai")
    gc.collect()
    assert [event.data async for event in answer.iter_sse()] == ["a", "b", "[DONE]"]


async def test_a_garbage_collected_stream_releases_its_connection(gateway: Any, sandbox: Sandbox) -> None:
    sandbox.set_paywall(sandbox.paywall_id, tokenization={"gpt-4": {"daily_trial": 100}})
    _stream(sandbox, *["x"] * 50, pause=0.02)
    answer = await gateway.call("openai")
    del answer
    assert (await (await gateway.call("echo")).json())["method"] == "POST"


async def test_a_broken_stream_is_a_network_error(gateway: Any, sandbox: Sandbox) -> None:
    _stream(sandbox, "a", "b", "c", break_after=2, pause=0.05)
    seen: list[str] = []
    with pytest.raises(PaywallError, match=r"cut off|closed") as caught:
        async with await gateway.call("openai") as answer:
            async for event in answer.iter_sse():
                seen.append(event.data)
    assert (caught.value.code, caught.value.sent) == ("network_error", True)
    assert seen == ["a", "b"][: len(seen)]  # aiohttp forgets what it had when the connection broke


async def test_quota_exceeded(gateway: Any, sandbox: Sandbox) -> None:
    for _ in range(3):
        await (await gateway.call("echo")).read()
    with pytest.raises(QuotaExceededError) as caught:
        await gateway.call("echo")
    error = caught.value
    assert (error.code, error.status) == ("not_enough_queries", 402)
    assert (error.balances, error.query_type) == ([Balance(type="gpt-4", count=0)], "gpt-4")
    sandbox.advance(days=1)  # a new day, three new questions
    assert (await (await gateway.call("echo")).json())["method"] == "POST"


async def test_disabled_and_unknown_providers(gateway: Any, sandbox: Sandbox) -> None:
    sandbox.set_provider(sandbox.paywall_id, "openai", enabled=False)
    with pytest.raises(PaywallError) as caught:
        await gateway.call("openai")
    assert (caught.value.code, caught.value.status) == ("provider-disabled", 403)
    with pytest.raises(PaywallError, match="provider-not-found"):
        await gateway.call("no such/thing")


async def test_request_to_the_provider(gateway: Any) -> None:
    answer = await gateway.call(
        "echo", "/v1/a b/ü?q=1&r=x y", method="PUT", body={"a": 1.5}, headers={"X-Mine": "yes", "accept": "text/plain"}
    )
    told = await answer.json()
    assert (told["method"], told["path"], told["body"]) == ("PUT", "v1/a b/ü", '{"a":1.5}')
    assert told["headers"]["Content-Type"] == "application/json"
    assert told["headers"]["X-Paywall-Id"] == "pw_sandbox"
    assert told["headers"]["X-SDK-Version"].startswith("python-")


async def _pieces() -> AsyncIterator[bytes]:
    yield b"ab"
    yield b"cd"


@pytest.mark.parametrize(
    ("make", "content_type"),
    [
        (lambda: b"abcd", "application/octet-stream"),
        (lambda: bytearray(b"abcd"), "application/octet-stream"),
        (lambda: "abcd", "text/plain; charset=utf-8"),
        (lambda: io.BytesIO(b"abcd"), "application/octet-stream"),
        (lambda: iter([b"ab", b"cd"]), "application/octet-stream"),
        (_pieces, "application/octet-stream"),
    ],
    ids=["bytes", "bytearray", "str", "file", "iterator", "async iterator"],
)
async def test_bodies_that_are_not_json(gateway: Any, make: Any, content_type: str) -> None:
    told = await (await gateway.call("echo", body=make())).json()
    assert (told["body"], told["size"], told["headers"]["Content-Type"]) == ("abcd", 4, content_type)
    told = await (await gateway.call("echo", body=make(), headers={"Content-Type": "audio/wav"})).json()
    assert (told["body"], told["headers"]["Content-Type"]) == ("abcd", "audio/wav")


async def test_forms(gateway: Any) -> None:
    form = aiohttp.FormData()
    form.add_field("file", b"abcd", filename="a.wav")
    told = await (await gateway.call("echo", body=form)).json()
    assert told["headers"]["Content-Type"].startswith("multipart/form-data; boundary=")
    assert "abcd" in told["body"]


async def test_no_body(gateway: Any) -> None:
    told = await (await gateway.call("echo", "models", method="GET")).json()
    assert (told["method"], told["size"]) == ("GET", 0)


@pytest.mark.parametrize(
    "arguments",
    [
        {"provider_id": ""},
        {"provider_id": ".."},
        {"provider_id": "echo", "path": "a/../../b"},
        {"provider_id": "echo", "path": b"v1"},
        {"provider_id": "echo", "method": "TRACE"},
        {"provider_id": "echo", "body": {"a": {1, 2}}},
        {"provider_id": "echo", "headers": {"Authorization": "Bearer x"}},
        {"provider_id": "echo", "headers": {"X-Paywall-Id": "other"}},
        {"provider_id": "echo", "headers": {"x-user-id": "other"}},
        {"provider_id": "echo", "headers": {"X-A": "b\r\nX-C: d"}},
    ],
)
async def test_invalid_calls_are_not_sent(service: Service, arguments: dict[str, Any]) -> None:
    gateway = service.kinds.ApiGatewayClient("pw", "http://127.0.0.1:9")
    with pytest.raises(PaywallError) as caught:
        await gateway.call(**arguments)
    assert (caught.value.code, caught.value.call) == ("invalid_argument", None)


async def test_charging_by_user_id(service: Service, ada: Any) -> None:
    async with service.gateway(user_id="ada") as gateway:
        await (await gateway.call("echo")).read()
        assert service.count("ada@example.com") == 99
        with pytest.raises(PaywallError, match="identity_not_found"):
            await gateway.for_user(user_id="nobody").call("echo")
        with pytest.raises(PaywallError, match="not_authenticated"):
            await gateway.for_user().call("echo")
    shared = service.kinds.ApiGatewayClient(billing=ada)
    told = await (await shared.call("echo")).json()
    assert told["headers"]["X-User-ID"] == "ada"


async def test_an_expired_session_is_refreshed(gateway: Any, auth: Any, sandbox: Sandbox) -> None:
    before = await auth.get_session()
    sandbox.advance(hours=2)
    assert (await (await gateway.call("echo", body="x")).json())["body"] == "x"
    assert (await auth.get_session()).access_token != before.access_token
    sandbox.advance(hours=2)
    with pytest.raises(PaywallError) as caught:  # what can be sent only once is not sent twice
        await gateway.call("echo", body=iter([b"x"]))
    assert (caught.value.code, caught.value.status) == ("token_expired", 401)


async def test_a_call_is_sent_once(gateway: Any, sandbox: Sandbox) -> None:
    sandbox.add_fault(kind="drop_before", path="/api-gateway", times=3)
    with pytest.raises(PaywallError, match="network_error") as caught:
        await gateway.call("echo")
    assert (caught.value.sent, sandbox.faults()[0]["hits"]) == (True, 1)


async def test_a_response_has_no_time_out(gateway: Any, sandbox: Sandbox) -> None:
    sandbox.add_fault(kind="latency", seconds=0.4, path="/api-gateway")
    quick = gateway.with_options(timeout=0.05)
    assert (await (await quick.call("echo")).json())["method"] == "POST"


async def test_cached_balances_follow_the_gateway(service: Service, auth: Any, sandbox: Sandbox) -> None:
    async with service.billing(auth=auth) as billing:
        gateway = service.kinds.ApiGatewayClient(billing=billing)
        assert await billing.get_balances() == [Balance(type="gpt-4", count=3)]
        sandbox.add_fault(kind="status", status=404, method="GET", share=1)  # from here on, memory only
        await (await gateway.call("echo")).read()
        assert await billing.get_balances() == [Balance(type="gpt-4", count=2)]
        with pytest.raises(PaywallError, match="injected_fault"):
            await billing.get_balances(force=True)
        with pytest.raises(PaywallError, match="brings paywall"):
            service.kinds.ApiGatewayClient("pw", billing=billing)


async def test_a_response_that_is_not_json(gateway: Any) -> None:
    answer = await gateway.call("openai")
    with pytest.raises(PaywallError, match="not JSON") as caught:
        await answer.json()
    assert (caught.value.code, caught.value.status) == ("invalid_response", 200)


async def test_representation(gateway: Any) -> None:
    assert repr(gateway).startswith("<ApiGatewayClient pw_sandbox at http://127.0.0.1:")
    async with await gateway.call("echo", "v1/x") as answer:
        assert repr(answer) == "<GatewayResponse 200 of /api/v1/api-gateway/echo/v1/x>"
