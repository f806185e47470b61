"""The sandbox as a server: routes, start and stop."""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Sequence
from types import TracebackType

from aiohttp import web
from aiohttp.typedefs import Handler

from .controls import Controls
from .deliveries import Deliveries, is_here
from .http.answers import MOST_UPLOAD, http_problem, respond_problem
from .http.control_routes import PREFIX as CONTROL_PREFIX, control_routes
from .http.guard import (
    TOKEN_HEADER,
    Guard,
    HostName,
    allowed_host,
    parse_host,
    refuse_foreign_page,
    refuse_key_in_browser,
    refuse_no_text,
)
from .http.montra_api import MontraApi
from .http.paywall_api import PaywallApi
from .http.reading import read_form
from .pages.checkout import CheckoutPages
from .pages.paywall import PaywallPages
from .pages.render import page
from .problems import OUT_OF_RANGE, Problem, out_of_range
from .store import Store
from .world import FIRST_PAYWALL, World

log = logging.getLogger("montra_sandbox")

DEFAULT_API_KEY = "sk_test_sandbox"
LEAST_TOKEN = 8
API_PREFIX = "/api/v1"
PAYWALL_PREFIX = "/api"
_REST = "{rest:(?s:.*)}"  # whatever follows, line breaks included
_MONTRA = f"{API_PREFIX}/{{rest}}"
_SAFE = ("GET", "HEAD", "OPTIONS")
_FOR_PROGRAMS = (CONTROL_PREFIX, PAYWALL_PREFIX)
PAYWALL_PATHS = (f"/v1/paywall/{_REST}", f"/v1/api-gateway/{_REST}", "/v1/withdraw-tokens", f"/paywall/{_REST}")


class Sandbox(Controls):
    """A Montra service of your own, on this machine.

        async with Sandbox() as sandbox:
            client = Montra(sandbox.api_key, sandbox.base_url)

    Args:
        api_keys: one merchant each; they see nothing of each other.
        host: address to bind; anything but this machine's own wants `allow_remote=True`.
        port: 0 takes a free one.
        db: file of the database; in memory by default. Only its owner may read it: webhook secrets have to be usable,
            so they are in it in clear; passwords, tokens, codes and API keys are digests.
        allow_remote: let other machines in. The API keys protect the data, a token the controls.
        deliver_anywhere: send webhooks to other machines too.
        allow_hosts: names besides this machine's own that the server answers to, `name` or `name:port`. Any other
            `Host` is refused, so that no web page can reach it by DNS rebinding.
        control_token: what the header `X-Sandbox-Token` must hold for `/_sandbox/`. By default one is made up when
            other machines can connect, and none is needed when they can't.

    Raises:
        ValueError: a setting that can't be.
    """

    def __init__(
        self,
        *,
        api_keys: Sequence[str] = (DEFAULT_API_KEY,),
        host: str = "127.0.0.1",
        port: int = 0,
        db: str = ":memory:",
        allow_remote: bool = False,
        deliver_anywhere: bool = False,
        allow_hosts: Sequence[str] = (),
        control_token: str | None = None,
    ) -> None:
        if not api_keys or not all(key.strip() == key and key for key in api_keys):
            raise ValueError("api_keys: at least one, without spaces around it")
        if not 0 <= port <= 65535:
            raise ValueError(f"port {port}: from 0 (a free one) to 65535")
        here = is_here(f"http://{_in_url(host)}")
        if not allow_remote and not here:
            raise ValueError(f"{host} lets other machines in; say allow_remote=True (--allow-remote) if that is meant")
        if control_token is not None and not (control_token.isascii() and control_token.isprintable()):
            raise ValueError("control_token: letters, digits and punctuation that fit into a header")
        if control_token is not None and len(control_token.strip()) < LEAST_TOKEN:
            raise ValueError(f"control_token: at least {LEAST_TOKEN} characters")
        self.control_token = control_token or (None if here else secrets.token_urlsafe(24))
        """What `X-Sandbox-Token` must hold; None when the controls are open to every program of this machine."""
        self._allow_hosts = [allowed_host(one) for one in allow_hosts]
        self._guard: Guard | None = None
        self.api_keys = tuple(api_keys)
        self._host, self._port, self._db = host, port, db
        self._deliver_anywhere = deliver_anywhere
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """`http://127.0.0.1:<port>`."""
        return self._world.origin

    @property
    def base_url(self) -> str:
        """What `Montra(base_url=...)` wants."""
        return f"{self.url}{API_PREFIX}"

    @property
    def paywall_id(self) -> str:
        """The paywall of the first key: `BillingClient(sandbox.paywall_id, sandbox.url, sandbox.api_key)`."""
        return FIRST_PAYWALL

    @property
    def api_key(self) -> str:
        """The first key."""
        return self.api_keys[0]

    async def start(self) -> None:
        """Bind, and serve until `stop`.

        Raises:
            OSError: the port is taken, or the database can't be opened.
        """
        self._store = Store(self._db)
        try:
            await self._start(World(self._store))
        except BaseException:
            self._store.close()
            raise

    async def _start(self, world: World) -> None:
        for key in self.api_keys:
            world.add_merchant(key)
        world.furnish()
        deliveries = Deliveries(world, anywhere=self._deliver_anywhere)
        super().__init__(world, deliveries)
        self._runner = web.AppRunner(self._app(world), access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except BaseException:
            await self._runner.cleanup()
            raise
        port = self._runner.addresses[0][1]
        world.origin = f"http://{_in_url(self._host)}:{port}"
        bound = parse_host(_in_url(self._host)) or HostName(self._host, None)
        self._guard = Guard(port=port, bound=bound, hosts=self._allow_hosts, token=self.control_token)
        deliveries.start()

    async def stop(self) -> None:
        """Let running requests finish, stop deliveries, close the database. Safe to call twice."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await self._deliveries.stop()
            await runner.cleanup()
            self._store.close()

    async def __aenter__(self) -> Sandbox:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _app(self, world: World) -> web.Application:
        app = web.Application(client_max_size=MOST_UPLOAD, middlewares=[_envelopes, self._guarded])
        app.on_response_prepare.append(_protect_pages)
        paywall = PaywallApi(world, PAYWALL_PREFIX)
        for path in PAYWALL_PATHS:
            app.router.add_route("*", PAYWALL_PREFIX + path, paywall.handle)
        app.router.add_route("*", f"{API_PREFIX}/{_REST}", MontraApi(world, API_PREFIX).handle)
        app.router.add_routes(control_routes(self))
        app.router.add_routes([*CheckoutPages(world).routes(), *PaywallPages(world).routes()])
        app.router.add_get("/", self._front)
        return app

    async def _front(self, request: web.Request) -> web.Response:
        if not _may_look(request, self.control_token):
            raise Problem(
                401, "control_token_required", "Please open the address that the sandbox printed at its start."
            )
        return page(
            "front.html",
            base_url=self.base_url,
            origin=self.url,
            overview=self.overview(),
            deliveries=self._deliveries.all(20),
            transactions=self.transactions()[:20],
        )

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """No route sees a request that a web page of another origin had a browser send."""
        if self._guard is None:  # a connection between bind and ready
            raise Problem(503, "starting", "the sandbox is just starting")
        where = _route_of(request)
        self._guard.check_host(request.headers)
        refuse_no_text(request)
        refuse_key_in_browser(request.headers)
        if where.startswith(CONTROL_PREFIX):
            refuse_foreign_page(request.headers, "the sandbox's controls")
            self._guard.check_token(request.headers.get(TOKEN_HEADER))
        elif where == _MONTRA:  # its keys are secrets of servers; no page has one, whatever it knows of sandboxes
            refuse_foreign_page(request.headers, "the Montra API and its keys")
        elif request.method not in _SAFE and not where.startswith(PAYWALL_PREFIX):
            refuse_foreign_page(request.headers, "forms of the sandbox's pages")
            await read_form(request)  # refused here in one place if it can't be read; the page gets it from memory
        response: web.StreamResponse = await handler(request)
        return response


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _route_of(request: web.Request) -> str:
    """The path as it was routed, so that no spelling of it slips through."""
    resource = request.match_info.route.resource
    return request.path if resource is None else resource.canonical


def _may_look(request: web.Request, token: str | None) -> bool:
    given = request.query.get("token") or request.headers.get(TOKEN_HEADER) or ""
    return token is None or hmac.compare_digest(given.encode("utf-8", "surrogatepass"), token.encode())


async def _protect_pages(_: web.Request, response: web.StreamResponse) -> None:
    """Headers of every answer: nobody frames a page, guesses its type, or learns its address.

    Pages say `same-origin`, since under `no-referrer` browsers send `Origin: null` with their own forms, too.
    """
    headers = response.headers
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    headers["Referrer-Policy"] = "same-origin" if response.content_type == "text/html" else "no-referrer"
    policy = headers.get("Content-Security-Policy", "default-src 'none'")
    if "frame-ancestors" not in policy:
        headers["Content-Security-Policy"] = f"{policy}; frame-ancestors 'none'"


@web.middleware
async def _envelopes(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever is refused outside the API: an envelope for programs, a page for people."""
    try:
        response: web.StreamResponse = await handler(request)
        return response
    except web.HTTPException as error:
        if error.status < 400:
            raise
        problem = http_problem(error)
    except Problem as refused:
        problem = refused
    except OUT_OF_RANGE as error:
        problem = out_of_range(error)
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        problem = Problem(500, "internal_error", "the sandbox failed; its log says why")
    if "text/html" not in request.headers.get("Accept", "") or _route_of(request).startswith(_FOR_PROGRAMS):
        return respond_problem(problem)
    return page("problem.html", status=problem.status, message=problem.message)
