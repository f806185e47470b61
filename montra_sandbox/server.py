"""The sandbox as a server: routes, start and stop."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from types import TracebackType

from aiohttp import web
from aiohttp.typedefs import Handler

from .controls import Controls
from .deliveries import Deliveries, is_here
from .http.answers import MOST_UPLOAD, http_problem, respond_problem
from .http.control_routes import PREFIX as CONTROL_PREFIX, control_routes
from .http.montra_api import MontraApi
from .http.paywall_api import PaywallApi
from .pages.checkout import CheckoutPages
from .pages.paywall import PaywallPages
from .pages.render import page
from .problems import Problem
from .store import Store
from .world import FIRST_PAYWALL, World

log = logging.getLogger("montra_sandbox")

DEFAULT_API_KEY = "sk_test_sandbox"
API_PREFIX = "/api/v1"
PAYWALL_PREFIX = "/api"
_REST = "{rest:(?s:.*)}"  # whatever follows, line breaks included
PAYWALL_PATHS = (f"/v1/paywall/{_REST}", f"/v1/api-gateway/{_REST}", "/v1/withdraw-tokens", f"/paywall/{_REST}")


class Sandbox(Controls):
    """A Montra service of your own, on this machine.

        async with Sandbox() as sandbox:
            client = Montra(sandbox.api_key, sandbox.base_url)

    Args:
        api_keys: one merchant each; they see nothing of each other.
        host: address to bind; anything but this machine's own wants `allow_remote=True`.
        port: 0 takes a free one.
        db: file of the database; in memory by default.
        allow_remote: let other machines in. There is no protection beyond the API keys.
        deliver_anywhere: send webhooks to other machines too.
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
    ) -> None:
        if not api_keys or not all(key.strip() == key and key for key in api_keys):
            raise ValueError("api_keys: at least one, without spaces around it")
        if not allow_remote and not is_here(f"http://{_in_url(host)}"):
            raise ValueError(f"{host} lets other machines in; say allow_remote=True (--allow-remote) if that is meant")
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
        app = web.Application(client_max_size=MOST_UPLOAD, middlewares=[_envelopes])
        paywall = PaywallApi(world, PAYWALL_PREFIX)
        for path in PAYWALL_PATHS:
            app.router.add_route("*", PAYWALL_PREFIX + path, paywall.handle)
        app.router.add_route("*", f"{API_PREFIX}/{_REST}", MontraApi(world, API_PREFIX).handle)
        app.router.add_routes(control_routes(self))
        app.router.add_routes([*CheckoutPages(world).routes(), *PaywallPages(world).routes()])
        app.router.add_get("/", self._front)
        return app

    async def _front(self, _: web.Request) -> web.Response:
        return page(
            "front.html",
            base_url=self.base_url,
            origin=self.url,
            overview=self.overview(),
            deliveries=self.deliveries()[:20],
            transactions=self.transactions()[:20],
        )


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


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
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        problem = Problem(500, "internal_error", "the sandbox failed; its log says why")
    if "text/html" not in request.headers.get("Accept", "") or request.path.startswith(CONTROL_PREFIX):
        return respond_problem(problem)
    return page("problem.html", status=problem.status, message=problem.message)
