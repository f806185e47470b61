"""Closing a client in several threads at once and while others use it; iterators that are not read to their end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from montra_async import Montra as AsyncMontra, MontraError, Timeout
from montra_sandbox import Sandbox
from montra_sync import Montra, portal
from montra_sync.paywall import ApiGatewayClient, PaywallError

from ..conftest import struck


async def _others_have_ended() -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + 30
    while len(asyncio.all_tasks()) > 1:
        assert loop.time() < end, asyncio.all_tasks()
        await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Check that asyncio logs nothing and that no task remains."""
    with caplog.at_level(logging.WARNING):
        yield
        portal.run(_others_have_ended)
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


class SlowToClose(aiohttp.TCPConnector):
    """A connector that takes a moment to close, as with TLS."""

    async def close(self, **options: Any) -> None:
        await asyncio.sleep(0.01)
        await super().close(**options)


def test_many_threads_close_at_once(served: str) -> None:
    for _ in range(10):
        client = Montra("sk_test_sandbox", served, connector=SlowToClose)
        client.list_meters()
        together = threading.Barrier(8)

        def close(client: Montra = client, together: threading.Barrier = together) -> None:
            together.wait(30)
            client.close()

        with ThreadPoolExecutor(8) as threads:
            for done in [threads.submit(close) for _ in range(8)]:
                done.result(30)
        assert isinstance(client.list_meters(), list)
        client.close()


def test_closing_again_and_again_while_others_call(served: str) -> None:
    """Each call succeeds or raises the error of a closed client."""
    client = Montra("sk_test_sandbox", served)
    over = threading.Event()
    said: set[str] = set()

    def call() -> int:
        done = 0
        while not over.is_set():
            try:
                client.list_meters()
                done += 1
            except MontraError as error:
                said.add("closed" if "closed" in str(error) else str(error))
        return done

    with ThreadPoolExecutor(6) as threads:
        calls = [threads.submit(call) for _ in range(4)]
        closes = [threads.submit(lambda: [client.close() for _ in range(30)]) for _ in range(2)]
        for closing in closes:
            closing.result(60)
        over.set()
        for calling in calls:
            calling.result(60)
    assert said <= {"closed"}
    assert isinstance(client.list_meters(), list)
    client.close()


async def test_a_call_in_progress_when_its_client_closes_ends(sandbox: Sandbox) -> None:
    sandbox.add_fault(kind="latency", seconds=30, path="/meters")
    client = Montra(sandbox.api_key, sandbox.base_url, max_attempts=1)
    calling = asyncio.create_task(asyncio.to_thread(client.list_meters))
    await asyncio.wait_for(struck(sandbox), 30)
    await asyncio.to_thread(client.close)
    with pytest.raises(MontraError, match="closed"):
        await asyncio.wait_for(calling, 20)


# Iterators and streams


def _left(items: Any) -> None:
    next(items)


def _closed(items: Any) -> None:
    next(items)
    items.close()


def _raising(items: Any) -> None:
    with pytest.raises(LookupError):
        for _ in items:
            raise LookupError


def _thrown(items: Any) -> None:
    next(items)
    with pytest.raises(LookupError):
        items.throw(LookupError)


def _in_a_cycle(items: Any) -> None:
    next(items)
    cycle: list[Any] = [items]
    cycle.append(cycle)


def _never_begun(_: Any) -> None:
    pass


def _read_twice(items: Any) -> None:
    assert list(items)
    assert list(items) == []


WAYS = [_left, _closed, _raising, _thrown, _in_a_cycle, _never_begun, _read_twice]


@pytest.mark.parametrize("way", WAYS)
def test_an_iterator_that_is_left(served: str, way: Callable[[Any], None]) -> None:
    with Montra("sk_test_sandbox", served) as client:
        for n in range(2):
            client.create_pricing_model(name=f"P{n}")
        for _ in range(3):
            way(client.iter_audit_logs(page_size=1, event_type="pricing_model.created"))
        gc.collect()
        assert isinstance(client.list_meters(), list)


@pytest.fixture
async def endless() -> AsyncIterator[str]:
    """A provider that streams events until the client disconnects."""

    async def stream(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await answer.write(b"data: x\n\n")
                await asyncio.sleep(0.001)
        return answer

    async def plain(_: web.Request) -> web.Response:
        return web.json_response({"plain": True})

    app = web.Application()
    app.router.add_post("/api/v1/api-gateway/endless/", stream)
    app.router.add_post("/api/v1/api-gateway/endless", stream)
    app.router.add_post("/api/v1/api-gateway/plain", plain)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def _gateway(origin: str) -> ApiGatewayClient:
    """A client with one connection, which has to be released when a stream is left."""
    return ApiGatewayClient("p", origin, user_id="u", pool_size=1, timeout=Timeout(total=20, pool=15))


@pytest.mark.parametrize("kind", ["iter_chunks", "iter_lines", "iter_sse"])
@pytest.mark.parametrize("way", WAYS[:-1])
async def test_a_stream_that_is_left_gives_its_connection_back(
    endless: str, way: Callable[[Any], None], kind: str
) -> None:
    def work() -> None:
        gateway = _gateway(endless)
        for _ in range(3):
            with gateway.call("endless") as answer:
                way(getattr(answer, kind)())
            assert gateway.call("plain").json() == {"plain": True}
        gateway.close()

    await asyncio.to_thread(work)
    gc.collect()


@pytest.mark.parametrize("begun", [False, True])
async def test_answers_that_are_forgotten_give_their_connections_back(endless: str, begun: bool) -> None:
    def work() -> None:
        gateway = _gateway(endless)
        for _ in range(5):
            answer = gateway.call("endless")
            if begun:
                next(answer.iter_sse())
            del answer
            gc.collect()
        gateway.close()

    await asyncio.to_thread(work)


async def test_a_stream_that_is_read_while_its_client_closes(endless: str) -> None:
    def work() -> None:
        gateway = _gateway(endless)
        reading = threading.Event()

        def read() -> None:
            for _ in gateway.call("endless").iter_chunks():
                reading.set()

        with ThreadPoolExecutor(1) as threads:
            result = threads.submit(read)
            assert reading.wait(30)
            gateway.close()
            assert isinstance(result.exception(30), PaywallError)
            assert "closed" in str(result.exception())

    await asyncio.to_thread(work)


async def test_a_stream_that_two_threads_read(endless: str) -> None:
    """Unsupported, but it does not hang: each chunk goes to one of them, or one gets an error."""

    def work() -> None:
        gateway = _gateway(endless)
        answer = gateway.call("endless")

        def read() -> int:
            with contextlib.suppress(PaywallError, MontraError, ValueError):
                return sum(1 for _, _ in zip(range(50), answer.iter_chunks(), strict=False))
            return 0

        with ThreadPoolExecutor(2) as threads:
            results = [threads.submit(read) for _ in range(2)]
            assert sum(result.result(30) for result in results) > 0
        gateway.close()

    await asyncio.to_thread(work)


def test_loops_of_many_threads_close_one_async_client_at_once(served: str) -> None:
    """Each thread closes its own loop's session, and schedules the close of the others."""
    problems: list[BaseException] = []
    complaints: list[dict[str, Any]] = []

    def use(client: AsyncMontra, together: threading.Barrier) -> None:
        async def work() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
            await client.list_meters()
            await asyncio.to_thread(together.wait, 30)
            await asyncio.gather(client.aclose(), client.aclose())
            await asyncio.sleep(0.05)

        try:
            asyncio.run(work())
        except BaseException as error:
            problems.append(error)

    for _ in range(10):
        client = AsyncMontra("sk_test_sandbox", served, connector=SlowToClose)
        together = threading.Barrier(4)
        threads = [threading.Thread(target=use, args=(client, together)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    gc.collect()
    assert problems == []
    assert complaints == []
