"""A mirror of a service that is used while the service itself can't be reached.

The choice belongs to the origin, not to a client: all clients of this process profit from what one of them found out.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable

import attrs
from yarl import URL

from ..errors import RequestTimeoutError
from .messages import AttemptResult, Request

SECONDS_TO_HEADERS = 5.0
"""How long a request that may be repeated waits for the service before the mirror is asked."""

STICKS = 30 * 60.0

_chosen: dict[tuple[URL, URL], float] = {}
"""Until when the mirror (second) of an origin (first) is used."""


def edge_of(origin: URL) -> URL | None:
    """`https://edge.<host>`; None for hosts that have no such mirror: addresses, one-label names, plain http."""
    host = origin.host or ""
    if origin.scheme != "https" or "." not in host:
        return None
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return origin.with_host(f"edge.{host}")
    return None


@attrs.frozen
class Failover:
    """Where a call goes, and whether it goes elsewhere after a failure."""

    primary: URL
    mirror: URL
    clock: Callable[[], float] = time.monotonic

    def on_mirror(self) -> bool:
        return self.clock() < _chosen.get((self.primary, self.mirror), 0.0)

    def route(self, url: URL, *, on_mirror: bool) -> URL:
        if not on_mirror:
            return url
        return URL(str(self.mirror.origin()) + url.raw_path_qs, encoded=True)

    def patience(self, call: Request, *, on_mirror: bool) -> float | None:
        """Seconds to wait for an answer's headers before looking elsewhere; None for as long as the call may take.

        Uploads take their time, and what can't be repeated must not be sent twice.
        """
        return SECONDS_TO_HEADERS if call.repeatable and not on_mirror and not callable(call.body) else None

    def moves(self, call: Request, outcome: AttemptResult, *, on_mirror: bool) -> bool:
        """Note what a try has shown; should this call be tried at the mirror now?

        An answer, of whatever status, proves that its sender can be reached. A mirror that can't be reached is left.
        """
        if outcome.failure is None:
            return False
        failure = outcome.failure.error
        waited = outcome.elapsed > SECONDS_TO_HEADERS * 0.9  # a client may have less patience; all share the choice
        silent = isinstance(failure, RequestTimeoutError) and failure.phase == "read" and waited
        if on_mirror:
            if not failure.sent:
                _chosen.pop((self.primary, self.mirror), None)
            return False
        if failure.sent and not (silent and self.patience(call, on_mirror=False) is not None):
            return False
        _chosen[self.primary, self.mirror] = self.clock() + STICKS
        return True


def forget_choices() -> None:
    """As if the process had just begun; for tests."""
    _chosen.clear()
