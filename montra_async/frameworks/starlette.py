"""Starlette: lifespan, guards, webhooks. FastAPI has its own file on top of this one."""

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
from .access import CONTENT_TYPE, Kind, admit, checked_guard
from .deliveries import read_chunks
from .placement import refuse_bypassed, remember

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]
CustomerOf: TypeAlias = "Callable[[Request], str | Awaitable[str | None] | None]"
"""Finds the Montra customer id of a request: from your session, token or database. None: 401, and nobody is asked.

What it raises is a 401, too, and logged; `HTTPException` is answered as it is.
"""

Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Any]]


def lifespan(make: Callable[[], Montra] = Montra, *, also: Lifespan | None = None) -> Lifespan:
    """A lifespan that opens a client when the application starts and closes it when it stops.

        app = Starlette(lifespan=lifespan(Montra), ...)

    Args:
        make: makes the client; `Montra` itself reads the environment.
        also: your own lifespan, inside of which nothing changes: what it yields is the application's state.

    The application does not start (`RuntimeError`) with a route whose guard stands above the decorator that registers
    it: such a route is unguarded.
    """

    @asynccontextmanager
    async def manage(app: Any) -> AsyncGenerator[Mapping[str, Any] | None, None]:
        refuse_bypassed(_endpoints(app.routes))
        async with AsyncExitStack() as stack:
            app.state.montra = await stack.enter_async_context(make())
            yield None if also is None else await stack.enter_async_context(also(app))

    return manage


def get_client(request: HTTPConnection) -> Montra:
    """The application's client.

    Raises:
        RuntimeError: the application has no `lifespan(...)` of ours.
    """
    client = getattr(request.app.state, "montra", None)
    if client is None:
        raise RuntimeError("no Montra client: give the application lifespan=lifespan() of montra_async.frameworks")
    return cast("Montra", client)


def require_feature(slug: str, *, customer: CustomerOf) -> Callable[[Endpoint], Endpoint]:
    """Let an endpoint answer only customers whose plan includes a feature; the others get 403 and a problem body."""
    return _guard("feature", slug, customer)


def require_quota(slug: str, *, customer: CustomerOf) -> Callable[[Endpoint], Endpoint]:
    """Let an endpoint answer only customers with something left of a meter; the others get 402 and a problem body."""
    return _guard("quota", slug, customer)


def _guard(kind: Kind, slug: str, customer: CustomerOf) -> Callable[[Endpoint], Endpoint]:
    checked_guard(slug, customer)

    def wrap(endpoint: Endpoint) -> Endpoint:
        if isclass(endpoint):
            raise TypeError(f"{endpoint.__qualname__}: a guard takes a function, not a class")
        remember(endpoint)

        @functools.wraps(endpoint)
        async def guarded(request: Request) -> Response:
            refusal = await admit(kind, slug, lambda: get_client(request), lambda: customer(request), (HTTPException,))
            if refusal is not None:
                return Response(refusal.body(), refusal.status, refusal.headers(), CONTENT_TYPE)
            return await endpoint(request)

        return guarded

    return wrap


def _endpoints(routes: Iterable[Any]) -> Iterator[object]:
    for route in routes:
        yield getattr(route, "endpoint", None)
        yield from _endpoints(getattr(route, "routes", None) or ())


def webhook_endpoint(receiver: WebhookReceiver) -> Endpoint:
    """An endpoint that takes deliveries. Reads the raw body itself, no more of it than the receiver allows."""

    async def receive(request: Request) -> Response:
        body = await read_chunks(request.stream(), request.headers.get("Content-Length"), receiver)
        reply = await receiver.handle(body, request.headers) if isinstance(body, bytes) else body
        return Response(reply.body, reply.status, dict(reply.headers))

    return receive


def webhook_route(path: str, receiver: WebhookReceiver) -> Route:
    """`Starlette(routes=[webhook_route("/webhooks/montra", receiver), ...])`."""
    return Route(path, webhook_endpoint(receiver), methods=["POST"])


__all__ = [
    "get_client",
    "lifespan",
    "require_feature",
    "require_quota",
    "webhook_endpoint",
    "webhook_route",
]
