"""Django's asynchronous views: a client from the settings, guards, webhooks. Synchronous: `montra_sync.frameworks`.

MONTRA = {"api_key": "sk_...", "base_url": "https://...", "timeout": 20}   # settings.py; or the environment

urlpatterns = [path("webhooks/montra", webhook_view(receiver)), ...]
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from inspect import isawaitable, isclass
from typing import Any, Concatenate, ParamSpec, TypeAlias

from django.conf import settings
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed

from ..client import Montra
from ..webhooks import Reply, WebhookReceiver
from .guards import CONTENT_TYPE, Denial, Kind, authorize, validate_guard
from .request_body import read_stream

P = ParamSpec("P")

View: TypeAlias = Callable[Concatenate[HttpRequest, P], Coroutine[Any, Any, HttpResponseBase]]
"""An asynchronous view."""

FindCustomer: TypeAlias = Callable[[HttpRequest], str | Awaitable[str | None] | None]
"""Returns the Montra customer id of a request: from your session, user or database. None: 401, without asking the
service. An exception is a 401, too, and logged; `Http404`, `PermissionDenied` and `SuspiciousOperation` are raised as
they are.
"""

PASSTHROUGH_ERRORS: tuple[type[Exception], ...] = (Http404, PermissionDenied, SuspiciousOperation)
"""Exceptions that Django turns into responses."""

_clients: dict[str, Montra] = {}


def get_client() -> Montra:
    """Return the project's client, created from `settings.MONTRA` at the first call. It closes with its event loop."""
    # Threads that call this first at the same time may each create a client; all of them get the same one.
    return _clients.get("montra") or _clients.setdefault("montra", Montra(**client_settings()))


def client_settings() -> dict[str, Any]:
    """Return `settings.MONTRA`: arguments of the client, all of them optional."""
    return dict(getattr(settings, "MONTRA", {}))


def require_feature(slug: str, *, customer: FindCustomer) -> Callable[[View[P]], View[P]]:
    """Let a view respond only to customers whose plan includes a feature; others get 403 and a problem body.

    Args:
        slug: of the feature.
        customer: returns the Montra customer id of a request, or an awaitable of it: from your session, user or
            database. None and exceptions: 401, without asking the service; `Http404`, `PermissionDenied` and
            `SuspiciousOperation` are raised as they are.

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
        customer: returns the Montra customer id of a request, or an awaitable of it: from your session, user or
            database. None and exceptions: 401, without asking the service; `Http404`, `PermissionDenied` and
            `SuspiciousOperation` are raised as they are.

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

        @functools.wraps(view)
        async def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            denial = await authorize(kind, slug, get_client, lambda: customer(request), PASSTHROUGH_ERRORS)
            if denial is not None:
                return denial_response(denial)
            response: Any = view(request, *args, **kwargs)
            if not isawaitable(response):
                raise TypeError("the guards of montra_async are for asynchronous views; use those of montra_sync")
            return await response  # type: ignore[no-any-return]

        return guarded

    return wrap


def reject_class(view: object) -> None:
    """Check when a guard is applied that its view is not class-based.

    Args:
        view: the view.

    Raises:
        TypeError: `view` is a class.
    """
    if isclass(view):
        raise TypeError(f"{view.__qualname__}: guard {view.__qualname__}.as_view(), or a method with method_decorator")


def denial_response(denial: Denial) -> HttpResponse:
    """Convert a denial to Django's response.

    Args:
        denial: the denial.
    """
    return HttpResponse(denial.body(), CONTENT_TYPE, denial.status, headers=denial.headers())


def webhook_view(receiver: WebhookReceiver) -> Callable[..., Coroutine[Any, Any, HttpResponseBase]]:
    """Return a view for deliveries of webhooks. It needs no CSRF token, because deliveries are signed.

    Django under ASGI writes the whole body to a temporary file before any view runs: limit it at your server or proxy.

    Args:
        receiver: handles the deliveries.
    """

    async def receive(request: HttpRequest) -> HttpResponseBase:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        body = raw_body(request, receiver)
        reply = await receiver.handle(body, request.headers) if isinstance(body, bytes) else body
        return HttpResponse(reply.body, status=reply.status, headers=dict(reply.headers))

    return csrf_exempt(receive)


def csrf_exempt(view: Callable[P, Any]) -> Callable[P, Any]:
    """Exempt a view from CSRF checks. Django's own decorator breaks asynchronous views before Django 5.0.

    Args:
        view: the view.
    """
    view.__dict__["csrf_exempt"] = True
    return view


def raw_body(request: HttpRequest, receiver: WebhookReceiver) -> bytes | Reply:
    """Return the raw body, or the response when it is too large or can't be read.

    Args:
        request: the request.
        receiver: the receiver, whose `max_body_size` is the limit.
    """
    return read_stream(request.read, request.META.get("CONTENT_LENGTH"), receiver)
