"""`AccessDecision`: whether a customer has access, and where that is known from."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any, Literal, TypeAlias

AccessSource: TypeAlias = Literal["fresh", "cached", "stale", "fallback", "unknown"]
"""Where a decision comes from. `fresh`: the service was asked for it. `cached`: an answer within its time to live.
`stale`: an older answer, because a newer one is being fetched or can't be had. `fallback`: the service can't be asked
and there is no usable answer: the setting `on_unavailable` decided. `unknown`: `peek` knows nothing."""

Key: TypeAlias = tuple[str, str, str]
"""Customer id, `meter` or `feature`, slug."""

_EXACT = Context(prec=1000)
"""The thread's context may round."""

METER = "meter"
FEATURE = "feature"

INVALID = float("-inf")
"""`fresh_until` of an answer that was invalidated: it is used only when the service can't be asked."""


class AccessDecision:
    """Whether a customer may use a meter or a feature. True in a condition if access is allowed. Don't change it.

    Args:
        allowed: whether the customer has access.
        source: where the decision comes from.
        reason: why there is no access: the service's reason, e.g. `no_plan`, `limit_reached` or `not_in_plan`;
            `unavailable` and `unknown` without an answer. None with access, or when the service gave none.
        usage: units used in the billing period, those included that were recorded here and that the service does not
            know of yet. None for features.
        limit: units that the plan includes; None for features, and without a limit.
        remaining: units that are neither used nor held, at least 0; None without a limit.
        asked_at: when the service was asked, by `clock`.
        fresh_until: when the answer's time to live ends, by `clock`.
        clock: a clock that never goes back, in seconds.
    """

    __slots__ = ("_clock", "allowed", "asked_at", "fresh_until", "limit", "reason", "remaining", "source", "usage",
                 "used")  # fmt: skip

    def __init__(
        self,
        allowed: bool,
        source: AccessSource,
        *,
        reason: str | None = None,
        usage: int | Decimal | None = None,
        limit: int | Decimal | None = None,
        remaining: int | Decimal | None = None,
        asked_at: float | None = None,
        fresh_until: float = INVALID,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.allowed: bool = allowed
        self.source: AccessSource = source
        self.reason: str | None = reason
        self.usage: int | Decimal | None = usage
        self.limit: int | Decimal | None = limit
        self.remaining: int | Decimal | None = remaining
        self.asked_at: float | None = asked_at
        self.fresh_until: float = fresh_until
        self.used: bool = False  # since the cache last looked for entries to evict
        self._clock = clock

    @property
    def age(self) -> float | None:
        """Seconds since the service was asked; None when it has not answered."""
        return None if self.asked_at is None else max(0.0, self._clock() - self.asked_at)

    @property
    def held(self) -> int | Decimal | None:
        """Units that are not used, but held at the moment; they may become free again. None without a limit."""
        if self.limit is None or self.usage is None or self.remaining is None:
            return None
        return max(0, _difference(_difference(self.limit, self.usage), self.remaining))

    def may_pass_later(self, requested: int | Decimal) -> bool:
        """Whether a hold that was refused may succeed when others have ended, because they only hold what it needs.

        Args:
            requested: number of units of the hold.
        """
        if self.limit is None or self.usage is None or not self.held:
            return False
        return requested <= _difference(self.limit, self.usage)

    def replace(self, *, source: AccessSource | None = None, fresh_until: float | None = None) -> AccessDecision:
        """A copy.

        Args:
            source: another source. None: as before.
            fresh_until: another end of its time to live. None: as before.
        """
        return AccessDecision(
            self.allowed,
            self.source if source is None else source,
            reason=self.reason,
            usage=self.usage,
            limit=self.limit,
            remaining=self.remaining,
            asked_at=self.asked_at,
            fresh_until=self.fresh_until if fresh_until is None else fresh_until,
            clock=self._clock,
        )

    def _facts(self) -> tuple[Any, ...]:
        return self.allowed, self.source, self.reason, self.usage, self.limit, self.remaining, self.asked_at

    def __bool__(self) -> bool:
        return self.allowed

    def __eq__(self, other: object) -> bool:
        return self._facts() == other._facts() if isinstance(other, AccessDecision) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._facts())

    def __repr__(self) -> str:
        if not hasattr(self, "_clock"):  # a frame may show one that is half built
            return "AccessDecision()"
        age = self.age
        known = "" if age is None else f", age={age:.1f}"
        return (
            f"AccessDecision(allowed={self.allowed}, source={self.source!r}, reason={self.reason!r}, "
            f"usage={self.usage}, limit={self.limit}, remaining={self.remaining}{known})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # A clock of one process means nothing in another.
        return _unpickled, (self.allowed, self.source, self.reason, self.usage, self.limit, self.remaining)


def _difference(first: int | Decimal, second: int | Decimal) -> int | Decimal:
    if isinstance(first, int) and isinstance(second, int):
        return first - second
    return _EXACT.subtract(Decimal(first), Decimal(second))


def _unpickled(allowed: bool, source: AccessSource, reason: str | None, *numbers: Any) -> AccessDecision:
    usage, limit, remaining = numbers
    return AccessDecision(allowed, source, reason=reason, usage=usage, limit=limit, remaining=remaining)


UNKNOWN = AccessDecision(False, "unknown", reason="unknown")
"""What `peek` says when it knows nothing."""
