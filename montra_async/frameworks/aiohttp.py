"""aiohttp.web: a client for the application's lifetime, guards, webhooks.

app.cleanup_ctx.append(client_context(Montra))
app.router.add_post("/webhooks/montra", webhook_handler(receiver))
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from inspect import currentframe
from types import FrameType
from typing import Any, TypeAlias, cast

from aiohttp import web

from ..access import Access, Hold
from ..client import Montra
from ..webhooks import WebhookReceiver
from .bypassed_guards import mark_guarded, reject_bypassed, reject_registered
from .guards import CONTENT_TYPE, Denial, Kind, authorize, validate_guard
from .metering import Amount, Ending, Estimate, Metering, begin, finish, has_left, validate_metering
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


def require_feature(slug: str, *, customer: FindCustomer, access: Access | None = None) -> Callable[[Handler], Handler]:
    """Let a handler respond only to customers whose plan includes a feature; others get 403 and a problem body.

    Args:
        slug: of the feature.
        customer: returns the Montra customer id of a request, or an awaitable of it: from your session, token or
            database. None and exceptions: 401, without asking the service; `web.HTTPException` is raised as it is.
        access: an `Access` that decides, mostly from memory, instead of a question to the service for each request.
            Default: None, the service is asked.

    Returns:
        A decorator for handlers.

    Raises:
        InvalidArgumentError: `slug` is blank.
        TypeError: `customer` is not callable.
    """
    return _guard("feature", slug, customer, access)


def require_quota(slug: str, *, customer: FindCustomer, access: Access | None = None) -> Callable[[Handler], Handler]:
    """Let a handler respond only to customers with quota left of a meter; others get 402 and a problem body.

    Args:
        slug: of the meter.
        customer: returns the Montra customer id of a request, or an awaitable of it: from your session, token or
            database. None and exceptions: 401, without asking the service; `web.HTTPException` is raised as it is.
        access: an `Access` that decides, mostly from memory, instead of a question to the service for each request.
            Default: None, the service is asked.

    Returns:
        A decorator for handlers.

    Raises:
        InvalidArgumentError: `slug` is blank.
        TypeError: `customer` is not callable.
    """
    return _guard("quota", slug, customer, access)


def _guard(kind: Kind, slug: str, customer: FindCustomer, access: Access | None) -> Callable[[Handler], Handler]:
    validate_guard(slug, customer)

    def wrap(handler: Handler) -> Handler:
        _mark(handler, currentframe())

        @functools.wraps(handler)
        async def guarded(request: web.Request) -> web.StreamResponse:
            denial = await authorize(
                kind,
                slug,
                lambda: access or request.config_dict[CLIENT],
                lambda: customer(request),
                (web.HTTPException,),
            )
            if denial is not None:
                return _response(denial)
            return await handler(request)

        return guarded

    return wrap


def _response(denial: Denial) -> web.Response:
    return web.Response(status=denial.status, body=denial.body(), headers=denial.headers(), content_type=CONTENT_TYPE)


def metered(
    slug: str,
    *,
    access: Access | Callable[[], Access],
    customer: FindCustomer,
    estimate: Estimate = 1,
    amount: Amount = None,
) -> Callable[[Handler], Handler]:
    """Hold units of a meter before a handler runs, and record what it used at its end.

    Customers without enough units get 402 and a problem body; those without a plan 403. The handler may set
    `get_hold(request).amount`. An exception or a 5xx response releases the units and records nothing. A stream is
    recorded when it ends; if the client closes it earlier, what was set as `amount` until then is.

    Args:
        slug: of the meter.
        access: an `Access` with a reporter, or a function that returns it.
        customer: returns the Montra customer id of a request, or an awaitable of it. None and exceptions: 401;
            `web.HTTPException` is raised as it is.
        estimate: number of units to hold, more than 0, or a function that takes the request and returns it, or an
            awaitable of it. Default: 1.
        amount: takes the response and returns the number of units used, unless the amount was set; None from it means
            the estimate. Default: the estimate.

    Returns:
        A decorator for handlers.

    Raises:
        InvalidArgumentError: `slug` is blank, or `estimate` is not more than 0.
        TypeError: an argument is not callable.
    """
    metering = validate_metering(slug, access, customer, estimate, amount)

    def wrap(handler: Handler) -> Handler:
        _mark(handler, currentframe())

        @functools.wraps(handler)
        async def guarded(request: web.Request) -> web.StreamResponse:
            hold = await begin(metering, request, lambda: customer(request), (web.HTTPException,))
            if isinstance(hold, Denial):
                return _response(hold)
            request[_HOLD] = hold
            return await _respond(metering, hold, handler, request)

        return guarded

    return wrap


_LATEST = 5
"""Routes that a decorator below a guard may have registered."""
_HOLD: Any = getattr(web, "RequestKey", web.AppKey)("montra_hold", object)  # newer versions warn of other keys


def get_hold(request: web.Request) -> Hold:
    """Return the hold of a request whose handler is `metered`.

    Args:
        request: the current request.

    Raises:
        RuntimeError: the handler is not `metered`.
    """
    if _HOLD not in request:
        raise RuntimeError("no hold: the handler needs @metered(...) below the decorator of its route")
    return cast("Hold", request[_HOLD])


async def _respond(metering: Metering, hold: Hold, handler: Handler, request: web.Request) -> web.StreamResponse:
    hold.renews = True
    try:
        response = await handler(request)
    except web.HTTPException as raised:
        # It is a response; of errors nothing is recorded, as of other exceptions.
        await finish(metering, hold, Ending(raised.status if raised.status < 400 else 500, response=raised))
        raise
    except BaseException as error:
        await finish(metering, hold, Ending(500, has_left(error) or _is_cut_off(request, error)))
        raise
    # Of what is not a response, aiohttp makes a 500.
    await finish(metering, hold, Ending(getattr(response, "status", 500), response=response))
    return response


def _is_cut_off(request: web.Request, error: BaseException) -> bool:
    """Whether writing to the client has failed. What the handler itself connects to raises such errors as well."""
    transport = request.transport
    return isinstance(error, ConnectionError) and (transport is None or transport.is_closing())


def _latest_handlers(value: Any) -> Iterator[object]:
    if issubclass(type(value), web.RouteTableDef):
        for definition in list(value)[-_LATEST:]:
            yield getattr(definition, "handler", None)


def _mark(handler: Any, frame: FrameType | None) -> None:
    mark_guarded(handler)
    reject_registered(handler, frame, _latest_handlers)


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
