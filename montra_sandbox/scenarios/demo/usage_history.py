"""Usage of the past: few customers use most of it, working days more than weekends."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import attrs

from ...montra import subscriptions
from ...montra.plans import Plan, current_plan
from ...montra.usage import store_history
from ..calls import Calls
from .catalog import Catalog
from .timeline import Timeline

_MAX_FACTOR = 40.0
_RHYTHM = (1.0, 1.1, 1.12, 1.05, 0.9, 0.25, 0.2)
"""Usage by day of the week, from Monday."""


@attrs.define(kw_only=True, eq=False)
class UsagePattern:
    """How a customer uses the meters.

    Attributes:
        volumes: by meter, the amount on a usual working day.
        activity: the share of working days with any usage, 0 to 1.
        growth: the factor per day.
        since: when the customer began.
        cuts: when the customer's plan may change.
        is_over: whether the customer uses nothing any more.
        rng: decides about every day.
    """

    volumes: dict[str, float]
    activity: float
    growth: float
    since: datetime | None = None
    cuts: list[datetime] = attrs.field(factory=list[datetime])
    is_over: bool = False
    rng: random.Random

    @staticmethod
    def draw(rng: random.Random, tokens: float, *, is_occasional: bool) -> UsagePattern:
        """Draw a pattern.

        Args:
            rng: the random generator.
            tokens: the middle of the tokens on a working day.
            is_occasional: whether the customer is not there every day.
        """
        factor = min(_MAX_FACTOR, rng.paretovariate(1.16) / 1.8)
        volumes = {"tokens": tokens * factor}
        if rng.random() < 0.45:
            volumes["images"] = max(1.0, tokens * factor / 2_500 * rng.uniform(0.3, 1.5))
        if rng.random() < 0.2:
            volumes["audio-minutes"] = max(1.0, tokens * factor / 4_000 * rng.uniform(0.3, 1.5))
        activity = rng.uniform(0.15, 0.6) if is_occasional else rng.uniform(0.7, 1.0)
        growth, own = rng.uniform(0.9985, 1.004), random.Random(rng.random())  # noqa: S311 - reproducible
        return UsagePattern(volumes=volumes, activity=activity, growth=growth, rng=own)


class UsageHistory:
    """Reports usage, one stretch without a change of plan at a time.

    Args:
        calls: the merchant's calls.
        catalog: the plans, with their limits.
        timeline: the past.

    Attributes:
        density: the share of the days on which usage is reported.
    """

    density: float

    def __init__(self, calls: Calls, catalog: Catalog, timeline: Timeline) -> None:
        self._calls = calls
        self._catalog = catalog
        self._timeline = timeline
        self._used: dict[tuple[str, str, datetime], int] = {}
        self.density = 1.0

    def begin(self, customer_id: str, pattern: UsagePattern) -> None:
        """Let a customer use the meters from now on.

        Args:
            customer_id: the customer.
            pattern: how.
        """
        pattern.since = self._calls.now()
        self._stretch(customer_id, pattern)

    def _stretch(self, customer_id: str, pattern: UsagePattern) -> None:
        """Report the usage until the period ends or the plan may change, and plan the next stretch."""
        if pattern.is_over:
            return
        context, start = self._calls.context(), self._calls.now()
        plan = current_plan(context, context.get_or_404("customers", "customer", customer_id))
        pattern.cuts = [cut for cut in pattern.cuts if cut > start]
        until = min(plan.period_end, self._timeline.end, *pattern.cuts)
        running = subscriptions.find_running(context, customer_id)
        if running is None or running["status"] != "paused":
            for slug, volume in pattern.volumes.items():
                self._report(customer_id, slug, plan, self._amounts(pattern, volume, start, until))
        self._timeline.at(until, lambda: self._stretch(customer_id, pattern))

    def _amounts(
        self, pattern: UsagePattern, volume: float, start: datetime, until: datetime
    ) -> list[tuple[datetime, int]]:
        rng, found = pattern.rng, list[tuple[datetime, int]]()
        since = pattern.since or start
        day = start.replace(hour=0, minute=0, second=0, microsecond=0)
        while day < until:
            when = day + timedelta(seconds=rng.randrange(7 * 3600, 21 * 3600))
            factor = _RHYTHM[day.weekday()]
            active = rng.random() < pattern.activity * self.density * (1.0 if factor > 0.5 else 0.5)
            if active and start <= when < until:
                trend = min(6.0, pattern.growth ** (day - since).days)
                amount = int(volume * factor * trend * rng.lognormvariate(0, 0.35) / self.density)
                found.append((when, max(1, amount)))
            day += timedelta(days=1)
        return found

    def _report(self, customer_id: str, slug: str, plan: Plan, amounts: list[tuple[datetime, int]]) -> None:
        """Store reports up to the plan's limit. The one that reaches it is a call, which sends the event."""
        limit = self._catalog.limits.get((plan.pricing_model_id or "", slug))
        key = (customer_id, slug, plan.period_start)
        used = self._used.get(key, 0)
        if limit is not None and used >= limit:
            return
        below: list[tuple[datetime, int]] = []
        for when, amount in amounts:
            used += amount
            if limit is not None and used >= limit:
                self._reach_limit(customer_id, slug, when, amount)
                break
            below.append((when, amount))
        self._used[key] = used
        store_history(self._calls.context(), customer_id, slug, plan, below)

    def _reach_limit(self, customer_id: str, slug: str, when: datetime, amount: int) -> None:
        body = {"customer_id": customer_id, "meter_slug": slug, "amount": amount}
        self._timeline.at(when, lambda: self._calls.montra("report_usage", body))
