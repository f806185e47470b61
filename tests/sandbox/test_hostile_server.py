"""Responses made to hang, flood or trick their reader, over real sockets, with real compression."""

from __future__ import annotations

import asyncio
import contextlib
import tracemalloc
import warnings
import zlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from montra_async import InvalidResponseError, Montra, NetworkError, RequestTimeoutError, ServerError
from montra_async.paywall import ApiGatewayClient, BillingClient, PaywallError

from ..scripted import Scripted, scripted_server

MIB = 1024 * 1024


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    async with scripted_server() as running:
        yield running


def chunked(status: str, *pieces: bytes, times: int, encoding: str | None = None) -> list[bytes | float]:
    """An answer in chunks: `pieces`, then the last of them again and again."""
    head = f"HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n"
    if encoding:
        head += f"Content-Encoding: {encoding}\r\n"
    framed = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
    return [head.encode() + b"\r\n", *framed[:-1], *framed[-1:] * times, b"0\r\n\r\n"]


def bomb(mebibytes: int) -> list[bytes]:
    """Zeroes, compressed a thousand times, in pieces."""
    packer = zlib.compressobj(9, wbits=31)
    pieces = [packer.compress(b"\0" * MIB) for _ in range(mebibytes)] + [packer.flush()]
    return [piece for piece in pieces if piece]


clients = pytest.mark.parametrize(
    "settings", [{}, {"trace_configs": (aiohttp.TraceConfig(),)}], ids=["plain", "traced"]
)


@clients
@pytest.mark.parametrize("packed", [False, True], ids=["endless", "bomb"])
async def test_a_body_is_read_up_to_its_limit(server: Scripted, packed: bool, settings: dict[str, Any]) -> None:
    if packed:
        server.says(chunked("200 OK", *bomb(200), times=1, encoding="gzip"))
    else:
        server.says(chunked("200 OK", b" " * MIB, times=200))
    async with Montra("sk_test_x", server.url, max_response_size=2 * MIB, **settings) as client:
        tracemalloc.start()
        try:
            with pytest.raises(InvalidResponseError, match=f"max_response_size, {2 * MIB} bytes") as caught:
                await client.list_customers()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 40 * MIB
    assert caught.value.attempts == 1  # it was carried out
    assert len(caught.value.body) <= 64 * 1024


async def test_the_limit_can_be_raised_for_a_call(server: Scripted) -> None:
    body = b'{"success":true,"data":[]}' + b" " * 200
    server.says([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body])
    async with Montra("sk_test_x", server.url, max_response_size=100) as client:
        with pytest.raises(InvalidResponseError, match="with_options"):
            await client.list_customers()
        assert await client.with_options(max_response_size=1000).list_customers() == []
    async with BillingClient("pw", server.url, "sk_key", max_response_size=100) as billing:
        with pytest.raises(PaywallError, match="max_response_size") as caught:
            await billing.get_prices()
        assert caught.value.code == "invalid_response"


async def test_a_body_exactly_as_long_as_its_limit_is_fine(server: Scripted) -> None:
    body = b'{"success":true,"data":[]}'
    server.says(chunked("200 OK", body, times=1))
    async with Montra("sk_test_x", server.url, max_response_size=len(body)) as client:
        assert await client.list_customers() == []
        with pytest.raises(InvalidResponseError):
            await client.with_options(max_response_size=len(body) - 1).list_customers()


async def test_an_error_keeps_its_status_however_long_its_body_is(server: Scripted) -> None:
    server.says(chunked("500 Oh", b"x" * MIB, times=200))
    async with Montra("sk_test_x", server.url, max_attempts=1) as client:
        with pytest.raises(ServerError) as caught:
            await client.list_customers()
    assert len(caught.value.body) == 64 * 1024


@pytest.mark.parametrize("status", ["402 Pay", "500 Oh"])
async def test_an_error_of_the_gateway_is_bounded(server: Scripted, status: str) -> None:
    server.says(chunked(status, *bomb(100), times=1, encoding="gzip"))
    async with ApiGatewayClient("pw", server.url, user_id="u") as gateway:
        with pytest.raises(PaywallError) as caught:
            await gateway.call("openai", body={})
    assert caught.value.status == int(status[:3])
    assert len(str(caught.value.body)) <= 64 * 1024


async def test_an_error_of_the_gateway_that_drips_ends(server: Scripted) -> None:
    server.says([b"HTTP/1.1 500 Oh\r\nContent-Length: 5000\r\n\r\n", *[b"x", 0.05] * 500])
    async with ApiGatewayClient("pw", server.url, user_id="u", timeout=0.3) as gateway:
        with pytest.raises(PaywallError) as caught:
            await asyncio.wait_for(gateway.call("openai", body={}), 15)
    assert caught.value.status == 500


async def test_the_total_time_out_holds_while_a_body_is_decompressed(server: Scripted) -> None:
    server.says(chunked("200 OK", *bomb(1500), times=1, encoding="gzip"))
    async with Montra("sk_test_x", server.url, max_response_size=10**10, timeout=0.2, max_attempts=1) as client:
        with pytest.raises(RequestTimeoutError):
            await client.list_customers()


async def test_a_body_that_is_not_compressed_as_it_says_is_an_error_of_ours(server: Scripted) -> None:
    for encoding in ("gzip", "deflate", "br", "zstd", "gzip, gzip", "nonsense"):
        server.says(chunked("200 OK", b"certainly not compressed", times=1, encoding=encoding))
        async with Montra("sk_test_x", server.url, max_attempts=1) as client:
            with pytest.raises((NetworkError, InvalidResponseError)):
                await client.list_customers()


@pytest.mark.parametrize(
    "script",
    [
        [b"\0\1\2\3 not http\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000 + b"\r\n"],
        [b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"],
        [b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"],
        [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde"],
        [b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=punycode\r\nContent-Length: 2\r\n\r\n{}"],
    ],
    ids=range(10),
)
async def test_any_malformed_response_raises_an_error_of_ours(server: Scripted, script: list[bytes | float]) -> None:
    from montra_async import MontraError

    server.says(script)
    async with Montra("sk_test_x", server.url, max_attempts=1, timeout=1) as client:
        with pytest.raises(MontraError):
            await client.list_customers()
    async with ApiGatewayClient("pw", server.url, user_id="u", timeout=1) as gateway:

        async def call() -> None:
            async with await gateway.call("openai", body={}) as answer:
                await answer.text()

        with contextlib.suppress(PaywallError, asyncio.TimeoutError):  # it waits as long as it takes
            await asyncio.wait_for(call(), 0.5)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "GET", "POST"])
async def test_nothing_is_sent_twice_through_a_session_of_the_users(method: str) -> None:
    """A server that takes the second request of a connection and hangs up, after it has carried it out."""
    served: list[str] = []
    seen: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            if b"ontent-Length: 2" in head:
                await reader.readexactly(2)
            served.append(head.split(b" ")[0].decode())
            if len(served) == 1:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                await writer.drain()
            else:
                break
        writer.close()

    async def watch(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
        seen.append(request.method)
        answer: aiohttp.ClientResponse = await handler(request)
        return answer

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with aiohttp.ClientSession(middlewares=(watch,)) as session:
        gateway = ApiGatewayClient("pw", url, user_id="u", session=session, max_attempts=1)
        async with await gateway.call("openai", method=method, body={}) as answer:
            await answer.read()
        with pytest.raises(PaywallError) as caught:
            await gateway.call("openai", method=method, body={})
        assert caught.value.sent
        assert served == [method, method]
        assert seen == [method, method]  # the middlewares of the session are still there
        assert session._retry_connection  # and its settings are the user's  # type: ignore[attr-defined]
    listener.close()


async def test_a_session_with_auth_of_its_own_is_refused(server: Scripted) -> None:
    from montra_async import ConfigError

    async with aiohttp.ClientSession(headers={"X-Mine": "1"}) as session:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer versions of aiohttp advise against it
            session._default_auth = aiohttp.BasicAuth("u", "p")
        client = Montra("sk_test_x", server.url, session=session)
        with pytest.raises(ConfigError, match="auth="):
            await client.list_customers()


async def test_a_flood_of_events_holds_at_most_one_piece(server: Scripted) -> None:
    """The consumer's pace decides: a slow one makes the server wait."""

    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(2000):
            await response.write(b"x" * 64 * 1024)
        return response

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", flood)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with ApiGatewayClient("pw", url, user_id="u") as gateway, await gateway.call("openai", body={}) as answer:
        largest = 0
        async for chunk in answer.iter_chunks():
            largest = max(largest, len(chunk))
            if largest > 4 * MIB:
                break
            await asyncio.sleep(0)
    await runner.cleanup()
    assert 0 < largest <= 4 * MIB
