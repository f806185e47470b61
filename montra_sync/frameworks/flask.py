"""Flask: a client as an extension, guards, webhooks.

montra = MontraFlask(app)

@app.get("/reports")
@montra.require_feature("sso", customer=lambda: g.customer_id)
def reports(): ...

app.register_blueprint(webhook_blueprint("/webhooks/montra", receiver))
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeAlias, cast
from weakref import WeakSet

from montra_async.core.hints import missing_extra

try:
    from flask import Blueprint, Flask, Response, abort, current_app, g, request, request_started
    from flask.json.provider import DefaultJSONProvider
    from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
except ImportError as _error:
    raise missing_extra("montra_sync.frameworks.flask", "flask", _error) from None

from montra_async import Model
from montra_async.frameworks.bypassed_guards import ADVICE, is_bypassed, mark_guarded, reject_bypassed
from montra_async.frameworks.request_body import read_stream
from montra_async.webhooks import WebhookReceiver

from ..access import Access, Hold
from ..client import Montra
from .guards import CONTENT_TYPE, MISCONFIGURED, Denial, Kind, authorize, log, reject_async_store, validate_guard
from .metering import Amount, Ending, Estimate, Metering, begin, finish, has_left, metered_stream, validate_metering

P = ParamSpec("P")

FindCustomer: TypeAlias = Callable[[], str | None]
"""Returns the Montra customer id of the current request: from your session, token or database. None: 401, without
asking the service. An exception is a 401, too, and logged; `HTTPException`, as of `abort`, is raised as it is.
"""


def _default(value: Any) -> Any:
    """What is written for an object that JSON has no type for.

    Args:
        value: the object.
    """
    return value.to_dict() if isinstance(value, Model) else DefaultJSONProvider.default(value)


class MontraJSONProvider(DefaultJSONProvider):
    """Flask's JSON, which also writes models: `app.json = MontraJSONProvider(app)`.

    Then `jsonify(customer)`, and `{"customers": [...]}` as the result of a view, work. Amounts are strings.
    """

    default: Callable[[Any], Any] = staticmethod(_default)


class MontraFlask:
    """A Flask extension: the client of an application, or of several (`init_app`), and guards.

    The client is created when it is first used, so that an application factory needs no settings. It may be used before
    and after a fork. It reads `MONTRA_API_KEY` and `MONTRA_BASE_URL` from the application's config, or else from the
    environment.

    A guard above `@app.get` would guard nothing. It raises `RuntimeError` when it is applied, if the application is
    known by then; a view of a blueprint responds to every request with 500, and the log says why.

    Args:
        app: the application. Default: None; call `init_app` later.
        client_factory: creates the client of an application. Default: a client with the settings above.

    Raises:
        RuntimeError: a view of the application is served without the guard that wraps it.
    """

    def __init__(self, app: Flask | None = None, *, client_factory: Callable[[Flask], Montra] | None = None) -> None:
        self._client_factory = client_factory or _from_config
        self._apps: WeakSet[Flask] = WeakSet()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Add the extension to an application.

        Args:
            app: the application.

        Raises:
            RuntimeError: a view of the application is served without the guard that wraps it.
        """
        reject_bypassed(app.view_functions.values())
        app.extensions["montra"] = self
        self._apps.add(app)

    @property
    def client(self) -> Montra:
        """The current application's client."""
        extensions: dict[str, Any] = current_app.extensions
        # Threads that use it first at the same time may each create a client; all get the same one.
        client: Montra = extensions.get("montra_client") or extensions.setdefault(
            "montra_client", self._client_factory(current_app)
        )
        return client

    def require_feature(
        self, slug: str, *, customer: FindCustomer, access: Access | None = None
    ) -> Callable[[Callable[P, object]], Callable[P, Any]]:
        """Let a view respond only to customers whose plan includes a feature; others get 403 and a problem body.

        Args:
            slug: of the feature.
            customer: returns the Montra customer id of the current request: from your session, token or database. None
                and exceptions: 401, without asking the service; `HTTPException`, as of `abort`, is raised as it is.
            access: an `Access` that decides, mostly from memory, instead of a question to the service for each request.
                Default: None, the service is asked.

        Returns:
            A decorator for views.

        Raises:
            InvalidArgumentError: `slug` is blank.
            TypeError: `customer` is not callable.
        """
        return self._guard("feature", slug, customer, access)

    def require_quota(
        self, slug: str, *, customer: FindCustomer, access: Access | None = None
    ) -> Callable[[Callable[P, object]], Callable[P, Any]]:
        """Let a view respond only to customers with quota left of a meter; others get 402 and a problem body.

        Args:
            slug: of the meter.
            customer: returns the Montra customer id of the current request: from your session, token or database. None
                and exceptions: 401, without asking the service; `HTTPException`, as of `abort`, is raised as it is.
            access: an `Access` that decides, mostly from memory, instead of a question to the service for each request.
                Default: None, the service is asked.

        Returns:
            A decorator for views.

        Raises:
            InvalidArgumentError: `slug` is blank.
            TypeError: `customer` is not callable.
        """
        return self._guard("quota", slug, customer, access)

    def metered(
        self,
        slug: str,
        *,
        access: Access | Callable[[], Access],
        customer: FindCustomer,
        estimate: Estimate = 1,
        amount: Amount = None,
    ) -> Callable[[Callable[P, object]], Callable[P, Any]]:
        """Hold units of a meter before a view runs, and record what it used at its end.

        Customers without enough units get 402 and a problem body; those without a plan 403. The view may set
        `get_hold().amount`. An exception or a 5xx response releases the units and records nothing. A stream is
        recorded when it ends; if the client closes it earlier, what was set as `amount` until then is.

        Args:
            slug: of the meter.
            access: an `Access` with a reporter, or a function that returns it.
            customer: returns the Montra customer id of the current request. None and exceptions: 401; `HTTPException`,
                as of `abort`, is raised as it is.
            estimate: number of units to hold, more than 0, or a function that takes the request and returns it.
                Default: 1.
            amount: takes the response and returns the number of units used, unless the amount was set; None from it
                means the estimate. Default: the estimate.

        Returns:
            A decorator for views.

        Raises:
            InvalidArgumentError: `slug` is blank, or `estimate` is not more than 0.
            TypeError: an argument is not callable.
        """
        metering = validate_metering(slug, access, customer, estimate, amount)

        def wrap(view: Callable[P, object]) -> Callable[P, Any]:
            self._mark(view)

            @functools.wraps(view)
            def guarded(*args: P.args, **kwargs: P.kwargs) -> Any:
                hold = begin(metering, request, customer, (HTTPException,))
                if isinstance(hold, Denial):
                    return _response(hold)
                g.montra_hold = hold
                return _respond(metering, hold, lambda: current_app.ensure_sync(view)(*args, **kwargs))

            return guarded

        return wrap

    def _mark(self, view: object) -> None:
        """Record that a guard wraps a view, and check that no application serves it unguarded."""
        mark_guarded(view)
        # Before the check, which may raise. It is for all applications; connecting again changes nothing.
        request_started.connect(_reject_bypassed_view)
        for app in self._apps:
            reject_bypassed(app.view_functions.values())

    def _guard(
        self, kind: Kind, slug: str, customer: FindCustomer, access: Access | None
    ) -> Callable[[Callable[P, object]], Callable[P, Any]]:
        validate_guard(slug, customer)

        def wrap(view: Callable[P, object]) -> Callable[P, Any]:
            self._mark(view)

            @functools.wraps(view)
            def guarded(*args: P.args, **kwargs: P.kwargs) -> Any:
                denial = authorize(kind, slug, lambda: access or self.client, customer, (HTTPException,))
                if denial is not None:
                    return _response(denial)
                return current_app.ensure_sync(view)(*args, **kwargs)

            return guarded

        return wrap


def get_hold() -> Hold:
    """Return the hold of the current request, whose view is `metered`.

    Raises:
        RuntimeError: the view is not `metered`.
    """
    hold = g.get("montra_hold")
    if hold is None:
        raise RuntimeError("no hold: the view needs @montra.metered(...) below the decorator of its route")
    return cast("Hold", hold)


def _respond(metering: Metering, hold: Hold, call: Callable[[], Any]) -> Response:
    try:
        response = current_app.make_response(call())
    except BaseException as error:
        finish(metering, hold, Ending(500, has_left(error)))
        raise
    if response.is_streamed:
        hold.renews = False  # it is renewed by the stream, which may never begin
        content: Any = response.response
        response.response = metered_stream(metering, hold, response, content)
    else:
        finish(metering, hold, Ending(response.status_code, response=response))
    return response


def _response(denial: Denial) -> Response:
    return Response(denial.body(), denial.status, denial.headers(), content_type=CONTENT_TYPE)


def _reject_bypassed_view(app: Flask, **_: Any) -> None:
    """Before each request: respond with 500 for a view that is served without the guard that wraps it."""
    view = app.view_functions.get(request.endpoint or "")
    if view is not None and is_bypassed(view):
        log.error("the view %r of %s is not served: %s", request.endpoint, request.path[:200], ADVICE)
        abort(_response(MISCONFIGURED))


def _from_config(app: Flask) -> Montra:
    config: dict[str, Any] = dict(app.config)
    return Montra(config.get("MONTRA_API_KEY"), config.get("MONTRA_BASE_URL"))


def webhook_blueprint(path: str, receiver: WebhookReceiver, *, name: str = "montra_webhooks") -> Blueprint:
    """Return a blueprint with a route for deliveries of webhooks.

    Handlers run in the request's thread and application context.

    Args:
        path: the route's path.
        receiver: handles the deliveries.
        name: the blueprint's name, unique in the application. Default: "montra_webhooks".

    Raises:
        ConfigError: the receiver's store is an `AsyncStoreAdapter`, which needs an event loop.
    """
    reject_async_store(receiver)
    blueprint = Blueprint(name, __name__)

    def receive() -> Response:
        length = request.environ.get("CONTENT_LENGTH")
        # The lambda reads `request.stream` late: it raises, too, for bodies above MAX_CONTENT_LENGTH.
        body = read_stream(lambda most: request.stream.read(most), length, receiver, (RequestEntityTooLarge,))
        reply = receiver.handle_blocking(body, dict(request.headers)) if isinstance(body, bytes) else body
        return Response(reply.body, reply.status, dict(reply.headers))

    blueprint.add_url_rule(path, view_func=receive, methods=["POST"])
    return blueprint
