"""Failover to the mirror of a paywall's origin, over https, with two hosts of a resolver of the test's own."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import attrs
import pytest
import trustme
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from montra_async.core.http import failover
from montra_async.core.http.failover import Direct, Failover, edge_of
from montra_async.core.http.messages import Request
from montra_async.paywall import ApiGatewayClient, BillingClient, PaywallError

HOST = "pay.example.test"
EDGE = f"edge.{HOST}"


@pytest.fixture(autouse=True)
def _as_if_just_begun() -> Iterator[None]:
    failover.forget_choices()
    yield
    failover.forget_choices()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class _Names(AbstractResolver):
    """Resolves both hosts to this machine, each to its own address."""

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        address = {HOST: "127.0.0.1", EDGE: "127.0.0.2"}[host]
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0),
        ]

    async def close(self) -> None: ...


@attrs.define
class Server:
    """One of the two hosts. It waits `pause` seconds and responds with `status`."""

    name: str
    asked: list[str] = attrs.field(factory=list)
    pause: float = 0.0
    status: int = 200
    runner: web.ServerRunner | None = None

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.asked.append(f"{request.method} {request.path.rpartition('/')[2]}")
        await request.read()
        await asyncio.sleep(self.pause)
        body = {"checkoutUrl": self.name, "ticket": {"id": 1}, "type": "t", "count": 1, "has_active_subscription": True}
        return web.json_response(body, status=self.status)

    async def start(self, address: str, port: int, context: ssl.SSLContext) -> None:
        self.runner = web.ServerRunner(web.Server(self.answer), shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, address, port, ssl_context=context).start()

    async def stop(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()
            self.runner = None


@attrs.frozen
class World:
    port: int
    main: Server
    edge: Server
    server_tls: ssl.SSLContext
    client_tls: ssl.SSLContext

    async def start(self, *servers: Server) -> None:
        for server in servers:
            address = "127.0.0.1" if server is self.main else "127.0.0.2"
            await server.start(address, self.port, self.server_tls)

    def settings(self, **more: Any) -> dict[str, Any]:
        def connector() -> aiohttp.TCPConnector:
            return aiohttp.TCPConnector(resolver=_Names(), ssl=self.client_tls, limit=0, force_close=True)

        return {"connector": connector, "max_attempts": 1, **more}

    def billing(self, **more: Any) -> BillingClient:
        client = BillingClient("pw", f"https://{HOST}:{self.port}", "sk_test_x", **self.settings(**more))
        return client.for_user(email="a@example.com")


@pytest.fixture
async def world(authority: trustme.CA) -> AsyncIterator[World]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST, EDGE).configure_cert(server_tls)
    client_tls = ssl.create_default_context()
    authority.configure_trust(client_tls)
    made = World(port, Server("main"), Server("edge"), server_tls, client_tls)
    yield made
    await made.main.stop()
    await made.edge.stop()


async def test_a_service_that_can_not_be_reached_is_replaced_by_its_mirror(world: World) -> None:
    await world.start(world.edge)
    async with world.billing() as billing:
        assert (await billing.create_checkout(1)).url == "edge"
        assert (await billing.debit_tokens("t", 1)).count == 1  # never sent to the other: not sent twice
        assert (await billing.create_support_ticket("s", "c", files=[b"x"])).id == 1
    assert world.edge.asked == ["POST start-checkout", "POST balances", "POST ticket"]


async def test_all_clients_of_the_origin_stay_with_the_mirror(world: World) -> None:
    await world.start(world.edge)
    async with world.billing() as billing:
        await billing.debit_tokens("t", 1)
        await world.start(world.main)
        async with world.billing() as other:
            await other.debit_tokens("t", 1)
        assert (len(world.edge.asked), world.main.asked) == (2, [])
        failover._mirror_until.update(
            {key: until - failover.MIRROR_SECONDS for key, until in failover._mirror_until.items()}
        )
        await billing.debit_tokens("t", 1)
    assert (len(world.edge.asked), len(world.main.asked)) == (2, 1)


async def test_a_mirror_that_can_not_be_reached_is_not_used_on(world: World) -> None:
    async with world.billing() as billing:
        with pytest.raises(PaywallError, match=r"cannot connect to edge\.pay") as caught:
            await billing.debit_tokens("t", 1)
        assert caught.value.call is not None
        assert (caught.value.sent, caught.value.call.attempts) == (False, 2)
        await world.start(world.main)
        assert (await billing.debit_tokens("t", 1)).count == 1
    assert world.main.asked == ["POST balances"]


@pytest.mark.parametrize("status", [500, 503, 404, 418])
async def test_a_response_of_any_status_is_no_reason_for_failover(world: World, status: int) -> None:
    await world.start(world.main, world.edge)
    world.main.status = status
    async with world.billing() as billing:
        with pytest.raises(PaywallError, match=f"http_{status}"):
            await billing.get_user()
    assert world.edge.asked == []


async def test_a_response_time_out_repeats_only_repeatable_requests(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failover, "SECONDS_TO_HEADERS", 0.1)
    await world.start(world.main, world.edge)
    world.main.pause = 0.5
    async with world.billing() as billing:
        assert (await billing.debit_tokens("t", 1)).count == 1  # it waited
        assert (await billing.create_support_ticket("s", "c", files=[b"x"], idempotency_key="k")).id == 1  # an upload
        assert world.edge.asked == []
        assert (await billing.create_checkout(1)).url == "edge"
        assert (await billing.get_user()).has_active_subscription
    assert world.main.asked == ["POST balances", "POST ticket", "POST start-checkout"]
    assert world.edge.asked == ["POST start-checkout", "GET user-state"]


async def test_a_gateway_call_is_never_sent_to_both(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failover, "SECONDS_TO_HEADERS", 0.1)
    await world.start(world.main, world.edge)
    world.main.pause = 0.3
    settings = world.settings()
    async with ApiGatewayClient("pw", f"https://{HOST}:{world.port}", user_id="a", **settings) as gateway:
        await (await gateway.call("openai")).read()
    assert (len(world.main.asked), world.edge.asked) == (1, [])


async def test_without_a_mirror(world: World) -> None:
    await world.start(world.edge)
    async with world.billing(edge_fallback=False) as billing:
        with pytest.raises(PaywallError, match="cannot connect to pay"):
            await billing.get_user()
    assert world.edge.asked == []


async def test_a_given_mirror_is_used(world: World) -> None:
    await world.start(world.edge)
    settings = world.settings(edge_fallback=f"https://{EDGE}:{world.port}")
    async with BillingClient("pw", "http://127.0.0.1:9", "sk_test_x", **settings) as billing:
        assert (await billing.for_user(email="a@example.com").get_user()).has_active_subscription


@pytest.mark.parametrize(
    ("origin", "edge"),
    [
        ("https://pay.example.com", "https://edge.pay.example.com"),
        ("https://pay.example.com:8443", "https://edge.pay.example.com:8443"),
        ("http://pay.example.com", None),
        ("https://127.0.0.1", None),
        ("https://[::1]", None),
        ("https://localhost", None),
    ],
)
def test_which_origins_have_a_mirror(origin: str, edge: str | None) -> None:
    assert edge_of(URL(origin)) == (None if edge is None else URL(edge))


def test_the_whole_address_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    origin, mirror = URL("https://a.example"), URL("https://edge.a.example")
    routing = Failover(origin, mirror, clock=lambda: 1.0)
    url = URL("https://a.example/x%2Fy/%C3%BC?q=a%20b&r=%2B", encoded=True)
    call = Request(method="GET", url=url, path="/x")
    for found, timeout in ((routing.route(call), failover.SECONDS_TO_HEADERS), (Direct().route(call), None)):
        assert (found.url(url), found.response_timeout) == (url, timeout)
    monkeypatch.setitem(failover._mirror_until, (origin, mirror), 2.0)
    found = routing.route(call)
    assert str(found.url(url)) == "https://edge.a.example/x%2Fy/%C3%BC?q=a%20b&r=%2B"
    assert found.response_timeout is None
