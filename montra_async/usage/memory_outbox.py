"""An outbox in this process' memory: it loses its events when the process ends."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Sequence

import attrs

from ..core import validation
from ..core.errors import InvalidArgumentError
from .errors import OutboxFullError
from .events import Event, Outcome, ParkedUsage, Settlement, UsageRequest, parked_of
from .outbox import Exchange, OutboxCounts, OutboxSettings

MAX_EVENTS = 100_000
"""Maximum number of events by default."""


@attrs.define
class _Request:
    """A request and its state: an open sum, waiting, or claimed."""

    request: UsageRequest
    due: float = 0.0
    open: bool = False
    first_sent_at: float | None = None
    claimed: bool = False


class MemoryOutbox:
    """An outbox in memory, for tests, development and usage that may be lost.

    What was not sent when the process ends is lost, also with `await usage.record(...)`. Each process has its own.

    Args:
        max_events: maximum number of events. Default: 100,000.
        clock: returns the time in seconds; it must not go back. Default: `time.monotonic`.

    Raises:
        InvalidArgumentError: `max_events` is not a positive whole number.
    """

    durable: bool = False
    renew_after: float | None = None

    def __init__(self, *, max_events: int = MAX_EVENTS, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_events = validation.whole("max_events", max_events, minimum=1)
        self._clock = clock
        self._settings = OutboxSettings(base_url="")
        self._forget()

    def _forget(self) -> None:
        self._number = 0
        self._count = 0
        self._events: deque[Event] = deque()
        self._sums: dict[tuple[str, str, int], int] = {}
        self._requests: dict[int, _Request] = {}
        self._ready: deque[int] = deque()
        self._later: list[tuple[float, int]] = []
        self._parked: dict[int, ParkedUsage] = {}
        self._parked_requests: dict[int, UsageRequest] = {}

    def open(self, settings: OutboxSettings) -> None:
        """Open the outbox.

        Args:
            settings: what the reporter wants.
        """
        self._settings = settings

    def append(self, events: Sequence[Event]) -> None:
        """Keep events.

        Args:
            events: at least one.

        Raises:
            OutboxFullError: there is no room for all of them.
        """
        if self._count + len(events) > self._max_events:
            raise OutboxFullError(f"the outbox in memory is full: {self._count} of {self._max_events} events")
        self._count += len(events)
        self._events.extend(events)

    def exchange(self, settlements: Sequence[Settlement], limit: int, *, flush: bool = False) -> Exchange:
        """Settle what was claimed before, and claim what is due.

        Args:
            settlements: what became of requests.
            limit: maximum number of requests to claim; 0 to settle only.
            flush: claim sums whose window is still open, too.
        """
        now = self._clock()
        for settlement in settlements:
            self._settle(settlement, now)
        self._seal(now)
        if flush:
            self._ready.extend(self._sums.values())
        while self._later and self._later[0][0] <= now:
            self._ready.append(heapq.heappop(self._later)[1])
        claimed: list[UsageRequest] = []
        expired: list[ParkedUsage] = []
        while self._ready and len(claimed) < limit:
            number = self._ready.popleft()
            state = self._requests.get(number)
            if state is not None and not state.claimed and (state.due <= now or (flush and state.open)):
                self._claim(number, state, now, claimed, expired)
        return Exchange(claimed, self._next_due(now), expired)

    def _next_due(self, now: float) -> float | None:
        if self._ready:
            return 0.0
        return max(0.0, self._later[0][0] - now) if self._later else None

    def _schedule(self, number: int, state: _Request, due: float, now: float) -> None:
        state.due = due
        if due <= now:
            self._ready.append(number)
        else:
            heapq.heappush(self._later, (due, number))

    def _seal(self, now: float) -> None:
        while self._events:
            event = self._events.popleft()
            group = (event.customer_id, event.meter_slug, event.scale)
            found = self._sums.get(group) if event.coalescable else None
            if found is not None:
                state = self._requests[found]
                request = state.request
                assert isinstance(request.units, int)
                assert isinstance(event.units, int)
                state.request = request._replace(units=request.units + event.units, events=request.events + 1)
                continue
            self._number += 1
            request = UsageRequest(self._number, *event[:6], 1, event.recorded_at, 0, False)
            due = now + self._settings.coalesce_window if event.coalescable else now
            self._requests[self._number] = state = _Request(request, open=event.coalescable)
            self._schedule(self._number, state, due, now)
            if event.coalescable:
                self._sums[group] = self._number

    def _claim(
        self, number: int, state: _Request, now: float, claimed: list[UsageRequest], expired: list[ParkedUsage]
    ) -> None:
        request = state.request
        if state.open:
            state.open = False
            del self._sums[request.customer_id, request.meter_slug, request.scale]
        if state.first_sent_at is None:
            state.first_sent_at = now
        elif now - state.first_sent_at >= self._settings.expires_after:
            expired.append(self._park(number, request, None))
            return
        state.claimed = True
        state.request = request._replace(attempts=request.attempts + 1)
        claimed.append(state.request)

    def _settle(self, settlement: Settlement, now: float) -> None:
        number = settlement.request.id
        assert isinstance(number, int)
        state = self._requests.get(number)
        if state is None or not state.claimed:
            return
        if settlement.outcome is Outcome.DELIVERED:
            del self._requests[number]
            self._count -= state.request.events
        elif settlement.outcome is Outcome.REFUSED:
            self._park(number, state.request, settlement)
        else:
            state.claimed = False
            self._schedule(number, state, now + settlement.delay, now)
            ambiguous = state.request.ambiguous or settlement.sent
            state.request = state.request._replace(ambiguous=ambiguous)
            if not ambiguous:
                state.first_sent_at = None

    def _park(self, number: int, request: UsageRequest, refusal: Settlement | None) -> ParkedUsage:
        parked = parked_of(request, refusal)
        del self._requests[number]
        self._count -= request.events
        self._parked[number] = parked
        self._parked_requests[number] = request
        return parked

    def renew(self, requests: Sequence[UsageRequest]) -> list[UsageRequest]:
        """Renew claims. They do not expire.

        Args:
            requests: claimed requests.
        """
        return list(requests)

    def drop_oldest(self, events: int) -> int:
        """Delete the oldest events that are not claimed.

        Args:
            events: minimum number to delete, if there are so many.
        """
        dropped = 0
        for number, state in list(self._requests.items()):
            if dropped >= events:
                break
            if not state.claimed:
                if state.open:
                    del self._sums[state.request.customer_id, state.request.meter_slug, state.request.scale]
                del self._requests[number]
                dropped += state.request.events
        while dropped < events and self._events:
            self._events.popleft()
            dropped += 1
        self._count -= dropped
        return dropped

    def counts(self) -> OutboxCounts:
        """Count what is in the outbox."""
        times = [state.request.recorded_at for state in self._requests.values()]
        if self._events:
            times.append(self._events[0].recorded_at)
        oldest = min(times, default=None)
        return OutboxCounts(
            events=self._count,
            requests=len(self._requests) + len(self._events),
            claimed=sum(state.claimed for state in self._requests.values()),
            parked=len(self._parked),
            oldest_recorded_at=oldest,
            oldest_age=0.0 if oldest is None else max(0.0, time.time() - oldest),
            size=0,
        )

    def list_parked(self, limit: int, after: str | None = None) -> list[ParkedUsage]:
        """List parked requests, the oldest first.

        Args:
            limit: maximum number.
            after: the id of the last one of the page before. None: begin with the oldest.
        """
        known = [number for number in sorted(self._parked) if after is None or number > _number(after)]
        return [self._parked[number] for number in known[:limit]]

    def retry_parked(self, ids: Sequence[str] | None = None) -> int:
        """Send parked requests again, each under the key that it had.

        Args:
            ids: their ids. None: all.
        """
        numbers = self._chosen(ids)
        for number in numbers:
            del self._parked[number]
            request = self._parked_requests.pop(number)._replace(ambiguous=False)
            self._requests[number] = _Request(request)
            self._ready.append(number)
            self._count += request.events
        return len(numbers)

    def drop_parked(self, ids: Sequence[str] | None = None) -> int:
        """Delete parked requests.

        Args:
            ids: their ids. None: all.
        """
        numbers = self._chosen(ids)
        for number in numbers:
            del self._parked[number], self._parked_requests[number]
        return len(numbers)

    def _chosen(self, ids: Sequence[str] | None) -> list[int]:
        if ids is None:
            return sorted(self._parked)
        return [number for number in map(_number, ids) if number in self._parked]

    def before_fork(self) -> None:
        """Do nothing: there is nothing to close."""

    def after_fork_in_child(self) -> None:
        """Forget the parent's events: the parent sends them."""
        self._forget()

    def close(self) -> None:
        """Hand back what is still claimed."""
        for number, state in self._requests.items():
            if state.claimed:
                state.claimed = False
                self._ready.append(number)
                state.request = state.request._replace(ambiguous=True)

    def __repr__(self) -> str:
        count, most = (getattr(self, name, "?") for name in ("_count", "_max_events"))  # a frame may show half of it
        return f"<MemoryOutbox {count} of {most} events>"


def _number(given: str) -> int:
    """The number in a parked request's id.

    Raises:
        InvalidArgumentError: no such id was ever given.
    """
    if len(given) > 20 or not given.isdecimal():
        raise InvalidArgumentError("ids", f"the id of a parked request, not {given[:40]!r}")
    return int(given)
