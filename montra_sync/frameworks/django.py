"""Django's synchronous views: a client from the settings, guards, webhooks. Asynchronous: `montra_async.frameworks`.

MONTRA = {"api_key": "sk_...", "base_url": "https://...", "timeout": 20}   # settings.py; or the environment

urlpatterns = [path("webhooks/montra", webhook_view(receiver)), ...]
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, Concatenate, ParamSpec, TypeAlias, cast

from montra_async.core.hints import missing_extra

try:
    from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed
except ImportError as _error:
    raise missing_extra("montra_sync.frameworks.django", "django", _error) from None

from montra_async.frameworks.django import (
    PASSTHROUGH_ERRORS,
    MontraJSONEncoder as MontraJSONEncoder,
    client_settings,
    csrf_exempt,
    denial_response,
    raw_body,
    reject_class,
)
from montra_async.frameworks.guards import Denial
from montra_async.webhooks import WebhookReceiver

from ..access import Access, Hold
from ..client import Montra
from .guards import Kind, authorize, reject_async_store, validate_guard
from .metering import Amount, Ending, Estimate, Metering, begin, finish, has_left, metered_stream, validate_metering

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


def require_feature(slug: str, *, customer: FindCustomer, access: Access | None = None) -> Callable[[View[P]], View[P]]:
    """Let a view respond only to customers whose plan includes a feature; others get 403 and a problem body.

    Args:
        slug: of the feature.
        customer: returns the Montra customer id of a request: from your session, user or database. None and
            exceptions: 401, without asking the service; `Http404`, `PermissionDenied` and `SuspiciousOperation` are
            raised as they are.
        access: an `Access` that decides, mostly from memory, instead of a question to the service for each request.
            Default: None, the service is asked.

    Returns:
        A decorator for views.

    Raises:
        InvalidArgumentError: `slug` is blank.
        TypeError: `customer` is not callable.
    """
    return _guard("feature", slug, customer, access)


def require_quota(slug: str, *, customer: FindCustomer, access: Access | None = None) -> Callable[[View[P]], View[P]]:
    """Let a view respond only to customers with quota left of a meter; others get 402 and a problem body.

    Args:
        slug: of the meter.
        customer: returns the Montra customer id of a request: from your session, user or database. None and
            exceptions: 401, without asking the service; `Http404`, `PermissionDenied` and `SuspiciousOperation` are
            raised as they are.
        access: an `Access` that decides, mostly from memory, instead of a question to the service for each request.
            Default: None, the service is asked.

    Returns:
        A decorator for views.

    Raises:
        InvalidArgumentError: `slug` is blank.
        TypeError: `customer` is not callable.
    """
    return _guard("quota", slug, customer, access)


def _guard(kind: Kind, slug: str, customer: FindCustomer, access: Access | None) -> Callable[[View[P]], View[P]]:
    validate_guard(slug, customer)

    def wrap(view: View[P]) -> View[P]:
        reject_class(view)
        if iscoroutinefunction(view):
            raise TypeError(f"{view.__qualname__}: guards of asynchronous views are in montra_async.frameworks.django")

        @functools.wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            denial = authorize(
                kind, slug, lambda: access or get_client(), lambda: customer(request), PASSTHROUGH_ERRORS
            )
            if denial is not None:
                return denial_response(denial)
            return view(request, *args, **kwargs)

        return guarded

    return wrap


def metered(
    slug: str,
    *,
    access: Access | Callable[[], Access],
    customer: FindCustomer,
    estimate: Estimate = 1,
    amount: Amount = None,
) -> Callable[[View[P]], View[P]]:
    """Hold units of a meter before a view runs, and record what it used at its end.

    Customers without enough units get 402 and a problem body; those without a plan 403. The view may set
    `get_hold(request).amount`. An exception or a 5xx response releases the units and records nothing. A stream is
    recorded when it ends; if the client closes it earlier, what was set as `amount` until then is.

    Args:
        slug: of the meter.
        access: an `Access` with a reporter, or a function that returns it.
        customer: returns the Montra customer id of a request. None and exceptions: 401; `Http404`, `PermissionDenied`
            and `SuspiciousOperation` are raised as they are.
        estimate: number of units to hold, more than 0, or a function that takes the request and returns it. Default: 1.
        amount: takes the response and returns the number of units used, unless the amount was set; None from it means
            the estimate. Default: the estimate.

    Returns:
        A decorator for views.

    Raises:
        InvalidArgumentError: `slug` is blank, or `estimate` is not more than 0.
        TypeError: an argument is not callable.
    """
    metering = validate_metering(slug, access, customer, estimate, amount)

    def wrap(view: View[P]) -> View[P]:
        reject_class(view)
        if iscoroutinefunction(view):
            raise TypeError(f"{view.__qualname__}: guards of asynchronous views are in montra_async.frameworks.django")

        @functools.wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            hold = begin(metering, request, lambda: customer(request), PASSTHROUGH_ERRORS)
            if isinstance(hold, Denial):
                return denial_response(hold)
            request.__dict__["montra_hold"] = hold
            return _respond(metering, hold, lambda: view(request, *args, **kwargs))

        return guarded

    return wrap


def get_hold(request: HttpRequest) -> Hold:
    """Return the hold of a request whose view is `metered`.

    Args:
        request: the current request.

    Raises:
        RuntimeError: the view is not `metered`.
    """
    hold = getattr(request, "montra_hold", None)
    if hold is None:
        raise RuntimeError("no hold: the view needs @metered(...)")
    return cast("Hold", hold)


def _respond(metering: Metering, hold: Hold, call: Callable[[], HttpResponseBase]) -> HttpResponseBase:
    try:
        response: Any = call()
    except BaseException as error:
        finish(metering, hold, Ending(500, has_left(error)))
        raise
    if getattr(response, "streaming", False):
        hold.renews = False  # it is renewed by the stream, which may never begin
        response.streaming_content = metered_stream(metering, hold, response, response.streaming_content)
    else:  # of what is not a response, Django makes a 500
        finish(metering, hold, Ending(getattr(response, "status_code", 500), response=response))
    return cast("HttpResponseBase", response)


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
