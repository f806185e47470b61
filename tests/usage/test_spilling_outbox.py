"""`SpillingOutbox`: between two outboxes in memory, and between Redis and SQLite."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from montra_async.core.errors import ConfigError
from montra_async.usage.errors import OutboxError, OutboxFullError, OutboxUncertainError
from montra_async.usage.events import Event, Outcome, ParkedUsage, Settlement, UsageRequest, amount_of
from montra_async.usage.outbox import Exchange, OutboxCounts, OutboxSettings
from montra_async.usage.spilling_outbox import SpillingOutbox

from .outbox_helpers import BASE_URL, delivered, event, refused, retry, settings, summable
from .redis_servers import RedisServer, losing_proxy, needs_redis

KEYS = "abcdefgh"


class Contents:
    """What an outbox in memory contains, whoever has opened it."""

    def __init__(self) -> None:
        self.requests: dict[int, UsageRequest] = {}
        self.claims: dict[int, object] = {}
        self.parked: dict[str, UsageRequest] = {}
        self.groups: dict[str, list[str]] = {}
        self.appended: list[str] = []
        self.ambiguous: list[tuple[str, float]] = []
        self.forgotten: set[str] = set()
        self.lost: set[int] = set()
        self.numbers = itertools.count(1)


class Crash(BaseException):
    """The process ends here."""


class MemoryOutbox:
    """An outbox in memory that can be away, full, or end the process at a chosen call."""

    durable = True
    renew_after: float | None = 30.0

    def __init__(self, contents: Contents | None = None) -> None:
        self.contents = contents or Contents()
        self.away = False
        self.full = False
        self.other_api = False
        self.lose_answer = False
        self.calls = 0
        self.crash_at: int | None = None
        self.crash_after = False

    def _use(self, work: Callable[[], Any]) -> Any:
        self.calls += 1
        if self.away:
            raise OutboxError("away")
        crash = self.crash_at == self.calls
        if crash and not self.crash_after:
            raise Crash
        result = work()
        if crash:
            raise Crash
        return result

    def open(self, settings: OutboxSettings) -> None:
        def work() -> None:
            if self.other_api:
                raise ConfigError("another API")

        assert settings.base_url == BASE_URL
        self._use(work)

    def append(self, events: Sequence[Event]) -> None:
        def work() -> None:
            if self.full:
                raise OutboxFullError("full")
            for each in events:
                number = next(self.contents.numbers)
                self.contents.appended.append(each.key)
                self.contents.requests[number] = UsageRequest(number, *each[:6], 1, each.recorded_at, 0, False)
            if self.lose_answer:
                error = OutboxUncertainError("no answer")
                error.group = f"writer-{len(self.contents.groups)}"
                self.contents.groups[error.group] = [each.key for each in events]
                raise error

        self._use(work)

    def was_recorded(self, group: str) -> bool | None:
        recorded: bool = self._use(lambda: group in self.contents.groups)
        return None if group in self.contents.forgotten else recorded

    def append_ambiguous(self, events: Sequence[tuple[Event, float]]) -> None:
        def work() -> None:
            self.append([each for each, _ in events])
            self.contents.ambiguous += [(each.key, sent_at) for each, sent_at in events]

        self._use(work)

    def exchange(self, settlements: Sequence[Settlement], limit: int, *, flush: bool = False) -> Exchange:
        def work() -> Exchange:
            for request, outcome, sent, *_ in settlements:
                number = int(request.id)
                if outcome is Outcome.RETRY and sent:
                    self.contents.lost.add(number)
                self.contents.claims.pop(number, None)
                if outcome is not Outcome.RETRY:
                    self.contents.requests.pop(number, None)
                if outcome is Outcome.REFUSED:
                    self.contents.parked[f"p{number}"] = request
            free = [number for number in self.contents.requests if number not in self.contents.claims][:limit]
            self.contents.claims.update((number, self) for number in free)
            for number in free:
                found = self.contents.requests[number]
                # Whose claim was lost before, and what its owner may have done with it, is not known.
                ambiguous = number in self.contents.lost or found.ambiguous
                self.contents.requests[number] = found._replace(attempts=found.attempts + 1, ambiguous=ambiguous)
            return Exchange([self.contents.requests[number] for number in free], None, [])

        result: Exchange = self._use(work)
        return result

    def renew(self, requests: Sequence[UsageRequest]) -> list[UsageRequest]:
        kept: list[UsageRequest] = self._use(lambda: list(requests))
        return kept

    def drop_oldest(self, events: int) -> int:
        def work() -> int:
            chosen = [one for one in self.contents.requests if one not in self.contents.claims][:events]
            for number in chosen:
                del self.contents.requests[number]
            return len(chosen)

        dropped: int = self._use(work)
        return dropped

    def counts(self) -> OutboxCounts:
        def work() -> OutboxCounts:
            oldest = min((each.recorded_at for each in self.contents.requests.values()), default=None)
            waiting = len(self.contents.requests)
            return OutboxCounts(waiting, waiting, len(self.contents.claims), len(self.contents.parked), oldest, 1.0, 10)

        result: OutboxCounts = self._use(work)
        return result

    def list_parked(self, limit: int, after: str | None = None) -> list[ParkedUsage]:
        def work() -> list[Any]:
            ids = [one for one in sorted(self.contents.parked) if after is None or one > after][:limit]
            return [_parked(one, self.contents.parked[one]) for one in ids]

        return list(self._use(work))

    def retry_parked(self, ids: Sequence[str] | None = None) -> int:
        return self._unpark(ids, again=True)

    def drop_parked(self, ids: Sequence[str] | None = None) -> int:
        return self._unpark(ids, again=False)

    def _unpark(self, ids: Sequence[str] | None, *, again: bool) -> int:
        def work() -> int:
            chosen = [one for one in list(self.contents.parked) if ids is None or one in ids]
            for one in chosen:
                request = self.contents.parked.pop(one)
                if again:
                    self.contents.requests[int(request.id)] = request
            return len(chosen)

        count: int = self._use(work)
        return count

    def before_fork(self) -> None:
        self.calls += 1

    def after_fork_in_child(self) -> None:
        self.calls += 1

    def close(self) -> None:
        self._use(self.end)

    def end(self) -> None:
        """The owner has ended: its claims are lost."""
        claims = self.contents.claims
        self.contents.lost.update(number for number, owner in claims.items() if owner is self)
        self.contents.claims = {number: owner for number, owner in claims.items() if owner is not self}


def _parked(id: str, request: UsageRequest) -> ParkedUsage:
    from datetime import datetime, timezone

    now = datetime.fromtimestamp(0, timezone.utc)
    names = {"id": id, "key": request.key, "customer_id": request.customer_id, "meter_slug": request.meter_slug}
    why: dict[str, Any] = {"reason": "refused", "status": 422, "code": "", "message": "", "attempts": 1}
    return ParkedUsage(**names, **why, amount=1, metadata=None, events=1, recorded_at=now, parked_at=now)


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Pair:
    """A `SpillingOutbox` between two outboxes in memory."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.primary, self.spill = MemoryOutbox(), MemoryOutbox()
        self.outbox = SpillingOutbox(self.primary, self.spill, clock=self.clock)

    def begin_anew(self) -> None:
        """A new process, after the old one was killed."""
        for one in (self.primary, self.spill):
            one.end()
        self.primary, self.spill = MemoryOutbox(self.primary.contents), MemoryOutbox(self.spill.contents)
        self.outbox = SpillingOutbox(self.primary, self.spill, clock=self.clock)
        self.outbox.open(settings())

    def keys(self) -> list[str]:
        return sorted(each.key for each in self.primary.contents.requests.values())

    def spilled(self) -> list[str]:
        return [each.key for each in self.spill.contents.requests.values()]

    def pour(self) -> None:
        """Let time pass until nothing is left in the spill."""
        for _ in range(20):
            self.clock.seconds += 31
            self.outbox.exchange([], 1)
        assert self.spilled() == []


@pytest.fixture
def pair() -> Pair:
    pair = Pair()
    pair.outbox.open(settings())
    return pair


def test_events_go_to_the_spill_while_the_primary_is_away(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "montra")
    pair.outbox.append([event(key="a")])
    assert pair.outbox.renew_after == 30
    assert pair.outbox.durable
    assert not pair.outbox.spilling
    pair.primary.away = True
    pair.outbox.append([event(key="b")])
    calls = pair.primary.calls
    pair.outbox.append([event(key="c")])
    assert pair.primary.calls == calls, "only the first one waits for the primary"
    for call in (lambda: pair.outbox.exchange([], 1), lambda: pair.outbox.renew([])):
        with pytest.raises(OutboxError, match="away"):
            call()
    assert pair.outbox.spilling
    assert (pair.keys(), pair.spilled()) == (["a"], ["b", "c"])
    assert [record.getMessage() for record in caplog.records] == [
        "the usage outbox is away, so usage is recorded into the spill: away"
    ]

    pair.primary.away = False
    pair.clock.seconds += 1
    found = pair.outbox.exchange([], 1)
    assert [each.key for each in found.requests] == ["a"]
    assert found.next_due == pytest.approx(0.05)
    assert (pair.keys(), pair.spilled()) == (["a", "b", "c"], [])
    assert pair.outbox.exchange([], 1).requests[0].key == "b"
    assert len(caplog.records) == 2
    pair.outbox.close()


def test_the_primary_is_tried_again_less_and_less_often(pair: Pair) -> None:
    pair.primary.away = True
    tries: list[float] = []
    calls = pair.primary.calls
    for _ in range(1200):
        pair.outbox.append([event()])
        if pair.primary.calls > calls:
            tries.append(pair.clock.seconds)
        calls = pair.primary.calls
        pair.clock.seconds += 0.1
    pauses = [round(later - earlier) for earlier, later in itertools.pairwise(tries)]
    assert pauses[:7] == [1, 2, 4, 8, 16, 30, 30]


def test_a_primary_that_is_away_at_first(pair: Pair) -> None:
    later = Pair()
    later.primary.away = True
    later.outbox.open(settings())
    later.outbox.append([event(key="a")])
    assert later.outbox.counts()[:4] == (1, 1, 0, 0)
    later.primary.away = False
    later.pour()
    assert later.keys() == ["a"]

    later = Pair()
    later.primary.other_api = True
    with pytest.raises(ConfigError, match="another API"):
        later.outbox.open(settings())
    later.primary.away = True
    later.outbox.open(settings())
    later.primary.away = False
    later.clock.seconds += 1
    later.outbox.append([event(key="a")])
    assert later.spilled() == ["a"], "nothing is lost when the primary turns out to be another's"


def test_a_full_primary_does_not_spill(pair: Pair) -> None:
    pair.primary.full = True
    with pytest.raises(OutboxFullError):
        pair.outbox.append([event()])
    assert pair.spilled() == []
    pair.primary.away = True
    pair.outbox.append([event(key="a")])
    pair.primary.away = False
    pair.clock.seconds += 1
    pair.outbox.exchange([], 1)
    assert pair.spilled() == ["a"], "it waits until there is room"
    pair.primary.full = False
    pair.pour()
    assert pair.keys() == ["a"]


def test_neither_can_be_used(pair: Pair) -> None:
    pair.primary.away = pair.spill.away = True
    with pytest.raises(OutboxError):
        pair.outbox.append([event()])


def test_what_is_in_doubt_is_moved_only_if_it_was_not_recorded(pair: Pair) -> None:
    pair.primary.lose_answer = True
    pair.outbox.append([summable(key="a"), event(key="b")])
    pair.primary.lose_answer = False
    (group,) = pair.primary.contents.groups
    spilled = list(pair.spill.contents.requests.values())
    assert [each.key for each in spilled] == [f"in-doubt:{group}:a", f"in-doubt:{group}:b"]
    pair.pour()
    assert pair.primary.contents.appended == ["a", "b"]

    pair.primary.lose_answer = True
    pair.outbox.append([summable(key="c")])
    pair.primary.lose_answer = False
    group = list(pair.primary.contents.groups)[-1]
    del pair.primary.contents.groups[group]
    pair.primary.contents.requests.popitem()  # it was not recorded, in the end
    pair.pour()
    assert pair.keys() == ["a", "b", "c"]


def test_what_the_primary_has_forgotten_is_for_a_person(pair: Pair) -> None:
    pair.primary.lose_answer = True
    pair.outbox.append([summable(key="a")])
    pair.primary.lose_answer = False
    pair.primary.contents.forgotten.update(pair.primary.contents.groups)
    pair.pour()
    assert pair.primary.contents.ambiguous == [("a", 0.0)], "it expires at once"


@pytest.mark.parametrize("arrived", [True, False])
def test_an_answer_that_is_lost_while_events_are_moved(pair: Pair, arrived: bool) -> None:
    """The primary is asked whether it has them: nothing is moved twice, and nothing is parked."""
    pair.primary.away = True
    pair.outbox.append([event(key=key) for key in "abc"])
    pair.primary.away, pair.primary.lose_answer = False, True
    pair.clock.seconds += 31
    pair.outbox.exchange([], 1)
    pair.primary.lose_answer = False
    assert len(pair.spilled()) == 3
    if not arrived:
        pair.primary.contents.groups.clear()
        pair.primary.contents.requests.clear()
        pair.primary.contents.appended.clear()
    pair.pour()
    assert pair.primary.contents.appended == ["a", "b", "c"]
    assert pair.primary.contents.ambiguous == []
    assert pair.outbox._moved == {}


def test_a_second_answer_that_is_lost_while_events_are_moved(pair: Pair) -> None:
    """What the first group has recorded is not taken for a part of the second one, which never arrived."""
    pair.primary.away = True
    pair.outbox.append([event(key="a")])
    pair.primary.away, pair.primary.lose_answer = False, True
    pair.clock.seconds += 31
    pair.outbox.exchange([], 1)
    pair.spill.append([event(key="b")])
    pair.clock.seconds += 31
    pair.outbox.exchange([], 1)
    pair.primary.lose_answer = False
    assert sorted(pair.spilled()) == ["a", "b"]
    del pair.primary.contents.groups[list(pair.primary.contents.groups)[-1]]
    pair.primary.contents.appended.remove("b")
    pair.pour()
    assert sorted(pair.primary.contents.appended) == ["a", "b"]


def test_a_second_copy_expires_after_a_crash(pair: Pair) -> None:
    pair.primary.away = True
    pair.outbox.append([event(key="a", recorded_at=17.0)])
    pair.begin_anew()
    pair.spill.exchange([], 1)  # claimed to be moved; then its process ended
    pair.begin_anew()
    pair.pour()
    assert pair.primary.contents.ambiguous == [("a", 17.0)]


def test_any_key_of_the_caller_stays_what_it_is(pair: Pair) -> None:
    pair.primary.away = True
    keys = ["in-doubt:", "in-doubt:writer-1:x", "spill:1", "x" * 255]
    pair.outbox.append([event(key=key) for key in keys])
    pair.primary.away = False
    pair.pour()
    assert pair.primary.contents.appended == keys


def test_counts_are_those_of_both(pair: Pair) -> None:
    pair.outbox.append([event(recorded_at=5.0)])
    assert len(pair.outbox.exchange([], 1).requests) == 1
    assert pair.outbox.counts().events == 1
    pair.primary.away = True
    pair.outbox.append([event(recorded_at=3.0)])
    assert pair.outbox.counts() == OutboxCounts(2, 2, 1, 0, 3.0, 1.0, 20)


def test_parked_requests_of_both(pair: Pair) -> None:
    for key in "ab":
        pair.outbox.append([event(key=key)])
        pair.outbox.exchange([refused(each) for each in pair.outbox.exchange([], 1).requests], 0)
    pair.spill.append([event(key="in-doubt:writer-1:c")])
    pair.spill.exchange([refused(each) for each in pair.spill.exchange([], 1).requests], 0)
    first = pair.outbox.list_parked(1)
    rest = pair.outbox.list_parked(9, first[0].id)
    assert [(each.id, each.key) for each in [*first, *rest]] == [("p1", "a"), ("p2", "b"), ("spill:p1", "c")]
    assert pair.outbox.list_parked(9, "spill:p1") == []
    assert pair.outbox.drop_parked(["p1"]) == 1
    assert pair.outbox.retry_parked(["spill:p1"]) == 1
    assert pair.outbox.retry_parked() == 1
    pair.pour()
    assert pair.keys() == ["b", "c"]


def test_the_oldest_are_dropped_from_both(pair: Pair) -> None:
    pair.outbox.append([event(key="a"), event(key="b")])
    pair.spill.append([event(key="c"), event(key="d")])
    assert pair.outbox.drop_oldest(3) == 3
    assert (pair.keys(), pair.spilled()) == ([], ["d"])
    pair.primary.away = True
    assert pair.outbox.drop_oldest(3) == 1


def test_closing_moves_what_is_left(pair: Pair) -> None:
    pair.primary.away = True
    pair.outbox.append([event(key=str(number)) for number in range(1200)])
    pair.primary.away = False
    pair.clock.seconds += 1
    assert pair.outbox.counts().events == 1200
    pair.outbox.close()
    assert len(pair.keys()) == 1200
    assert pair.spilled() == []


def test_closing_while_the_primary_is_away(pair: Pair) -> None:
    pair.primary.away = True
    pair.outbox.append([event(key="a")])
    pair.outbox.close()
    pair.begin_anew()
    pair.pour()
    assert pair.keys() == ["a"]


def test_forks_are_told_to_both(pair: Pair) -> None:
    calls = pair.primary.calls, pair.spill.calls
    pair.outbox.before_fork()
    pair.outbox.after_fork_in_child()
    assert (pair.primary.calls, pair.spill.calls) == (calls[0] + 2, calls[1] + 2)
    pair.outbox.append([event(key="a")])
    assert pair.keys() == ["a"]


def test_sums_of_the_spill_keep_exact_amounts(pair: Pair) -> None:
    pair.spill.append([event(key="a", units=2**60 + 1, scale=2), event(key="b", units=7, scale=2)])
    pair.pour()
    a, b = pair.primary.contents.requests.values()
    assert (a.units, a.scale) == ("11529215046068469.77", -1)
    assert (b.units, b.scale) == (7, 2)
    assert amount_of(a.units, a.scale) * 100 == 2**60 + 1


def test_one_outbox_can_not_be_both() -> None:
    one = MemoryOutbox()
    with pytest.raises(ConfigError):
        SpillingOutbox(one, one)
    assert repr(SpillingOutbox(one, MemoryOutbox())).startswith("<SpillingOutbox <")


@given(
    crash_at=st.integers(1, 12),
    after=st.booleans(),
    in_primary=st.booleans(),
    away=st.lists(st.booleans(), min_size=len(KEYS), max_size=len(KEYS)),
    in_doubt=st.lists(st.booleans(), min_size=len(KEYS), max_size=len(KEYS)),
)
def test_a_crash_at_any_call_loses_nothing_and_adds_no_key(
    crash_at: int, after: bool, in_primary: bool, away: list[bool], in_doubt: list[bool]
) -> None:
    """What was moved twice has the same key both times, so that the service counts it once."""
    pair = Pair()
    pair.outbox.open(settings())
    victim = pair.primary if in_primary else pair.spill
    victim.crash_at, victim.crash_after = victim.calls + crash_at, after
    recorded: set[str] = set()
    handed_over: set[str] = set()
    for key, is_away, is_lost in zip(KEYS, away, in_doubt, strict=True):
        pair.primary.away, pair.primary.lose_answer = is_away, is_lost
        pair.clock.seconds += 1.5
        try:
            handed_over.add(key)
            pair.outbox.append([event(key=key)])
            recorded.add(key)
        except Crash:
            pair.begin_anew()
    pair.primary.away = pair.primary.lose_answer = False
    try:
        pair.pour()
    except Crash:
        pair.begin_anew()
    pair.primary.crash_at = pair.spill.crash_at = None
    pair.pour()
    assert recorded <= set(pair.keys()) <= handed_over


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Any]:
    sqlite_outbox = pytest.importorskip("montra_async.usage.sqlite.sqlite_outbox")
    return sqlite_outbox.SqliteOutbox(tmp_path / "spill.db")


@needs_redis
def test_redis_with_sqlite_as_its_spill(redis: RedisServer, sqlite: Any) -> None:
    """Answers are lost, and Redis is away for a while: everything arrives, and nothing twice."""
    from montra_async.usage.redis.redis_outbox import RedisOutbox

    clock = Clock()
    with losing_proxy(redis) as proxy:
        first = RedisOutbox(proxy.url, patience=0.001)
        outbox = SpillingOutbox(first, sqlite, clock=clock)
        outbox.open(settings(coalesce_window=0.001))
        keys: set[str] = set()
        units = got = 0

        def send(**options: Any) -> int:
            found = outbox.exchange([], 100, **options).requests
            assert not keys & {each.key for each in found}
            keys.update(each.key for each in found)
            outbox.exchange(delivered(*found), 0)
            return sum(int(each.units) for each in found)

        for number in range(60):
            units += number + 1
            proxy.lose(1 if number % 4 == 0 else 0)
            outbox.append([summable(units=number), event(units=1, metadata='{"a":1}')])
            proxy.lose(0)
            clock.seconds += 0.4
            if not outbox.spilling and number % 3 == 0:
                got += send()
        assert proxy.lost >= 10
        while outbox.counts().events:
            clock.seconds += 31
            got += send(flush=True)
        assert got == units
        outbox.close()


@needs_redis
def test_what_redis_has_forgotten_is_parked(redis: RedisServer, sqlite: Any) -> None:
    """A sum was recorded, its answer was lost, and it is asked for it after a week: it must not count twice."""
    from montra_async.usage.redis.redis_outbox import RedisOutbox

    clock = Clock()
    with losing_proxy(redis) as proxy:
        outbox = SpillingOutbox(RedisOutbox(proxy.url, patience=0.001), sqlite, clock=clock)
        outbox.open(settings(coalesce_window=0.001))
        outbox.append([summable(units=1)])
        proxy.lose()
        outbox.append([summable(units=2), summable(units=2)])
        redis.forget_writers()
        requests: list[UsageRequest] = []
        expired: list[ParkedUsage] = []
        for _ in range(5):
            clock.seconds += 31
            found = outbox.exchange([], 100, flush=True)
            requests += found.requests
            expired += found.expired
        assert sum(int(each.units) for each in requests) == 5
        assert [(each.reason, each.amount) for each in expired] == [("ambiguous", 2), ("ambiguous", 2)]
        assert outbox.spill.counts().requests == 0
        outbox.close()


@needs_redis
def test_claims_survive_while_redis_is_away(redis: RedisServer, sqlite: Any) -> None:
    from montra_async.usage.redis.redis_outbox import RedisOutbox

    clock = Clock()
    with losing_proxy(redis) as proxy:
        outbox = SpillingOutbox(RedisOutbox(proxy.url, patience=0.001), sqlite, clock=clock)
        outbox.open(settings())
        outbox.append([event(), event()])
        one, two = outbox.exchange([], 2).requests
        proxy.lose()
        with pytest.raises(OutboxError):
            outbox.exchange([*delivered(one), retry(two, sent=False)], 1)
        clock.seconds += 1
        (again,) = outbox.exchange([*delivered(one), retry(two, sent=False)], 1).requests
        assert (again.key, again.ambiguous) == (two.key, False)
        outbox.close()
