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
from .access import CONTENT_TYPE, Kind, Refusal, admit, checked_guard
from .deliveries import read_stream

P = ParamSpec("P")

View: TypeAlias = "Callable[Concatenate[HttpRequest, P], Coroutine[Any, Any, HttpResponseBase]]"
CustomerOf: TypeAlias = "Callable[[HttpRequest], str | Awaitable[str | None] | None]"
"""Finds the Montra customer id of a request: from your session, user or database. None: 401, and nobody is asked.

What it raises is a 401, too, and logged; `Http404`, `PermissionDenied` and the like are answered as they are.
"""

ANSWERS = (Http404, PermissionDenied, SuspiciousOperation)
"""What Django itself turns into answers."""

_clients: dict[str, Montra] = {}


def get_client() -> Montra:
    """The project's client, made from `settings.MONTRA` when it is first wanted. It closes with its event loop."""
    # Threads that come first at the same time may each make one; all of them get the same, and the others open nothing.
    return _clients.get("montra") or _clients.setdefault("montra", Montra(**client_settings()))


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
    checked_guard(slug, customer)

    def wrap(view: View[P]) -> View[P]:
        refuse_class(view)

        @functools.wraps(view)
        async def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            refusal = await admit(kind, slug, get_client, lambda: customer(request), ANSWERS)
            if refusal is not None:
                return refusal_response(refusal)
            response: Any = view(request, *args, **kwargs)
            if not isawaitable(response):
                raise TypeError("the guards of montra_async are for asynchronous views; this one is for montra_sync's")
            return await response  # type: ignore[no-any-return]

        return guarded

    return wrap


def refuse_class(view: object) -> None:
    """Say at once that a guard can't wrap a class-based view itself."""
    if isclass(view):
        raise TypeError(f"{view.__qualname__}: guard {view.__qualname__}.as_view(), or a method with method_decorator")


def refusal_response(refusal: Refusal) -> HttpResponse:
    return HttpResponse(refusal.body(), CONTENT_TYPE, refusal.status, headers=refusal.headers())


def webhook_view(receiver: WebhookReceiver) -> Callable[..., Coroutine[Any, Any, HttpResponseBase]]:
    """A view that takes deliveries. No CSRF token is asked for: the signature is the proof.

    Django under ASGI writes the whole body to a temporary file before any view runs: limit it at your server or proxy.
    """

    async def receive(request: HttpRequest) -> HttpResponseBase:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        body = raw_body(request, receiver)
        reply = await receiver.handle(body, request.headers) if isinstance(body, bytes) else body
        return HttpResponse(reply.body, status=reply.status, headers=dict(reply.headers))

    return exempt(receive)


def exempt(view: Callable[P, Any]) -> Callable[P, Any]:
    """Django's `csrf_exempt` before 5.0 made a synchronous view of an asynchronous one."""
    view.__dict__["csrf_exempt"] = True
    return view


def raw_body(request: HttpRequest, receiver: WebhookReceiver) -> bytes | Reply:
    """The body as it came, no more of it than the receiver allows; or what to answer when it can't be read."""
    return read_stream(request.read, request.META.get("CONTENT_LENGTH"), receiver)
