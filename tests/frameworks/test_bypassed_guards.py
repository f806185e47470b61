"""A guard where it would guard nothing: never silently."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from fastapi import Depends, FastAPI
from flask import Blueprint, Flask
from flask.views import MethodView
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from montra_async import InvalidArgumentError, Montra
from montra_async.frameworks import aiohttp as for_aiohttp, fastapi as for_fastapi, starlette as for_starlette
from montra_async.frameworks.django import require_feature as for_async_django
from montra_sandbox import Sandbox
from montra_sync import Montra as SyncMontra
from montra_sync.frameworks.django import require_feature as for_django
from montra_sync.frameworks.flask import MontraFlask


def somebody(*_: object) -> str:
    return "cust_1"


def extension(app: Flask | None = None) -> MontraFlask:
    """Whoever asks it gets 503 at once: nobody listens there."""
    return MontraFlask(
        app, client_factory=lambda _: SyncMontra("sk_test_x", "http://127.0.0.1:9/api/v1", max_attempts=1)
    )


def view() -> str:
    return "secret report"


def fresh() -> Callable[[], str]:
    return lambda: view()


def test_flask_refuses_a_guard_above_a_route() -> None:
    app = Flask("a")
    montra = extension(app)
    with pytest.raises(RuntimeError, match="Put the guard below it"):

        @montra.require_feature("sso", customer=somebody)
        @app.get("/reports")
        def reports() -> str:
            return view()

    assert app.test_client().get("/reports").status_code == 500  # for those who go on all the same


def test_flask_refuses_it_where_the_application_comes_later() -> None:
    montra = extension()
    app = Flask("b")
    wrong = app.get("/reports")(fresh())
    montra.require_feature("sso", customer=somebody)(wrong)
    with pytest.raises(RuntimeError, match="Put the guard below it"):
        montra.init_app(app)


@pytest.mark.parametrize("between", [False, True])
def test_flask_never_runs_an_unguarded_view_of_a_blueprint(caplog: pytest.LogCaptureFixture, between: bool) -> None:
    montra = extension()
    blueprint = Blueprint("site", __name__)
    wrong = blueprint.get("/reports", endpoint="reports")(fresh())
    if between:  # another decorator between the guard and the route
        import functools

        @functools.wraps(wrong)
        def other() -> str:
            return wrong()

        montra.require_quota("tokens", customer=somebody)(other)
    else:
        montra.require_quota("tokens", customer=somebody)(wrong)
    app = Flask("c")
    app.register_blueprint(blueprint)  # the extension is never told of the application
    with caplog.at_level(logging.ERROR, "montra"):
        answer = app.test_client().get("/reports")
    assert (answer.status_code, answer.get_json()["code"]) == (500, "billing_misconfigured")
    assert b"secret" not in answer.data
    [record] = caplog.records
    assert record.name.startswith("montra")
    assert "'site.reports'" in record.getMessage()
    assert "Put the guard below it" in record.getMessage()


def test_flask_serves_what_is_right() -> None:
    montra = extension()
    app = Flask("d")
    montra.init_app(app)
    blueprint = Blueprint("site", __name__)

    @app.get("/one")
    @montra.require_feature("sso", customer=somebody)
    @montra.require_quota("tokens", customer=somebody)
    def one() -> str:
        return view()

    @blueprint.get("/two")
    @montra.require_feature("sso", customer=somebody)
    def two() -> str:
        return view()

    class Three(MethodView):
        decorators = [montra.require_feature("sso", customer=somebody)]  # noqa: RUF012 - Flask's way

        def get(self) -> str:
            return view()

    app.add_url_rule("/three", view_func=Three.as_view("three"))
    app.register_blueprint(blueprint)
    app.add_url_rule("/open", view_func=view)
    client = app.test_client()
    assert [client.get(f"/{path}").status_code for path in ("one", "two", "three", "open", "nowhere")] == [
        503,
        503,
        503,
        200,
        404,
    ]


def test_a_guarded_view_may_be_registered_in_two_applications() -> None:
    montra = extension()
    guarded = montra.require_feature("sso", customer=somebody)(fresh())
    for name in ("e", "f"):
        app = Flask(name)
        montra.init_app(app)
        app.add_url_rule("/reports", view_func=guarded, endpoint="reports")
        assert app.test_client().get("/reports").status_code == 503


async def test_aiohttp_does_not_start_with_an_unguarded_route(sandbox: Sandbox) -> None:
    routes = web.RouteTableDef()

    @routes.get("/reports")
    async def reports(_: web.Request) -> web.StreamResponse:
        return web.Response(text=view())

    def guard_elsewhere(handler: Any) -> None:  # where the table of routes is not known
        for_aiohttp.require_feature("sso", customer=somebody)(handler)

    guard_elsewhere(reports)
    for nested in (False, True):
        app = web.Application()
        target = web.Application() if nested else app
        target.add_routes(routes)
        if nested:
            app.add_subapp("/inner", target)
        app.cleanup_ctx.append(for_aiohttp.client_context(lambda: Montra(sandbox.api_key, sandbox.base_url)))
        runner = web.AppRunner(app)
        with pytest.raises(RuntimeError, match="reports: a guard stands above"):
            await runner.setup()
        await runner.cleanup()


def test_a_guard_above_its_route_is_refused_without_a_lifespan_of_ours() -> None:
    routes = web.RouteTableDef()
    with pytest.raises(RuntimeError, match="Put the guard below it"):

        @for_aiohttp.require_feature("sso", customer=somebody)
        @routes.get("/reports")
        async def reports(_: web.Request) -> web.StreamResponse:
            return web.Response(text=view())


async def test_aiohttp_guards_routes_of_an_application_inside_another(sandbox: Sandbox) -> None:
    routes = web.RouteTableDef()

    @routes.get("/reports")
    @for_aiohttp.require_feature("sso", customer=somebody)
    async def reports(_: web.Request) -> web.StreamResponse:
        return web.Response(text=view())

    inner, app = web.Application(), web.Application()
    inner.add_routes(routes)
    app.add_subapp("/inner", inner)
    app.cleanup_ctx.append(for_aiohttp.client_context(lambda: Montra(sandbox.api_key, sandbox.base_url)))
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    import aiohttp

    async with (
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{runner.addresses[0][1]}/inner/reports") as answer,
    ):
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (403, "unknown_customer")
    await runner.cleanup()


async def test_starlette_does_not_start_with_an_unguarded_route(sandbox: Sandbox) -> None:
    async def reports(_: Request) -> Response:
        return Response(view())

    routes: list[Any] = [Mount("/inner", routes=[Route("/reports", reports)])]
    app = Starlette(routes=routes)
    manage = for_starlette.lifespan(lambda: Montra(sandbox.api_key, sandbox.base_url))
    async with manage(app):
        pass
    for_starlette.require_feature("sso", customer=somebody)(reports)
    with pytest.raises(RuntimeError, match="reports: a guard stands above"):
        async with manage(app):
            pass


def test_fastapi_guards_are_no_decorators() -> None:
    app = FastAPI()
    guard: Any = for_fastapi.require_feature("sso", customer=somebody)
    with pytest.raises(TypeError):

        @guard
        @app.get("/reports")
        async def reports() -> str:
            return view()


@pytest.mark.filterwarnings("ignore:Default value")
async def test_fastapi_guards_without_depends_let_nobody_pass() -> None:
    app = FastAPI(openapi_url=None)
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/reports", "headers": [], "query_string": b"", "scheme": "http"}
    guard: Any = for_fastapi.require_feature("sso", customer=somebody)
    with pytest.raises(RuntimeError, match="write Depends"):  # when it is registered, or at the first request

        @app.get("/reports")
        async def reports(allowed: Any = guard) -> str:
            return view()

        await app({**scope, "http_version": "1.1", "server": ("x", 1), "client": ("x", 1)}, receive, send)
    assert [message.get("status") for message in sent] in ([], [500, None])
    assert Depends(for_fastapi.require_quota("tokens", customer=somebody)) is not None


def test_guards_of_the_wrong_kind_are_told_at_once() -> None:
    async def later(_: Any) -> Any: ...

    class Page: ...

    with pytest.raises(TypeError, match=r"montra_async\.frameworks\.django"):
        for_django("sso", customer=somebody)(later)
    for guard in (for_django, for_async_django):
        with pytest.raises(TypeError, match="as_view"):
            guard("sso", customer=somebody)(Page)  # type: ignore[arg-type, type-var]
    with pytest.raises(TypeError, match="not a class"):
        for_starlette.require_feature("sso", customer=somebody)(Page)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "require",
    [
        for_aiohttp.require_feature,
        for_starlette.require_quota,
        for_fastapi.require_quota,
        for_django,
        for_async_django,
        MontraFlask().require_feature,
    ],
)
def test_arguments_are_checked_when_the_route_is_written(require: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="slug"):
        require("", customer=somebody)
    with pytest.raises(TypeError, match="customer: a function"):
        require("sso", customer="cust_1")
