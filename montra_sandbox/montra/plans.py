"""Which plan is a customer on, in which billing period, and what does the plan cost."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import attrs

from ..clock import from_text
from ..context import Context
from ..periods import period_at
from ..store import Row
from .pricing import total


@attrs.frozen(kw_only=True)
class Plan:
    """The pricing model that counts for a customer right now; None when there is no plan at all."""

    pricing_model_id: str | None
    period_start: datetime
    period_end: datetime


def plan_of(context: Context, customer: Row) -> Plan:
    """The running subscription's plan, else the merchant's default.

    Without a subscription the billing period is the month counted from the customer's creation.
    """
    running = running_subscription(context, customer["id"])
    if running is not None:
        return Plan(
            pricing_model_id=running["pricing_model_id"],
            period_start=from_text(running["current_period_start"]),
            period_end=from_text(running["current_period_end"]),
        )
    default = context.store.value(
        "SELECT id FROM pricing_models WHERE merchant_id = ? AND is_default", context.merchant_id
    )
    start, end = period_at(from_text(customer["created_at"]), context.now)
    return Plan(pricing_model_id=default, period_start=start, period_end=end)


def running_subscription(context: Context, customer_id: str) -> Row | None:
    """The customer's active or trialing subscription."""
    return context.store.one(
        "SELECT * FROM subscriptions WHERE customer_id = ? AND status IN ('active', 'trialing')"
        " ORDER BY created_at DESC LIMIT 1",
        customer_id,
    )


def price_of(context: Context, pricing_model_id: str) -> Decimal:
    """A plan's price per period: the sum of its active recurring products."""
    rows = context.store.all(
        "SELECT amount FROM products WHERE pricing_model_id = ? AND price_type = 'recurring' AND status = 'Active'",
        pricing_model_id,
    )
    return total(Decimal(row["amount"] or 0) for row in rows)
