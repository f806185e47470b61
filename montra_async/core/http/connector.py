"""aiohttp's connector with read time-outs at a fraction of their cost.

aiohttp starts a timer with every request and moves it with every piece of a response, though hardly any of them ever
fires. This connector starts none at first. From time to time, one timer of its own looks which requests are still in
flight, and has aiohttp start the read time-out of those: it ends them a tenth, at most a second, later than it would
have otherwise.
"""

# pyright: reportUnknownMemberType=false
# The signature of TCPConnector names a type that its checker does not know.
from __future__ import annotations

import asyncio
import math
from typing import Any

from .aiohttp_compat import WatchableConnector, start_read_timeout

_DELAY, _LONGEST_DELAY = 0.1, 1.0
"""Share of a read time-out, and seconds, that may pass before it is started.

Until then the connection is remembered, even when its request has ended and the server has closed it.
"""


class LazyConnector(WatchableConnector):
    """Starts the read time-outs of requests with a `LazyTimeout` late; other requests have aiohttp's own.

    Args:
        keepalive_timeout: seconds after which an idle connection is closed.
        ssl: as for `aiohttp.TCPConnector`.
    """

    def __init__(self, *, keepalive_timeout: float, ssl: Any) -> None:
        super().__init__(keepalive_timeout=keepalive_timeout, ssl=ssl)
        self._timer: asyncio.TimerHandle | None = None

    def schedule(self, read_timeout: float) -> None:
        """Set the timer."""
        if self._timer is not None:
            self._timer.cancel()
        self.shortest: float = read_timeout
        delay = min(read_timeout * _DELAY, _LONGEST_DELAY)
        self._timer = asyncio.get_running_loop().call_later(delay, self._start_read_timeouts)

    def _start_read_timeouts(self) -> None:
        self.shortest = math.inf
        self._timer = None
        unwatched = self.unwatched.copy()
        self.unwatched.clear()
        for protocol, (connection, read_timeout) in unwatched.items():
            if connection.protocol is protocol:  # else the request has ended
                start_read_timeout(connection, protocol, read_timeout)
