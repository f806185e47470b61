"""Django's synchronous views: a client from the settings, guards, webhooks. Asynchronous: `montra_async.frameworks`.

MONTRA = {"api_key": "sk_...", "base_url": "https://...", "timeout": 20}   # settings.py; or the environment

urlpatterns = [path("webhooks/montra", webhook_view(receiver)), ...]
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeAlias

from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed
from django.views.decorators.csrf import csrf_exempt

from montra_async.frameworks.django import client_settings, raw_body
from montra_async.webhooks import WebhookReceiver

from ..client import Montra
from .guards import CONTENT_TYPE, Kind, check

P = ParamSpec("P")

View: TypeAlias = "Callable[Concatenate[HttpRequest, P], HttpResponseBase]"
CustomerOf: TypeAlias = Callable[[HttpRequest], str]
"""Finds the Montra customer id of a request: from your session, user or database."""


@functools.cache
def get_client() -> Montra:
    """The project's client, made from `settings.MONTRA` when it is first wanted. Good before and after a fork."""
    return Montra(**client_settings())


def require_feature(slug: str, *, customer: CustomerOf) -> Callable[[View[P]], View[P]]:
    """Let a view answer only customers whose plan includes a feature; the others get 403 and a problem body."""
    return _guard("feature", slug, customer)


def require_quota(slug: str, *, customer: CustomerOf) -> Callable[[View[P]], View[P]]:
    """Let a view answer only customers with something left of a meter; the others get 402 and a problem body."""
    return _guard("quota", slug, customer)


def _guard(kind: Kind, slug: str, customer: CustomerOf) -> Callable[[View[P]], View[P]]:
    def wrap(view: View[P]) -> View[P]:
        @functools.wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            refusal = check(get_client(), kind, slug, customer(request))
            if refusal is not None:
                return HttpResponse(refusal.body(), CONTENT_TYPE, refusal.status)
            return view(request, *args, **kwargs)

        return guarded

    return wrap


def webhook_view(receiver: WebhookReceiver) -> Callable[..., HttpResponseBase]:
    """A view that takes deliveries. No CSRF token is asked for: the signature is the proof.

    Handlers run in the request's thread: they share its database connection, and its transaction.
    """

    @csrf_exempt
    def receive(request: HttpRequest) -> HttpResponseBase:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        body = raw_body(request)
        reply = receiver.too_large() if body is None else receiver.handle_blocking(body, request.headers)
        return HttpResponse(reply.body, status=reply.status, headers=dict(reply.headers))

    return receive
