"""One aiohttp session per event loop, opened on first use, and never left behind.

A session belongs to the loop it was made on. A client may outlive many loops (`asyncio.run` several times, a test
suite, a forked worker), so the session is chosen per call by the running loop, and every way a loop can end has an
answer here:

- the loop ends properly (`asyncio.run`, `asyncio.Runner`, pytest-asyncio): an async generator parked on the loop is
  closed by the loop's own shutdown, and closes the session with it;
- the client is garbage collected while the loop lives: the same generator is finalised by the loop;
- the loop was closed without that, the process ends, or the process was forked: the sockets are freed without
  touching the loop (`_abandon`).
"""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import weakref
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import aiohttp
import anyio

from .deadlines import Deadlines
from .errors import ConfigError
from .options import Connection

KEEP_ALIVE_SECONDS = 15.0
"""Idle connections are dropped before common servers and load balancers (60 s and more) drop them."""


class LoopSession:
    """What one event loop has: session, the gate that bounds its connections, the deadlines of its calls."""

    __slots__ = ("closed", "deadlines", "gate", "keeper", "loop", "owned", "session")

    def __init__(self, loop: asyncio.AbstractEventLoop, session: aiohttp.ClientSession, size: int, owned: bool) -> None:
        self.loop = loop
        self.session = session
        self.owned = owned
        self.gate = anyio.Semaphore(size, fast_acquire=True)
        self.deadlines = Deadlines(loop)
        self.keeper: AsyncGenerator[None, None] | None = None
        self.closed = False

    async def close(self) -> None:
        self.closed = True
        self.deadlines.close()
        if self.owned:
            await self.session.close()


class Sessions:
    """The sessions of one client, by event loop."""

    def __init__(self, connection: Connection, headers: Callable[[], Mapping[str, str]]) -> None:
        self._connection = connection
        self._headers = headers
        self._by_loop: dict[asyncio.AbstractEventLoop, LoopSession] = {}
        self._loop_of_given: asyncio.AbstractEventLoop | None = None
        _all.add(self)

    @property
    def pool_size(self) -> int:
        return self._connection.pool_size

    async def here(self) -> LoopSession:
        """The session of the running loop."""
        loop = asyncio.get_running_loop()
        return self._by_loop.get(loop) or await self._open(loop)

    async def aclose(self) -> None:
        """Close the running loop's session, and have those of other loops closed by their own loop."""
        here = asyncio.get_running_loop()
        for loop, one in list(self._by_loop.items()):
            if loop is here:
                await self._end(one)
            elif loop.is_closed():
                self._bury(one)
            else:
                with contextlib.suppress(RuntimeError):  # the other thread may be closing that loop right now
                    loop.call_soon_threadsafe(self._end_soon, one)

    async def _open(self, loop: asyncio.AbstractEventLoop) -> LoopSession:
        for other in [one for one in self._by_loop.values() if one.loop.is_closed()]:
            self._bury(other)
        given = self._connection.session
        if given is not None:
            self._check_loop_of_given(loop, given)
        one = LoopSession(loop, given or self._new_session(), self.pool_size, owned=given is None)
        self._by_loop[loop] = one
        one.keeper = _keep(one, weakref.ref(self))
        await one.keeper.__anext__()
        return one

    def _check_loop_of_given(self, loop: asyncio.AbstractEventLoop, given: aiohttp.ClientSession) -> None:
        if given.closed:
            raise ConfigError("the session given to the client is closed")
        if self._loop_of_given not in (None, loop):
            raise ConfigError(
                "the session given to the client belongs to another event loop; "
                "leave session= out, or give connector=<a function that makes one>, to work on several loops"
            )
        self._loop_of_given = loop

    def _new_session(self) -> aiohttp.ClientSession:
        connection = self._connection
        connector = connection.connector
        mine = connector is None or not isinstance(connector, aiohttp.BaseConnector)
        if connector is None:
            # The gate bounds the connections, so the connector never has to make anybody wait.
            made: aiohttp.BaseConnector = aiohttp.TCPConnector(
                limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS, ssl=connection.ssl
            )
        elif isinstance(connector, aiohttp.BaseConnector):
            made = connector
        else:
            made = connector()
        try:
            session = aiohttp.ClientSession(
                connector=made,
                connector_owner=mine,
                headers=self._headers(),
                cookie_jar=aiohttp.DummyCookieJar(),
                proxy=connection.proxy,
                trace_configs=list(connection.trace_configs),
            )
        except RuntimeError as error:
            raise ConfigError(
                f"the connector given to the client can't be used here: {error}; give a function that makes one"
            ) from None
        # aiohttp would silently repeat some requests on its own; tries are counted in one place, the transport.
        session._retry_connection = False
        return session

    async def _end(self, one: LoopSession) -> None:
        self._by_loop.pop(one.loop, None)
        if one.keeper is not None:
            await one.keeper.aclose()

    def _end_soon(self, one: LoopSession) -> None:
        task = one.loop.create_task(self._end(one))
        _closing.add(task)
        task.add_done_callback(_closing.discard)

    def _bury(self, one: LoopSession) -> None:
        self._by_loop.pop(one.loop, None)
        _abandon(one)

    def _bury_all(self, *, even_running: bool) -> None:
        for one in list(self._by_loop.values()):
            if even_running or not one.loop.is_running():
                self._bury(one)

    def __del__(self) -> None:
        for one in list(self._by_loop.values()):
            if one.loop.is_closed():
                self._bury(one)


async def _keep(one: LoopSession, owner: weakref.ref[Sessions]) -> AsyncGenerator[None, None]:
    """Parked at its `yield`; whoever closes it, above all the loop's own shutdown, closes the session."""
    try:
        yield
    finally:
        sessions = owner()
        if sessions is not None:
            sessions._by_loop.pop(one.loop, None)
        await one.close()


def _abandon(one: LoopSession) -> None:
    """Free the sockets of a session whose loop will never run again, silently.

    Closing properly would schedule callbacks on that loop: it raises when the loop is closed, and in a forked child
    it would remove the parent's sockets from the selector that both share. `_call_connection_lost` is what asyncio
    itself calls last: it closes the socket and does nothing else. Where it is missing (another loop implementation),
    garbage collection closes the socket.
    """
    one.closed = True
    if not one.loop.is_closed():
        _abandoned.append(one.keeper)
    if not one.owned:
        return
    connector = one.session.connector
    one.session.detach()
    if connector is None or one.session.connector is connector:  # pragma: no cover - detach always lets go
        return
    for protocol in _connections(connector):
        _drop_socket(protocol)
    with contextlib.suppress(AttributeError):
        connector._conns.clear()
        connector._acquired.clear()
        connector._closed = True


def _connections(connector: aiohttp.BaseConnector) -> list[Any]:
    try:
        return [protocol for idle in connector._conns.values() for protocol, _ in idle] + list(connector._acquired)
    except AttributeError:  # pragma: no cover - another aiohttp keeps its connections elsewhere
        return []


def _drop_socket(protocol: Any) -> None:
    transport = protocol.transport
    tls = getattr(transport, "_ssl_protocol", None)
    if tls is not None:
        transport._closed = True
        transport = getattr(tls, "_transport", None)
    lost = getattr(transport, "_call_connection_lost", None)
    if lost is not None:
        with contextlib.suppress(Exception):
            lost(None)


_all: weakref.WeakSet[Sessions] = weakref.WeakSet()
_closing: set[asyncio.Task[None]] = set()
_abandoned: list[object] = []
"""Keepers of open loops that will not run again here: finalising them would schedule work there."""


def _in_forked_child() -> None:
    for sessions in list(_all):
        sessions._bury_all(even_running=True)


def _at_exit() -> None:
    for sessions in list(_all):
        sessions._bury_all(even_running=False)


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)
