"""Django's synchronous views: a client from the settings, guards, webhooks. Asynchronous: `montra_async.frameworks`.

MONTRA = {"api_key": "sk_...", "base_url": "https://...", "timeout": 20}   # settings.py; or the environment

urlpatterns = [path("webhooks/montra", webhook_view(receiver)), ...]
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Concatenate, ParamSpec, TypeAlias

from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed

from montra_async.frameworks.django import (
    ANSWERS,
    client_settings,
    exempt,
    raw_body,
    refusal_response,
    refuse_class,
)
from montra_async.webhooks import WebhookReceiver

from ..client import Montra
from .guards import Kind, admit, checked_guard

P = ParamSpec("P")

View: TypeAlias = "Callable[Concatenate[HttpRequest, P], HttpResponseBase]"
CustomerOf: TypeAlias = "Callable[[HttpRequest], str | None]"
"""Finds the Montra customer id of a request: from your session, user or database. None: 401, and nobody is asked.

What it raises is a 401, too, and logged; `Http404`, `PermissionDenied` and the like are answered as they are.
"""

_clients: dict[str, Montra] = {}


def get_client() -> Montra:
    """The project's client, made from `settings.MONTRA` when it is first wanted. Good before and after a fork."""
    # Threads that come first at the same time may each make one; all of them get the same, and the others open nothing.
    return _clients.get("montra") or _clients.setdefault("montra", Montra(**client_settings()))


def require_feature(slug: str, *, customer: CustomerOf) -> Callable[[View[P]], View[P]]:
    """Let a view answer only customers whose plan includes a feature; the others get 403 and a problem body."""
    return _guard("feature", slug, customer)


def require_quota(slug: str, *, customer: CustomerOf) -> Callable[[View[P]], View[P]]:
    """Let a view answer only customers with something left of a meter; the others get 402 and a problem body."""
    return _guard("quota", slug, customer)


def _guard(kind: Kind, slug: str, customer: CustomerOf) -> Callable[[View[P]], View[P]]:
    checked_guard(slug, customer)

    def wrap(view: View[P]) -> View[P]:
        refuse_class(view)
        if iscoroutinefunction(view):
            raise TypeError(f"{view.__qualname__}: guards of asynchronous views are in montra_async.frameworks.django")

        @functools.wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            refusal = admit(kind, slug, get_client, lambda: customer(request), ANSWERS)
            if refusal is not None:
                return refusal_response(refusal)
            return view(request, *args, **kwargs)

        return guarded

    return wrap


def webhook_view(receiver: WebhookReceiver) -> Callable[..., HttpResponseBase]:
    """A view that takes deliveries. No CSRF token is asked for: the signature is the proof.

    Handlers run in the request's thread: they share its database connection, and its transaction.
    """

    def receive(request: HttpRequest) -> HttpResponseBase:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        body = raw_body(request, receiver)
        reply = receiver.handle_blocking(body, request.headers) if isinstance(body, bytes) else body
        return HttpResponse(reply.body, status=reply.status, headers=dict(reply.headers))

    return exempt(receive)
