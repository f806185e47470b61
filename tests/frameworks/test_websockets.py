"""Guards of WebSockets, and what is not for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from fastapi import Depends, FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import ASGIApp, Message

from montra_async import Montra
from montra_async.access import Access
from montra_async.frameworks import fastapi as for_fastapi, starlette as for_starlette
from montra_async.usage import MemoryOutbox, UsageReporter
from montra_sandbox import Sandbox
from montra_sync import Montra as SyncMontra

pytestmark = pytest.mark.filterwarnings(  # the test client of old versions of Starlette
    "ignore:Exception ignored in. <function MemoryObject:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(api_keys=["sk_test_x"]) as sandbox:
        yield sandbox


def customer_of(connection: HTTPConnection) -> str | None:
    return connection.query_params.get("customer")


def endpoint() -> Callable[[WebSocket], Awaitable[None]]:
    async def greet(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("hello")
        await websocket.close()

    return greet


def starlette_app(sandbox: Sandbox) -> Starlette:
    guard = for_starlette.require_feature("sso", customer=customer_of)
    return Starlette(
        routes=[WebSocketRoute("/ws", guard(endpoint()))],
        lifespan=for_starlette.lifespan(lambda: Montra("sk_test_x", sandbox.base_url)),
    )


def fastapi_app(sandbox: Sandbox) -> Starlette:
    app = FastAPI(
        lifespan=for_fastapi.lifespan(lambda: Montra("sk_test_x", sandbox.base_url)),
        exception_handlers=for_fastapi.exception_handlers,
    )
    guard = for_fastapi.require_feature("sso", customer=customer_of)
    app.websocket("/ws", dependencies=[Depends(guard)])(endpoint())
    return app


APPS = pytest.mark.parametrize("make", [starlette_app, fastapi_app])
Make = Callable[[Sandbox], Starlette]


@APPS
@pytest.mark.parametrize(("query", "status"), [("", 401), ("?customer=cust_none", 403)])
def test_a_denial_is_the_response_to_the_handshake(sandbox: Sandbox, make: Make, query: str, status: int) -> None:
    with TestClient(make(sandbox)) as client:
        with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect(f"/ws{query}"):
            pass
        response: Any = denied.value
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["status"] == status


@APPS
async def test_a_server_without_responses_to_websockets_closes_it(sandbox: Sandbox, make: Make) -> None:
    """Those of the ASGI specification without its extension."""
    app = make(sandbox)
    app.state.montra = Montra(sandbox.api_key, sandbox.base_url)  # nobody starts it
    assert [(one["type"], one["code"]) for one in await handshake(app)] == [("websocket.close", 1008)]


@APPS
def test_a_customer_whose_plan_includes_it_is_let_in(sandbox: Sandbox, make: Make) -> None:
    with SyncMontra(sandbox.api_key, sandbox.base_url) as montra:
        plan = montra.create_pricing_model(name="Free", is_default=True)
        montra.create_feature(name="Single sign-on", slug="sso", pricing_model_id=plan.id)
        ada = montra.create_customer(name="Ada", email="ada@example.com")
    with TestClient(make(sandbox)) as client, client.websocket_connect(f"/ws?customer={ada.id}") as connection:
        assert connection.receive_text() == "hello"


@pytest.mark.parametrize("framework", ["starlette", "fastapi"])
async def test_metered_says_that_it_is_for_requests(framework: str) -> None:
    montra = Montra("sk_test_x", "http://127.0.0.1:9/api/v1")
    access = Access(montra, UsageReporter(montra, MemoryOutbox()))
    settings: Any = {"access": access, "customer": customer_of}
    app: ASGIApp
    if framework == "fastapi":
        app = FastAPI()
        app.websocket("/ws")(for_fastapi.metered("tokens", **settings)(endpoint()))
    else:
        guarded: Any = for_starlette.metered("tokens", **settings)(endpoint())  # type: ignore[arg-type]
        app = Starlette(routes=[WebSocketRoute("/ws", guarded)])
    with pytest.raises(TypeError, match=r"use `async with access.hold\(...\)` for each message"):
        await handshake(app)


async def handshake(app: ASGIApp) -> list[Message]:
    """What an application sends to a server without the extension."""
    sent: list[Message] = []
    received: asyncio.Queue[Message] = asyncio.Queue()
    received.put_nowait({"type": "websocket.connect"})

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "websocket", "path": "/ws", "query_string": b"", "headers": []}, received.get, send)
    return sent
