"""The aiohttp application: all routes, the checks before them, and errors outside the two APIs."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ..controls import Controls
from ..dashboard.dashboard import TITLES, Dashboard
from ..dashboard.live import LIVE_ROUTE
from ..log import log
from ..pages.assets import asset_routes
from ..pages.checkout_pages import CheckoutPages
from ..pages.paywall_pages import PaywallPages
from ..pages.render import render_page
from ..problems import OUT_OF_RANGE, Problem, client_disconnected, out_of_range
from ..webhook_sender import WebhookSender
from ..world import World
from .browser_protection import (
    TOKEN_HEADER,
    AccessRules,
    refuse_foreign_page,
    refuse_key_in_browser,
    refuse_undecodable,
)
from .control_routes import CONTROL_PREFIX, control_routes
from .json_response import MAX_UPLOAD_SIZE, problem_of_http_error, problem_response
from .live_stream import LiveStream
from .metrics_page import MetricsPage
from .montra_api import MontraApi
from .paywall_api import PaywallApi
from .request_parsing import read_form

API_PREFIX: str = "/api/v1"
"""The path of the Montra API."""
_PAYWALL_PREFIX = "/api"
_REST = "{rest:(?s:.*)}"  # any rest of the path, including line breaks
_MONTRA_ROUTE = f"{API_PREFIX}/{{rest}}"
_PAYWALL_PATHS = (
    *(f"/v1/paywall/{_REST}", f"/v1/api-gateway/{_REST}"),
    *("/v1/withdraw-tokens", f"/paywall/{_REST}"),
)
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_JSON_ONLY_PREFIXES = (CONTROL_PREFIX, _PAYWALL_PREFIX)


class SandboxApplication:
    """Builds the application of one sandbox.

    Args:
        controls: the controls below `/_sandbox/`.
        world: the state.
        sender: sends the webhooks of scenarios.
        control_token: the token that opens the dashboard; None for none.
    """

    def __init__(self, controls: Controls, world: World, sender: WebhookSender, *, control_token: str | None) -> None:
        self._controls = controls
        self._world = world
        self._sender = sender
        self._control_token = control_token
        self._rules: AccessRules | None = None

    def build(self, outermost: Sequence[Middleware] = ()) -> web.Application:
        """The application. Until `open`, it refuses all requests with 503.

        Args:
            outermost: middlewares around all others.
        """
        middlewares = [*outermost, _handle_errors, self._check_access]
        app = web.Application(client_max_size=MAX_UPLOAD_SIZE, middlewares=middlewares)
        app.on_response_prepare.append(_add_security_headers)
        paywall = PaywallApi(self._world, _PAYWALL_PREFIX)
        for path in _PAYWALL_PATHS:
            app.router.add_route("*", _PAYWALL_PREFIX + path, paywall.handle)
        app.router.add_route("*", f"{API_PREFIX}/{_REST}", MontraApi(self._world, API_PREFIX).handle)
        app.router.add_get(f"{CONTROL_PREFIX}/live", LiveStream(self._world).handle)
        app.router.add_get(f"{CONTROL_PREFIX}/metrics", MetricsPage(self._world).handle)
        app.router.add_routes(control_routes(self._controls))
        app.router.add_routes([*CheckoutPages(self._world).routes(), *PaywallPages(self._world).routes()])
        dashboard = Dashboard(self._controls, self._world, self._sender, control_token=self._control_token)
        app.router.add_routes([*asset_routes(), *dashboard.routes()])
        return app

    def open(self, rules: AccessRules) -> None:
        """Begin to serve requests.

        Args:
            rules: which requests are let in.
        """
        self._rules = rules

    @web.middleware
    async def _check_access(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse requests that a web page of another origin made the browser send, before any route sees them."""
        if self._rules is None:
            raise Problem(503, "starting", "the sandbox is just starting")
        route = _route_of(request)
        self._rules.check_host(request.headers)
        refuse_undecodable(request)
        refuse_key_in_browser(request.headers)
        if route.startswith(CONTROL_PREFIX):
            refuse_foreign_page(request.headers, "the sandbox's controls")
            self._rules.check_token(request.headers.get(TOKEN_HEADER))
        elif route == LIVE_ROUTE:  # a page of another origin can't read it, but could hold its connections
            refuse_foreign_page(request.headers, "the sandbox's live feed")
        elif route == _MONTRA_ROUTE:  # its keys belong on servers, so no page needs it
            refuse_foreign_page(request.headers, "the Montra API and its keys")
        elif request.method not in _SAFE_METHODS and not route.startswith(_PAYWALL_PREFIX):
            refuse_foreign_page(request.headers, "forms of the sandbox's pages")
            await read_form(request)  # so that all pages refuse an unreadable form alike; aiohttp keeps its fields
        response: web.StreamResponse = await handler(request)
        return response


def _route_of(request: web.Request) -> str:
    """The pattern of the matched route, so that no other spelling of a path evades a check."""
    resource = request.match_info.route.resource
    return request.path if resource is None else resource.canonical


async def _add_security_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Headers of every response, against framing, guessed content types and leaked addresses.

    Pages send `same-origin`, because under `no-referrer` browsers send `Origin: null` with the pages' own forms.
    """
    headers = response.headers
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    headers["Referrer-Policy"] = "same-origin" if response.content_type == "text/html" else "no-referrer"
    policy = headers.get("Content-Security-Policy", "default-src 'none'")
    if "frame-ancestors" not in policy:
        headers["Content-Security-Policy"] = f"{policy}; frame-ancestors 'none'"


@web.middleware
async def _handle_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors outside the two APIs: JSON for programs, a page for browsers."""
    try:
        response: web.StreamResponse = await handler(request)
        return response
    except web.HTTPException as error:
        if error.status < 400:
            raise
        problem = problem_of_http_error(error)
    except Problem as refused:
        problem = refused
    except OUT_OF_RANGE as error:
        problem = out_of_range(error)
    except ConnectionError:
        problem = client_disconnected()
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        problem = Problem(500, "internal_error", "the sandbox failed; see its log")
    if "text/html" not in request.headers.get("Accept", "") or _route_of(request).startswith(_JSON_ONLY_PREFIXES):
        return problem_response(problem)
    title = TITLES.get(problem.status, "That did not work")
    return render_page("problem.html", status=problem.status, title=title, message=problem.message)
