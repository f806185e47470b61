"""The sandbox as an object: settings, start and stop, and the server's thread."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from datetime import datetime
from types import TracebackType
from typing import Any, TypeVar

import attrs
from aiohttp import web
from aiohttp.typedefs import Middleware

from .app_deliveries import MAX_ROUNDS, AppDeliveries
from .controls import Controls
from .controls.handles import Requests, SandboxClock, Webhooks
from .controls.snapshots import Snapshots
from .controls.webhooks import DEFAULT_WEBHOOK_SECRET
from .database import Database
from .forks import ForkLock
from .http.application import API_PREFIX, SandboxApplication
from .http.browser_protection import AccessRules, HostName, parse_allowed_host, parse_host
from .http.server_log import MAX_LINE_SIZE, server_log
from .ids import IdGenerator
from .server_thread import Completion, ServerThread, is_in_coroutine, not_running
from .webhook_sender import APP_SCHEME, PendingDelivery, WebhookSender, is_local_url
from .world import FIRST_PAYWALL_ID, World

__all__ = ["API_PREFIX", "DEFAULT_API_KEY", "DEFAULT_WEBHOOK_SECRET", "Sandbox"]

DEFAULT_API_KEY: str = "sk_test_sandbox"
_MIN_TOKEN_LENGTH = 8
_SHUTDOWN_TIMEOUT = 1.0
_BACKLOG = 128
"""Connections that wait to be accepted."""

R = TypeVar("R")


class Sandbox(Controls):
    """A local server with the Montra API, the paywall API, a dashboard, checkout pages and controls.

        with Sandbox() as sandbox:
            client = Montra(sandbox.api_key, sandbox.base_url)

    It runs in a thread of its own, so that synchronous and asynchronous code can use it, also in the same test:
    `with`, `async with`, or `start()` and `stop()`. Its methods can be called from any thread and from coroutines; they
    take well below a millisecond. Several sandboxes can run side by side.

    `api_keys`, `api_key`, `paywall_id`, `webhook_secret` and `control_token` can be read at any time. `url` and
    `base_url` are known once it was started. The controls need it to be running; otherwise they raise RuntimeError.

    Args:
        api_keys: the API keys. Each is a merchant of its own, who sees nothing of the others.
        host: the address to bind. Any but a loopback address needs `allow_remote=True`.
        port: the port to bind; 0 for a free one.
        db: the file of the database; in memory by default. The file is readable by its owner only: it holds digests of
            keys, tokens, codes and passwords, but the secrets of webhook endpoints in plain text.
        now: the time at which its clock starts, an aware datetime; the present time by default. An earlier one needs an
            empty database.
        frozen: whether the clock stands still from the start.
        id_seed: makes the ids of objects reproducible, as `seed_ids`; random ids by default.
        webhook_secret: the key of the signatures of endpoints that `webhooks.to` makes: fixed, so that an application
            can have it in its settings. `whsec_test_sandbox` by default.
        allow_remote: whether other machines may connect. The API keys protect the APIs, a token the controls.
        deliver_anywhere: whether webhooks are sent to other machines, too.
        allow_hosts: host names besides this machine's own that the server answers to, `name` or `name:port`. Requests
            with any other `Host` are refused, which protects against DNS rebinding.
        control_token: what the header `X-Sandbox-Token` must hold for `/_sandbox/`, 8 or more printable characters. By
            default a random one if other machines may connect, else none is needed.

    Attributes:
        api_keys: as given.
        control_token: the token in use; None when the controls need none.
        webhook_secret: as given.
        clock: the clock.
        requests: the requests that both APIs received.
        webhooks: where webhooks go, and what was answered.

    Raises:
        ValueError: a setting is invalid.
    """

    api_keys: tuple[str, ...]
    control_token: str | None
    webhook_secret: str
    clock: SandboxClock
    requests: Requests
    webhooks: Webhooks
    _middlewares: tuple[Middleware, ...] = ()
    """Outermost middlewares of the server, for tests that watch what it is sent and answers."""

    def __init__(
        self,
        *,
        api_keys: Sequence[str] = (DEFAULT_API_KEY,),
        host: str = "127.0.0.1",
        port: int = 0,
        db: str = ":memory:",
        now: datetime | None = None,
        frozen: bool = False,
        id_seed: int | None = None,
        webhook_secret: str = DEFAULT_WEBHOOK_SECRET,
        allow_remote: bool = False,
        deliver_anywhere: bool = False,
        allow_hosts: Sequence[str] = (),
        control_token: str | None = None,
    ) -> None:
        if isinstance(api_keys, str):
            raise ValueError("api_keys: a list of keys, not one string")
        if not api_keys or not all(key and key.isascii() and key.isprintable() and " " not in key for key in api_keys):
            raise ValueError("api_keys: at least one, of letters, digits and punctuation without spaces")
        if not 0 <= port <= 65535:
            raise ValueError(f"port {port}: from 0 (a free one) to 65535")
        if now is not None and now.tzinfo is None:
            raise ValueError("now: a datetime with a time zone")
        is_local = is_local_url(f"http://{_bracket(host)}")
        if not allow_remote and not is_local:
            raise ValueError(f"{host} lets other machines in; say allow_remote=True (--allow-remote) if that is meant")
        _check_token(control_token)
        if not webhook_secret:
            raise ValueError("webhook_secret: at least one character")
        self.api_keys = tuple(api_keys)
        self.control_token = control_token or (None if is_local else secrets.token_urlsafe(24))
        self.webhook_secret = webhook_secret
        self._host, self._port, self._db_path = host, port, db
        self._now, self._frozen, self._id_seed = now, frozen, id_seed
        self._allow_hosts = [parse_allowed_host(name) for name in allow_hosts]
        self._deliver_anywhere = deliver_anywhere
        self._url: str | None = None
        self._starting = ForkLock()
        self._thread: ServerThread[_Running] | None = None
        self._running: _Running | None = None
        self._apps = AppDeliveries(
            send_due=lambda: self._submit(lambda: self._webhook_sender.send_due(max_rounds=MAX_ROUNDS)),
            take=lambda: self.call_in_server(self._take_for_apps),
            store=lambda delivery, answer: self.call_in_server(
                lambda: self._webhook_sender.store_answer(delivery, answer)
            ),
            release=lambda deliveries: self.call_in_server(lambda: self._webhook_sender.release(deliveries)),
        )
        self.clock = SandboxClock(self)
        self.requests = Requests(self)
        self.webhooks = Webhooks(self, self._apps)

    @property
    def url(self) -> str:
        """The address, `http://127.0.0.1:<port>`; also after `stop`.

        Raises:
            RuntimeError: the sandbox was not started.
        """
        if self._url is None:
            raise not_running()
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

    @property
    def database(self) -> str | None:
        """The file of the database; None when it is in memory."""
        return None if self._db_path in ("", ":memory:") else self._db_path

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that lead the SDK, and an application that uses it, to this sandbox.

        Raises:
            RuntimeError: the sandbox was not started.
        """
        return {
            "MONTRA_BASE_URL": self.base_url,
            "MONTRA_API_KEY": self.api_key,
            "MONTRA_WEBHOOK_SECRET": self.webhook_secret,
            "PAYWALL_ORIGIN": self.url,
            "PAYWALL_ID": self.paywall_id,
            "MONETIZE_API_KEY": self.api_key,
            "MONTRA_SANDBOX": "1",  # its clock can be moved, so receivers check no age of events
        }

    # Start and stop

    def start(self) -> Completion:
        """Open the database, bind the port and serve until `stop`. It is done when this returns; awaiting is optional.

        Raises:
            OSError: the port is in use, or the database file can't be opened.
            Problem: 409, `now` is earlier than the data of the database, or it is too late for `id_seed`.
            RuntimeError: the sandbox is running already.
            sqlite3.Error: the file is not a database.
        """
        thread = ServerThread(self._open, self._close, descriptors=_descriptors_of)
        with self._starting:
            if self._thread is not None:
                raise RuntimeError("the sandbox is running already")
            self._thread = thread
        try:
            thread.start()
        except BaseException:
            self._thread = None
            raise
        return Completion()

    def stop(self) -> Completion:
        """Finish running requests, stop sending webhooks and close the database. Does nothing when it is stopped.

        In a coroutine, await it.
        """
        thread = self._release_thread()
        if thread is None:
            return Completion()
        if is_in_coroutine():
            return Completion(thread.stop_async())
        thread.stop()
        return Completion()

    def _release_thread(self) -> ServerThread[_Running] | None:
        thread, self._thread = self._thread, None
        self._apps.clear()
        return thread

    def __enter__(self) -> Sandbox:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        thread = self._release_thread()
        if thread is not None:
            thread.stop()

    async def __aenter__(self) -> Sandbox:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def reset(self) -> None:
        """Delete everything except the API keys. The clock is set as at the start: to `now`, or to the real time.

        Faults and applications of `webhooks.to` are removed. Snapshots and the log of requests stay.
        """
        self.call_in_server(self._reset)

    def _reset(self) -> None:
        super().reset()
        self._set_clock(self._world)
        if not self._snapshots.names():  # a snapshot brings its endpoints back
            self._apps.clear()

    def settle(self) -> Completion:
        """Make all deliveries of webhooks that are due, also those to applications of `webhooks.to`.

        Without a running event loop they are made when this returns. In a coroutine, await it.

        Raises:
            BaseException: what an application raised.
            RuntimeError: the sandbox is not running, or webhooks cause webhooks without end.
        """
        if is_in_coroutine():
            return Completion(self._apps.settle_async())
        self._apps.settle()
        return Completion()

    # The server's thread

    async def _open(self) -> _Running:
        db = Database(self._db_path)
        try:
            world = World(db, IdGenerator())
            running = await self._serve(world)
        except BaseException:
            db.close()
            raise
        self._running = running
        return running

    async def _serve(self, world: World) -> _Running:
        for key in self.api_keys:
            world.add_merchant(key)
        world.seed()
        world.db.run("DELETE FROM webhook_endpoints WHERE url LIKE ?", f"{APP_SCHEME}%")  # of an earlier process
        world.db.run("UPDATE paywalls SET webhook_url = NULL WHERE webhook_url LIKE ?", f"{APP_SCHEME}%")
        if self._id_seed is not None:
            world.seed_ids(self._id_seed)
        self._set_clock(world)
        sender = WebhookSender(world, deliver_anywhere=self._deliver_anywhere)
        application = SandboxApplication(self, world, sender, control_token=self.control_token)
        runner = web.AppRunner(
            application.build(self._middlewares),
            access_log=None,
            logger=server_log,
            max_line_size=MAX_LINE_SIZE,
            max_field_size=MAX_LINE_SIZE,
            shutdown_timeout=_SHUTDOWN_TIMEOUT,
        )
        await runner.setup()
        assert runner.server is not None
        try:
            loop = asyncio.get_running_loop()
            listener = await loop.create_server(runner.server, self._host, self._port, backlog=_BACKLOG)
        except BaseException:
            await runner.cleanup()
            raise
        port = listener.sockets[0].getsockname()[1]
        self._url = world.origin = f"http://{_bracket(self._host)}:{port}"
        bound = parse_host(_bracket(self._host)) or HostName(self._host, None)
        application.open(AccessRules(port=port, bound=bound, hosts=self._allow_hosts, token=self.control_token))
        sender.start()
        return _Running(world=world, sender=sender, runner=runner, listener=listener, snapshots=Snapshots(world))

    def _set_clock(self, world: World) -> None:
        """Apply the settings of the clock."""
        if self._now is not None:
            world.start_at(self._now)
        if self._frozen:
            world.freeze(self._now)

    async def _close(self, running: _Running) -> None:
        self._running = None
        running.world.live.close()
        try:
            await running.sender.stop()
        finally:
            running.listener.close()
            try:
                await running.runner.cleanup()
            finally:
                running.snapshots.close()
                running.world.db.close()

    def call_in_server(self, function: Callable[[], R], *, settles: bool = False) -> R:
        """Run a function in the server's thread and wait for its result. The controls use it; others rarely need it.

        Args:
            function: the function; it must not block.
            settles: whether applications of `webhooks.to` then get their webhooks, if this thread runs no event loop.

        Raises:
            RuntimeError: the sandbox is not running.
        """
        if self._thread is None:
            raise not_running()
        result = self._thread.call(function)
        if settles and self._apps and not is_in_coroutine():
            self._apps.settle()
        return result

    def _take_for_apps(self) -> tuple[list[PendingDelivery], bool]:
        others = self._webhook_sender.is_delivering
        return self._webhook_sender.take_for_apps(), others

    def _submit(self, function: Callable[[], Coroutine[Any, Any, R]]) -> Future[R]:
        if self._thread is None:
            raise not_running()
        return self._thread.submit(function)

    @property
    def _in_server(self) -> _Running:
        if self._running is None:
            raise not_running()
        return self._running

    @property
    def _world(self) -> World:
        return self._in_server.world

    @property
    def _webhook_sender(self) -> WebhookSender:
        return self._in_server.sender

    @property
    def _snapshots(self) -> Snapshots:
        return self._in_server.snapshots


@attrs.frozen(kw_only=True)
class _Running:
    """What exists between start and stop, in the server's thread."""

    world: World
    sender: WebhookSender
    runner: web.AppRunner
    listener: asyncio.Server
    snapshots: Snapshots


def _descriptors_of(running: _Running) -> list[int]:
    server = running.runner.server  # None once it is closed
    transports = [connection.transport for connection in server.connections] if server is not None else []
    connections = [transport.get_extra_info("socket") for transport in transports if transport is not None]
    found = [socket.fileno() for socket in (*running.listener.sockets, *connections)]
    lock = running.world.db.lock
    if lock is not None and lock.descriptor is not None:
        found.append(lock.descriptor)
    return [descriptor for descriptor in found if descriptor >= 0]  # others are closed


def _check_token(token: str | None) -> None:
    if token is not None and not (token.isascii() and token.isprintable()):
        raise ValueError("control_token: letters, digits and punctuation that fit into a header")
    if token is not None and len(token.strip()) < _MIN_TOKEN_LENGTH:
        raise ValueError(f"control_token: at least {_MIN_TOKEN_LENGTH} characters")


def _bracket(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host
