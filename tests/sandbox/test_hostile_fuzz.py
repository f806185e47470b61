"""Random answers and random cancellations: only errors of ours come out, and nothing is held afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Iterator
from threading import Event, Thread

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from montra_async import Montra, MontraError, Timeout
from montra_async.paywall import ApiGatewayClient, BillingClient

from ..scripted import Scripted, scripted_server

STATUS_LINES = st.one_of(
    st.sampled_from(
        [b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 No", b"HTTP/1.1 500 Oh", b"HTTP/1.1 404 No"]
    ),
    st.integers(0, 1200).map(lambda status: b"HTTP/1.1 %d X" % status),
    st.binary(max_size=30),
)
HEADERS = st.one_of(
    st.sampled_from(
        [
            b"Content-Type: application/json",
            b"Content-Type: text/html; charset=idna",
            b"Content-Encoding: gzip",
            b"Content-Encoding: br",
            b"Transfer-Encoding: chunked",
            b"Content-Length: 5",
            b"Content-Length: 999999999999999999999",
            b"Content-Length: -1",
            b"Retry-After: 1e99",
            b"Retry-After: Fri, 31 Dec 9999 23:59:59 -2359",
            b"x-request-id: \xff\xfe",
            b"Location: http://[bad",
            b"Connection: close",
            b"Set-Cookie: a=b; Domain=.com",
        ]
    ),
    st.binary(max_size=40),
)
JSONS: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["success", "data", "error", "code", "message", "details", "id"]), inner)
    ),
    max_leaves=10,
)
BODIES = st.one_of(st.binary(max_size=100), JSONS.map(lambda value: json.dumps(value).encode()))
ANSWERS = st.tuples(STATUS_LINES, st.lists(HEADERS, max_size=4), BODIES).map(
    lambda parts: b"\r\n".join([parts[0], *parts[1]]) + b"\r\n\r\n" + parts[2]
)


@attrs.define
class Answering:
    """A server on a loop of its own, which sends `answer` and hangs up."""

    url: str = ""
    answer: bytes = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self.answer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Answering]:
    made, ready, loop, stop = Answering(), Event(), asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        listener = await asyncio.start_server(made.serve, "127.0.0.1", 0)
        made.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        ready.set()
        await stop.wait()
        listener.close()

    thread = Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(20)
    yield made
    loop.call_soon_threadsafe(stop.set)
    thread.join(20)
    loop.close()


async def ask_all(url: str) -> None:
    """A call of each kind: one that needs an answer, one that doesn't, another service's, one that streams."""
    options = {"max_attempts": 1, "timeout": Timeout(total=5)}
    async with Montra("sk_test_x", url, **options) as montra:  # type: ignore[arg-type]
        for call in (
            montra.list_customers(),
            montra.delete_feature("f"),
            montra.report_usage(customer_id="c", meter_slug="m"),
        ):
            await _ended(call)
    async with BillingClient("pw", url, "sk_key", **options) as billing:  # type: ignore[arg-type]
        await _ended(billing.get_prices())
    async with ApiGatewayClient("pw", url, user_id="u", **options) as gateway:  # type: ignore[arg-type]
        await _ended(_streamed(gateway))


async def _streamed(gateway: ApiGatewayClient) -> None:
    async with await gateway.call("openai", body={}) as answer:
        async for _ in answer.iter_sse():
            pass


async def _ended(call: object) -> None:
    try:
        await asyncio.wait_for(call, 10)  # type: ignore[arg-type]
    except MontraError:
        pass
    except asyncio.TimeoutError:
        raise AssertionError("it hangs") from None


@given(ANSWERS)
def test_any_answer(server: Answering, answer: bytes) -> None:
    server.answer = answer
    asyncio.run(ask_all(server.url))


@pytest.mark.hostile
@settings(max_examples=3000)
@given(ANSWERS)
def test_very_many_answers(server: Answering, answer: bytes) -> None:
    server.answer = answer
    asyncio.run(ask_all(server.url))


async def cancelled_at_random(server: Scripted, calls: int) -> None:
    body = b'{"success":true,"data":[]}'
    server.says([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), 0.0005, body])
    dice = random.Random(7)
    async with Montra("sk_test_x", server.url, pool_size=8, max_attempts=2) as client:

        async def one() -> None:
            task = asyncio.ensure_future(client.list_customers())
            for _ in range(dice.randrange(40)):
                await asyncio.sleep(0)
            if dice.random() < 0.5:
                await asyncio.sleep(dice.random() * 0.002)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                assert await task == []

        for _ in range(calls // 50):
            await asyncio.gather(*(one() for _ in range(50)))
        home = await client._transport._sessions.get_or_open()
        assert not home.deadlines.open
        # All places of the pool are free again, and as many calls as there are places find one at once.
        found = await asyncio.wait_for(asyncio.gather(*(client.list_customers() for _ in range(8))), 20)
        assert found == [[]] * 8
        assert home.semaphore._value == 8
        assert not home.client_session.connector._acquired  # type: ignore[union-attr]


async def test_cancellations_at_random_leave_nothing_behind() -> None:
    async with scripted_server() as server:
        await cancelled_at_random(server, 500)


@pytest.mark.hostile
async def test_ten_thousand_cancellations_leave_nothing_behind() -> None:
    async with scripted_server() as server:
        await cancelled_at_random(server, 10_000)
