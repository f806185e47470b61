"""Read time-outs, against a server that sends when we say so: bytes, pauses, nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler

from montra_async import Montra, RequestTimeoutError, Timeout
from montra_async.core.http.connector import LazyConnector

from ..scripted import Scripted, Step, scripted_server


def head_of(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)


BODY = b'{"success":true,"data":[]}'
HEAD = head_of(BODY)
FILE = b'{"success":true,"data":{"id":"f","url":"u"}}'
NEVER = 60.0


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    async with scripted_server() as running:
        yield running


def own_connector() -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(limit=0)


kinds_of_client = pytest.mark.parametrize(
    "settings", [{}, {"connector": own_connector}, {"trace_configs": (aiohttp.TraceConfig(),)}], ids=lambda one: [*one]
)


def client_of(server: Scripted, read: float | None, **settings: Any) -> Montra:
    return Montra("sk_test_x", server.url, timeout=Timeout(total=30, read=read), max_attempts=1, **settings)


@kinds_of_client
@pytest.mark.parametrize(
    "script",
    [
        [NEVER],
        [b"HTTP/1.1 200 OK\r\nContent-Ty", NEVER],
        [HEAD, NEVER],
        [HEAD, BODY[:10], NEVER],
        [0.15, HEAD, 0.15, BODY[:10], 0.15, BODY[10:20], NEVER],
    ],
    ids=["no answer", "within the headers", "after the headers", "within the body", "after a while"],
)
async def test_a_server_that_stops_sending(server: Scripted, script: list[Step], settings: dict[str, Any]) -> None:
    server.says(script, script, [HEAD + BODY])
    async with client_of(server, 0.2, **settings) as client:
        for _ in range(2):
            with pytest.raises(RequestTimeoutError, match="sent nothing") as caught:
                await client.list_customers()
            assert (caught.value.phase, caught.value.sent) == ("read", True)
        assert await client.list_customers() == []  # on another connection


@kinds_of_client
async def test_a_slow_server_whose_pauses_are_short(server: Scripted, settings: dict[str, Any]) -> None:
    pieces: list[Step] = []
    for at in range(0, len(HEAD + BODY), 12):
        pieces += [(HEAD + BODY)[at : at + 12], 0.05]
    server.says([0.2, *pieces])
    async with client_of(server, 0.4, **settings) as client:
        assert await client.list_customers() == []


@kinds_of_client
async def test_an_idle_connection_has_no_read_time_out(server: Scripted, settings: dict[str, Any]) -> None:
    """The read time-out of one call is started, the other calls end before; it must not stay with the connection."""
    server.says([HEAD + BODY], [0.15, HEAD + BODY], [HEAD + BODY])
    async with client_of(server, 0.2, **settings) as client:
        for _ in range(3):
            assert await client.list_customers() == []
            await asyncio.sleep(0.3)
    assert server.connections == 1


async def test_a_short_read_time_out_does_not_wait_for_a_long_one(server: Scripted) -> None:
    server.says([NEVER])
    async with client_of(server, 600) as client:
        slow = asyncio.create_task(client.list_customers())
        await asyncio.sleep(0.05)
        with pytest.raises(RequestTimeoutError) as caught:
            await client.with_options(timeout=Timeout(total=0.9, read=0.05)).list_customers()
        assert caught.value.phase == "read"  # not "total"
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)


async def test_calls_in_flight_have_a_read_time_out_each(server: Scripted) -> None:
    answers = [[0.01 * i, HEAD + BODY] for i in range(10)]
    server.says(*answers, *[[NEVER]] * 10, [HEAD + BODY])
    async with client_of(server, 0.3) as client:
        results = await asyncio.gather(*(client.list_customers() for _ in range(20)), return_exceptions=True)
        assert sum(one == [] for one in results) == 10
        assert sum(isinstance(one, RequestTimeoutError) and one.phase == "read" for one in results) == 10
        assert await client.list_customers() == []


async def test_without_a_read_time_out_a_pause_ends_nothing(server: Scripted) -> None:
    server.says([0.3, HEAD, 0.3, BODY])
    async with client_of(server, None) as client:
        assert await client.list_customers() == []


@kinds_of_client
async def test_the_read_time_out_does_not_run_while_a_large_body_is_sent(
    server: Scripted, settings: dict[str, Any], tmp_path: Any
) -> None:
    """The server reads slowly: it has nothing to send yet."""
    server.says([head_of(FILE) + FILE])
    server.reads_after = 0.6
    file = tmp_path / "large.bin"
    file.write_bytes(bytes(12_000_000))
    async with client_of(server, 0.3, **settings) as client:
        await client.upload_file(file)
    assert server.got > 12_000_000


async def test_connections_of_ended_calls_are_forgotten_soon(server: Scripted) -> None:
    server.says([HEAD.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n") + BODY])
    async with client_of(server, 600) as client:
        for _ in range(5):
            assert await client.list_customers() == []
        connector = (await client._transport._sessions.get_or_open()).client_session.connector
        assert isinstance(connector, LazyConnector)
        assert len(connector.unwatched) == server.connections == 5
        for _ in range(500):
            if not connector.unwatched:
                break
            await asyncio.sleep(0.01)
        assert not connector.unwatched


async def test_a_read_time_out_started_when_the_response_arrives(
    server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The response has arrived but is unread: aiohttp, which is done with it, would not cancel the time-out."""
    server.says([HEAD + BODY])
    async with client_of(server, 0.2) as client:
        assert await client.list_customers() == []
        session = await client._transport._sessions.get_or_open()
        connector = session.client_session.connector
        assert isinstance(connector, LazyConnector)
        received = ResponseHandler.data_received

        def receive_and_start(protocol: ResponseHandler, data: bytes) -> None:
            received(protocol, data)
            connector._start_read_timeouts()

        monkeypatch.setattr(ResponseHandler, "data_received", receive_and_start)
        for _ in range(2):
            assert await client.list_customers() == []
            await asyncio.sleep(0.3)
    assert server.connections == 1
