"""What the user's own code, or a careless service, may do to a call."""

from __future__ import annotations

import asyncio
import io
import logging
import queue
import ssl
import traceback
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from montra_async import ConfigError, InvalidResponseError, Montra, ServerError
from montra_async.core.limits import MAX_CONTAINERS
from montra_async.core.models.json import dumps, loads
from montra_async.core.redaction import Secret, scrub
from montra_async.paywall import ApiGatewayClient, AuthClient, BillingClient, PaywallError
from montra_async.webhooks import MemoryStore, WebhookReceiver
from montra_async.webhooks.signature import sign
from montra_sandbox import Sandbox

from ..scripted import Scripted, scripted_server

SECRET = "whsec_0123456789abcdef"


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    async with scripted_server() as running:
        yield running


def answer(body: bytes, status: str = "200 OK", *headers: bytes) -> list[bytes | float]:
    head = b"\r\n".join([f"HTTP/1.1 {status}".encode(), b"Content-Length: %d" % len(body), *headers])
    return [head + b"\r\n\r\n" + body]


@pytest.mark.parametrize(
    "said", [b'"success":"true",', b'"success":null,', b'"success":1,', b'"success":"false",', b"", b'"error":"no",']
)
async def test_access_is_not_granted_by_an_answer_that_does_not_say_success(server: Scripted, said: bytes) -> None:
    server.says(answer(b"{" + said + b'"data":{"has_access":true}}'))
    async with Montra("sk_test_x", server.url) as montra:
        with pytest.raises(InvalidResponseError, match="success"):
            await montra.check_entitlement("c", "m")


@pytest.mark.parametrize("status", ["000 X", "099 X", "101 X"])
async def test_an_odd_status_of_a_provider_is_no_success(server: Scripted, status: str) -> None:
    server.says(answer(b"{}", status))
    async with ApiGatewayClient("pw", server.url, user_id="u", timeout=2) as gateway:
        with pytest.raises(PaywallError):
            await gateway.call("openai", body={})


async def test_an_unreadable_success_is_not_kept_whole(server: Scripted) -> None:
    server.says(answer(b'{"settings":"' + b"x" * 2_000_000 + b'"}'))
    async with BillingClient("pw", server.url) as billing:
        with pytest.raises(PaywallError) as caught:
            await billing.get_prices()
    assert len(repr(caught.value.body)) < 70_000


def test_a_body_of_very_many_objects_is_not_read() -> None:
    with pytest.raises(ValueError, match="objects and arrays"):
        loads(b"[" + b"{}," * (MAX_CONTAINERS + 1) + b"{}]")


def test_secrets_are_taken_out_before_a_text_is_cut() -> None:
    assert scrub("x abcdef-rest abc", Secret("abc"), Secret("abcdef")) == "x ***-rest ***"


async def test_no_half_of_a_secret_is_left_where_a_text_was_cut(server: Scripted) -> None:
    key = "sk_test_" + "canary" * 10
    for before in (100, 110, 120, 4050, 4090, 65_500, 65_530):
        filler = "m" * before
        said = f"{filler}{key}"
        server.says(answer(f'{{"error":{{"code":"{said}","message":"{said}"}}}}'.encode(), "500 Oh"))
        async with Montra(key, server.url, max_attempts=1) as montra:
            with pytest.raises(ServerError) as caught:
                await montra.list_customers()
        assert "canary" not in f"{caught.value.code} {caught.value.message} {caught.value.body}"


def broken() -> Iterator[bytes]:
    yield b"x"
    raise ValueError("mine")


def texts() -> Iterator[Any]:
    yield "text"


async def numbers() -> AsyncIterator[Any]:
    yield 5


@pytest.mark.parametrize(
    ("body", "words"), [(broken, "ValueError: mine"), (texts, "bytes, not str"), (numbers, "bytes, not int")]
)
async def test_a_body_of_the_users_own_that_fails_is_told_as_theirs(server: Scripted, body: Any, words: str) -> None:
    server.says(answer(b"{}"))
    async with ApiGatewayClient("pw", server.url, user_id="u") as gateway:
        with pytest.raises(PaywallError, match=words) as caught:
            await gateway.call("openai", body=body())
    assert caught.value.code == "invalid_argument"


async def test_a_closed_file_is_told_as_the_users_own(server: Scripted) -> None:
    server.says(answer(b"{}"))
    closed = io.BytesIO(b"x")
    closed.close()
    async with ApiGatewayClient("pw", server.url, user_id="u") as gateway:
        with pytest.raises(PaywallError) as caught:
            await gateway.call("openai", body=closed)
    assert caught.value.code == "invalid_argument"


async def test_no_second_paywall_id_is_sent(server: Scripted) -> None:
    async with ApiGatewayClient("pw", server.url, user_id="u") as gateway:
        with pytest.raises(PaywallError, match="paywall_id"):
            await gateway.call("openai", "v1/x?a=1&paywall_id=evil")


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key": b"key"},
        {"api_key": 5},
        {"base_url": 5},
        {"proxy": 5},
        {"headers": ["a"]},
        {"headers": 5},
        {"session": 5},
        {"connector": 5},
        {"ssl": "cert.pem"},
        {"trace_configs": [5]},
    ],
    ids=repr,
)
def test_a_setting_of_another_kind_is_told_at_once(settings: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Montra(**{"api_key": "sk_test_x", **settings})


def test_a_context_that_checks_no_names_is_refused() -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    with pytest.raises(ConfigError, match="allow_insecure_tls"):
        Montra("sk_test_x", ssl=context)


def test_a_misspelt_setting_beside_a_proxy_shows_no_password() -> None:
    for kind in (AuthClient, BillingClient, ApiGatewayClient):
        made: Any = kind
        with pytest.raises(TypeError) as caught:
            made("pw", "https://pay.example.com", **_settings())
        shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
        assert "canary" not in shown


def _settings() -> dict[str, Any]:
    return {"proxy": "http://user:canary@proxy.example.com", "tiemout": 3}


def test_text_that_can_not_be_sent_is_told_however_deep_it_is() -> None:
    value: Any = "\ud800"
    for _ in range(90):
        value = [value]
    with pytest.raises(ValueError, match="surrogate"):
        dumps({"a": value})
    for _ in range(300):
        value = [value]
    with pytest.raises(ValueError, match="deep"):
        dumps({"a": value})


async def test_a_handler_that_raises_stop_iteration_has_failed() -> None:
    receiver = WebhookReceiver(SECRET, store=MemoryStore())

    @receiver.on("customer.created")
    def handle(event: object) -> None:
        next(iter([]))

    body = b'{"id":"evt_1","type":"customer.created","data":{"id":"c","email":"a@example.com"}}'
    reply = await receiver.handle(body, {"Montra-Signature": sign(body, SECRET)})
    assert reply.status == 500


@pytest.mark.parametrize("path", ["/api/v1/pricing-models", "/_sandbox/limits", "/api/v1/files"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
async def test_a_body_that_is_not_compressed_as_it_says_is_a_400(sandbox: Sandbox, path: str, encoding: str) -> None:
    kind = "multipart/form-data; boundary=x" if path.endswith("files") else "application/json"
    headers = {"Content-Encoding": encoding, "Content-Type": kind, "Authorization": f"Bearer {sandbox.api_key}"}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{sandbox.url}{path}", data=b"certainly not compressed", headers=headers) as reply,
    ):
        assert reply.status in (400, 415)


CUT_OFF = {
    "/api/v1/customers": "application/json",
    "/api/v1/paywall/pw_sandbox/start-checkout": "application/json",
    "/api/v1/paywall/pw_sandbox/support/ticket": "multipart/form-data; boundary=x",
    "/_sandbox/limits": "application/json",
    "/faults/add": "application/x-www-form-urlencoded",
}


@pytest.mark.parametrize("path", CUT_OFF)
@pytest.mark.parametrize("fault", [None, "status"])
async def test_a_client_that_leaves_in_the_middle_of_its_request_is_no_failure_of_the_sandbox(
    path: str, fault: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    begun: queue.Queue[int] = queue.Queue()
    ended: queue.Queue[int] = queue.Queue()

    @web.middleware
    async def watch(request: web.Request, handler: Any) -> Any:
        begun.put(0)
        response = await handler(request)
        ended.put(response.status)
        return response

    sandbox = Sandbox()
    sandbox._middlewares = (*sandbox._middlewares, watch)
    async with sandbox:
        if fault is not None:
            sandbox.add_fault(kind=fault)
        _, writer = await asyncio.open_connection("127.0.0.1", int(sandbox.url.rpartition(":")[2]))
        headers = (f"POST {path} HTTP/1.1", f"Host: {sandbox.url[7:]}", "Content-Length: 5000")
        more = (f"Content-Type: {CUT_OFF[path]}", f"Authorization: Bearer {sandbox.api_key}")
        writer.write("\r\n".join([*headers, *more, "", "--x"]).encode())
        await writer.drain()
        await asyncio.to_thread(begun.get, timeout=30)
        writer.close()
        await writer.wait_closed()
        assert await asyncio.to_thread(ended.get, timeout=30) == 499
    assert [one for one in caplog.records if one.levelno >= logging.ERROR] == []
