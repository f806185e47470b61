"""Guards of WebSockets, and what is not for them."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from fastapi import Depends, FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import ASGIApp, Message
from starlette.websockets import WebSocketDisconnect

from montra_async import Montra
from montra_async.access import Access
from montra_async.frameworks import fastapi as for_fastapi, starlette as for_starlette
from montra_async.usage import MemoryOutbox, UsageReporter
from montra_sandbox import Sandbox
from montra_sync import Montra as SyncMontra


@pytest.fixture(autouse=True)
def garbage() -> Iterator[None]:
    """The test client of old versions of Starlette leaves streams open, which would be found in another test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(api_keys=["sk_test_x"]) as sandbox:
        yield sandbox


async def customer_of(websocket: WebSocket) -> str | None:
    if "first" in websocket.query_params:
        await websocket.accept()
        await websocket.receive_text()
    return websocket.query_params.get("customer")


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


@APPS
def test_one_that_was_accepted_to_find_the_customer_is_closed(sandbox: Sandbox, make: Make) -> None:
    """Browsers can't send a header with it: a token may come as the first message."""
    with TestClient(make(sandbox)) as client, client.websocket_connect("/ws?first=1") as connection:
        connection.send_text("a token that is not valid")
        with pytest.raises(WebSocketDisconnect) as closed:
            connection.receive_text()
        assert closed.value.code == 1008


@pytest.fixture
def metered() -> dict[str, Any]:
    """Arguments of a guard."""
    montra = Montra("sk_test_x", "http://127.0.0.1:9/api/v1")
    return {"access": Access(montra, UsageReporter(montra, MemoryOutbox())), "customer": somebody}


def somebody() -> str:
    return "cust_1"


FOR_REQUESTS = r"metered is for requests; in a WebSocket, use `async with access.hold\(...\)` for each message"


def test_metered_says_that_it_is_for_requests(metered: dict[str, Any]) -> None:
    for guard in (for_starlette.metered("tokens", **metered), for_fastapi.metered("tokens", **metered)):
        with pytest.raises(TypeError, match=rf"greet: {FOR_REQUESTS}"):
            guard(endpoint())  # type: ignore[arg-type]


async def test_metered_says_so_at_the_first_one_of_an_endpoint_without_annotations(metered: dict[str, Any]) -> None:
    async def greet(*_) -> None:  # type: ignore[no-untyped-def]
        raise AssertionError

    async def greet_nobody() -> None:
        raise AssertionError

    for_requests: Any = for_starlette.metered("tokens", **metered)(greet)
    fastapi = FastAPI()
    fastapi.websocket("/ws")(for_fastapi.metered("tokens", **metered)(greet_nobody))
    for app in (Starlette(routes=[WebSocketRoute("/ws", for_requests)]), fastapi):
        with pytest.raises(TypeError, match=FOR_REQUESTS):
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
