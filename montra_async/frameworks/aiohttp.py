"""aiohttp.web: a client for the application's life, guards, webhooks.

app.cleanup_ctx.append(client_context(Montra))
app.router.add_post("/webhooks/montra", webhook_handler(receiver))
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable
from inspect import isawaitable
from typing import TypeAlias

from aiohttp import web

from ..client import Montra
from ..webhooks import WebhookReceiver
from .access import CONTENT_TYPE, Kind, check

CLIENT = web.AppKey("montra", Montra)
"""`request.app[CLIENT]` is the application's client."""

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
CustomerOf: TypeAlias = "Callable[[web.Request], str | Awaitable[str]]"
"""Finds the Montra customer id of a request: from your session, token or database."""


def client_context(
    make: Callable[[], Montra] = Montra,
) -> Callable[[web.Application], AsyncGenerator[None, None]]:
    """For `app.cleanup_ctx`: opens a client when the application starts, closes it when it stops."""

    async def context(app: web.Application) -> AsyncGenerator[None, None]:
        async with make() as client:
            app[CLIENT] = client
            yield

    return context


def require_feature(slug: str, *, customer: CustomerOf) -> Callable[[Handler], Handler]:
    """Let a handler answer only customers whose plan includes a feature; the others get 403 and a problem body."""
    return _guard("feature", slug, customer)


def require_quota(slug: str, *, customer: CustomerOf) -> Callable[[Handler], Handler]:
    """Let a handler answer only customers with something left of a meter; the others get 402 and a problem body."""
    return _guard("quota", slug, customer)


def _guard(kind: Kind, slug: str, customer: CustomerOf) -> Callable[[Handler], Handler]:
    def wrap(handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def guarded(request: web.Request) -> web.StreamResponse:
            found = customer(request)
            customer_id = await found if isawaitable(found) else found
            refusal = await check(request.app[CLIENT], kind, slug, customer_id)
            if refusal is not None:
                return web.Response(status=refusal.status, body=refusal.body(), content_type=CONTENT_TYPE)
            return await handler(request)

        return guarded

    return wrap


def webhook_handler(receiver: WebhookReceiver) -> Handler:
    """A handler that takes deliveries. Reads the raw body itself, no more of it than the receiver allows."""

    async def receive(request: web.Request) -> web.StreamResponse:
        body = b""
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > receiver.largest:
                break
        reply = await receiver.handle(body, request.headers)
        return web.Response(status=reply.status, body=reply.body, headers=dict(reply.headers))

    return receive
