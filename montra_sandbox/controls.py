"""What a developer or a test may do to the sandbox that no merchant may: in code, and below `/_sandbox/`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from .clock import from_text, to_text
from .deliveries import Deliveries
from .faults import parse_fault
from .montra import checkout, subscriptions, timeline, usage
from .paywall_controls import PaywallControls
from .problems import invalid, not_found
from .store import Row
from .wire import MAX_DIGITS, decimal_text, dumps, is_array, is_object
from .world import World

_SPANS = ("seconds", "minutes", "hours", "days", "weeks")
_MOST_AMOUNT = 10**18
_MOST_TIERS = 100
_STATUSES = ("active", "past_due", "unpaid", "canceled", "incomplete", "incomplete_expired", "trialing")


class Controls(PaywallControls):
    """Every control takes effect at once and is one transaction.

    Raises:
        Problem: what was asked for can't be done; `str()` says why.
    """

    def __init__(self, world: World, deliveries: Deliveries) -> None:
        self._world = world
        self._deliveries = deliveries

    def now(self) -> datetime:
        """The sandbox's time."""
        return self._world.clock.now()

    def advance(self, *, to: datetime | None = None, **spans: float) -> datetime:
        """Move the clock forward by `seconds`, `minutes`, `hours`, `days`, `weeks`, or `to` a moment.

        Periods end, scheduled changes apply, pauses are over and webhook retries come due on the way. At most ten
        years, and 10,000 such things, at once.
        """
        unknown = sorted(spans.keys() - set(_SPANS))
        if unknown:
            raise invalid(f"{', '.join(unknown)[:200]}: give {', '.join(_SPANS)} or to")
        if to is not None and spans:
            raise invalid("give either to or a span of time")
        try:
            by = to - self.now() if to is not None else timedelta(**spans)
        except (OverflowError, TypeError, ValueError):
            raise invalid("not a span of time") from None
        return self._world.advance(by)

    def reset(self) -> None:
        """Forget everything but the keys; faults are removed, the clock shows the real time."""
        self._world.reset()

    def set_limit(
        self,
        *,
        pricing_model_id: str,
        meter_slug: str,
        max_amount: Decimal | int | float | None,
        period: str = "billing_period",
        aggregation: str | None = None,
    ) -> None:
        """How much of a meter a plan allows; None is unlimited.

        `period`: `billing_period`, `day`, `month` or `lifetime`. `aggregation` overrides the meter's.
        """
        if period not in usage.PERIODS:
            raise invalid(f"period: one of {', '.join(usage.PERIODS)}")
        if aggregation not in (None, "sum", "max", "unique", "count"):
            raise invalid("aggregation: sum, max, unique or count")
        amount = _amount("max_amount", max_amount)
        if not isinstance(meter_slug, str) or not isinstance(pricing_model_id, str):
            raise invalid("meter_slug and pricing_model_id: strings")
        model = self._row("pricing_models", "pricing model", pricing_model_id)
        with self._world.store.transaction() as store:
            store.run(
                "INSERT OR REPLACE INTO plan_limits VALUES (?, ?, ?, ?, ?)",
                model["id"],
                meter_slug,
                decimal_text(amount),
                period,
                aggregation,
            )

    def set_tiers(self, product_id: str, tiers: list[Mapping[str, Any]]) -> None:
        """Graduated prices of a `tiered` product: `[{"up_to": 1000, "unit_amount": "0.01"}, {"up_to": None, ...}]`."""
        product = self._row("products", "product", product_id)
        checked = _tiers(tiers)
        with self._world.store.transaction() as store:
            store.update("products", product["id"], tiers=dumps(checked))

    def set_subscription(
        self, subscription_id: str, *, status: str | None = None, cancel_at_period_end: bool | None = None
    ) -> dict[str, Any]:
        """Force what the service itself would decide: a payment that failed, a trial, a cancellation."""
        if status is not None and status not in _STATUSES:
            raise invalid(f"status: one of {', '.join(_STATUSES)}")
        if cancel_at_period_end is not None and not isinstance(cancel_at_period_end, bool):
            raise invalid("cancel_at_period_end: true or false")
        row = self._row("subscriptions", "subscription", subscription_id)
        context = self._world.context(row["merchant_id"], self._world.catch_up())
        with self._world.store.transaction() as store:
            if cancel_at_period_end is not None:
                store.update("subscriptions", row["id"], cancel_at_period_end=cancel_at_period_end)
            if status == "canceled":
                timeline.cancel(context, row)
            else:
                if status is not None:
                    store.update("subscriptions", row["id"], status=status, paused_at=None, resume_at=None)
                subscriptions.announce(context, "subscription.updated", row["id"])
            shown = subscriptions.show(subscriptions.find(context, row["id"]))
        self._world.changed.set()
        return shown

    def add_fault(self, **fields: Any) -> dict[str, Any]:
        """`kind`, and what else it wants: see `faults`."""
        fault = self._world.faults.add(parse_fault(dict(fields)))
        return {"kind": fault.kind, "times": fault.times, "share": fault.share}

    def faults(self) -> list[dict[str, Any]]:
        """The faults that are still waiting."""
        return self._world.faults.waiting()

    def clear_faults(self) -> None:
        self._world.faults.clear()

    def deliveries(self) -> list[dict[str, Any]]:
        """All webhook deliveries, newest first."""
        return self._deliveries.all()

    def replay(self, delivery_id: str) -> dict[str, Any]:
        """Send a webhook again."""
        return self._deliveries.replay(delivery_id)

    async def settle(self) -> None:
        """Wait until all webhooks that are due have been tried."""
        await self._deliveries.settle()

    def transactions(self) -> list[dict[str, Any]]:
        """All payments that were tried, newest first."""
        rows = self._world.store.all("SELECT * FROM transactions ORDER BY created_at DESC, rowid DESC")
        return [checkout.show_transaction(row) for row in rows]

    def overview(self) -> dict[str, Any]:
        """The clock, the waiting faults and how much of everything there is."""
        tables = (
            *("customers", "pricing_models", "subscriptions", "transactions", "invoices"),
            *("paywall_users", "paywall_purchases", "paywall_tickets", "events", "deliveries"),
        )
        counts = {table: self._world.store.value(f"SELECT count(*) FROM {table}") for table in tables}
        return {"now": to_text(self.now()), "faults": self.faults(), "counts": counts}

    def _row(self, table: str, what: str, row_id: str) -> Row:
        row = self._world.store.one(f"SELECT * FROM {table} WHERE id = ?", row_id)
        if row is None:
            raise not_found(what, row_id)
        return row


def _amount(name: str, value: Any) -> Decimal | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        raise invalid(f"{name}: a number")
    try:
        amount = Decimal(value if isinstance(value, (int, Decimal)) else str(value)[:MAX_DIGITS])
    except InvalidOperation:
        raise invalid(f"{name}: a number") from None
    if not amount.is_finite() or not 0 <= amount <= _MOST_AMOUNT or amount.adjusted() < -MAX_DIGITS:
        raise invalid(f"{name}: a number from 0 to {_MOST_AMOUNT}, or null for unlimited")
    return amount


def _tiers(tiers: Any) -> list[dict[str, Any]]:
    if not is_array(tiers) or not 0 < len(tiers) <= _MOST_TIERS:
        raise invalid(f"tiers: a list of 1 to {_MOST_TIERS} tiers")
    checked: list[dict[str, Any]] = []
    below: Decimal = Decimal(0)
    for i, one in enumerate(tiers):
        tier = one if is_object(one) else {}
        if set(tier) != {"up_to", "unit_amount"}:
            raise invalid(f"tiers[{i}]: up_to and unit_amount, nothing else")
        up_to, price = (
            _amount(f"tiers[{i}].up_to", tier["up_to"]),
            _amount(f"tiers[{i}].unit_amount", tier["unit_amount"]),
        )
        last = i == len(tiers) - 1
        if price is None or (up_to is None) is not last or (up_to is not None and up_to <= below):
            raise invalid(f"tiers[{i}]: up_to rises from tier to tier and is null in the last one")
        below = up_to if up_to is not None else below
        checked.append({"up_to": None if up_to is None else format(up_to, "f"), "unit_amount": format(price, "f")})
    return checked


def moment_of(text: Any) -> datetime:
    """The `to` of a control request."""
    try:
        return from_text(text)
    except (AttributeError, TypeError, ValueError):
        raise invalid("to: an ISO 8601 moment") from None
