"""aiohttp.web: a client for the application's life, guards, webhooks.

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
from .access import CONTENT_TYPE, Kind, admit, checked_guard
from .deliveries import read_chunks
from .placement import refuse_bypassed, remember

CLIENT = web.AppKey("montra", Montra)
"""`request.app[CLIENT]` is the application's client."""

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
CustomerOf: TypeAlias = "Callable[[web.Request], str | Awaitable[str | None] | None]"
"""Finds the Montra customer id of a request: from your session, token or database. None: 401, and nobody is asked.

What it raises is a 401, too, and logged; `web.HTTPException` is answered as it is.
"""


def client_context(
    make: Callable[[], Montra] = Montra,
) -> Callable[[web.Application], AsyncGenerator[None, None]]:
    """For `app.cleanup_ctx`: opens a client when the application starts, closes it when it stops.

    An application does not start (`RuntimeError`) with a route whose guard stands above `@routes.get`: it is unguarded.
    """

    async def context(app: web.Application) -> AsyncGenerator[None, None]:
        refuse_bypassed(route.handler for route in app.router.routes())
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
    checked_guard(slug, customer)

    def wrap(handler: Handler) -> Handler:
        remember(handler)

        @functools.wraps(handler)
        async def guarded(request: web.Request) -> web.StreamResponse:
            refusal = await admit(
                kind, slug, lambda: request.config_dict[CLIENT], lambda: customer(request), (web.HTTPException,)
            )
            if refusal is not None:
                return web.Response(
                    status=refusal.status, body=refusal.body(), headers=refusal.headers(), content_type=CONTENT_TYPE
                )
            return await handler(request)

        return guarded

    return wrap


def webhook_handler(receiver: WebhookReceiver) -> Handler:
    """A handler that takes deliveries. Reads the raw body itself, no more of it than the receiver allows.

    aiohttp decompresses bodies with a Content-Encoding: what counts, and what is signed, is what comes out.
    """

    async def receive(request: web.Request) -> web.StreamResponse:
        length = request.headers.get("Content-Length")
        body = await read_chunks(request.content.iter_any(), length, receiver)
        reply = await receiver.handle(body, request.headers) if isinstance(body, bytes) else body
        response = web.Response(status=reply.status, body=reply.body, headers=dict(reply.headers))
        if not isinstance(body, bytes):
            response.force_close()  # nobody knows where a next request would begin
        if request.content.exception() is not None:
            request.content.feed_eof()  # else aiohttp reads the rest to be polite, fails, too, and logs it as a crash
        return response

    return receive
