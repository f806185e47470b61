"""aiohttp.web: a client for the application's lifetime, guards, webhooks.

app.cleanup_ctx.append(client_context(Montra))
app.router.add_post("/webhooks/montra", webhook_handler(receiver))
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeAlias

from aiohttp import web

from ..client import Montra
from ..webhooks import WebhookReceiver
from .bypassed_guards import mark_guarded, reject_bypassed
from .guards import CONTENT_TYPE, Kind, authorize, validate_guard
from .request_body import read_chunks

CLIENT = web.AppKey("montra", Montra)
"""`request.app[CLIENT]` is the application's client."""

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
"""A request handler of aiohttp."""

FindCustomer: TypeAlias = Callable[[web.Request], str | Awaitable[str | None] | None]
"""Returns the Montra customer id of a request: from your session, token or database. None: 401, without asking the
service. An exception is a 401, too, and logged; `web.HTTPException` is raised as it is.
"""


def client_context(
    client_factory: Callable[[], Montra] = Montra,
) -> Callable[[web.Application], AsyncGenerator[None, None]]:
    """Return a context for `app.cleanup_ctx`: it opens a client when the application starts and closes it at the end.

    The application does not start (`RuntimeError`) when a guard stands above `@routes.get`, so that its route is
    unguarded.

    Args:
        client_factory: creates the client. Default: `Montra`, which reads its settings from the environment.
    """

    async def context(app: web.Application) -> AsyncGenerator[None, None]:
        reject_bypassed(route.handler for route in app.router.routes())
        async with client_factory() as client:
            app[CLIENT] = client
            yield

    return context


def require_feature(slug: str, *, customer: FindCustomer) -> Callable[[Handler], Handler]:
    """Let a handler respond only to customers whose plan includes a feature; others get 403 and a problem body.

    Args:
        slug: of the feature.
        customer: returns the Montra customer id of a request, or an awaitable of it: from your session, token or
            database. None and exceptions: 401, without asking the service; `web.HTTPException` is raised as it is.

    Returns:
        A decorator for handlers.

    Raises:
        InvalidArgumentError: `slug` is blank.
        TypeError: `customer` is not callable.
    """
    return _guard("feature", slug, customer)


def require_quota(slug: str, *, customer: FindCustomer) -> Callable[[Handler], Handler]:
    """Let a handler respond only to customers with quota left of a meter; others get 402 and a problem body.

    Args:
        slug: of the meter.
        customer: returns the Montra customer id of a request, or an awaitable of it: from your session, token or
            database. None and exceptions: 401, without asking the service; `web.HTTPException` is raised as it is.

    Returns:
        A decorator for handlers.

    Raises:
        InvalidArgumentError: `slug` is blank.
        TypeError: `customer` is not callable.
    """
    return _guard("quota", slug, customer)


def _guard(kind: Kind, slug: str, customer: FindCustomer) -> Callable[[Handler], Handler]:
    validate_guard(slug, customer)

    def wrap(handler: Handler) -> Handler:
        mark_guarded(handler)

        @functools.wraps(handler)
        async def guarded(request: web.Request) -> web.StreamResponse:
            denial = await authorize(
                kind, slug, lambda: request.config_dict[CLIENT], lambda: customer(request), (web.HTTPException,)
            )
            if denial is not None:
                return web.Response(
                    status=denial.status, body=denial.body(), headers=denial.headers(), content_type=CONTENT_TYPE
                )
            return await handler(request)

        return guarded

    return wrap


def webhook_handler(receiver: WebhookReceiver) -> Handler:
    """Return a handler for deliveries of webhooks. It reads the raw body, no more of it than the receiver allows.

    aiohttp decompresses bodies with a Content-Encoding: the limit and the signature apply to the decompressed body.

    Args:
        receiver: handles the deliveries.
    """

    async def receive(request: web.Request) -> web.StreamResponse:
        length = request.headers.get("Content-Length")
        body = await read_chunks(request.content.iter_any(), length, receiver)
        reply = await receiver.handle(body, request.headers) if isinstance(body, bytes) else body
        response = web.Response(status=reply.status, body=reply.body, headers=dict(reply.headers))
        if not isinstance(body, bytes):
            response.force_close()  # the body was not read to its end: the connection can't be reused
        if request.content.exception() is not None:
            request.content.feed_eof()  # else aiohttp reads the rest, fails as well, and logs it as a crash
        return response

    return receive
