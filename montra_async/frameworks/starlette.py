"""Starlette: lifespan, guards, webhooks. `fastapi` is built on this module."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from inspect import isclass
from typing import Any, TypeAlias, cast

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route

from ..client import Montra
from ..webhooks import WebhookReceiver
from .bypassed_guards import mark_guarded, reject_bypassed
from .guards import CONTENT_TYPE, Kind, authorize, validate_guard
from .request_body import read_chunks

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]
"""An endpoint of Starlette."""

FindCustomer: TypeAlias = Callable[[Request], str | Awaitable[str | None] | None]
"""Returns the Montra customer id of a request: from your session, token or database. None: 401, without asking the
service. An exception is a 401, too, and logged; `HTTPException` is raised as it is.
"""

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


def require_feature(slug: str, *, customer: FindCustomer) -> Callable[[Endpoint], Endpoint]:
    """Let an endpoint respond only to customers whose plan includes a feature; others get 403 and a problem body.

    Args:
        slug: of the feature.
        customer: returns the Montra customer id of a request, or an awaitable of it: from your session, token or
            database. None and exceptions: 401, without asking the service; `HTTPException` is raised as it is.

    Returns:
        A decorator for endpoints.

    Raises:
        InvalidArgumentError: `slug` is blank.
        TypeError: `customer` is not callable.
    """
    return _guard("feature", slug, customer)


def require_quota(slug: str, *, customer: FindCustomer) -> Callable[[Endpoint], Endpoint]:
    """Let an endpoint respond only to customers with quota left of a meter; others get 402 and a problem body.

    Args:
        slug: of the meter.
        customer: returns the Montra customer id of a request, or an awaitable of it: from your session, token or
            database. None and exceptions: 401, without asking the service; `HTTPException` is raised as it is.

    Returns:
        A decorator for endpoints.

    Raises:
        InvalidArgumentError: `slug` is blank.
        TypeError: `customer` is not callable.
    """
    return _guard("quota", slug, customer)


def _guard(kind: Kind, slug: str, customer: FindCustomer) -> Callable[[Endpoint], Endpoint]:
    validate_guard(slug, customer)

    def wrap(endpoint: Endpoint) -> Endpoint:
        if isclass(endpoint):
            raise TypeError(f"{endpoint.__qualname__}: a guard takes a function, not a class")
        mark_guarded(endpoint)

        @functools.wraps(endpoint)
        async def guarded(request: Request) -> Response:
            denial = await authorize(
                kind, slug, lambda: get_client(request), lambda: customer(request), (HTTPException,)
            )
            if denial is not None:
                return Response(denial.body(), denial.status, denial.headers(), CONTENT_TYPE)
            return await endpoint(request)

        return guarded

    return wrap


def _endpoints(routes: Iterable[Any]) -> Iterator[object]:
    for route in routes:
        yield getattr(route, "endpoint", None)
        yield from _endpoints(getattr(route, "routes", None) or ())


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
    "lifespan",
    "require_feature",
    "require_quota",
    "webhook_endpoint",
    "webhook_route",
]
