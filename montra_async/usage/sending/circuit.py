"""When the service is down: the circuit breaker, and the pauses between attempts. No I/O; the caller gives the time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

CircuitState: TypeAlias = Literal["closed", "open", "half_open"]
"""`closed`: requests are sent. `open`: none is. `half_open`: one is on its way, to find out."""

_MAX_EXPONENT = 30


def exponential_pause(attempt: int, *, first: float, maximum: float) -> float:
    """The upper bound of the pause after an attempt: doubled with each one.

    Args:
        attempt: number of attempts so far, at least 1.
        first: seconds after the first attempt.
        maximum: seconds that it never exceeds.
    """
    return min(maximum, first * 2.0 ** min(max(attempt - 1, 0), _MAX_EXPONENT))


class Circuit:
    """Stops sending while the service is down, and finds out when it is back.

    Opens after several failures in a row of different requests: one that the service can't digest must not stop the
    others. Lets one request through after each pause, and closes when it is answered.

    Args:
        random: uniform random numbers in 0..1.
        threshold: number of different requests that must fail in a row. Default: 5.
        first_pause: seconds for which it is open the first time, at most. Default: 0.5.
        max_pause: seconds for which it is open at once, at most, unless the service asks for more. Default: 30.
    """

    def __init__(
        self,
        *,
        random: Callable[[], float],
        threshold: int = 5,
        first_pause: float = 0.5,
        max_pause: float = 30.0,
    ) -> None:
        self.state: CircuitState = "closed"
        self._random = random
        self._threshold = threshold
        self._first_pause = first_pause
        self._max_pause = max_pause
        self._failed: set[int | str] = set()
        self._openings = 0
        self._opened_at = -math.inf
        self._open_until = -math.inf

    def delay(self, now: float) -> float:
        """Seconds until a request may be sent; infinite while the answer to the probe is awaited."""
        if self.state == "closed":
            return 0.0
        return max(0.0, self._open_until - now) if self.state == "open" else math.inf

    def started(self) -> None:
        """A request is sent. It is the probe if the circuit was open."""
        if self.state == "open":
            self.state = "half_open"

    def succeeded(self) -> bool:
        """The service has answered. Returns whether the circuit was open before."""
        was_open = self.state != "closed"
        self.state = "closed"
        self._openings = 0
        self._failed.clear()
        return was_open

    def failed(self, request_id: int | str, started: float, now: float, at_once: int = 1) -> bool:
        """An attempt failed.

        Args:
            request_id: the request's.
            started: when it was sent.
            now: the time.
            at_once: number of requests that may be under way. More than half of those must fail: lost connections are
                noticed sooner than answers arrive, so that the few failures of many requests may come in a row.

        Returns:
            Whether it opened the circuit, which was closed before.
        """
        if self.state == "closed":
            self._failed.add(request_id)
            if len(self._failed) < max(self._threshold, at_once // 2):
                return False
        return self.open(started, now)

    def open(self, started: float, now: float) -> bool:
        """An answer says that nothing more must be sent for now.

        Args:
            started: when the attempt was sent. Those before the circuit opened count no more.
            now: the time.

        Returns:
            Whether the circuit was closed before.
        """
        if self.state == "open" or started < self._opened_at:
            return False
        was_closed = self.state == "closed"
        self._openings += 1
        longest = exponential_pause(self._openings, first=self._first_pause, maximum=self._max_pause)
        self.state = "open"
        self._opened_at = now
        # Half of it is random: processes that failed together must not return together.
        self._open_until = now + longest * (0.5 + 0.5 * self._random())
        self._failed.clear()
        return was_closed

    def abandoned(self, started: float) -> None:
        """An attempt ended without an answer. If it was the probe, the next request is.

        Args:
            started: when it was sent.
        """
        if self.state == "half_open" and started >= self._opened_at:
            self.state = "open"
