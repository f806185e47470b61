"""Starlette: lifespan, guards, webhooks. FastAPI has its own file on top of this one."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from inspect import isawaitable
from typing import Any, TypeAlias, cast

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route

from ..client import Montra
from ..webhooks import WebhookReceiver
from .access import CONTENT_TYPE, Kind, check

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]
CustomerOf: TypeAlias = "Callable[[Request], str | Awaitable[str]]"
"""Finds the Montra customer id of a request: from your session, token or database."""

Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Any]]


def lifespan(make: Callable[[], Montra] = Montra, *, also: Lifespan | None = None) -> Lifespan:
    """A lifespan that opens a client when the application starts and closes it when it stops.

        app = Starlette(lifespan=lifespan(Montra), ...)

    Args:
        make: makes the client; `Montra` itself reads the environment.
        also: your own lifespan, inside of which nothing changes: what it yields is the application's state.
    """

    @asynccontextmanager
    async def manage(app: Any) -> AsyncGenerator[Mapping[str, Any] | None, None]:
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
    def wrap(endpoint: Endpoint) -> Endpoint:
        @functools.wraps(endpoint)
        async def guarded(request: Request) -> Response:
            found = customer(request)
            customer_id = await found if isawaitable(found) else found
            refusal = await check(get_client(request), kind, slug, customer_id)
            if refusal is not None:
                return Response(refusal.body(), refusal.status, media_type=CONTENT_TYPE)
            return await endpoint(request)

        return guarded

    return wrap


def webhook_endpoint(receiver: WebhookReceiver) -> Endpoint:
    """An endpoint that takes deliveries. Reads the raw body itself, no more of it than the receiver allows."""

    async def receive(request: Request) -> Response:
        body = await _read(request, receiver.largest)
        reply = receiver.too_large() if body is None else await receiver.handle(body, request.headers)
        return Response(reply.body, reply.status, dict(reply.headers))

    return receive


def webhook_route(path: str, receiver: WebhookReceiver) -> Route:
    """`Starlette(routes=[webhook_route("/webhooks/montra", receiver), ...])`."""
    return Route(path, webhook_endpoint(receiver), methods=["POST"])


async def _read(request: Request, most: int) -> bytes | None:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            return None
    return body


__all__ = [
    "get_client",
    "lifespan",
    "require_feature",
    "require_quota",
    "webhook_endpoint",
    "webhook_route",
]
