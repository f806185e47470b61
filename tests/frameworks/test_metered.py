"""`metered`, and guards with an `Access`, in every framework: who passes, and what is recorded at the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from decimal import Decimal
from typing import Annotated, Any

import aiohttp.web
import attrs
import django
import pytest
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request
from django.conf import settings as django_settings
from fastapi import Depends, FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from montra_async import CallInfo, Entitlement, InvalidArgumentError, NetworkError, NotFoundError
from montra_async.access import Access
from montra_async.frameworks import (
    aiohttp as for_aiohttp,
    django as for_django,
    fastapi as for_fastapi,
    starlette as for_starlette,
)
from montra_async.usage import OutboxError
from montra_sync import access as sync_access
from montra_sync.frameworks import django as for_sync_django, flask as for_flask

CALL = CallInfo(method="GET", path="/entitlements")


@attrs.define
class Told:
    """What the service says, and what was recorded."""

    access: Any = None
    sync: Any = None
    limit: int | None = 100
    error: Exception | None = None
    recorded: list[int] = attrs.field(factory=list)
    recording_fails: bool = False

    def free(self) -> Any:
        return self.access.peek("cust_1", meter="tokens").remaining


class Reporter:
    """A reporter of either kind."""

    def __init__(self, told: Told) -> None:
        self.told = told
        self.observers: list[Any] = []

    def add_observer(self, observer: Any) -> None:
        self.observers.append(observer)

    def remove_observer(self, observer: Any) -> None:
        self.observers.remove(observer)

    def _record(self, customer_id: str, meter_slug: str, amount: Any) -> None:
        [observer] = self.observers
        observer.recorded(customer_id, meter_slug, amount)
        if self.told.recording_fails:
            observer.failed(customer_id, meter_slug, amount)
            raise OutboxError("disk full")
        self.told.recorded.append(amount)


class AsyncReporter(Reporter):
    async def record(self, customer_id: str, meter_slug: str, *, amount: Any = 1, **_: Any) -> None:
        self._record(customer_id, meter_slug, amount)


class SyncReporter(Reporter):
    def record(self, customer_id: str, meter_slug: str, *, amount: Any = 1, **_: Any) -> None:
        self._record(customer_id, meter_slug, amount)


class Service:
    """Stands in for the client."""

    def __init__(self, told: Told) -> None:
        self.told = told

    async def check_entitlement(self, customer_id: str, meter_slug: str) -> Entitlement:
        if self.told.error is not None:
            raise self.told.error
        if customer_id == "no-plan":
            return Entitlement(has_access=False, usage=0, reason="no_plan")
        return Entitlement(has_access=True, usage=0, limit=self.told.limit)

    async def check_feature_access(self, customer_id: str, feature_slug: str) -> Entitlement:
        return Entitlement(has_access=feature_slug == "sso")


@pytest.fixture
async def told() -> AsyncIterator[Told]:
    made = Told()
    service: Any = Service(made)
    async with Access(service, AsyncReporter(made)) as made.access:
        yield made


# What the handlers of all frameworks do, by the request's path.


def behave(path: str, hold: Any) -> tuple[int, Any]:
    """The status and the body that a handler answers with."""
    if path == "/used":
        hold.amount = 7
    elif path == "/broken":
        hold.amount = 7
        raise ZeroDivisionError
    elif path == "/away":  # the model's server
        hold.amount = 7
        raise ConnectionRefusedError
    elif path == "/broken-but-recorded":
        hold.amount, hold.record_on_error = 7, True
        raise ZeroDivisionError
    return {"/unavailable": 503, "/refused": 409}.get(path, 200), f"{hold.estimate}"


def chunks(path: str, hold: Any) -> Iterator[str]:
    yield "a"
    hold.amount = 3
    if path == "/stream-broken":
        raise ZeroDivisionError
    yield "b"
    hold.amount = 4


async def async_chunks(path: str, hold: Any) -> AsyncIterator[str]:
    for chunk in chunks(path, hold):
        yield chunk


# One caller for each framework: takes a path and a customer, returns the status and the body.

Call = Callable[..., Awaitable[tuple[int, bytes]]]


async def asgi(app: Any, path: str, customer: str | None, *, leave_after: int | None = None) -> tuple[int, bytes]:
    headers = [] if customer is None else [(b"x-customer", customer.encode())]
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "method": "GET",
        "path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers, "root_path": "",
    }  # fmt: skip
    status, body, sent = 0, b"", 0

    messages: list[dict[str, Any]] = [{"type": "http.request", "body": b"", "more_body": False}]
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await gone.wait()  # as servers do: some versions of Starlette ask until the client has gone
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status, body, sent
        if message["type"] == "http.response.start":
            status = message["status"]
            return
        sent += 1
        body += message.get("body", b"")
        if leave_after is not None and sent > leave_after:
            gone.set()
            raise OSError("gone")  # as servers do

    try:
        await app(scope, receive, send)
    except Exception as error:  # some versions of Starlette raise a group of one
        if any(
            isinstance(one, (ZeroDivisionError, ConnectionRefusedError))
            for one in getattr(error, "exceptions", [error])
        ):
            return 500, body
        if leave_after is None:
            raise
    return status, body


def starlette_app(told: Told, **more: Any) -> Any:
    def customer(request: Request) -> str | None:
        if request.headers.get("x-customer") == "login":
            raise HTTPException(418)
        return request.headers.get("x-customer")

    @for_starlette.metered("tokens", access=told.access, customer=customer, **{"estimate": 10, **more})
    async def handler(request: Request) -> Response:
        hold, path = for_starlette.get_hold(request), request.url.path
        if path.startswith("/stream"):
            return StreamingResponse(async_chunks(path, hold))
        status, body = behave(path, hold)
        return PlainTextResponse(body, status)

    return Starlette(routes=[Route("/{path}", handler)])


def fastapi_app(told: Told, **more: Any) -> Any:
    app = FastAPI(exception_handlers=for_fastapi.exception_handlers)

    def customer(request: Request) -> str | None:
        return request.headers.get("x-customer")

    @app.get("/{path}", response_model=None)
    @for_fastapi.metered("tokens", access=told.access, customer=customer, **{"estimate": 10, **more})
    async def handler(path: str, request: Request) -> Any:
        hold, path = for_fastapi.get_hold(request), f"/{path}"
        if path.startswith("/stream"):
            return StreamingResponse(async_chunks(path, hold), headers={"X-Kind": "stream"})
        status, body = behave(path, hold)
        return body if status == 200 else JSONResponse(body, status)

    return app


def call_asgi(make: Callable[..., Any]) -> Callable[..., Call]:
    def for_told(told: Told, **more: Any) -> Call:
        app = make(told, **more)

        async def call(path: str, customer: str | None = "cust_1") -> tuple[int, bytes]:
            return await asgi(app, path, customer)

        return call

    return for_told


def call_aiohttp(told: Told, **more: Any) -> Call:
    def customer(request: aiohttp.web.Request) -> str | None:
        if request.headers.get("X-Customer") == "login":
            raise aiohttp.web.HTTPTeapot if hasattr(aiohttp.web, "HTTPTeapot") else aiohttp.web.HTTPFound("/")
        return request.headers.get("X-Customer")

    @for_aiohttp.metered("tokens", access=told.access, customer=customer, **{"estimate": 10, **more})
    async def handler(request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
        hold = for_aiohttp.get_hold(request)
        if request.path.startswith("/stream"):
            response = aiohttp.web.StreamResponse()
            await response.prepare(request)
            async for chunk in async_chunks(request.path, hold):
                await response.write(chunk.encode())
            return response
        status, body = behave(request.path, hold)
        if status == 409:
            raise aiohttp.web.HTTPConflict(text=body)
        return aiohttp.web.Response(status=status, text=body)

    async def call(path: str, customer: str | None = "cust_1") -> tuple[int, bytes]:
        app = aiohttp.web.Application()
        app.router.add_get("/{path}", handler)
        async with TestClient(TestServer(app)) as client:
            headers = {} if customer is None else {"X-Customer": customer}
            try:
                async with client.get(path, headers=headers) as answer:
                    return answer.status, await answer.read()
            except aiohttp.ClientPayloadError:
                return 500, b""

    return call


def configure_django() -> None:
    if not django_settings.configured:
        django_settings.configure(ALLOWED_HOSTS=["*"])
        django.setup()


def call_django(told: Told, **more: Any) -> Call:
    configure_django()
    from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
    from django.test import RequestFactory

    @for_django.metered(
        "tokens",
        access=told.access,
        customer=lambda request: request.headers.get("X-Customer"),
        **{"estimate": 10, **more},
    )
    async def view(request: HttpRequest) -> HttpResponseBase:
        hold = for_django.get_hold(request)
        if request.path.startswith("/stream"):
            return StreamingHttpResponse(async_chunks(request.path, hold))
        status, body = behave(request.path, hold)
        return HttpResponse(body, status=status)

    async def call(path: str, customer: str | None = "cust_1") -> tuple[int, bytes]:
        headers = {} if customer is None else {"HTTP_X_CUSTOMER": customer}
        try:
            response: Any = await view(RequestFactory().get(path, **headers))
            body = b"".join([one async for one in response]) if response.streaming else response.content
        except (ZeroDivisionError, ConnectionRefusedError):
            return 500, b""
        return response.status_code, body

    return call


def with_sync_access(told: Told) -> None:
    class Facade:
        _async: Any = Service(told)

    told.sync = told.access = sync_access.Access(Facade(), SyncReporter(told))  # type: ignore[arg-type]


def call_sync_django(told: Told, **more: Any) -> Call:
    configure_django()
    from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
    from django.test import RequestFactory

    with_sync_access(told)

    @for_sync_django.metered(
        "tokens",
        access=told.sync,
        customer=lambda request: request.headers.get("X-Customer"),
        **{"estimate": 10, **more},
    )
    def view(request: HttpRequest) -> HttpResponseBase:
        hold = for_sync_django.get_hold(request)
        if request.path.startswith("/stream"):
            return StreamingHttpResponse(chunks(request.path, hold))
        status, body = behave(request.path, hold)
        return HttpResponse(body, status=status)

    def call(path: str, customer: str | None = "cust_1") -> tuple[int, bytes]:
        headers = {} if customer is None else {"HTTP_X_CUSTOMER": customer}
        try:
            response: Any = view(RequestFactory().get(path, **headers))
            return response.status_code, b"".join(response) if response.streaming else response.content
        except (ZeroDivisionError, ConnectionRefusedError):
            return 500, b""

    return lambda *given: asyncio.to_thread(call, *given)


def call_flask(told: Told, **more: Any) -> Call:
    with_sync_access(told)
    app = Flask(__name__)
    extension = for_flask.MontraFlask(app)
    from flask import request

    @app.get("/<path>")
    @extension.metered(
        "tokens",
        access=lambda: told.sync,
        customer=lambda: request.headers.get("X-Customer"),
        **{"estimate": 10, **more},
    )
    def view(path: str) -> Any:
        hold, path = for_flask.get_hold(), f"/{path}"
        if path.startswith("/stream"):
            return chunks(path, hold)
        status, body = behave(path, hold)
        return body, status

    def call(path: str, customer: str | None = "cust_1") -> tuple[int, bytes]:
        headers = {} if customer is None else {"X-Customer": customer}
        with app.test_client() as client:
            try:
                answer = client.get(path, headers=headers)
                return answer.status_code, answer.data
            except (ZeroDivisionError, ConnectionRefusedError):
                return 500, b""

    return lambda *given: asyncio.to_thread(call, *given)


FRAMEWORKS = {
    "starlette": call_asgi(starlette_app),
    "fastapi": call_asgi(fastapi_app),
    "aiohttp": call_aiohttp,
    "django-async": call_django,
    "django": call_sync_django,
    "flask": call_flask,
}


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> Callable[..., Call]:
    return FRAMEWORKS[request.param]


@pytest.mark.parametrize(("path", "status", "recorded"), [
    ("/plain", 200, [10]), ("/used", 200, [7]), ("/broken", 500, []), ("/broken-but-recorded", 500, [7]),
    ("/away", 500, []), ("/unavailable", 503, []), ("/stream", 200, [4]), ("/stream-broken", None, []),
])  # fmt: skip
async def test_what_is_recorded(
    told: Told, framework: Callable[..., Call], path: str, status: int | None, recorded: list[int]
) -> None:
    call = framework(told)
    found, body = await call(path)
    assert status in (None, found), body
    assert told.recorded == recorded
    assert told.free() == 100 - sum(recorded)
    if path == "/stream":
        assert body == b"ab"


async def test_a_handler_without_a_response_gives_its_units_back(told: Told) -> None:
    """aiohttp and Django make a 500 of it."""
    settings: dict[str, Any] = {"access": told.access, "customer": lambda _: "cust_1", "estimate": 10}

    async def nothing(_: Any) -> Any:
        return None

    handler: Any = for_aiohttp.metered("tokens", **settings)(nothing)
    assert await handler(make_mocked_request("GET", "/")) is None
    assert (told.recorded, told.free()) == ([], 100)


async def test_a_refusal_by_the_handler_is_recorded_unless_it_is_an_exception(
    told: Told, framework: Callable[..., Call], request: pytest.FixtureRequest
) -> None:
    status, _ = await framework(told)("/refused")
    assert status == 409
    assert told.recorded == ([] if "aiohttp" in request.node.name else [10])


async def test_units_that_others_only_hold_may_become_free(told: Told, framework: Callable[..., Call]) -> None:
    first = framework(told)
    hold: Any = told.access.hold("cust_1", "tokens", estimate=95)
    await hold if hasattr(hold, "__await__") else hold.acquire()
    status, body = await first("/plain")
    problem = json.loads(body)
    assert (status, problem["code"]) == (402, "quota_exceeded")
    assert "a retry may succeed" in problem["detail"]
    assert "used up" not in problem["detail"]
    names = ("usage", "limit", "remaining", "held", "requested")
    assert [problem[name] for name in names] == [0, 100, 5, 95, 10]
    settling = hold.settle()
    if settling is not None:
        await settling
    status, body = await first("/plain")
    problem = json.loads(body)
    assert (status, [problem[name] for name in names]) == (402, [95, 100, 5, 0, 10])
    assert "not enough left" in problem["detail"]


async def test_who_does_not_pass(told: Told, framework: Callable[..., Call]) -> None:
    call = framework(told, estimate=101)
    status, body = await call("/plain")
    problem = json.loads(body)
    assert (status, problem["code"], problem["limit"], problem["remaining"], problem["requested"]) == (
        402, "quota_exceeded", 100, 100, 101,
    )  # fmt: skip
    status, body = await call("/plain", "no-plan")
    assert (status, json.loads(body)["code"]) == (403, "no_plan")
    status, body = await call("/plain", None)
    assert (status, json.loads(body)["code"]) == (401, "unauthenticated")
    told.error = NetworkError("refused", CALL)
    status, body = await call("/plain", "cust_2")
    assert (status, json.loads(body)["code"]) == (503, "billing_unavailable")
    told.error = NotFoundError("no customer", status=404, code="customer_not_found", call=CALL)
    status, body = await call("/plain", "cust_3")
    assert (status, json.loads(body)["code"]) == (403, "unknown_customer")
    assert told.recorded == []


async def test_the_quota_is_used_up(told: Told, framework: Callable[..., Call]) -> None:
    call = framework(told, estimate=50)
    assert [(await call("/plain"))[0] for _ in range(3)] == [200, 200, 402]
    _, body = await call("/plain")
    assert json.loads(body)["usage"] == 100
    assert told.recorded == [50, 50]


async def test_estimate_and_amount_may_be_functions(told: Told, framework: Callable[..., Call]) -> None:
    call = framework(told, estimate=lambda request: Decimal("20.5"), amount=lambda response: 5 if response else None)
    assert await call("/plain") in [(200, b"20.5"), (200, b'"20.5"')]
    await call("/used")
    await call("/stream")
    assert told.recorded == [5, 7, 4]


async def test_what_can_not_be_recorded_is_not_served(told: Told, framework: Callable[..., Call]) -> None:
    told.recording_fails = True
    call = framework(told)
    try:
        status, _ = await call("/plain")
    except OutboxError:
        status = 500
    assert status == 500
    assert told.free() == 100


@pytest.mark.parametrize("make", [starlette_app, fastapi_app])
async def test_whoever_leaves_a_stream_pays_for_what_was_set(told: Told, make: Callable[..., Any]) -> None:
    await asgi(make(told), "/stream", "cust_1", leave_after=1)
    assert told.recorded == [3]


async def test_a_stream_that_is_closed_before_its_end(told: Told) -> None:
    configure_django()
    with_sync_access(told)
    from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
    from django.test import RequestFactory

    @for_sync_django.metered("tokens", access=told.sync, customer=lambda _: "cust_1", estimate=10)
    def view(request: HttpRequest) -> HttpResponseBase:
        return StreamingHttpResponse(chunks("/stream", for_sync_django.get_hold(request)))

    def read_some() -> None:
        response: Any = view(RequestFactory().get("/"))
        content = iter(response)
        next(content)
        next(content)
        response.close()

    await asyncio.to_thread(read_some)
    assert told.recorded == [3]


async def test_guards_take_an_access(told: Told) -> None:
    def customer(request: Any) -> str:
        return "cust_1"

    async def handler(request: Request) -> Response:
        return PlainTextResponse("ok")

    guarded = {
        "/sso": for_starlette.require_feature("sso", customer=customer, access=told.access)(handler),
        "/other": for_starlette.require_feature("other", customer=customer, access=told.access)(handler),
        "/tokens": for_starlette.require_quota("tokens", customer=customer, access=told.access)(handler),
    }
    app = Starlette(routes=[Route(path, endpoint) for path, endpoint in guarded.items()])
    assert [(await asgi(app, path, None))[0] for path in guarded] == [200, 403, 200]
    hold = await told.access.hold("cust_1", "tokens", estimate=100)
    status, body = await asgi(app, "/tokens", None)
    assert (status, json.loads(body)["code"], json.loads(body)["limit"]) == (402, "quota_exceeded", 100)
    assert "a retry may succeed" in json.loads(body)["detail"]
    await hold.release()
    told.error = NetworkError("refused", CALL)
    told.access.invalidate()
    assert (await asgi(app, "/tokens", None))[0] == 200  # the last answer

    fastapi = FastAPI(exception_handlers=for_fastapi.exception_handlers)

    @fastapi.get(
        "/x", dependencies=[Depends(for_fastapi.require_feature("other", customer=lambda: "c", access=told.access))]
    )
    async def served() -> None: ...

    assert (await asgi(fastapi, "/x", None))[0] == 403


async def test_synchronous_guards_take_an_access(told: Told) -> None:
    with_sync_access(told)
    app = Flask(__name__)
    extension = for_flask.MontraFlask(app)
    for path, guard in {
        "/sso": extension.require_feature("sso", customer=lambda: "c", access=told.sync),
        "/other": extension.require_feature("other", customer=lambda: "c", access=told.sync),
        "/tokens": extension.require_quota("tokens", customer=lambda: "no-plan", access=told.sync),
    }.items():
        app.add_url_rule(path, endpoint=path, view_func=guard(lambda: "ok"))

    def statuses() -> list[int]:
        with app.test_client() as client:
            return [client.get(path).status_code for path in ("/sso", "/other", "/tokens")]

    assert await asyncio.to_thread(statuses) == [200, 403, 403]


def twice(number: int = 21) -> int:
    return 2 * number


async def test_fastapi_fills_in_parameters_and_runs_plain_functions(told: Told) -> None:
    app = FastAPI(exception_handlers=for_fastapi.exception_handlers)

    @app.get("/plain", responses=for_fastapi.guarded_responses)
    @for_fastapi.metered("tokens", access=told.access, customer=lambda: "cust_1", estimate=2)
    def plain(result: Annotated[int, Depends(twice)], extra: str = "x") -> dict[str, object]:
        return {"result": result, "extra": extra}

    assert await asgi(app, "/plain", None) == (200, b'{"result":42,"extra":"x"}')
    assert told.recorded == [2]
    parameters = app.openapi()["paths"]["/plain"]["get"]["parameters"]
    assert [one["name"] for one in parameters] == ["extra", "number"]


@pytest.mark.parametrize("wrong", [
    {"slug": ""}, {"estimate": 0}, {"estimate": "1"}, {"access": 5}, {"customer": None}, {"amount": 5},
])  # fmt: skip
def test_arguments_are_checked(wrong: dict[str, Any]) -> None:
    given: dict[str, Any] = {"slug": "m", "access": lambda: None, "customer": lambda _: "c", **wrong}
    slug = given.pop("slug")
    for metered in (for_starlette.metered, for_aiohttp.metered, for_django.metered, for_fastapi.metered,
                    for_sync_django.metered, for_flask.MontraFlask().metered):  # fmt: skip
        with pytest.raises((InvalidArgumentError, TypeError)):
            metered(slug, **given)


async def test_without_metered_there_is_no_hold() -> None:
    configure_django()
    from django.test import RequestFactory

    request: Any = RequestFactory().get("/")
    for get_hold in (for_django.get_hold, for_sync_django.get_hold):
        with pytest.raises(RuntimeError, match="metered"):
            get_hold(request)
    with pytest.raises(RuntimeError, match="metered"):
        for_starlette.get_hold(Request({"type": "http"}))
    with Flask(__name__).app_context(), pytest.raises(RuntimeError, match="metered"):
        for_flask.get_hold()
    with pytest.raises(TypeError, match="class"):
        for_starlette.metered("m", access=lambda: None, customer=lambda _: "c")(Starlette)  # type: ignore
    for wrap in (for_django, for_sync_django):
        with pytest.raises(TypeError):
            wrap.metered("m", access=lambda: None, customer=lambda _: "c")(Starlette)  # type: ignore
