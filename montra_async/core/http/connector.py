"""aiohttp's connector, with read time-outs at a fraction of their price.

aiohttp sets a timer with every request and moves it with every piece of an answer, though next to none of them ever
fires. Here nothing is set at first. Now and then the connector looks which calls are still under way, and has aiohttp
watch those: a silence is noticed at most a tenth, and at most a second, later than it would have been.
"""

# pyright: reportUnknownMemberType=false
# TCPConnector's own signature names a type that its checker does not know.
from __future__ import annotations

import asyncio
import math
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

_LATE, _LATEST = 0.1, 1.0
"""How much of a time-out, and how many seconds, may pass before a connection is watched.

Until then it is kept in mind, even when its call is over and a server has closed it.
"""


class LazyTimeout(aiohttp.ClientTimeout):
    """For calls through a `LazyConnector`: `silence`, in seconds, takes the place of `sock_read`."""

    silence: float | None

    @classmethod
    def of(cls, *, connect: float | None, silence: float | None) -> LazyTimeout:
        timeout = cls(total=None, connect=connect)
        object.__setattr__(timeout, "silence", silence)  # the fields of a ClientTimeout can't be assigned to
        return timeout


class LazyConnector(aiohttp.TCPConnector):
    """Watches over calls with a `LazyTimeout`; those with another are watched by aiohttp from their beginning."""

    def __init__(self, *, keepalive_timeout: float, ssl: Any) -> None:
        super().__init__(limit=0, keepalive_timeout=keepalive_timeout, ssl=ssl)
        self._unwatched: dict[ResponseHandler, tuple[Connection, float]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._shortest = math.inf  # of the silences that the timer is set for

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        protocol = connection.protocol
        if isinstance(timeout, LazyTimeout) and timeout.silence is not None and protocol is not None:
            self._unwatched[protocol] = connection, timeout.silence
            if timeout.silence < self._shortest:
                self._look_in_time_for(timeout.silence)
        return connection

    def _look_in_time_for(self, silence: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._shortest = silence
        self._timer = self._loop.call_later(min(silence * _LATE, _LATEST), self._look)

    def _look(self) -> None:
        self._shortest = math.inf
        self._timer = None
        unwatched, self._unwatched = self._unwatched, {}
        for protocol, (connection, silence) in unwatched.items():
            if connection.protocol is protocol:  # else the call is over
                _watch(connection, protocol, silence)


def _watch(connection: Connection, protocol: ResponseHandler, silence: float) -> None:
    """As aiohttp does for `sock_read`, until the connection is given back: an idle one is meant to be silent."""

    def unwatch() -> None:
        protocol.read_timeout = None
        protocol.start_timeout()  # without a time-out, it ends the one that is running

    protocol.read_timeout = silence
    protocol.start_timeout()
    connection.add_callback(unwatch)
