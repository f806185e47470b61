"""`UsageMetrics`: what waits in the outboxes of reporters, and what became of the rest."""

from __future__ import annotations

import os
import weakref
from collections import Counter
from collections.abc import Callable, Iterable

import attrs
from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from ..core.concurrency import ProcessLock
from ..usage.accounts import Counters
from ..usage.backlog import Backlog
from ..usage.engine import UsageEngine

_LOOK_SECONDS = 1.0
"""How long a reader of metrics waits for the outbox to be looked at."""

OUTCOME = "montra.usage.outcome"
EVENT_OUTCOMES = ("stored", "failed", "dropped", "delivered")
REQUEST_OUTCOMES = ("requests", "refused", "expired")


@attrs.define(eq=False)
class _Watched:
    """A reporter. Its counters are kept alive, itself is not: what it has counted outlives it."""

    engine: weakref.ref[UsageEngine]
    counters: Counters
    before: Counter[str]

    @property
    def counts(self) -> Counter[str]:
        """What the reporter has counted since it is observed."""
        counts = _numbers(self.counters)
        counts.subtract(self.before)
        return counts


def _numbers(counters: Counters) -> Counter[str]:
    return Counter(attrs.asdict(counters))


class UsageMetrics:
    """Observes reporters, which it does not keep alive. Their numbers are added up.

    Args:
        meter: of OpenTelemetry.

    Attributes:
        duplicates: requests that the service had counted before.
    """

    def __init__(self, meter: Meter) -> None:
        self._lock = ProcessLock()
        self._watched: list[_Watched] = []
        self._ended: Counter[str] = Counter()
        self._pid = os.getpid()
        self.duplicates: metrics.Counter = meter.create_counter(
            "montra.usage.duplicates", "{request}", "Requests of usage that the service had counted before."
        )
        meter.create_observable_counter(
            "montra.usage.events", [self._events], "{event}", "Events of usage by what became of them."
        )
        meter.create_observable_counter(
            "montra.usage.requests", [self._requests], "{request}", "Requests of usage that were settled."
        )
        meter.create_observable_up_down_counter(
            "montra.usage.queue.waiting", [self._waiting], "{event}", "Events that wait to be sent."
        )
        meter.create_observable_up_down_counter(
            "montra.usage.queue.parked", [self._parked], "{request}", "Requests that need a decision."
        )
        meter.create_observable_gauge(
            "montra.usage.queue.oldest_age", [self._oldest], "s", "Age of the oldest event that waits."
        )

    def add(self, engine: UsageEngine, since: Counter[str] | None = None) -> None:
        """Observe a reporter, unless it is observed already. What it counts from now on is counted here.

        Args:
            engine: of the reporter.
            since: what another `remove` has returned, which goes on here. Default: what it has counted so far.
        """
        watched = self._look()
        with self._lock:
            if not any(one is engine for one in watched):
                counters = engine.accounts.counters
                before = _numbers(counters) if since is None else since
                self._watched.append(_Watched(weakref.ref(engine), counters, before))

    def remove(self, engine: UsageEngine) -> Counter[str] | None:
        """Observe a reporter no longer. What it has done meanwhile stays counted.

        Args:
            engine: of the reporter.

        Returns:
            What it has counted in all, here or not. None if it was not observed.
        """
        self._look()
        with self._lock:
            for one in self._watched:
                if one.engine() is engine:
                    return self._forget(one)
        return None

    def _forget(self, watched: _Watched) -> Counter[str]:
        numbers = _numbers(watched.counters)  # once: another thread counts on
        self._ended.update(numbers)
        self._ended.subtract(watched.before)
        self._watched.remove(watched)
        return numbers

    def _look(self) -> list[UsageEngine]:
        """The reporters that there are. What those that are gone have counted is added up."""
        found: list[UsageEngine] = []
        with self._lock:
            self._forget_the_parents()
            for one in list(self._watched):
                engine = one.engine()
                if engine is None:
                    self._forget(one)
                    continue
                if engine.accounts.counters is not one.counters:  # it has begun anew in a forked child
                    one.counters, one.before = engine.accounts.counters, Counter()
                found.append(engine)
        return found

    def _forget_the_parents(self) -> None:
        """In a forked child: what was counted before is the parent's, which reports it."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._ended.clear()
            for one in self._watched:
                one.before = _numbers(one.counters)

    def _counts(self) -> Counter[str] | None:
        """What all reporters have counted; None if there never was one."""
        self._look()
        with self._lock:
            if not self._watched and not self._ended:
                return None
            return sum((one.counts for one in self._watched), Counter(self._ended))

    def _events(self, _: CallbackOptions) -> Iterable[Observation]:
        counts = self._counts()
        return () if counts is None else [Observation(counts[name], {OUTCOME: name}) for name in EVENT_OUTCOMES]

    def _requests(self, _: CallbackOptions) -> Iterable[Observation]:
        counts = self._counts()
        return (
            ()
            if counts is None
            else [
                Observation(counts[name], {OUTCOME: "delivered" if name == "requests" else name})
                for name in REQUEST_OUTCOMES
            ]
        )

    def _backlogs(self) -> list[Backlog]:
        """What waits in the outboxes that are open."""
        looks = [engine.look() for engine in self._look() if engine.is_in_use]
        found: list[Backlog] = []
        for look in looks:
            try:
                found.append(look.result(_LOOK_SECONDS))
            except Exception:  # noqa: S112 - one that can't be looked at is logged by its reporter
                continue
        return found

    def _waiting(self, _: CallbackOptions) -> Iterable[Observation]:
        return self._observed(lambda backlogs: sum(one.counts.events + one.pending for one in backlogs))

    def _parked(self, _: CallbackOptions) -> Iterable[Observation]:
        return self._observed(lambda backlogs: sum(one.counts.parked for one in backlogs))

    def _oldest(self, _: CallbackOptions) -> Iterable[Observation]:
        return self._observed(lambda backlogs: max(one.counts.oldest_age for one in backlogs))

    def _observed(self, number: Callable[[list[Backlog]], float]) -> Iterable[Observation]:
        """One number, or none when no outbox can be looked at."""
        backlogs = self._backlogs()
        return [Observation(number(backlogs))] if backlogs else ()
