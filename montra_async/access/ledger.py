"""`Ledger`: what is known of access, without an event loop. Any thread may use it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Set
from decimal import Decimal

from .answer_cache import matches
from .counter import Counter
from .decision import INVALID, AccessDecision, Key
from .meter_counters import MeterCounters
from .numbers import exact_sum, negative
from .settings import AccessSettings


class Ask:
    """A question that is on its way to the service."""

    __slots__ = ("asked_at", "base", "key", "number", "outdated", "scale")

    def __init__(self, key: Key, asked_at: float, base: int, scale: int, number: int) -> None:
        self.key: Key = key
        self.asked_at: float = asked_at
        self.base: int = base
        self.scale: int = scale
        self.number: int = number
        """Of two questions at the same time, the one with the larger number was asked later."""
        self.outdated: bool = False
        """Whether access was invalidated meanwhile, so that the answer may be older than the change."""


class Ledger(MeterCounters):
    """Answers, counters and holds of all customers.

    Args:
        settings: times to live, and bounds.
        clock: seconds, never goes back.
    """

    def __init__(self, settings: AccessSettings, clock: Callable[[], float]) -> None:
        self._asks: set[Ask] = set()
        self._asked = 0
        super().__init__(settings, clock)

    def find(self, key: Key) -> AccessDecision | None:
        """What is known of a key, however old. Counts what is recorded and held here."""
        found = self.answers.get(key)
        if found is not None:
            return found
        with self._lock:
            counter = self.counters.get(key)
            if counter is None or counter.answer is None:
                return None
            return self._show(key, counter, counter.answer)

    def _show(self, key: Key, counter: Counter, answer: AccessDecision) -> AccessDecision:
        decision = self._derive(counter, answer)
        self._cache.keep(key, decision)
        counter.shown = True
        return decision

    def _derive(self, counter: Counter, answer: AccessDecision) -> AccessDecision:
        """The decision of an answer and what is known here."""
        now = self.clock()
        if now >= counter.next_expiry:
            self._drop_expired(counter, now)
        usage = None if answer.usage is None else counter.amount(counter.usage)
        if answer.limit is None or not answer.allowed:
            return answer.replace() if usage == answer.usage else _with(answer, self.clock, usage=usage)
        if counter.free > 0:
            return _with(answer, self.clock, usage=usage, remaining=counter.amount(int(counter.free)))
        fresh_until = min(answer.fresh_until, (answer.asked_at or 0.0) + self.settings.deny_ttl)
        return _with(answer, self.clock, usage=usage, remaining=0, denied=True, fresh_until=fresh_until)

    def begin(self, key: Key) -> Ask:
        """The service is going to be asked. Every question must be ended, by `answered` or `failed`."""
        with self._lock:
            counter = self.counters.get(key)
            acknowledged, scale = (0, 0) if counter is None else (counter.acknowledged, counter.scale)
            self._asked += 1
            ask = Ask(key, self.clock(), acknowledged, scale, self._asked)
            self._asks.add(ask)
            return ask

    def answered(
        self,
        ask: Ask,
        allowed: bool,
        reason: str | None = None,
        usage: int | Decimal | None = None,
        limit: int | Decimal | None = None,
        *,
        local_ttl: float = math.inf,
    ) -> AccessDecision:
        """Keep an answer of the service. Returns the decision with what is known here.

        Args:
            ask: the question.
            allowed: whether the customer has access.
            reason: why not.
            usage: units used.
            limit: units that the plan includes.
            local_ttl: seconds for which the answer is used at most.
        """
        answer = self._answer(ask, allowed, reason, usage, limit, ask.asked_at, local_ttl)
        with self._lock:
            self._asks.discard(ask)
            decision = self.store(ask.key, answer, ask.base, ask.scale, ask.number)
        return decision.replace(source="fresh")

    def found(
        self,
        ask: Ask,
        allowed: bool,
        reason: str | None,
        usage: int | Decimal | None,
        limit: int | Decimal | None,
        asked_at: float,
        local_ttl: float,
    ) -> AccessDecision:
        """Keep an answer that the service gave to another process, and that is valid. The question goes on.

        It may include all that was acknowledged here before the answer that is known here, and nothing else is sure.

        Args:
            ask: the question.
            allowed: whether the customer has access.
            reason: why not.
            usage: units used.
            limit: units that the plan includes.
            asked_at: when the service was asked, by the clock of this ledger.
            local_ttl: seconds for which the answer is used at most.
        """
        with self._lock:
            known = self.server_answer(ask.key)
            if known is not None and (known.asked_at or 0.0) > asked_at and known.fresh_until != INVALID:
                # Nothing has changed since an older answer was given, so ours is still valid.
                allowed, reason, usage, limit = known.allowed, known.reason, known.usage, known.limit
                asked_at = known.asked_at or 0.0
            return self.store(ask.key, self._answer(ask, allowed, reason, usage, limit, asked_at, local_ttl))

    def _answer(
        self,
        ask: Ask,
        allowed: bool,
        reason: str | None,
        usage: int | Decimal | None,
        limit: int | Decimal | None,
        asked_at: float,
        local_ttl: float,
    ) -> AccessDecision:
        ttl = self.settings.ttl if allowed else self.settings.deny_ttl
        return AccessDecision(
            allowed,
            "cached",
            reason=None if allowed else reason,
            usage=usage,
            limit=limit,
            remaining=None if limit is None or usage is None else max(0, exact_sum(limit, negative(usage))),
            asked_at=asked_at,
            fresh_until=INVALID if ask.outdated else min(asked_at + ttl, self.clock() + local_ttl),
            clock=self.clock,
        )

    def failed(self, ask: Ask) -> None:
        """The question was not answered."""
        with self._lock:
            self._asks.discard(ask)

    def may_gain(self, key: Key, now: float) -> bool:
        """Whether asking the service again could free units: the answer is old, or may count some units twice."""
        with self._lock:
            counter = self.counters.get(key)
            if counter is None or counter.answer is None:
                return True
            age = now - (counter.answer.asked_at or 0.0)
            deny_ttl = self.settings.deny_ttl
            return age >= deny_ttl or (counter.acknowledged > counter.base and age >= min(1.0, deny_ttl))

    def store(self, key: Key, answer: AccessDecision, base: int = 0, scale: int = 0, number: int = 0) -> AccessDecision:
        """Keep an answer, unless a newer one is known. Returns the decision with what is known here.

        Args:
            key: the key.
            answer: the service's answer.
            base: what was acknowledged when the service was asked.
            scale: the counter's scale at that time.
            number: of the question.
        """
        asked_at = answer.asked_at or 0.0
        with self._lock:
            counter = self.counters.get(key)
            if counter is None:
                known = self.answers.get(key)
                if known is None or (known.asked_at or 0.0) <= asked_at:
                    self._cache.keep(key, answer)
                return answer
            known = counter.answer
            if known is None or (known.asked_at or 0.0, counter.answered) <= (asked_at, number or counter.answered):
                counter.apply(answer, base, scale, asked_at, self.settings.local_usage_ttl)
                counter.answered = number or counter.answered
            return self._show(key, counter, answer if counter.answer is None else counter.answer)

    def server_answer(self, key: Key) -> AccessDecision | None:
        """The service's last answer, with its own numbers."""
        with self._lock:
            counter = self.counters.get(key)
            return self.answers.get(key) if counter is None else counter.answer

    def known(self) -> list[tuple[Key, AccessDecision]]:
        """All answers of the service, with its own numbers."""
        with self._lock:
            shown = {key for key, counter in self.counters.items() if counter.shown}
            known = [(key, answer) for key, answer in self.answers.items() if key not in shown]
            counted = [(key, one.answer) for key, one in self.counters.items() if one.answer is not None]
            return known + counted

    # Invalidation

    def invalidate(self, customer_id: str | None, kind: str | None, slug: str | None) -> None:
        """Answers are asked for again, and used only when the service can't be asked.

        Args:
            customer_id: only of this customer. None: of all.
            kind: only of meters, or of features. None: of both.
            slug: only of this one. None: of all.
        """
        with self._lock:
            for ask in self._asks:
                ask.outdated = ask.outdated or matches(ask.key, customer_id, kind, slug)
            for key in self.matching(customer_id, kind, slug):
                if (found := self.answers.get(key)) is not None:
                    self.answers[key] = found.replace(fresh_until=INVALID)
                counter = self.counters.get(key)
                if counter is not None and counter.answer is not None:
                    counter.answer = counter.answer.replace(fresh_until=INVALID)
                    counter.fresh_until = INVALID
                    self._hide(key, counter)

    def matching(self, customer_id: str | None, kind: str | None, slug: str | None) -> Iterator[Key]:
        """Keys that may be known, of a customer, kind and slug; None for all."""
        return self._cache.matching(customer_id, kind, slug)

    # Counters

    def _asked_keys(self) -> Set[Key]:
        return {ask.key for ask in self._asks}

    def after_fork(self, *, closed: bool, child: bool) -> None:
        """Go on. A child has no questions, either. Called by `core.forks`."""
        super().after_fork(closed=closed, child=child)
        if child:
            self._asks = set()


def _with(
    answer: AccessDecision,
    clock: Callable[[], float],
    *,
    usage: int | Decimal | None,
    remaining: int | Decimal | None = None,
    denied: bool = False,
    fresh_until: float | None = None,
) -> AccessDecision:
    return AccessDecision(
        answer.allowed and not denied,
        answer.source,
        reason="limit_reached" if denied else answer.reason,
        usage=usage,
        limit=answer.limit,
        remaining=remaining,
        asked_at=answer.asked_at,
        fresh_until=answer.fresh_until if fresh_until is None else fresh_until,
        clock=clock,
    )
