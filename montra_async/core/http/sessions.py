"""One aiohttp session per event loop, opened at the first call, and always closed.

A session belongs to the event loop it was made on. A client may outlive many loops (several `asyncio.run`, a test
suite, a forked worker), so each call takes the session of the running loop. However a loop ends, its session is closed:

- the loop shuts down (`asyncio.run`, `asyncio.Runner`, pytest-asyncio): it closes its asynchronous generators, one of
  which is held by the session and closes it;
- the client is garbage collected while the loop lives: the loop is asked to close the session;
- the loop was closed without a shutdown, the process ends, or it was forked: the sockets are closed without using the
  loop (`LoopSession.discard_sockets`).
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

import aiohttp
import attrs
from yarl import URL

from ..errors import ConfigError
from ..options import CallOptions
from .aiohttp_compat import Semaphore, belongs_to, discard_sockets, new_semaphore, request_once, taken
from .connection import Connection, eager_timeout_of, lazy_timeout_of
from .connector import LazyConnector
from .environment import EnvironmentProxies
from .streaming import Stream, read_body, read_traced_body
from .timeouts import Deadlines, deadlines_of

_NO_ASYNCIO = (
    "no asyncio event loop is running: await the call in asyncio.run(...), or use montra_sync where there is none; "
    "under trio, run montra_sync in a thread (anyio.to_thread.run_sync)"
)

KEEP_ALIVE_SECONDS = 15.0
"""Idle connections are closed before common servers and load balancers (60 s and more) close them."""


@attrs.frozen
class PoolState:
    """How many connections of a pool are taken.

    Attributes:
        size: connections at most.
        in_use: connections in use.
        waiting: calls that wait for one.
    """

    size: int
    in_use: int
    waiting: int


@attrs.frozen
class Strategy:
    """How one aiohttp session sends requests and reads responses. Chosen once, when the session is opened.

    Attributes:
        request: `aiohttp.ClientSession.request` that sends once.
        timeout: time-outs of a request whose body is small and whose response is read at once. Other requests have
            `eager_timeout_of`: while a large body is sent, or a caller reads a stream, the server waits.
        read_body: reads a response up to a limit in bytes; returns the body and whether it was cut.
    """

    request: Callable[..., Awaitable[aiohttp.ClientResponse]]
    timeout: Callable[[CallOptions], aiohttp.ClientTimeout]
    read_body: Callable[[aiohttp.ClientResponse, int], Awaitable[tuple[bytes, bool]]]


def strategy_for(
    session: aiohttp.ClientSession, *, owned: bool, environment: EnvironmentProxies | None = None
) -> Strategy:
    """The strategy of a session.

    Args:
        session: ours or the user's.
        owned: whether it is ours.
        environment: proxies of the environment. Default: None, the session's own proxy.
    """
    request = request_once(session, owned=owned)
    lazy = isinstance(session.connector, LazyConnector)
    return Strategy(
        request=request if environment is None else _through(environment, request),
        timeout=lazy_timeout_of if lazy else eager_timeout_of,
        read_body=read_traced_body if session.trace_configs else read_body,
    )


def _through(
    environment: EnvironmentProxies, request: Callable[..., Awaitable[aiohttp.ClientResponse]]
) -> Callable[..., Awaitable[aiohttp.ClientResponse]]:
    """`request` through the proxy of the environment that each URL has."""

    def send(method: str, url: URL, **options: Any) -> Awaitable[aiohttp.ClientResponse]:
        proxy = environment.proxy_of(url)
        return request(method, url, proxy=None if proxy is None else proxy.url.reveal(), **options)

    return send


class LoopSession:
    """What a client has on one event loop.

    Args:
        loop: the event loop.
        session: ours or the user's.
        pool_size: requests in flight at most.
        owned: whether the session is ours to close.
        environment: proxies of the environment; None when it is not asked.
        on_close: called once, when closing begins.

    Attributes:
        loop: the event loop.
        client_session: aiohttp's session.
        strategy: how it sends and reads.
        semaphore: bounds the requests in flight.
        deadlines: of the calls of this event loop.
        streams: open responses.
        closed: whether closing has begun.
    """

    __slots__ = (
        "_close_began",
        "_close_hook",
        "_fully_closed",
        "_on_close",
        "_owned",
        "client_session",
        "closed",
        "deadlines",
        "loop",
        "semaphore",
        "strategy",
        "streams",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        session: aiohttp.ClientSession,
        *,
        pool_size: int,
        owned: bool,
        environment: EnvironmentProxies | None = None,
        on_close: Callable[[LoopSession], None],
    ) -> None:
        self.loop: asyncio.AbstractEventLoop = loop
        self.client_session: aiohttp.ClientSession = session
        self.strategy: Strategy = strategy_for(session, owned=owned, environment=environment)
        self.semaphore: Semaphore = new_semaphore(pool_size)
        self.deadlines: Deadlines = deadlines_of(loop)
        self.streams: weakref.WeakSet[Stream] = weakref.WeakSet()
        self.closed: bool = False
        self._owned = owned
        self._on_close = on_close
        self._close_hook: AsyncGenerator[None, None] | None = None
        self._close_began = False
        self._fully_closed = asyncio.Event()

    async def open(self) -> None:
        """Register with the event loop, which closes this session when it shuts down."""
        _open.add(self)
        self._close_hook = self._close_when_finalized()
        await self._close_hook.__anext__()

    async def close(self) -> None:
        """Close, or wait until another task has closed: several tasks may close one client at once."""
        hook, self._close_hook = self._close_hook, None
        if hook is None:
            await self._fully_closed.wait()
            return
        if getattr(hook, "ag_running", False):  # the event loop, which is shutting down, is closing it
            return
        await self._close_once()
        if not getattr(hook, "ag_running", False):  # else the event loop began to shut down meanwhile
            await hook.aclose()

    def close_soon(self) -> None:
        """From any thread: have the session's own event loop close it."""
        with contextlib.suppress(RuntimeError):  # that loop is shutting down, which closes the session
            self.loop.call_soon_threadsafe(self._close_in_task)

    def _close_in_task(self) -> None:
        task = self.loop.create_task(self.close())
        _closing.add(task)
        task.add_done_callback(_closing.discard)

    async def _close_when_finalized(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self._close_once()

    async def _close_once(self) -> None:
        """Close, or wait for the other one: `close`, or the event loop that shuts down, may be first."""
        if self._close_began:
            await self._fully_closed.wait()
            return
        self._close_began = True
        self._unregister()
        self.deadlines.end_all_of(self)
        for stream in list(self.streams):
            stream.close()
        try:
            if self._owned:
                await self.client_session.close()
        finally:
            self._fully_closed.set()

    def _unregister(self) -> None:
        self.closed = True
        _open.discard(self)
        self._on_close(self)

    def discard_sockets(self) -> None:
        """Close the sockets of a session whose event loop will never run again in this process, without using it.

        `close` would schedule callbacks on that loop: it raises when the loop is closed, and in a forked child it
        would remove the parent's sockets from the selector that both processes share.
        """
        self._unregister()
        if not self.loop.is_closed():
            _unfinalized.append(self._close_hook)
        for stream in list(self.streams):
            stream.discard()
        if self._owned:
            discard_sockets(self.client_session)


class Sessions:
    """The sessions of one client, one per event loop.

    Args:
        connection: how connections are made.
        headers: headers of every request.
    """

    def __init__(self, connection: Connection, headers: Callable[[], Mapping[str, str]]) -> None:
        self._by_loop: dict[asyncio.AbstractEventLoop, LoopSession] = {}
        self._connection = connection
        self._headers = headers

    @property
    def pool_size(self) -> int:
        """Requests in flight at most, per event loop."""
        return self._connection.pool_size

    def current(self) -> LoopSession | None:
        """The session of the running event loop; None before the first call.

        Raises:
            ConfigError: no asyncio event loop is running.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigError(_NO_ASYNCIO) from None
        return self._by_loop.get(loop)

    async def get_or_open(self) -> LoopSession:
        """The session of the running event loop.

        Raises:
            ConfigError: no asyncio event loop is running, or the given session or connector can't be used on it.
        """
        return self.current() or await self._open(asyncio.get_running_loop())

    def pool_states(self) -> list[PoolState]:
        """The state of the pool of each event loop. Any thread may ask."""
        size = self.pool_size
        return [PoolState(size, *taken(one.semaphore, size)) for one in list(self._by_loop.values())]

    async def aclose(self) -> None:
        """Close the session of the running event loop, and have each other loop close its own."""
        current = asyncio.get_running_loop()
        for loop, session in list(self._by_loop.items()):
            if loop is current:
                await session.close()
            elif loop.is_closed():
                session.discard_sockets()
            else:
                session.close_soon()

    async def _open(self, loop: asyncio.AbstractEventLoop) -> LoopSession:
        _discard_sockets_where(lambda session: session.loop.is_closed())
        given = self._connection.session
        if given is not None:
            _check_session(given, loop)
        owner = weakref.ref(self)

        def forget(closed: LoopSession) -> None:
            sessions = owner()
            if sessions is not None:
                sessions._by_loop.pop(closed.loop, None)

        session = LoopSession(
            loop,
            given or self._new_client_session(loop),
            pool_size=self.pool_size,
            owned=given is None,
            environment=self._connection.environment,
            on_close=forget,
        )
        self._by_loop[loop] = session
        await session.open()
        return session

    def _new_client_session(self, loop: asyncio.AbstractEventLoop) -> aiohttp.ClientSession:
        connection = self._connection
        given = connection.connector
        return aiohttp.ClientSession(
            connector=self._connector(loop),
            connector_owner=not isinstance(given, aiohttp.BaseConnector),
            headers=self._headers() if connection.sends_own_headers else None,
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=None if connection.proxy is None else connection.proxy.url.reveal(),
            trace_configs=list(connection.trace_configs),
        )

    def _connector(self, loop: asyncio.AbstractEventLoop) -> aiohttp.BaseConnector:
        given = self._connection.connector
        if given is None:
            # The semaphore bounds the connections: the connector itself needs no limit.
            return LazyConnector(keepalive_timeout=KEEP_ALIVE_SECONDS, ssl=self._connection.ssl)
        if not isinstance(given, aiohttp.BaseConnector):
            return self._connector_from(given)
        if not belongs_to(given, loop):
            raise ConfigError(
                "the connector given to the client belongs to another event loop; give a function that makes one"
            )
        return given

    def _connector_from(self, make: Callable[[], aiohttp.BaseConnector]) -> aiohttp.BaseConnector:
        try:
            connector = make()
        except Exception as error:
            raise ConfigError(f"the function given as connector= raised {type(error).__name__}") from error
        if not isinstance(connector, aiohttp.BaseConnector):
            raise ConfigError(f"the function given as connector= made {type(connector).__name__}, not a connector")
        self._connection.check_certificates(connector, "connector")
        return connector

    def __del__(self) -> None:
        by_loop: dict[Any, LoopSession] = getattr(self, "_by_loop", {})  # __init__ may have failed
        for session in list(by_loop.values()):
            if session.loop.is_closed():
                session.discard_sockets()
            else:
                session.close_soon()


def _check_session(given: aiohttp.ClientSession, loop: asyncio.AbstractEventLoop) -> None:
    if given.closed:
        raise ConfigError("the session given to the client is closed")
    if not belongs_to(given, loop):
        raise ConfigError(
            "the session given to the client belongs to another event loop; "
            "leave session= out, or give connector=<a function that makes one>, to work on several loops"
        )
    if given.auth is not None:
        raise ConfigError("the session given to the client has auth= of its own, where the client puts its key")


_open: set[LoopSession] = set()
"""All open sessions of this process. Strong references: a session must be closed, not garbage collected."""

_closing: set[asyncio.Task[None]] = set()

_unfinalized: list[object] = []
"""Close hooks of event loops that are open but will not run again here: finalizing them would use those loops."""


def _discard_sockets_where(matches: Callable[[LoopSession], bool]) -> None:
    for session in [session for session in list(_open) if matches(session)]:
        session.discard_sockets()


atexit.register(_discard_sockets_where, lambda session: not session.loop.is_running())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _discard_sockets_where(lambda session: True))
