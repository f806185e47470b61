"""TLS with a given certificate authority."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from threading import Event, Thread

import pytest
import trustme
from aiohttp import web

from montra_async import Montra, NetworkError


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def secure_url(authority: trustme.CA) -> Iterator[str]:
    """An https server in another thread."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    port: list[int] = []
    ready = Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"success": True, "data": []})

    async def serve() -> None:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        port.append(runner.addresses[0][1])
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(20)
    yield f"https://localhost:{port[0]}/api/v1"
    loop.call_soon_threadsafe(stop.set)
    thread.join(20)
    loop.close()


def _trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_a_given_authority_is_trusted_on_several_loops(secure_url: str, authority: trustme.CA) -> None:
    client = Montra("sk_test_x", secure_url, ssl=_trusting(authority))
    for _ in range(3):
        assert asyncio.run(client.list_meters()) == []
    for _ in range(3):
        loop = asyncio.new_event_loop()
        assert loop.run_until_complete(client.list_meters()) == []
        loop.close()
    assert asyncio.run(client.list_meters()) == []


async def test_an_unknown_authority_is_refused_at_once(secure_url: str) -> None:
    async with Montra("sk_test_x", secure_url) as client:
        with pytest.raises(NetworkError, match="TLS") as caught:
            await client.create_pricing_model(name="P")
    assert (caught.value.attempts, caught.value.sent) == (1, False)
    assert "certificate" in str(caught.value)
