"""Starlette: lifespan, guards, webhooks. `fastapi` is built on this module."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from inspect import currentframe, isasyncgenfunction, isclass, isgeneratorfunction
from types import FrameType
from typing import Any, TypeAlias, TypeVar, cast, get_type_hints

from ..core.hints import missing_extra

try:
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import HTTPConnection, Request
    from starlette.responses import Response
    from starlette.routing import Route, Router
    from starlette.types import Message, Receive, Scope, Send
    from starlette.websockets import WebSocket, WebSocketState
except ImportError as _error:
    raise missing_extra("montra_async.frameworks.starlette", "starlette", _error) from None

from ..access import Access, Hold
from ..client import Montra
from ..webhooks import WebhookReceiver
from .bypassed_guards import mark_guarded, reject_bypassed, reject_registered
from .guards import CONTENT_TYPE, Denial, Kind, authorize, validate_guard
from .metering import Amount, Ending, Estimate, Metering, begin, finish, has_left, validate_metering
from .request_body import read_chunks

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]
"""An endpoint of Starlette."""

AnyEndpoint = TypeVar(
    "AnyEndpoint", bound=Callable[[Request], Awaitable[Response]] | Callable[[WebSocket], Awaitable[None]]
)
"""An endpoint of a route or of a WebSocket."""

FindCustomer: TypeAlias = Callable[[Request], str | Awaitable[str | None] | None]
"""Returns the Montra customer id of a request: from your session, token or database. None: 401, without asking the
service. An exception is a 401, too, and logged; `HTTPException` is raised as it is.
"""

FindAnyCustomer: TypeAlias = FindCustomer | Callable[[WebSocket], str | Awaitable[str | None] | None]
"""As `FindCustomer`, or the same of a WebSocket."""

Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Any]]
"""A lifespan of Starlette: takes the application."""


def lifespan(client_factory: Callable[[], Montra] = Montra, *, inner: Lifespan | None = None) -> Lifespan:
    """Return a lifespan that opens a client when the application starts and closes it when the application stops.

        app = Starlette(lifespan=lifespan(Montra), ...)

    The application does not start (`RuntimeError`) when a guard stands above the decorator that registers its route,
    so that the route is unguarded.

    Args:
        client_factory: creates the client. Default: `Montra`, which reads its settings from the environment.
        inner: your own lifespan, which runs inside this one; what it yields is the application's state. Default: none.
    """

    @asynccontextmanager
    async def manage(app: Any) -> AsyncGenerator[Mapping[str, Any] | None, None]:
        reject_bypassed(_endpoints(app.routes))
        async with AsyncExitStack() as stack:
            app.state.montra = await stack.enter_async_context(client_factory())
            yield None if inner is None else await stack.enter_async_context(inner(app))

    return manage


def get_client(request: HTTPConnection) -> Montra:
    """Return the application's client.

    Args:
        request: the current request or WebSocket.

    Raises:
        RuntimeError: the application was not given `lifespan(...)`.
    """
    client = getattr(request.app.state, "montra", None)
    if client is None:
        raise RuntimeError("no Montra client: give the application lifespan=lifespan() of montra_async.frameworks")
    return cast("Montra", client)


def require_feature(
    slug: str, *, customer: FindAnyCustomer, access: Access | None = None
) -> Callable[[AnyEndpoint], AnyEndpoint]:
    """Let an endpoint respond only to customers whose plan includes a feature; others get 403 and a problem body.

    Args:
        slug: of the feature.
        customer: returns the Montra customer id of a request or WebSocket, or an awaitable of it: from your session,
            token or database. None and exceptions: 401, without asking the service; `HTTPException` is raised as it is.
        access: an `Access` that decides, mostly from memory, instead of a question to the service for each request.
            Default: None, the service is asked.

    Returns:
        A decorator for endpoints.

    Raises:
        InvalidArgumentError: `slug` is blank.
        TypeError: `customer` is not callable.
    """
    return _guard("feature", slug, customer, access)


def require_quota(
    slug: str, *, customer: FindAnyCustomer, access: Access | None = None
) -> Callable[[AnyEndpoint], AnyEndpoint]:
    """Let an endpoint respond only to customers with quota left of a meter; others get 402 and a problem body.

    Args:
        slug: of the meter.
        customer: returns the Montra customer id of a request or WebSocket, or an awaitable of it: from your session,
            token or database. None and exceptions: 401, without asking the service; `HTTPException` is raised as it is.
        access: an `Access` that decides, mostly from memory, instead of a question to the service for each request.
            Default: None, the service is asked.

    Returns:
        A decorator for endpoints.

    Raises:
        InvalidArgumentError: `slug` is blank.
        TypeError: `customer` is not callable.
    """
    return _guard("quota", slug, customer, access)


def _guard(
    kind: Kind, slug: str, customer: FindAnyCustomer, access: Access | None
) -> Callable[[AnyEndpoint], AnyEndpoint]:
    validate_guard(slug, customer)

    def wrap(endpoint: AnyEndpoint) -> AnyEndpoint:
        mark_endpoint(endpoint, currentframe())

        @functools.wraps(cast("Callable[..., Any]", endpoint))
        async def guarded(request: Any) -> Any:
            denial = await authorize(
                kind, slug, lambda: access or get_client(request), lambda: customer(request), (HTTPException,)
            )
            return await (endpoint(request) if denial is None else deny(request, denial))

        return cast("AnyEndpoint", guarded)

    return wrap


async def deny(connection: HTTPConnection, denial: Denial) -> Response | None:
    """Return the response of a denial. To a WebSocket it is sent here, and None returned.

    Args:
        connection: the request or WebSocket.
        denial: what is responded. A WebSocket that was accepted already, or whose server can't respond to it (without
            the ASGI extension `websocket.http.response`), is closed with 1008.
    """
    response = Response(denial.body(), denial.status, denial.headers(), CONTENT_TYPE)
    if not isinstance(connection, WebSocket):
        return response
    is_new = connection.application_state is WebSocketState.CONNECTING
    if is_new and "websocket.http.response" in connection.scope.get("extensions", {}):
        await connection.send_denial_response(response)
    elif connection.application_state is not WebSocketState.DISCONNECTED:
        await connection.close(_POLICY_VIOLATION)
    return None


def metered(
    slug: str,
    *,
    access: Access | Callable[[], Access],
    customer: FindCustomer,
    estimate: Estimate = 1,
    amount: Amount = None,
) -> Callable[[Endpoint], Endpoint]:
    """Hold units of a meter before an endpoint runs, and record what it used at its end.

    Customers without enough units get 402 and a problem body; those without a plan 403. The endpoint may set
    `get_hold(request).amount`. An exception or a 5xx response releases the units and records nothing. A stream is
    recorded when it ends; if the client closes it earlier, what was set as `amount` until then is.

    Args:
        slug: of the meter.
        access: an `Access` with a reporter, or a function that returns it.
        customer: returns the Montra customer id of a request, or an awaitable of it. None and exceptions: 401;
            `HTTPException` is raised as it is.
        estimate: number of units to hold, more than 0, or a function that takes the request and returns it, or an
            awaitable of it. Default: 1.
        amount: takes the response and returns the number of units used, unless the amount was set; None from it means
            the estimate. Default: the estimate.

    Returns:
        A decorator for endpoints.

    Raises:
        InvalidArgumentError: `slug` is blank, or `estimate` is not more than 0.
        TypeError: an argument is not callable.
    """
    metering = validate_metering(slug, access, customer, estimate, amount)

    def wrap(endpoint: Endpoint) -> Endpoint:
        mark_endpoint(endpoint, currentframe())
        reject_unmeterable(endpoint)

        @functools.wraps(endpoint)
        async def guarded(request: Request) -> Response:
            reject_websocket(request)
            hold = await begin(metering, request, lambda: customer(request), (HTTPException,))
            if isinstance(hold, Denial):
                return cast("Response", await deny(request, hold))
            request.state.montra_hold = hold
            response: Response = await respond(metering, hold, lambda: endpoint(request), otherwise=500)
            return response

        return guarded

    return wrap


def get_hold(request: HTTPConnection) -> Hold:
    """Return the hold of a request whose endpoint is `metered`.

    Args:
        request: the current request.

    Raises:
        RuntimeError: the endpoint is not `metered`.
    """
    hold = getattr(request.state, "montra_hold", None)
    if hold is None:
        raise RuntimeError("no hold: the endpoint needs @metered(...) below the decorator of its route")
    return cast("Hold", hold)


async def respond(metering: Metering, hold: Hold, call: Callable[[], Awaitable[Any]], *, otherwise: int = 200) -> Any:
    """Call an endpoint, and settle its hold: before the response is sent, or at the end of a stream.

    Args:
        metering: the guard's arguments.
        hold: the request's hold.
        call: calls the endpoint.
        otherwise: the status of what is not a response. Default: 200, for FastAPI makes one of it.
    """
    hold.renews = True
    try:
        response: Any = await call()
    except BaseException as error:
        await finish(metering, hold, Ending(500, has_left(error)))
        raise
    if hasattr(response, "body_iterator"):
        hold.renews = False  # it is renewed by the stream, which may never begin
        return _MeteredResponse(response, metering, hold)
    await finish(metering, hold, Ending(getattr(response, "status_code", otherwise), response=response))
    return response


_POLICY_VIOLATION = 1008
_FOR_REQUESTS = "metered is for requests; in a WebSocket, use `async with access.hold(...)` for each message"
_LATEST = 5
"""Routes that a decorator below a guard may have registered."""
_OWN = ("_response", "_metering", "_hold", "_ended", "_left", "_watch")


class _MeteredResponse(Response):
    """A streaming response that settles a hold when it ends. For everything else, it is the response itself."""

    def __init__(self, response: Any, metering: Metering, hold: Hold) -> None:
        self._response = response
        self._metering = metering
        self._hold = hold
        self._ended = False
        self._left = False

    def __getattribute__(self, name: str) -> Any:
        own = name in _OWN or name.startswith("__")
        return object.__getattribute__(self, name) if own else getattr(self._response, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN:
            object.__setattr__(self, name, value)
        else:
            setattr(self._response, name, value)

    def _watch(self, send: Send) -> Send:
        async def watched(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                # First recorded, then sent: no answer is complete whose usage a crash could lose.
                await finish(self._metering, self._hold, Ending(self._response.status_code, response=self._response))
                self._ended = True
            try:
                await send(message)
            except Exception:
                self._left = True
                raise

        return watched

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = self._response
        self._hold.renews = True
        try:
            await response(scope, receive, self._watch(send))
        except BaseException as error:
            await finish(self._metering, self._hold, Ending(500, self._left or has_left(error)))
            raise
        await finish(self._metering, self._hold, Ending(response.status_code, not self._ended, response))


def _endpoints(routes: Iterable[Any]) -> Iterator[object]:
    for route in routes:
        yield getattr(route, "endpoint", None)
        included = getattr(route, "original_router", route)  # of FastAPI's `include_router`
        yield from _endpoints(getattr(included, "routes", None) or ())


def _latest_endpoints(value: Any) -> Iterator[object]:
    if issubclass(type(value), (Starlette, Router)):
        for route in value.routes[-_LATEST:]:
            yield getattr(route, "endpoint", None)


def mark_endpoint(endpoint: Any, frame: FrameType | None) -> None:
    """Record that a guard wraps an endpoint, and check that it can.

    Args:
        endpoint: the endpoint.
        frame: of the guard that is applied.

    Raises:
        RuntimeError: the endpoint is served without the guard.
        TypeError: the endpoint is a class.
    """
    if isclass(endpoint):
        raise TypeError(f"{endpoint.__qualname__}: a guard takes a function, not a class")
    mark_guarded(endpoint)
    reject_registered(endpoint, frame, _latest_endpoints)


def reject_unmeterable(endpoint: Any) -> None:
    """Check when `metered` is applied that an endpoint takes a request and returns its response.

    Args:
        endpoint: the endpoint.

    Raises:
        TypeError: it is a generator, or takes a WebSocket.
    """
    name = getattr(endpoint, "__qualname__", endpoint)
    if isgeneratorfunction(endpoint) or isasyncgenfunction(endpoint):
        raise TypeError(f"{name}: metered takes an endpoint that returns StreamingResponse(...), not a generator")
    try:
        hints = get_type_hints(endpoint)
    except Exception:  # names that are not imported at run time
        return
    if any(isinstance(hint, type) and WebSocket in getattr(hint, "__mro__", ()) for hint in hints.values()):
        raise TypeError(f"{name}: {_FOR_REQUESTS}")


def reject_websocket(connection: HTTPConnection) -> None:
    """Check that what is metered is a request, where an endpoint has no annotation that says so.

    Args:
        connection: the request or WebSocket.

    Raises:
        TypeError: it is a WebSocket, where one hold for all of its messages would be neither enough nor kept.
    """
    if isinstance(connection, WebSocket):
        raise TypeError(_FOR_REQUESTS)


def webhook_endpoint(receiver: WebhookReceiver) -> Endpoint:
    """Return an endpoint for deliveries of webhooks. It reads the raw body, no more of it than the receiver allows.

    Args:
        receiver: handles the deliveries.
    """

    async def receive(request: Request) -> Response:
        body = await read_chunks(request.stream(), request.headers.get("Content-Length"), receiver)
        reply = await receiver.handle(body, request.headers) if isinstance(body, bytes) else body
        return Response(reply.body, reply.status, dict(reply.headers))

    return receive


def webhook_route(path: str, receiver: WebhookReceiver) -> Route:
    """Return a route for deliveries of webhooks.

        app = Starlette(routes=[webhook_route("/webhooks/montra", receiver), ...])

    Args:
        path: the route's path.
        receiver: handles the deliveries.
    """
    return Route(path, webhook_endpoint(receiver), methods=["POST"])


__all__ = [
    "get_client",
    "get_hold",
    "lifespan",
    "metered",
    "require_feature",
    "require_quota",
    "webhook_endpoint",
    "webhook_route",
]
