"""Django's asynchronous views: a client from the settings, guards, webhooks. Synchronous: `montra_sync.frameworks`.

MONTRA = {"api_key": "sk_...", "base_url": "https://...", "timeout": 20}   # settings.py; or the environment

urlpatterns = [path("webhooks/montra", webhook_view(receiver)), ...]
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from inspect import isawaitable
from typing import Any, Concatenate, ParamSpec, TypeAlias

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed
from django.views.decorators.csrf import csrf_exempt

from ..client import Montra
from ..webhooks import WebhookReceiver
from .access import CONTENT_TYPE, Kind, check

P = ParamSpec("P")

View: TypeAlias = "Callable[Concatenate[HttpRequest, P], Coroutine[Any, Any, HttpResponseBase]]"
CustomerOf: TypeAlias = "Callable[[HttpRequest], str | Awaitable[str]]"
"""Finds the Montra customer id of a request: from your session, user or database."""


@functools.cache
def get_client() -> Montra:
    """The project's client, made from `settings.MONTRA` when it is first wanted. It closes with its event loop."""
    return Montra(**client_settings())


def client_settings() -> dict[str, Any]:
    """`settings.MONTRA`: arguments of the client, all of them optional."""
    return dict(getattr(settings, "MONTRA", {}))


def require_feature(slug: str, *, customer: CustomerOf) -> Callable[[View[P]], View[P]]:
    """Let a view answer only customers whose plan includes a feature; the others get 403 and a problem body."""
    return _guard("feature", slug, customer)


def require_quota(slug: str, *, customer: CustomerOf) -> Callable[[View[P]], View[P]]:
    """Let a view answer only customers with something left of a meter; the others get 402 and a problem body."""
    return _guard("quota", slug, customer)


def _guard(kind: Kind, slug: str, customer: CustomerOf) -> Callable[[View[P]], View[P]]:
    def wrap(view: View[P]) -> View[P]:
        @functools.wraps(view)
        async def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            found = customer(request)
            customer_id = await found if isawaitable(found) else found
            refusal = await check(get_client(), kind, slug, customer_id)
            if refusal is not None:
                return HttpResponse(refusal.body(), CONTENT_TYPE, refusal.status)
            return await view(request, *args, **kwargs)

        return guarded

    return wrap


def webhook_view(receiver: WebhookReceiver) -> Callable[..., Coroutine[Any, Any, HttpResponseBase]]:
    """A view that takes deliveries. No CSRF token is asked for: the signature is the proof."""

    @csrf_exempt
    async def receive(request: HttpRequest) -> HttpResponseBase:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        body = raw_body(request)
        reply = receiver.too_large() if body is None else await receiver.handle(body, request.headers)
        return HttpResponse(reply.body, status=reply.status, headers=dict(reply.headers))

    return receive


def raw_body(request: HttpRequest) -> bytes | None:
    """The body as it came; None when it is larger than `DATA_UPLOAD_MAX_MEMORY_SIZE`."""
    try:
        return request.body
    except RequestDataTooBig:
        return None
