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
    PASSTHROUGH_ERRORS,
    client_settings,
    csrf_exempt,
    denial_response,
    raw_body,
    reject_class,
)
from montra_async.webhooks import WebhookReceiver

from ..client import Montra
from .guards import Kind, authorize, reject_async_store, validate_guard

P = ParamSpec("P")

View: TypeAlias = Callable[Concatenate[HttpRequest, P], HttpResponseBase]
"""A synchronous view."""

FindCustomer: TypeAlias = Callable[[HttpRequest], str | None]
"""Returns the Montra customer id of a request: from your session, user or database. None: 401, without asking the
service. An exception is a 401, too, and logged; `Http404`, `PermissionDenied` and `SuspiciousOperation` are raised as
they are.
"""

_clients: dict[str, Montra] = {}


def get_client() -> Montra:
    """Return the project's client, created from `settings.MONTRA` at the first call. It may be used before and after a
    fork."""
    # Threads that call this first at the same time may each create a client; all of them get the same one.
    return _clients.get("montra") or _clients.setdefault("montra", Montra(**client_settings()))


def require_feature(slug: str, *, customer: FindCustomer) -> Callable[[View[P]], View[P]]:
    """Let a view respond only to customers whose plan includes a feature; others get 403 and a problem body.

    Args:
        slug: of the feature.
        customer: returns the Montra customer id of a request: from your session, user or database. None and
            exceptions: 401, without asking the service; `Http404`, `PermissionDenied` and `SuspiciousOperation` are
            raised as they are.

    Returns:
        A decorator for views.

    Raises:
        InvalidArgumentError: `slug` is blank.
        TypeError: `customer` is not callable.
    """
    return _guard("feature", slug, customer)


def require_quota(slug: str, *, customer: FindCustomer) -> Callable[[View[P]], View[P]]:
    """Let a view respond only to customers with quota left of a meter; others get 402 and a problem body.

    Args:
        slug: of the meter.
        customer: returns the Montra customer id of a request: from your session, user or database. None and
            exceptions: 401, without asking the service; `Http404`, `PermissionDenied` and `SuspiciousOperation` are
            raised as they are.

    Returns:
        A decorator for views.

    Raises:
        InvalidArgumentError: `slug` is blank.
        TypeError: `customer` is not callable.
    """
    return _guard("quota", slug, customer)


def _guard(kind: Kind, slug: str, customer: FindCustomer) -> Callable[[View[P]], View[P]]:
    validate_guard(slug, customer)

    def wrap(view: View[P]) -> View[P]:
        reject_class(view)
        if iscoroutinefunction(view):
            raise TypeError(f"{view.__qualname__}: guards of asynchronous views are in montra_async.frameworks.django")

        @functools.wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            denial = authorize(kind, slug, get_client, lambda: customer(request), PASSTHROUGH_ERRORS)
            if denial is not None:
                return denial_response(denial)
            return view(request, *args, **kwargs)

        return guarded

    return wrap


def webhook_view(receiver: WebhookReceiver) -> Callable[..., HttpResponseBase]:
    """Return a view for deliveries of webhooks. It needs no CSRF token, because deliveries are signed.

    Handlers run in the request's thread: they share its database connection, and its transaction.

    Args:
        receiver: handles the deliveries.

    Raises:
        ConfigError: the receiver's store is an `AsyncStoreAdapter`, which needs asynchronous views.
    """
    reject_async_store(receiver)

    def receive(request: HttpRequest) -> HttpResponseBase:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        body = raw_body(request, receiver)
        reply = receiver.handle_blocking(body, request.headers) if isinstance(body, bytes) else body
        return HttpResponse(reply.body, status=reply.status, headers=dict(reply.headers))

    return csrf_exempt(receive)
