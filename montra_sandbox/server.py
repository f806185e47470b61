"""The sandbox as an object: settings, start and stop."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from types import TracebackType

from aiohttp import web
from aiohttp.typedefs import Middleware

from .controls import Controls
from .database import Database
from .http.application import API_PREFIX, SandboxApplication
from .http.browser_protection import AccessRules, HostName, parse_allowed_host, parse_host
from .webhook_sender import WebhookSender, is_local_url
from .world import FIRST_PAYWALL_ID, World

__all__ = ["API_PREFIX", "DEFAULT_API_KEY", "Sandbox"]

DEFAULT_API_KEY: str = "sk_test_sandbox"
_MIN_TOKEN_LENGTH = 8
_SHUTDOWN_TIMEOUT = 1.0


class Sandbox(Controls):
    """A local server with the Montra API, the paywall API, checkout pages and controls.

        async with Sandbox() as sandbox:
            client = Montra(sandbox.api_key, sandbox.base_url)

    `api_keys`, `api_key`, `paywall_id` and `control_token` can be read at any time. `url` and `base_url` are known once
    it was started. The controls need it to be running; otherwise they raise RuntimeError.

    Args:
        api_keys: the API keys. Each is a merchant of its own, who sees nothing of the others.
        host: the address to bind. Any but a loopback address needs `allow_remote=True`.
        port: the port to bind; 0 for a free one.
        db: the file of the database; in memory by default. The file is readable by its owner only: it holds digests of
            keys, tokens, codes and passwords, but the secrets of webhook endpoints in plain text.
        allow_remote: whether other machines may connect. The API keys protect the APIs, a token the controls.
        deliver_anywhere: whether webhooks are sent to other machines, too.
        allow_hosts: host names besides this machine's own that the server answers to, `name` or `name:port`. Requests
            with any other `Host` are refused, which protects against DNS rebinding.
        control_token: what the header `X-Sandbox-Token` must hold for `/_sandbox/`, 8 or more printable characters. By
            default a random one if other machines may connect, else none is needed.

    Attributes:
        api_keys: as given.
        control_token: the token in use; None when the controls need none.

    Raises:
        ValueError: a setting is invalid.
    """

    api_keys: tuple[str, ...]
    control_token: str | None
    _middlewares: tuple[Middleware, ...] = ()
    """Outermost middlewares of the server, for tests that watch what it is sent and answers."""

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
        if isinstance(api_keys, str):
            raise ValueError("api_keys: a list of keys, not one string")
        if not api_keys or not all(key.strip() == key and key for key in api_keys):
            raise ValueError("api_keys: at least one, without spaces around it")
        if not 0 <= port <= 65535:
            raise ValueError(f"port {port}: from 0 (a free one) to 65535")
        is_local = is_local_url(f"http://{_bracket(host)}")
        if not allow_remote and not is_local:
            raise ValueError(f"{host} lets other machines in; say allow_remote=True (--allow-remote) if that is meant")
        if control_token is not None and not (control_token.isascii() and control_token.isprintable()):
            raise ValueError("control_token: letters, digits and punctuation that fit into a header")
        if control_token is not None and len(control_token.strip()) < _MIN_TOKEN_LENGTH:
            raise ValueError(f"control_token: at least {_MIN_TOKEN_LENGTH} characters")
        self.api_keys = tuple(api_keys)
        self.control_token = control_token or (None if is_local else secrets.token_urlsafe(24))
        self._host, self._port, self._db_path = host, port, db
        self._allow_hosts = [parse_allowed_host(name) for name in allow_hosts]
        self._deliver_anywhere = deliver_anywhere
        self._url: str | None = None
        self._running: _Running | None = None
        self._starting: bool = False

    @property
    def url(self) -> str:
        """The address, `http://127.0.0.1:<port>`; also after `stop`.

        Raises:
            RuntimeError: the sandbox was not started.
        """
        if self._url is None:
            raise _not_running()
        return self._url

    @property
    def base_url(self) -> str:
        """The address of the Montra API, for `Montra(base_url=...)`.

        Raises:
            RuntimeError: the sandbox was not started.
        """
        return f"{self.url}{API_PREFIX}"

    @property
    def paywall_id(self) -> str:
        """The first merchant's paywall: `BillingClient(sandbox.paywall_id, sandbox.url, sandbox.api_key)`."""
        return FIRST_PAYWALL_ID

    @property
    def api_key(self) -> str:
        """The first API key."""
        return self.api_keys[0]

    async def start(self) -> None:
        """Open the database, bind the port and serve until `stop`.

        Raises:
            OSError: the port is in use, or the database file can't be opened.
            RuntimeError: the sandbox is running already.
            sqlite3.Error: the file is not a database.
        """
        if self._running is not None or self._starting:
            raise RuntimeError("the sandbox is running already")
        self._starting = True
        try:
            db = Database(self._db_path)
            try:
                self._running = await self._serve(World(db))
            except BaseException:
                db.close()
                raise
        finally:
            self._starting = False

    async def _serve(self, world: World) -> _Running:
        for key in self.api_keys:
            world.add_merchant(key)
        world.seed()
        sender = WebhookSender(world, deliver_anywhere=self._deliver_anywhere)
        application = SandboxApplication(self, world, sender, control_token=self.control_token)
        runner = web.AppRunner(
            application.build(self._middlewares), access_log=None, shutdown_timeout=_SHUTDOWN_TIMEOUT
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except BaseException:
            await runner.cleanup()
            raise
        port = runner.addresses[0][1]
        self._url = world.origin = f"http://{_bracket(self._host)}:{port}"
        bound = parse_host(_bracket(self._host)) or HostName(self._host, None)
        application.open(AccessRules(port=port, bound=bound, hosts=self._allow_hosts, token=self.control_token))
        sender.start()
        return _Running(world, sender, runner)

    async def stop(self) -> None:
        """Finish running requests, stop sending webhooks and close the database. Does nothing when it is stopped."""
        if self._running is not None:
            running, self._running = self._running, None
            try:
                await running.sender.stop()
            finally:
                try:
                    await running.runner.cleanup()
                finally:
                    running.world.db.close()

    async def __aenter__(self) -> Sandbox:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def _world(self) -> World:
        if self._running is None:
            raise _not_running()
        return self._running.world

    @property
    def _webhook_sender(self) -> WebhookSender:
        if self._running is None:
            raise _not_running()
        return self._running.sender


class _Running:
    """What exists between start and stop."""

    def __init__(self, world: World, sender: WebhookSender, runner: web.AppRunner) -> None:
        self.world = world
        self.sender = sender
        self.runner = runner


def _not_running() -> RuntimeError:
    return RuntimeError(
        "the sandbox is not running: use `async with Sandbox() as sandbox:` or `await sandbox.start()` first"
    )


def _bracket(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host
