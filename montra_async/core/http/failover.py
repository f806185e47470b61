"""Where a request goes: to the service, or to its mirror while the service can't be reached.

The choice belongs to the origin, not to a client: all clients of this process use what one of them found out.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from typing import Protocol

import attrs
from yarl import URL

from ..errors import RequestTimeoutError
from .messages import AttemptResult, Request

SECONDS_TO_HEADERS = 5.0
"""Response time-out of a request that may be repeated, after which the mirror is tried."""

MIRROR_SECONDS = 30 * 60.0
"""How long the mirror is used before the service is tried again."""

_mirror_until: dict[tuple[URL, URL], float] = {}
"""Until when the mirror (second) of an origin (first) is used, by the clock of `Failover`."""


@attrs.frozen(kw_only=True)
class Route:
    """Where one attempt goes.

    Attributes:
        mirror: origin of the mirror; None for the service itself.
        response_timeout: seconds until the response's headers; None when only the time-outs of the call apply.
    """

    mirror: URL | None = None
    response_timeout: float | None = None

    def url(self, url: URL) -> URL:
        """A URL of the service, or the same on the mirror."""
        return url if self.mirror is None else URL(str(self.mirror) + url.raw_path_qs, encoded=True)


_DIRECT = Route()


class Routing(Protocol):
    """Chooses the route of each attempt."""

    def route(self, request: Request) -> Route:
        """The route of the next attempt."""
        ...

    def switches(self, request: Request, result: AttemptResult, route: Route) -> bool:
        """Whether the call is repeated at once on another route, because of what this attempt showed."""
        ...


class Direct:
    """The routing of a service without a mirror."""

    def route(self, request: Request) -> Route:
        return _DIRECT

    def switches(self, request: Request, result: AttemptResult, route: Route) -> bool:
        return False


def edge_of(origin: URL) -> URL | None:
    """The mirror `https://edge.<host>`; None for plain http, IP addresses and host names without a dot."""
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
    """The routing of a service with a mirror.

    Attributes:
        primary: origin of the service.
        mirror: origin of the mirror.
        clock: seconds, monotonic.
    """

    primary: URL
    mirror: URL
    clock: Callable[[], float] = time.monotonic

    def route(self, request: Request) -> Route:
        """The service, or the mirror for some time after the service could not be reached."""
        if self.clock() < _mirror_until.get((self.primary, self.mirror), 0.0):
            return Route(mirror=self.mirror.origin())
        # Uploads take their time, and what can't be repeated must not be sent twice.
        bounded = request.repeatable and not callable(request.body)
        return Route(response_timeout=SECONDS_TO_HEADERS) if bounded else _DIRECT

    def switches(self, request: Request, result: AttemptResult, route: Route) -> bool:
        """Note what an attempt has shown; whether the call goes to the mirror now.

        A response of any status proves that its sender can be reached. A mirror that can't be reached is not used on.
        """
        if result.failure is None:
            return False
        error = result.failure.error
        if route.mirror is not None:
            if not error.sent:
                _mirror_until.pop((self.primary, self.mirror), None)
            return False
        # A client may have a shorter read time-out than the response time-out, which all clients share.
        waited = result.elapsed > SECONDS_TO_HEADERS * 0.9
        timed_out = isinstance(error, RequestTimeoutError) and error.phase == "read" and waited
        if error.sent and not (timed_out and route.response_timeout is not None):
            return False
        _mirror_until[self.primary, self.mirror] = self.clock() + MIRROR_SECONDS
        return True


def forget_choices() -> None:
    """Use no mirror until a service can't be reached; for tests."""
    _mirror_until.clear()
