"""Django's asynchronous views: a client from the settings, guards, webhooks. Synchronous: `montra_sync.frameworks`.

MONTRA = {"api_key": "sk_...", "base_url": "https://...", "timeout": 20}   # settings.py; or the environment

urlpatterns = [path("webhooks/montra", webhook_view(receiver)), ...]
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from inspect import isawaitable, isclass
from typing import Any, Concatenate, ParamSpec, TypeAlias, cast

from ..core.hints import missing_extra

try:
    from django.conf import settings
    from django.core.exceptions import PermissionDenied, SuspiciousOperation
    from django.core.serializers.json import DjangoJSONEncoder
    from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed
except ImportError as _error:
    raise missing_extra("montra_async.frameworks.django", "django", _error) from None

from ..access import Access, Hold
from ..client import Montra
from ..core.models.model import Model
from ..webhooks import Reply, WebhookReceiver
from .guards import CONTENT_TYPE, Denial, Kind, authorize, validate_guard
from .metering import Amount, Ending, Estimate, Metering, begin, finish, has_left, validate_metering
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


class MontraJSONEncoder(DjangoJSONEncoder):
    """Django's JSON encoder, which also writes models: `JsonResponse(data, encoder=MontraJSONEncoder)`.

    `data` may hold models anywhere; for a list as the whole, `safe=False` is needed. Amounts are strings.
    """

    def default(self, o: Any) -> Any:
        """What is written for an object that JSON has no type for.

        Args:
            o: the object.
        """
        return o.to_dict() if isinstance(o, Model) else super().default(o)


def get_client() -> Montra:
    """Return the project's client, created from `settings.MONTRA` at the first call. It closes with its event loop."""
    # Threads that call this first at the same time may each create a client; all of them get the same one.
    return _clients.get("montra") or _clients.setdefault("montra", Montra(**client_settings()))


def client_settings() -> dict[str, Any]:
    """Return `settings.MONTRA`: arguments of the client, all of them optional."""
    return dict(getattr(settings, "MONTRA", {}))


def require_feature(slug: str, *, customer: FindCustomer, access: Access | None = None) -> Callable[[View[P]], View[P]]:
    """Let a view respond only to customers whose plan includes a feature; others get 403 and a problem body.

    Args:
        slug: of the feature.
        customer: returns the Montra customer id of a request, or an awaitable of it: from your session, user or
            database. None and exceptions: 401, without asking the service; `Http404`, `PermissionDenied` and
            `SuspiciousOperation` are raised as they are.
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
        customer: returns the Montra customer id of a request, or an awaitable of it: from your session, user or
            database. None and exceptions: 401, without asking the service; `Http404`, `PermissionDenied` and
            `SuspiciousOperation` are raised as they are.
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

        @functools.wraps(view)
        async def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            denial = await authorize(
                kind, slug, lambda: access or get_client(), lambda: customer(request), PASSTHROUGH_ERRORS
            )
            if denial is not None:
                return denial_response(denial)
            response: Any = view(request, *args, **kwargs)
            if not isawaitable(response):
                raise TypeError("the guards of montra_async are for asynchronous views; use those of montra_sync")
            return await response  # type: ignore[no-any-return]

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
        customer: returns the Montra customer id of a request, or an awaitable of it. None and exceptions: 401;
            `Http404`, `PermissionDenied` and `SuspiciousOperation` are raised as they are.
        estimate: number of units to hold, more than 0, or a function that takes the request and returns it, or an
            awaitable of it. Default: 1.
        amount: takes the response and returns the number of units used, unless the amount was set; None from it means
            the estimate. Default: the estimate.

    Returns:
        A decorator for asynchronous views.

    Raises:
        InvalidArgumentError: `slug` is blank, or `estimate` is not more than 0.
        TypeError: an argument is not callable.
    """
    metering = validate_metering(slug, access, customer, estimate, amount)

    def wrap(view: View[P]) -> View[P]:
        reject_class(view)

        @functools.wraps(view)
        async def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            hold = await begin(metering, request, lambda: customer(request), PASSTHROUGH_ERRORS)
            if isinstance(hold, Denial):
                return denial_response(hold)
            request.__dict__["montra_hold"] = hold
            return await _respond(metering, hold, lambda: view(request, *args, **kwargs))

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


async def _respond(metering: Metering, hold: Hold, call: Callable[[], Any]) -> HttpResponseBase:
    hold.renews = True
    try:
        response: Any = call()
        if not isawaitable(response):
            raise TypeError("the guards of montra_async are for asynchronous views; use those of montra_sync")
        answered: Any = await response
    except BaseException as error:
        await finish(metering, hold, Ending(500, has_left(error)))
        raise
    if getattr(answered, "streaming", False) and answered.is_async:
        hold.renews = False  # it is renewed by the stream, which may never begin
        answered.streaming_content = _metered_stream(metering, hold, answered, answered.streaming_content)
    else:  # Django reads a synchronous iterator as a whole, before it sends anything
        # Of what is not a response, Django makes a 500.
        await finish(metering, hold, Ending(getattr(answered, "status_code", 500), response=answered))
    return cast("HttpResponseBase", answered)


async def _metered_stream(
    metering: Metering, hold: Hold, response: Any, content: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    hold.renews = True
    try:
        async for chunk in content:
            yield chunk
    except BaseException as error:
        await finish(metering, hold, Ending(500, has_left(error)))
        raise
    await finish(metering, hold, Ending(response.status_code, response=response))


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
