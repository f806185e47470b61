"""Whether a request may be sent now: pauses, circuit, pace and concurrency together. No I/O."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..events import Outcome
from .circuit import Circuit, exponential_pause
from .pacing import AdaptiveConcurrency, Pacer
from .verdicts import Signal, Verdict

MAX_RETRY_AFTER = 3600.0
"""Maximum number of seconds for which a `Retry-After` stops sending."""

_ROW = 8  # refusals without Retry-After and without a success in between, after which to pause
_FIRST_PAUSE_OF_ROW = 0.02
_LONGEST_PAUSE_OF_ROW = 0.5

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 60.0
_FIRST_PAUSE_THROTTLED = 0.1
_LONGEST_PAUSE_THROTTLED = 2.0


def retry_delay(verdict: Verdict, attempts: int, random: Callable[[], float]) -> float:
    """Seconds until a request may be claimed again: capped, exponential, with full jitter.

    Args:
        verdict: what became of its last attempt.
        attempts: number of its attempts so far.
        random: uniform random numbers in 0..1.
    """
    if verdict.signal is Signal.THROTTLED:  # the pace is what slows down; a request that waits long would be late only
        longest = exponential_pause(attempts, first=_FIRST_PAUSE_THROTTLED, maximum=_LONGEST_PAUSE_THROTTLED)
    else:
        longest = exponential_pause(attempts, first=_FIRST_PAUSE, maximum=_LONGEST_PAUSE)
    return bounded_pause(verdict.retry_after) + longest * random()


def bounded_pause(retry_after: float | None) -> float:
    """The seconds that the service asked for; 0 when it did not ask."""
    if retry_after is None or not retry_after > 0:
        return 0.0
    return min(MAX_RETRY_AFTER, retry_after)


class FlowControl:
    """Decides when the next request may be sent, from what became of those before.

    Args:
        concurrency: maximum number of requests at once.
        random: uniform random numbers in 0..1.
    """

    def __init__(self, concurrency: int, random: Callable[[], float]) -> None:
        self._random = random
        self.circuit: Circuit = Circuit(random=random)
        self.pacer: Pacer = Pacer()
        self.in_flight: int = 0
        self._concurrency = AdaptiveConcurrency(concurrency)
        self._paused_until = -math.inf
        self._refusals = 0
        self._refused_at = -math.inf

    @property
    def limit(self) -> int:
        """Number of requests at once."""
        return self._concurrency.limit

    @property
    def is_full(self) -> bool:
        """Whether as many requests are under way as may be."""
        return self.in_flight >= self._concurrency.limit

    def paused_for(self, now: float) -> float:
        """Seconds until a pause is over, that of an open circuit included; 0 without any."""
        paused = max(0.0, self._paused_until - now)
        if self.circuit.state == "closed":
            return paused
        circuit = self.circuit.delay(now)
        return paused if circuit == math.inf else max(paused, circuit)

    def delay(self, now: float) -> float:
        """Seconds until a request may be sent; infinite when the end of another one must be awaited."""
        if self.in_flight >= self._concurrency.limit:
            return math.inf
        delay = max(0.0, self._paused_until - now)
        if self.circuit.state != "closed":
            delay = max(delay, self.circuit.delay(now))
        return max(delay, self.pacer.delay(now)) if self.pacer.is_on else delay

    def started(self) -> None:
        """A request is sent."""
        self.in_flight += 1
        if self.circuit.state != "closed":
            self.circuit.started()
        if self.pacer.is_on:
            self.pacer.started()

    def withdrawn(self, started: float) -> None:
        """A request was not sent after all.

        Args:
            started: when it was to be sent.
        """
        self.in_flight -= 1
        self.circuit.abandoned(started)

    def ended(self, request_id: int | str, verdict: Verdict, started: float, now: float) -> str | None:
        """An attempt has ended.

        Args:
            request_id: the request's.
            verdict: what became of it.
            started: when it was sent.
            now: the time.

        Returns:
            What to write to the log, if the circuit has opened or closed.
        """
        self.in_flight -= 1
        signal = verdict.signal
        if signal is Signal.ALIVE:
            self._concurrency.succeeded()
            self._refusals = 0
            if verdict.outcome is not Outcome.RETRY:
                self.pacer.succeeded(now)
            return self._answered()
        if signal is Signal.NONE or signal is Signal.CROWDED:
            self.circuit.abandoned(started)
            if signal is Signal.CROWDED:
                self._concurrency.congested(started, now)
            return None
        pause = bounded_pause(verdict.retry_after)
        self._paused_until = max(self._paused_until, now + pause) if pause else self._paused_until
        if signal is Signal.THROTTLED:
            self._concurrency.congested(started, now)
            if not pause and started >= self._refused_at:
                self._pause_after_row(now)
            self.pacer.throttled(started, now, pause or None)
            return self._answered()
        if signal is Signal.OVERLOADED:
            self._concurrency.congested(started, now)
        opened = (
            self.circuit.open(started, now)
            if signal is Signal.BLOCKED
            else self.circuit.failed(request_id, started, now, self._concurrency.limit)
        )
        if not opened:
            return None
        self._concurrency.restart()
        return "usage is not sent for now"

    def _pause_after_row(self, now: float) -> None:
        """Pause if the service refuses everything, and doesn't say for how long. A pace can't be found then."""
        self._refusals += 1
        self._refused_at = now
        if self._refusals >= _ROW:
            row = self._refusals - _ROW + 1
            pause = exponential_pause(row, first=_FIRST_PAUSE_OF_ROW, maximum=_LONGEST_PAUSE_OF_ROW)
            self._paused_until = max(self._paused_until, now + pause * (0.5 + 0.5 * self._random()))

    def _answered(self) -> str | None:
        return "usage is sent again" if self.circuit.succeeded() else None
