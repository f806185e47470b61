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
from typing import Any, ParamSpec, TypeAlias
from weakref import WeakSet

from flask import Blueprint, Flask, Response, abort, current_app, request, request_started
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from montra_async.frameworks.deliveries import read_stream
from montra_async.frameworks.placement import ADVICE, is_bypassed, refuse_bypassed, remember
from montra_async.webhooks import WebhookReceiver

from ..client import Montra
from .guards import CONTENT_TYPE, MISCONFIGURED, Kind, Refusal, admit, checked_guard, log

P = ParamSpec("P")

CustomerOf: TypeAlias = "Callable[[], str | None]"
"""Finds the Montra customer id of the current request: from your session, token or database. None: 401, and nobody is
asked.

What it raises is a 401, too, and logged; what `abort` raises is answered as it is.
"""


class MontraFlask:
    """The client of a Flask application, or of several (`init_app`).

    The client is made when it is first wanted, so that an application factory needs no settings, and works before and
    after a fork. It reads `MONTRA_API_KEY` and `MONTRA_BASE_URL` from the application's config, else the environment.

    Args:
        app: the application; `init_app` does the same later.
        make: makes the client instead.

    A guard above `@app.get` would guard nothing. It is a `RuntimeError` when it is written, where the application is
    known by then; a view of a blueprint answers every request with 500, and the log says why.
    """

    def __init__(self, app: Flask | None = None, *, make: Callable[[Flask], Montra] | None = None) -> None:
        self._make = make or _from_config
        self._apps: WeakSet[Flask] = WeakSet()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        refuse_bypassed(app.view_functions.values())
        app.extensions["montra"] = self
        self._apps.add(app)

    @property
    def client(self) -> Montra:
        """The current application's client."""
        extensions: dict[str, Any] = current_app.extensions
        # Threads that come first at the same time may each make one; all of them get the same.
        client: Montra = extensions.get("montra_client") or extensions.setdefault(
            "montra_client", self._make(current_app)
        )
        return client

    def require_feature(self, slug: str, *, customer: CustomerOf) -> Callable[[Callable[P, object]], Callable[P, Any]]:
        """Let a view answer only customers whose plan includes a feature; the others get 403 and a problem body."""
        return self._guard("feature", slug, customer)

    def require_quota(self, slug: str, *, customer: CustomerOf) -> Callable[[Callable[P, object]], Callable[P, Any]]:
        """Let a view answer only customers with something left of a meter; the others get 402 and a problem body."""
        return self._guard("quota", slug, customer)

    def _guard(self, kind: Kind, slug: str, customer: CustomerOf) -> Callable[[Callable[P, object]], Callable[P, Any]]:
        checked_guard(slug, customer)

        def wrap(view: Callable[P, object]) -> Callable[P, Any]:
            remember(view)
            for app in self._apps:
                refuse_bypassed(app.view_functions.values())
            request_started.connect(_refuse_bypassed_view)  # of all applications; connecting again changes nothing

            @functools.wraps(view)
            def guarded(*args: P.args, **kwargs: P.kwargs) -> Any:
                refusal = admit(kind, slug, lambda: self.client, customer, (HTTPException,))
                if refusal is not None:
                    return _response(refusal)
                return current_app.ensure_sync(view)(*args, **kwargs)

            return guarded

        return wrap


def _response(refusal: Refusal) -> Response:
    return Response(refusal.body(), refusal.status, refusal.headers(), content_type=CONTENT_TYPE)


def _refuse_bypassed_view(app: Flask, **_: Any) -> None:
    """Before each request: a view that is registered without the guard around it does not run."""
    view = app.view_functions.get(request.endpoint or "")
    if view is not None and is_bypassed(view):
        log.error("the view %r of %s is refused: %s", request.endpoint, request.path[:200], ADVICE)
        abort(_response(MISCONFIGURED))


def _from_config(app: Flask) -> Montra:
    config: dict[str, Any] = dict(app.config)
    return Montra(config.get("MONTRA_API_KEY"), config.get("MONTRA_BASE_URL"))


def webhook_blueprint(path: str, receiver: WebhookReceiver, *, name: str = "montra_webhooks") -> Blueprint:
    """A blueprint that takes deliveries at `path`. Handlers run in the request's thread and application context."""
    blueprint = Blueprint(name, __name__)

    def receive() -> Response:
        length = request.environ.get("CONTENT_LENGTH")
        # The raw bytes. The stream itself is asked for in there: it raises, too, for more than MAX_CONTENT_LENGTH.
        body = read_stream(lambda most: request.stream.read(most), length, receiver, (RequestEntityTooLarge,))
        reply = receiver.handle_blocking(body, dict(request.headers)) if isinstance(body, bytes) else body
        return Response(reply.body, reply.status, dict(reply.headers))

    blueprint.add_url_rule(path, view_func=receive, methods=["POST"])
    return blueprint
