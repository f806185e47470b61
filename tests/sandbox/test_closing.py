"""Closing a client ends its calls in flight, in whatever phase they are."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

import montra_sync
from montra_async import Montra, NetworkError, RequestTimeoutError, Timeout
from montra_async.paywall import ApiGatewayClient, PaywallError
from montra_sandbox import Sandbox

from ..scripted import Scripted, scripted_server

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
BUSY = b"HTTP/1.1 503 Busy\r\nRetry-After: 50\r\nContent-Length: 0\r\n\r\n"
NEVER = 60.0
HANGS = 20  # seconds after which a test fails because something hangs


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    async with scripted_server() as running:
        yield running


class NoAnswer(AbstractResolver):
    """A resolver that never resolves."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        await asyncio.sleep(NEVER)
        raise AssertionError

    async def close(self) -> None:
        pass


async def begun(task: asyncio.Task[Any], condition: Callable[[], bool]) -> None:
    while not condition():
        assert not task.done(), await task
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("phase", "script", "sent"),
    [("headers", [NEVER], True), ("body", [HEAD + b"{", NEVER], True), ("pause", [BUSY], True)],
    ids=["headers", "body", "pause"],
)
@pytest.mark.parametrize("own_session", [True, False], ids=["own session", "session="])
async def test_closing_ends_a_call(
    server: Scripted, phase: str, script: list[Any], sent: bool, own_session: bool
) -> None:
    server.says(script)
    paused: list[object] = []
    async with contextlib.AsyncExitStack() as stack:
        given = {} if own_session else {"session": await stack.enter_async_context(aiohttp.ClientSession())}
        client = Montra("sk_test_x", server.url, timeout=Timeout(total=None), on_retry=paused.append, **given)  # type: ignore[arg-type]
        task = asyncio.ensure_future(client.list_customers())
        await begun(task, lambda: bool(paused) if phase == "pause" else server.connections > 0)
        await asyncio.wait_for(client.aclose(), HANGS)
        with pytest.raises(NetworkError, match="the client was closed during the call") as caught:
            await asyncio.wait_for(task, HANGS)
        assert caught.value.sent is sent
        assert not isinstance(caught.value, TimeoutError)


async def test_closing_ends_a_call_that_waits_for_a_connection_unsent(server: Scripted) -> None:
    server.says([NEVER])
    client = Montra("sk_test_x", server.url, timeout=Timeout(total=None, pool=None), pool_size=1)
    first = asyncio.ensure_future(client.list_customers())
    await begun(first, lambda: server.connections > 0)
    second = asyncio.ensure_future(client.list_customers())
    await asyncio.sleep(0.02)
    await client.aclose()
    for task, sent in ((first, True), (second, False)):
        with pytest.raises(NetworkError, match="closed") as caught:
            await asyncio.wait_for(task, HANGS)
        assert caught.value.sent is sent


async def test_closing_ends_a_call_that_connects() -> None:
    client = Montra(
        "sk_test_x",
        "https://billing.example.com",
        timeout=Timeout(total=None, connect=None),
        connector=lambda: aiohttp.TCPConnector(resolver=NoAnswer()),
    )
    task = asyncio.ensure_future(client.list_customers())
    await asyncio.sleep(0.05)
    await client.aclose()
    with pytest.raises(NetworkError, match="closed"):
        await asyncio.wait_for(task, HANGS)


@pytest.mark.parametrize("reading", [False, True], ids=["headers", "stream"])
async def test_closing_ends_a_gateway_call(server: Scripted, reading: bool) -> None:
    server.says([HEAD + b"{", NEVER] if reading else [NEVER])
    client = ApiGatewayClient("pw", server.url, user_id="u")

    async def call() -> None:
        async with await client.call("openai", body={}) as answer:
            await answer.read()

    task = asyncio.ensure_future(call())
    await begun(task, lambda: server.connections > 0)
    await client.aclose()
    with pytest.raises(PaywallError, match="closed") as caught:
        await asyncio.wait_for(task, HANGS)
    assert caught.value.code == "network_error"


async def test_time_outs_hold_in_a_client_that_is_used_after_closing(server: Scripted) -> None:
    server.says([HEAD, *[b"{", 0.02] * 3000])
    client = Montra("sk_test_x", server.url, timeout=Timeout(total=0.2, read=10), max_attempts=1)
    for _ in range(2):
        with pytest.raises(RequestTimeoutError, match="total"):
            await asyncio.wait_for(client.list_customers(), HANGS)
        await client.aclose()


async def test_a_client_is_closed_by_several_tasks_at_once(server: Scripted) -> None:
    server.says([NEVER])
    client = Montra("sk_test_x", server.url, timeout=Timeout(total=None))
    task = asyncio.ensure_future(client.list_customers())
    await begun(task, lambda: server.connections > 0)
    await asyncio.gather(*(client.aclose() for _ in range(20)))
    with pytest.raises(NetworkError, match="closed"):
        await task


async def test_the_calls_of_another_client_on_the_same_loop_go_on(server: Scripted) -> None:
    answer = b'{"success":true,"data":[]}'
    server.says([0.3, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer])
    closed, other = (Montra("sk_test_x", server.url, timeout=Timeout(total=30)) for _ in range(2))
    ending, going_on = (asyncio.ensure_future(client.list_customers()) for client in (closed, other))
    await begun(going_on, lambda: server.connections == 2)
    await closed.aclose()
    with pytest.raises(NetworkError):
        await ending
    assert await going_on == []
    await other.aclose()


async def test_a_cancellation_while_the_client_closes_stays_a_cancellation(server: Scripted) -> None:
    server.says([NEVER])
    client = Montra("sk_test_x", server.url, timeout=Timeout(total=None))
    task = asyncio.ensure_future(client.list_customers())
    await begun(task, lambda: server.connections > 0)
    closing = asyncio.ensure_future(client.aclose())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, HANGS)
    await closing


def test_a_thread_in_a_call_ends_when_another_closes_the_client() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    client = montra_sync.Montra(
        "sk_test_x", f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=Timeout(total=None)
    )
    ended: list[BaseException] = []

    def call() -> None:
        try:
            client.list_customers()
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    connection, _ = listener.accept()
    connection.recv(10)
    client.close()
    thread.join(HANGS)
    connection.close()
    listener.close()
    assert [type(one) for one in ended] == [NetworkError]
    assert "closed" in str(ended[0])


async def test_closing_while_the_event_loop_closes_the_session_is_no_error() -> None:
    """The loop's shutdown closes the asynchronous generator that a client has registered."""
    client, go = Montra("sk_test_x", "http://127.0.0.1:1"), asyncio.Event()
    session = await client._transport._sessions.get_or_open()
    real: Any = session.client_session

    class Slow:
        async def close(self) -> None:
            await go.wait()
            await real.close()

    session.client_session = Slow()  # type: ignore[assignment]
    hook = session._close_hook
    assert hook is not None
    shutdown = asyncio.ensure_future(hook.aclose())
    await asyncio.sleep(0)
    await session.close()
    go.set()
    await shutdown
    assert real.closed


def test_a_loop_that_shuts_down_while_another_one_closes_the_client(caplog: pytest.LogCaptureFixture) -> None:
    """A fixture of pytest closes a client after its event loop has stopped, and before that loop is shut down."""
    with Sandbox() as sandbox:
        loop = asyncio.new_event_loop()
        montra = Montra(sandbox.api_key, sandbox.base_url)
        loop.run_until_complete(montra.list_customers())
        asyncio.run(montra.aclose())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    assert caplog.text == ""
