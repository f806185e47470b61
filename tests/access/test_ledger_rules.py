"""The rules of counters, for any order of events: whatever the service, the reporter and the holders do, and when."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from montra_async.access.ledger import Ask, Ledger
from montra_async.access.reservation import Reservation
from montra_async.access.settings import AccessSettings

from .conftest import Clock

KEY = ("c", "meter", "m")
LIMIT = 20

amounts = st.one_of(
    st.integers(1, 9), st.integers(1, 90).map(lambda tenths: Decimal(tenths) / 10), st.just(Decimal("0.001"))
)


class Counters(RuleBasedStateMachine):
    """One customer and meter. The model keeps what is true; the ledger keeps what it is told."""

    holds = Bundle("holds")
    asks = Bundle("asks")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.ledger = Ledger(AccessSettings(max_entries=1, local_usage_ttl=10**6), self.clock)
        self.counted: Decimal = Decimal(0)
        """Units that the service has counted."""
        self.waiting: list[Decimal] = []
        """Events that it will count."""
        self.unconfirmed: list[Decimal] = []
        """Events that it has counted, which the ledger does not know."""
        self.live: dict[Reservation, Decimal] = {}

    @initialize(held=st.lists(amounts, max_size=4))
    def begin(self, held: list[int | Decimal]) -> None:
        """The usual beginning; what follows may come in any order."""
        self.answer(self.ask())
        for amount in held:
            self.hold(amount, 50.0)

    # The service

    @rule(target=asks)
    def ask(self) -> tuple[Ask, list[Decimal]]:
        return self.ledger.begin(KEY), []

    @rule(ask=asks)
    def compute(self, ask: tuple[Ask, list[Decimal]]) -> None:
        """The service computes the answer, at some time after it was asked."""
        if not ask[1]:
            ask[1].append(self.counted)

    @rule(ask=consumes(asks))
    def answer(self, ask: tuple[Ask, list[Decimal]]) -> None:
        question, computed = ask
        usage = computed[0] if computed else self.counted
        exact = int(usage) if usage == int(usage) else usage
        self.ledger.answered(question, usage < LIMIT, None, exact, LIMIT)
        self.drop_expired()

    @rule(ask=consumes(asks))
    def fail(self, ask: tuple[Ask, list[Decimal]]) -> None:
        self.ledger.failed(ask[0])

    @precondition(lambda self: self.waiting)
    @rule()
    def count(self) -> None:
        event = self.waiting.pop()
        self.counted += event
        self.unconfirmed.append(event)

    @precondition(lambda self: self.unconfirmed)
    @rule()
    def confirm(self) -> None:
        event = self.unconfirmed.pop(0)
        self.ledger.acknowledged(KEY, int(event) if event == int(event) else event)

    @precondition(lambda self: self.waiting or self.unconfirmed)
    @rule(counted_before=st.booleans(), counted_after=st.booleans(), confirmed=st.integers(0, 3))
    def race(self, counted_before: bool, counted_after: bool, confirmed: int) -> None:
        """Events are counted and confirmed while the service is being asked."""
        question = self.ask()
        if counted_before and self.waiting:
            self.count()
        self.compute(question)
        if counted_after and self.waiting:
            self.count()
        for _ in range(min(confirmed, len(self.unconfirmed))):
            self.confirm()
        self.answer(question)

    # The holders

    @rule(target=holds, amount=amounts, ttl=st.sampled_from([5.0, 50.0]))
    def hold(self, amount: int | Decimal, ttl: float) -> Reservation:
        hold = Reservation(KEY, amount, ttl)
        hold.begin()
        if self.ledger.reserve(hold, self.clock(), force=True):
            self.live[hold] = Decimal(amount)
        self.drop_expired()
        return hold

    @rule(hold=holds, amount=amounts)
    def extend(self, hold: Reservation, amount: int | Decimal) -> None:
        if (
            hold in self.live
            and self.ledger.is_live(hold)
            and self.ledger.extend(hold, amount, self.clock(), force=True)
        ):
            self.live[hold] += amount
        self.drop_expired()

    @precondition(lambda self: self.live)
    @rule(number=st.integers(0, 9), share=st.sampled_from([0, 1, Decimal("0.5"), Decimal("0.25")]))
    def settle(self, number: int, share: int | Decimal) -> None:
        hold = list(self.live)[number % len(self.live)]
        used = Decimal(hold.estimate) * share
        exact = int(used) if used == int(used) else used
        held = self.ledger.settle(hold, exact)
        assert held == (self.live.pop(hold, None) is not None)
        if held and used:
            self.waiting.append(used)
        assert not self.ledger.settle(hold, exact)  # once only

    @rule(used=amounts)
    def settle_through_the_reporter(self, used: int | Decimal) -> None:
        """The oldest hold records `used`, or what it holds, and ends when the reporter says so."""
        for hold in list(self.live):
            if not self.ledger.is_live(hold):
                continue
            used = min(used, hold.estimate)
            self.ledger.begin_settling(hold, used)
            self.ledger.recorded(KEY, used)
            assert not self.ledger.is_live(hold)
            del self.live[hold]
            self.waiting.append(Decimal(used))
            return

    @rule(amount=amounts)
    def record_and_fail(self, amount: int | Decimal) -> None:
        """Usage that could not be stored leaves no trace."""
        before = self.free()
        if before is None:
            return
        self.ledger.recorded(KEY, amount)
        self.ledger.unrecorded(KEY, amount)
        assert self.free() == before

    # Everything else

    @rule(seconds=st.sampled_from([0.5, 6.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.clock.go(seconds)

    @rule()
    def invalidate(self) -> None:
        self.ledger.invalidate("c", None, None)

    @rule()
    def look(self) -> None:
        found = self.ledger.find(KEY)
        self.drop_expired()
        if found is not None and found.remaining is not None:
            assert 0 <= found.remaining <= LIMIT - self.held()
            assert found.allowed == (found.remaining > 0)

    def drop_expired(self) -> None:
        """A hold may lose its units only when its life is over."""
        for hold in [one for one in self.live if not self.ledger.is_live(one)]:
            assert hold.expires_at <= self.clock()
            del self.live[hold]

    def held(self) -> Decimal:
        return sum(self.live.values(), Decimal(0))

    def free(self) -> Decimal | None:
        counter = self.ledger.counters.get(KEY)
        return None if counter is None or counter.answer is None else Decimal(counter.free) / 10**counter.scale

    @invariant()
    def recorded_and_held_never_exceed_the_limit(self) -> None:
        assert self.counted + sum(self.waiting, Decimal(0)) + self.held() <= LIMIT

    @invariant()
    def never_more_is_free_than_in_truth(self) -> None:
        free = self.free()
        if free is not None:
            assert free <= LIMIT - self.counted - sum(self.waiting, Decimal(0)) - self.held()

    @invariant()
    def the_sums_agree(self) -> None:
        counter = self.ledger.counters.get(KEY)
        if counter is None:
            assert not self.live
            return
        assert counter.held == self.held() * 10**counter.scale >= 0
        assert 0 <= counter.acknowledged <= counter.recorded
        assert 0 <= counter.base <= counter.recorded
        if counter.answer is not None and counter.answer.allowed:
            limit = LIMIT * 10**counter.scale
            assert counter.free == limit - counter.usage - counter.held

    @precondition(lambda self: not self.waiting and not self.unconfirmed)
    @rule()
    def an_answer_after_everything_is_confirmed_is_exact(self) -> None:
        if self.counted >= LIMIT:
            return
        exact = int(self.counted) if self.counted == int(self.counted) else self.counted
        self.ledger.answered(self.ledger.begin(KEY), True, None, exact, LIMIT)
        self.drop_expired()
        free = self.free()
        assert free is None or free == LIMIT - self.counted - self.held()


TestCounters = Counters.TestCase


def test_deliveries_of_others_never_count_for_more_than_was_recorded_here() -> None:
    ledger = Ledger(AccessSettings(), Clock())
    key = ("c", "meter", "m")
    ledger.answered(ledger.begin(key), True, usage=0, limit=150)
    ledger.acknowledged(key, 70)  # nothing is recorded here yet
    ledger.recorded(key, 100)
    ledger.invalidate(None, None, None)
    ledger.answered(ledger.begin(key), True, usage=70, limit=150)
    assert ledger.counters[key].usage == 170
    ledger.acknowledged(key, 300)
    ledger.recorded(key, 10)
    ledger.answered(ledger.begin(key), True, usage=100, limit=150)
    assert ledger.counters[key].usage == 110
