"""The rules of every outbox, under any order of calls, on virtual time.

An outbox of another kind joins with a store in `STORES`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import settings as hypothesis_settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from montra_async.usage.events import Event, Outcome, ParkedUsage, Settlement, UsageRequest
from montra_async.usage.outbox import Outbox
from montra_async.usage.sqlite.sqlite_outbox import SqliteOutbox

from .outbox_helpers import ManualClock, event, settings

WINDOW, EXPIRES_AFTER = 5.0, 600.0
SETTINGS = settings(coalesce_window=WINDOW, expires_after=EXPIRES_AFTER)


class Store(Protocol):
    """Where the events of one example are kept."""

    owners: int
    """Number of outboxes that may share it."""

    def outbox(self, clock: ManualClock) -> Outbox: ...
    def remove(self) -> None: ...


class SqliteFile:
    owners = 3

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp()

    def outbox(self, clock: ManualClock) -> Outbox:
        return SqliteOutbox(Path(self.folder, "usage.db"), clock=clock)

    def remove(self) -> None:
        shutil.rmtree(self.folder)


STORES: dict[str, Callable[[], Store]] = {"sqlite": SqliteFile}

outcomes = st.sampled_from(["delivered", "refused", "never sent", "maybe counted", "still under way"])


class OutboxRules(RuleBasedStateMachine):
    """A model of what is where, by the keys of requests."""

    store_type: Callable[[], Store]

    def __init__(self) -> None:
        super().__init__()
        self.store = self.store_type()
        self.clock = ManualClock()
        self.outboxes: list[Outbox] = []
        self.recorded: dict[str, Event] = {}
        self.claims: list[dict[str, UsageRequest]] = []
        self.seen: dict[str, tuple[Any, ...]] = {}
        """What a request was at its first claim."""
        self.sent_at: dict[str, tuple[float, float]] = {}
        """By both clocks, for requests that were claimed and not surely never sent."""
        self.ambiguous: set[str] = set()
        self.delivered: dict[str, UsageRequest] = {}
        self.parked: dict[str, ParkedUsage] = {}
        self.gone = 0
        """Number of events that were dropped, from the log or from what was parked."""

    @initialize()
    def begin(self) -> None:
        for _ in range(self.store.owners):
            outbox = self.store.outbox(self.clock)
            outbox.open(SETTINGS)
            self.outboxes.append(outbox)
            self.claims.append({})

    def teardown(self) -> None:
        try:
            if self.outboxes:
                self._deliver_everything()
        finally:
            for outbox in self.outboxes:
                outbox.close()
            self.store.remove()

    @rule(
        who=st.integers(0, 9),
        drafts=st.lists(
            st.tuples(
                st.sampled_from(["cust_1", "cust_2"]),
                st.sampled_from([0, 1, 7, 2**43, 2**52, "123456789012345678901234567890", "0.12345678901234567890123"]),
                st.sampled_from([0, 3]),
                st.booleans(),
                st.sampled_from([None, '{"a":1}']),
            ),
            min_size=1,
            max_size=9,
        ),
    )
    def record(self, who: int, drafts: list[tuple[str, int | str, int, bool, str | None]]) -> None:
        events = [
            event(
                customer,
                units,
                scale=-1 if isinstance(units, str) else scale,
                coalescable=coalescable and isinstance(units, int) and units < 2**44 and metadata is None,
                metadata=metadata,
                recorded_at=self.clock.wall(),
            )
            for customer, units, scale, coalescable, metadata in drafts
        ]
        self._outbox(who).append(events)
        self.recorded.update({each.key: each for each in events})

    @rule(who=st.integers(0, 9), limit=st.integers(0, 6), flush=st.booleans(), results=st.lists(outcomes, max_size=9))
    def exchange(self, who: int, limit: int, flush: bool, results: list[str]) -> None:
        claims = self.claims[who % len(self.claims)]
        settlements = [
            self._settlement(request, result)
            for request, result in zip(list(claims.values()), results, strict=False)
            if result != "still under way"
        ]
        got = self._outbox(who).exchange(settlements, limit, flush=flush)
        for settlement in settlements:
            self._settled(claims, settlement)
        assert len(got.requests) <= limit
        for parked in got.expired:
            assert self._expired(parked.key), "parked too early"
            self.parked[parked.id] = parked
        for request in got.requests:
            self._claimed(claims, request)

    @rule(seconds=st.sampled_from([0.5, 3.0, 10.0, 400.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(change=st.sampled_from([-30 * 86400.0, -3.0, 3.0, 30 * 86400.0]))
    def set_clock(self, change: float) -> None:
        self.clock.set_wall(change)

    @rule(who=st.integers(0, 9))
    def begin_anew(self, who: int) -> None:
        """What is claimed at the end of an owner may have been sent."""
        who %= len(self.outboxes)
        self.outboxes[who].close()
        self.ambiguous.update(self.claims[who])
        self.claims[who] = {}
        self.outboxes[who].open(SETTINGS)

    @rule(who=st.integers(0, 9))
    def fork(self, who: int) -> None:
        self._outbox(who).before_fork()

    @rule(who=st.integers(0, 9), number=st.integers(1, 8))
    def drop_oldest(self, who: int, number: int) -> None:
        claimed = sum(request.events for claims in self.claims for request in claims.values())
        here = self._waiting() - claimed
        dropped = self._outbox(who).drop_oldest(number)
        assert min(number, here) <= dropped <= here
        self.gone += dropped

    @precondition(lambda self: self.parked)
    @rule(who=st.integers(0, 9), some=st.booleans())
    def retry_parked(self, who: int, some: bool) -> None:
        ids = list(self.parked)[:1] if some else list(self.parked)
        assert self._outbox(who).retry_parked(ids if some else None) == len(ids)
        for one in ids:
            self.sent_at.pop(self.parked.pop(one).key, None)

    @precondition(lambda self: self.parked)
    @rule(who=st.integers(0, 9))
    def drop_parked(self, who: int) -> None:
        one = next(iter(self.parked))
        assert self._outbox(who).drop_parked([one, "no-such-id", one]) == 1
        self.gone += self.parked.pop(one).events

    @invariant()
    def nothing_is_lost(self) -> None:
        """Recorded = delivered + parked + dropped + waiting."""
        for outbox in self.outboxes:
            counts = outbox.counts()
            assert counts.events == self._waiting()
            assert counts.parked == len(self.parked)
            assert counts.claimed == sum(map(len, self.claims))
            assert {one.id for one in outbox.list_parked(1000)} == set(self.parked)

    def _outbox(self, who: int) -> Outbox:
        return self.outboxes[who % len(self.outboxes)]

    def _waiting(self) -> int:
        """Number of events that are neither delivered nor parked nor dropped."""
        counted = sum(request.events for request in self.delivered.values())
        return len(self.recorded) - counted - sum(one.events for one in self.parked.values()) - self.gone

    def _settlement(self, request: UsageRequest, result: str) -> Settlement:
        if result == "delivered":
            return Settlement(request, Outcome.DELIVERED)
        if result == "refused":
            return Settlement(request, Outcome.REFUSED, status=422, code="c", message="m")
        return Settlement(request, Outcome.RETRY, sent=result == "maybe counted", delay=2.0)

    def _settled(self, claims: dict[str, UsageRequest], settlement: Settlement) -> None:
        key = settlement.request.key
        request = claims.pop(key)
        if settlement.outcome is Outcome.DELIVERED:
            assert key not in self.delivered
            self.delivered[key] = request
        elif settlement.outcome is Outcome.REFUSED:
            (parked,) = [one for one in self.outboxes[0].list_parked(1000) if one.key == key]
            self.parked[parked.id] = parked
        elif settlement.sent:
            self.ambiguous.add(key)
        elif key not in self.ambiguous:
            del self.sent_at[key]

    def _claimed(self, claims: dict[str, UsageRequest], request: UsageRequest) -> None:
        assert not any(request.key in others for others in self.claims), "claimed twice"
        assert request.key not in self.delivered
        assert request.key not in {one.key for one in self.parked.values()}
        facts = (
            request.customer_id,
            request.meter_slug,
            request.units,
            request.scale,
            request.metadata,
            request.events,
        )
        assert self.seen.setdefault(request.key, facts) == facts, "changed after its claim"
        first = self.recorded[request.key]
        assert (request.customer_id, request.scale, request.metadata) == (
            first.customer_id,
            first.scale,
            first.metadata,
        )
        if not first.coalescable:
            assert (request.units, request.events) == (first.units, 1)
        assert request.ambiguous == (request.key in self.ambiguous)
        assert not (request.ambiguous and self._expired(request.key)), "sent too late"
        self.sent_at.setdefault(request.key, (self.clock.wall(), self.clock.boot()))
        claims[request.key] = request

    def _expired(self, key: str) -> bool:
        if key not in self.sent_at:
            return False
        wall, boot = self.sent_at[key]
        age = max(self.clock.wall() - wall, self.clock.boot() - boot)
        return key in self.ambiguous and age > EXPIRES_AFTER

    def _deliver_everything(self) -> None:
        """At the end all that is left is delivered, and the sums are those that were recorded."""
        outbox = self.outboxes[0]
        for who in range(len(self.outboxes)):
            self.begin_anew(who)
        self.clock.advance(86400.0)
        for _ in range(len(self.recorded) + 2):
            if self.parked:
                self.retry_parked(0, some=False)
            self.exchange(0, 6, True, ["delivered"] * 6)
        assert outbox.counts()[:4] == (0, 0, 0, 0)
        assert outbox.exchange([], 6, flush=True).next_due is None
        if self.gone == 0:
            assert _sums(self.delivered.values()) == _sums(self.recorded.values())


def _sums(rows: Any) -> Counter[tuple[str, int, Any]]:
    """Units by customer and scale; amounts of too many digits are counted one by one."""
    sums: Counter[tuple[str, int, Any]] = Counter()
    for row in rows:
        if isinstance(row.units, str):
            sums[row.customer_id, row.scale, row.units] += 1
        elif row.units:
            sums[row.customer_id, row.scale, None] += row.units
    return sums


@pytest.mark.parametrize("kind", STORES)
def test_an_outbox_keeps_its_rules(kind: str) -> None:
    class Rules(OutboxRules):
        store_type = staticmethod(STORES[kind])

    run_state_machine_as_test(Rules, settings=hypothesis_settings(stateful_step_count=40))
