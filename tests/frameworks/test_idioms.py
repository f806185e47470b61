"""The finer points of single frameworks, without a server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Header, HTTPException
from flask import Flask
from starlette.applications import Starlette
from starlette.requests import Request

from montra_async import ConfigError, Montra
from montra_async.frameworks.fastapi import (
    AccessDenied,
    Client,
    exception_handlers,
    guarded_responses,
    lifespan,
    require_feature,
    webhook_router,
)
from montra_async.frameworks.guards import denial_of
from montra_async.frameworks.starlette import get_client
from montra_async.resources.features import Entitlement
from montra_async.webhooks import MemoryStore, WebhookReceiver
from montra_sandbox import Sandbox
from montra_sync import Montra as SyncMontra
from montra_sync.frameworks.flask import MontraFlask


async def customer_id(x_customer_id: Annotated[str, Header()]) -> str:
    return x_customer_id


def test_the_applications_openapi_stays_right() -> None:
    """A guard adds what its own dependencies ask for, and nothing of ours."""
    app = FastAPI(lifespan=lifespan(), exception_handlers=exception_handlers)
    app.include_router(webhook_router("/hooks", WebhookReceiver("whsec_of_the_tests", store=MemoryStore())))

    @app.get(
        "/reports/{year}",
        dependencies=[Depends(require_feature("sso", customer=customer_id))],
        responses=guarded_responses,
    )
    async def reports(year: int, montra: Client) -> dict[str, int]:
        return {"year": year}

    document = app.openapi()
    assert list(document["paths"]) == ["/reports/{year}"]
    operation = document["paths"]["/reports/{year}"]["get"]
    assert {one["name"]: one["in"] for one in operation["parameters"]} == {"year": "path", "x-customer-id": "header"}
    assert "requestBody" not in operation
    assert sorted(operation["responses"]) == ["200", "401", "402", "403", "422", "500", "503"]
    assert "application/problem+json" in operation["responses"]["402"]["content"]


async def test_a_lifespan_of_ones_own_goes_inside(sandbox: Sandbox) -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def mine(app: Any) -> AsyncGenerator[dict[str, int], None]:
        assert isinstance(app.state.montra, Montra)
        seen.append("in")
        yield {"answer": 42}
        assert await app.state.montra.list_meters() == []
        seen.append("out")

    app = Starlette()
    manage = lifespan(lambda: Montra(sandbox.api_key, sandbox.base_url), inner=mine)
    async with manage(app) as state:
        assert (state, seen) == ({"answer": 42}, ["in"])
        assert isinstance(get_client(Request({"type": "http", "app": app, "headers": []})), Montra)
    assert seen == ["in", "out"]


def test_without_a_lifespan_it_says_what_is_missing() -> None:
    with pytest.raises(RuntimeError, match="lifespan"):
        get_client(Request({"type": "http", "app": Starlette(), "headers": []}))


def test_a_denial_is_an_ordinary_http_exception() -> None:
    denial = denial_of("quota", "tokens", Entitlement(has_access=False, usage=10, limit=8))
    assert denial is not None
    error = AccessDenied(denial)
    assert isinstance(error, HTTPException)
    assert (error.status_code, error.detail["code"], error.detail["usage"]) == (402, "quota_exceeded", 10)  # type: ignore[index]
    assert denial_of("quota", "tokens", Entitlement(has_access=True)) is None
    unknown = denial_of("quota", "tokens", Entitlement(has_access=False))
    assert unknown is not None
    assert set(unknown.problem()) == {"type", "title", "status", "code", "detail"}


def test_flask_applications_have_a_client_each() -> None:
    extension = MontraFlask()
    clients = []
    for name in ("a", "b"):
        app = Flask(name)
        app.config.update(MONTRA_API_KEY="sk_test_x", MONTRA_BASE_URL=f"http://127.0.0.1:9/{name}")
        extension.init_app(app)
        with app.app_context():
            clients.append(extension.client)
            assert extension.client is clients[-1]
    assert [repr(client) for client in clients] == ["<Montra http://127.0.0.1:9/a>", "<Montra http://127.0.0.1:9/b>"]
    app = Flask("c")
    MontraFlask(app, client_factory=lambda _: SyncMontra("sk_test_y"))
    with app.app_context():
        assert "dev.montra.fi" in repr(app.extensions["montra"].client)
    app = Flask("d")
    MontraFlask(app)
    with app.app_context(), pytest.raises(ConfigError, match="MONTRA_API_KEY"):
        _ = app.extensions["montra"].client
