"""One aiohttp session per event loop, opened on first use, and never left behind.

A session belongs to the loop it was made on. A client may outlive many loops (`asyncio.run` several times, a test
suite, a forked worker), so the session is chosen per call by the running loop, and every way a loop can end has an
answer here:

- the loop ends properly (`asyncio.run`, `asyncio.Runner`, pytest-asyncio): an async generator parked on the loop is
  closed by the loop's own shutdown, and closes the session with it;
- the client is garbage collected while the loop lives: the loop is asked to close the session;
- the loop was closed without a shutdown, the process ends, or it was forked: the sockets are freed without touching the
  loop (`LoopSession.abandon`).
"""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

import aiohttp

from ..errors import ConfigError
from ..options import Connection
from .aiohttp_compat import sending_once
from .connector import LazyConnector
from .gate import Gate
from .streaming import Stream
from .timeouts import deadlines_of

_NO_ASYNCIO = (
    "no asyncio event loop is running: await the call in asyncio.run(...), or use montra_sync where there is none; "
    "under trio, run montra_sync in a thread (anyio.to_thread.run_sync)"
)

KEEP_ALIVE_SECONDS = 15.0
"""Idle connections are dropped before common servers and load balancers (60 s and more) drop them."""


class LoopSession:
    """What one event loop has: session, the gate that bounds its connections, its deadlines."""

    __slots__ = (
        "_closed_wholly",
        "_keeper",
        "_on_close",
        "closed",
        "deadlines",
        "gate",
        "lazy",
        "loop",
        "owned",
        "request",
        "session",
        "streams",
        "traced",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        session: aiohttp.ClientSession,
        *,
        size: int,
        owned: bool,
        request: Callable[..., Awaitable[aiohttp.ClientResponse]],
        on_close: Callable[[LoopSession], None],
    ) -> None:
        self.loop = loop
        self.request = request
        self.session = session
        self.lazy = isinstance(session.connector, LazyConnector)
        self.traced = bool(session.trace_configs)
        self.owned = owned
        self.gate = Gate(size)
        self.deadlines = deadlines_of(loop)
        self.streams: weakref.WeakSet[Stream] = weakref.WeakSet()
        self.closed = False
        self._on_close = on_close
        self._keeper: AsyncGenerator[None, None] | None = None
        self._closed_wholly = asyncio.Event()

    async def open(self) -> None:
        """Have the loop close us when it ends."""
        _open.add(self)
        self._keeper = self._keep()
        await self._keeper.__anext__()

    async def close(self) -> None:
        """Close, or wait for the close that is under way: several tasks may close one client at once."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            await self._closed_wholly.wait()
            return
        await keeper.aclose()

    def close_soon(self) -> None:
        """From any thread: have our own loop close us."""
        with contextlib.suppress(RuntimeError):  # that loop may be closing right now, and closes us then
            self.loop.call_soon_threadsafe(self._close_in_task)

    def _close_in_task(self) -> None:
        task = self.loop.create_task(self.close())
        _closing.add(task)
        task.add_done_callback(_closing.discard)

    async def _keep(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._leave()
            self.deadlines.end_all_of(self)
            for stream in list(self.streams):
                stream.close()
            try:
                if self.owned:
                    await self.session.close()
            finally:
                self._closed_wholly.set()

    def _leave(self) -> None:
        self.closed = True
        _open.discard(self)
        self._on_close(self)

    def abandon(self) -> None:
        """Free the sockets of a session whose loop will never run again here, silently.

        Closing properly would schedule callbacks on that loop: it raises when the loop is closed, and in a forked
        child it would remove the parent's sockets from the selector that both share.
        """
        self._leave()
        if not self.loop.is_closed():
            _abandoned.append(self._keeper)
        for stream in list(self.streams):
            stream.abandon()
        if self.owned:
            _drop_connections(self.session)


class Sessions:
    """The sessions of one client, by event loop."""

    def __init__(self, connection: Connection, headers: Callable[[], Mapping[str, str]]) -> None:
        self._by_loop: dict[asyncio.AbstractEventLoop, LoopSession] = {}
        self._connection = connection
        self._headers = headers

    @property
    def pool_size(self) -> int:
        return self._connection.pool_size

    @property
    def proxy(self) -> str | None:
        """Host and port of the proxy."""
        return None if self._connection.proxy is None else self._connection.proxy.host

    def opened(self) -> LoopSession | None:
        """The session of the running loop, when there is one already.

        Raises:
            ConfigError: no asyncio loop is running.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigError(_NO_ASYNCIO) from None
        return self._by_loop.get(loop)

    async def here(self) -> LoopSession:
        """The session of the running loop."""
        return self.opened() or await self._open(asyncio.get_running_loop())

    async def aclose(self) -> None:
        """Close the running loop's session, and have those of other loops closed by their own loop."""
        here = asyncio.get_running_loop()
        for loop, one in list(self._by_loop.items()):
            if loop is here:
                await one.close()
            elif loop.is_closed():
                one.abandon()
            else:
                one.close_soon()

    async def _open(self, loop: asyncio.AbstractEventLoop) -> LoopSession:
        _abandon_where(lambda one: one.loop.is_closed())
        given = self._connection.session
        if given is not None:
            _check_session(given, loop)
        by_loop = weakref.ref(self)

        def forget(one: LoopSession) -> None:
            owner = by_loop()
            if owner is not None:
                owner._by_loop.pop(one.loop, None)

        session = given or self._new_session(loop)
        one = LoopSession(
            loop,
            session,
            size=self.pool_size,
            owned=given is None,
            request=sending_once(session, owned=given is None),
            on_close=forget,
        )
        self._by_loop[loop] = one
        await one.open()
        return one

    def _new_session(self, loop: asyncio.AbstractEventLoop) -> aiohttp.ClientSession:
        connection = self._connection
        given = connection.connector
        return aiohttp.ClientSession(
            connector=self._connector(loop),
            connector_owner=not isinstance(given, aiohttp.BaseConnector),
            headers=self._headers(),
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=None if connection.proxy is None else connection.proxy.url.reveal(),
            trace_configs=list(connection.trace_configs),
        )

    def _connector(self, loop: asyncio.AbstractEventLoop) -> aiohttp.BaseConnector:
        given = self._connection.connector
        if given is None:
            # The gate bounds the connections, so the connector never has to make anybody wait.
            return LazyConnector(keepalive_timeout=KEEP_ALIVE_SECONDS, ssl=self._connection.ssl)
        if not isinstance(given, aiohttp.BaseConnector):
            return self._made_by(given)
        if given._loop is not loop:
            raise ConfigError(
                "the connector given to the client belongs to another event loop; give a function that makes one"
            )
        return given

    def _made_by(self, make: Callable[[], aiohttp.BaseConnector]) -> aiohttp.BaseConnector:
        try:
            connector = make()
        except Exception as error:
            raise ConfigError(f"the function given as connector= raised {type(error).__name__}") from error
        if not isinstance(connector, aiohttp.BaseConnector):
            raise ConfigError(f"the function given as connector= made {type(connector).__name__}, not a connector")
        self._connection.check_certificates(connector, "connector")
        return connector

    def __del__(self) -> None:
        by_loop: dict[Any, LoopSession] = getattr(self, "_by_loop", {})  # it may never have been made whole
        for one in list(by_loop.values()):
            if one.loop.is_closed():
                one.abandon()
            else:
                one.close_soon()


def _check_session(given: aiohttp.ClientSession, loop: asyncio.AbstractEventLoop) -> None:
    if given.closed:
        raise ConfigError("the session given to the client is closed")
    if given._loop is not loop:
        raise ConfigError(
            "the session given to the client belongs to another event loop; "
            "leave session= out, or give connector=<a function that makes one>, to work on several loops"
        )
    if given.auth is not None:
        raise ConfigError("the session given to the client has auth= of its own, where the client puts its key")


def _drop_connections(session: aiohttp.ClientSession) -> None:
    """Close the sockets of a session and nothing else; neither session nor connector complain of it later."""
    connector = session.connector
    if connector is None:  # another thread was quicker
        return
    session.detach()
    with contextlib.suppress(AttributeError):  # another aiohttp may keep its connections elsewhere
        idle = [protocol for kept in connector._conns.values() for protocol, _ in kept]
        for protocol in (*idle, *connector._acquired):
            _drop_socket(protocol)
        connector._conns.clear()
        connector._acquired.clear()
        connector._closed = True


def _drop_socket(protocol: Any) -> None:
    """`_call_connection_lost` is what asyncio itself calls last: it closes the socket and schedules nothing.

    Where it is missing (another loop implementation), garbage collection closes the socket.
    """
    transport = protocol.transport
    tls = getattr(transport, "_ssl_protocol", None)
    if tls is not None:
        transport._closed = True
        transport = getattr(tls, "_transport", None)
    lost = getattr(transport, "_call_connection_lost", None)
    if lost is not None:
        with contextlib.suppress(Exception):
            lost(None)


_open: set[LoopSession] = set()
"""All open sessions of this process. Strong: a session must be closed, not collected."""

_closing: set[asyncio.Task[None]] = set()

_abandoned: list[object] = []
"""Keepers of open loops that will not run again here: finalising them would schedule work there."""


def _abandon_where(hopeless: Callable[[LoopSession], bool]) -> None:
    for one in [one for one in list(_open) if hopeless(one)]:
        one.abandon()


atexit.register(_abandon_where, lambda one: not one.loop.is_running())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _abandon_where(lambda one: True))
