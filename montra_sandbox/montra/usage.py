"""Usage: count it, and add it up."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import attrs

from ..clock import to_text
from ..context import NOTHING, Context, Handler
from ..problems import not_found
from ..store import Row
from ..wire import canonical, decimal_text, dumps, number
from .catalog import meter_of_model
from .plans import Plan, plan_of

PERIODS = ("billing_period", "day", "month", "lifetime")


def report_usage(context: Context) -> Any:
    body = context.body
    customer = context.find("customers", "customer", body["customer_id"])
    plan = plan_of(context, customer)
    meter = find_meter(context, plan, body["meter_slug"])
    limit = limit_of(context, plan, meter["slug"])
    before = measure(context, customer, plan, meter, limit) if limit is not None else Decimal(0)

    amount = Decimal(body.get("amount", 1))
    metadata = body.get("metadata")
    _store_event(context, customer["id"], meter["slug"], plan, amount, metadata)
    context.record(
        "usage.reported",
        customer["id"],
        {"customer_id": customer["id"], "meter_slug": meter["slug"], "amount": amount, "metadata": metadata},
    )

    if limit is not None and limit.max_amount is not None:
        after = measure(context, customer, plan, meter, limit)
        if before < limit.max_amount <= after:
            payload = {
                "customer_id": customer["id"],
                "meter_slug": meter["slug"],
                "usage": number(str(after)),
                "limit": number(str(limit.max_amount)),
            }
            context.record("usage.limit_reached", customer["id"], payload)
    return NOTHING


def find_meter(context: Context, plan: Plan, slug: str) -> Row:
    """The plan's meter of that slug; else any of the merchant's.

    Raises:
        Problem: 404, no meter has this slug.
    """
    meter = meter_of_model(context, plan.pricing_model_id, slug) if plan.pricing_model_id else None
    if meter is None:
        meter = context.store.one(
            "SELECT * FROM meters WHERE merchant_id = ? AND slug = ? ORDER BY created_at LIMIT 1",
            context.merchant_id,
            slug,
        )
    if meter is None:
        raise not_found("meter with the slug", slug)
    return meter


@attrs.frozen(kw_only=True)
class Limit:
    """What a plan allows of a meter. `max_amount` None is unlimited."""

    max_amount: Decimal | None
    period: str
    aggregation: str | None


def limit_of(context: Context, plan: Plan, slug: str) -> Limit | None:
    row = context.store.one(
        "SELECT * FROM plan_limits WHERE pricing_model_id = ? AND meter_slug = ?", plan.pricing_model_id, slug
    )
    if row is None:
        return None
    allowed = None if row["max_amount"] is None else Decimal(row["max_amount"])
    return Limit(max_amount=allowed, period=row["period"], aggregation=row["aggregation"])


def measure(context: Context, customer: Row, plan: Plan, meter: Row, limit: Limit | None = None) -> Decimal:
    """A customer's usage of a meter: in the billing period, or in the limit's own period."""
    aggregation = (limit and limit.aggregation) or meter["aggregation"]
    period = limit.period if limit else "billing_period"
    if period == "billing_period":
        return _from_totals(context, customer["id"], meter["slug"], plan.period_start, aggregation)
    return measure_since(context, customer["id"], meter["slug"], _start(period, context.now), aggregation)


def _start(period: str, now: datetime) -> datetime:
    if period == "lifetime":
        return datetime(1, 1, 1, tzinfo=timezone.utc)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight if period == "day" else midnight.replace(day=1)


def _from_totals(context: Context, customer_id: str, slug: str, start: datetime, aggregation: str) -> Decimal:
    row = context.store.one(
        "SELECT * FROM usage_totals WHERE customer_id = ? AND meter_slug = ? AND period_start = ?",
        customer_id,
        slug,
        to_text(start),
    )
    if row is None:
        return Decimal(0)
    column = {"max": "largest", "count": "events", "unique": "distinct_values"}.get(aggregation, "total")
    return Decimal(row[column])


def measure_since(context: Context, customer_id: str, slug: str, start: datetime, aggregation: str) -> Decimal:
    """The same from the events themselves."""
    rows = context.store.all(
        "SELECT amount, unique_value FROM usage_events WHERE customer_id = ? AND meter_slug = ? AND created_at >= ?",
        customer_id,
        slug,
        to_text(start),
    )
    return aggregate(aggregation, [(Decimal(row["amount"]), row["unique_value"]) for row in rows])


def aggregate(aggregation: str, events: Iterable[tuple[Decimal, str]]) -> Decimal:
    """Pure: the figure for (amount, unique value) pairs."""
    events = list(events)
    if aggregation == "max":
        return max((amount for amount, _ in events), default=Decimal(0))
    if aggregation == "count":
        return Decimal(len(events))
    if aggregation == "unique":
        return Decimal(len({value for _, value in events}))
    return sum((amount for amount, _ in events), Decimal(0))


def unique_value(amount: Decimal, metadata: Any) -> str:
    """Pure: what a `unique` meter tells events apart by."""
    if metadata and "unique_key" in metadata:
        return canonical(metadata["unique_key"])
    return canonical(metadata) if metadata else canonical(number(str(amount)))


def _store_event(context: Context, customer_id: str, slug: str, plan: Plan, amount: Decimal, metadata: Any) -> None:
    value, start = unique_value(amount, metadata), to_text(plan.period_start)
    context.store.insert(
        "usage_events",
        customer_id=customer_id,
        meter_slug=slug,
        amount=decimal_text(amount),
        unique_value=value,
        metadata=None if metadata is None else dumps(metadata),
        created_at=context.now_text,
    )
    key = (customer_id, slug, start)
    is_new = context.store.run("INSERT OR IGNORE INTO usage_values VALUES (?, ?, ?, ?)", *key, value)
    row = context.store.one(
        "SELECT total, largest FROM usage_totals WHERE customer_id = ? AND meter_slug = ? AND period_start = ?", *key
    )
    total, largest = (Decimal(row["total"]), Decimal(row["largest"])) if row else (Decimal(0), Decimal(0))
    context.store.run(
        "INSERT INTO usage_totals VALUES (?, ?, ?, ?, ?, 1, ?) ON CONFLICT DO UPDATE SET total = excluded.total,"
        " largest = excluded.largest, events = events + 1,"
        " distinct_values = distinct_values + excluded.distinct_values",
        *key,
        decimal_text(total + amount),
        decimal_text(max(largest, amount)),
        is_new,
    )


HANDLERS: dict[str, Handler] = {"report_usage": report_usage}
