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

from flask import Blueprint, Flask, Response, current_app, request

from montra_async.webhooks import WebhookReceiver

from ..client import Montra
from .guards import CONTENT_TYPE, Kind, check

P = ParamSpec("P")

CustomerOf: TypeAlias = Callable[[], str]
"""Finds the Montra customer id of the current request: from your session, token or database."""


class MontraFlask:
    """The client of a Flask application, or of several (`init_app`).

    The client is made when it is first wanted, so that an application factory needs no settings, and works before and
    after a fork. It reads `MONTRA_API_KEY` and `MONTRA_BASE_URL` from the application's config, else the environment.

    Args:
        app: the application; `init_app` does the same later.
        make: makes the client instead.
    """

    def __init__(self, app: Flask | None = None, *, make: Callable[[Flask], Montra] | None = None) -> None:
        self._make = make or _from_config
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        app.extensions["montra"] = self

    @property
    def client(self) -> Montra:
        """The current application's client."""
        extensions: dict[str, Any] = current_app.extensions
        if "montra_client" not in extensions:
            extensions["montra_client"] = self._make(current_app)
        client: Montra = extensions["montra_client"]
        return client

    def require_feature(self, slug: str, *, customer: CustomerOf) -> Callable[[Callable[P, object]], Callable[P, Any]]:
        """Let a view answer only customers whose plan includes a feature; the others get 403 and a problem body."""
        return self._guard("feature", slug, customer)

    def require_quota(self, slug: str, *, customer: CustomerOf) -> Callable[[Callable[P, object]], Callable[P, Any]]:
        """Let a view answer only customers with something left of a meter; the others get 402 and a problem body."""
        return self._guard("quota", slug, customer)

    def _guard(self, kind: Kind, slug: str, customer: CustomerOf) -> Callable[[Callable[P, object]], Callable[P, Any]]:
        def wrap(view: Callable[P, object]) -> Callable[P, Any]:
            @functools.wraps(view)
            def guarded(*args: P.args, **kwargs: P.kwargs) -> Any:
                refusal = check(self.client, kind, slug, customer())
                if refusal is not None:
                    return Response(refusal.body(), refusal.status, content_type=CONTENT_TYPE)
                return view(*args, **kwargs)

            return guarded

        return wrap


def _from_config(app: Flask) -> Montra:
    config: dict[str, Any] = dict(app.config)
    return Montra(config.get("MONTRA_API_KEY"), config.get("MONTRA_BASE_URL"))


def webhook_blueprint(path: str, receiver: WebhookReceiver, *, name: str = "montra_webhooks") -> Blueprint:
    """A blueprint that takes deliveries at `path`. Handlers run in the request's thread and application context."""
    blueprint = Blueprint(name, __name__)

    def receive() -> Response:
        body = request.stream.read(receiver.largest + 1)  # the raw bytes, and no more than are allowed
        reply = receiver.handle_blocking(body, dict(request.headers))
        return Response(reply.body, reply.status, dict(reply.headers))

    blueprint.add_url_rule(path, view_func=receive, methods=["POST"])
    return blueprint
