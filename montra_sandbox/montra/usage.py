"""Aggregated usage: stored reports, running totals, and the limits of plans."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, TypeAlias

import attrs

from ..database import Row
from ..datetimes import format_datetime
from ..json import canonical, decimal_text, dumps, number
from .merchant_context import MerchantContext
from .plans import Plan

_Report: TypeAlias = tuple[datetime, int]

LIMIT_PERIODS: tuple[str, ...] = ("billing_period", "day", "month", "lifetime")


@attrs.frozen(kw_only=True)
class Limit:
    """How much of a meter a plan allows.

    Attributes:
        max_amount: the usage at which access ends; None for unlimited.
        period: one of `LIMIT_PERIODS`.
        aggregation: replaces the meter's aggregation; None keeps it.
    """

    max_amount: Decimal | None
    period: str
    aggregation: str | None


def find_limit(context: MerchantContext, plan: Plan, slug: str) -> Limit | None:
    """The plan's limit for a meter; None when it has none.

    Args:
        context: the merchant.
        plan: the customer's plan.
        slug: the meter's slug.
    """
    row = context.db.one(
        "SELECT * FROM plan_limits WHERE pricing_model_id = ? AND meter_slug = ?", plan.pricing_model_id, slug
    )
    if row is None:
        return None
    max_amount = None if row["max_amount"] is None else Decimal(row["max_amount"])
    return Limit(max_amount=max_amount, period=row["period"], aggregation=row["aggregation"])


def measure(context: MerchantContext, customer: Row, plan: Plan, meter: Row, limit: Limit | None = None) -> Decimal:
    """A customer's aggregated usage of a meter.

    Args:
        context: the merchant.
        customer: the customer.
        plan: the plan, which gives the billing period.
        meter: the meter.
        limit: measures the limit's period with its aggregation; by default the billing period with the meter's.
    """
    aggregation = (limit and limit.aggregation) or meter["aggregation"]
    period = limit.period if limit else "billing_period"
    if period == "billing_period":
        return _read_total(context, customer["id"], meter["slug"], plan.period_start, aggregation)
    return _aggregate_since(context, customer["id"], meter["slug"], _period_start(period, context.now), aggregation)


def _period_start(period: str, now: datetime) -> datetime:
    if period == "lifetime":
        return datetime(1, 1, 1, tzinfo=timezone.utc)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight if period == "day" else midnight.replace(day=1)


def _read_total(context: MerchantContext, customer_id: str, slug: str, start: datetime, aggregation: str) -> Decimal:
    row = context.db.one(
        "SELECT * FROM usage_totals WHERE customer_id = ? AND meter_slug = ? AND period_start = ?",
        customer_id,
        slug,
        format_datetime(start),
    )
    if row is None:
        return Decimal(0)
    column = {"max": "largest", "count": "events", "unique": "distinct_values"}.get(aggregation, "total")
    return Decimal(row[column])


def _aggregate_since(
    context: MerchantContext, customer_id: str, slug: str, start: datetime, aggregation: str
) -> Decimal:
    rows = context.db.all(
        "SELECT amount, unique_value FROM usage_events WHERE customer_id = ? AND meter_slug = ? AND created_at >= ?",
        customer_id,
        slug,
        format_datetime(start),
    )
    return aggregate(aggregation, [(Decimal(row["amount"]), row["unique_value"]) for row in rows])


def aggregate(aggregation: str, events: Iterable[tuple[Decimal, str]]) -> Decimal:
    """Aggregate usage reports.

    Args:
        aggregation: `sum`, `max`, `count` or `unique`.
        events: amount and unique value of each report.
    """
    events = list(events)
    if aggregation == "max":
        return max((amount for amount, _ in events), default=Decimal(0))
    if aggregation == "count":
        return Decimal(len(events))
    if aggregation == "unique":
        return Decimal(len({value for _, value in events}))
    return sum((amount for amount, _ in events), Decimal(0))


def unique_value(amount: Decimal, metadata: Any) -> str:
    """The value by which a `unique` meter distinguishes reports: `metadata["unique_key"]`, metadata, or the amount.

    Args:
        amount: the reported amount.
        metadata: the reported metadata; None when there is none.
    """
    if metadata and "unique_key" in metadata:
        return canonical(metadata["unique_key"])
    return canonical(metadata) if metadata else canonical(number(str(amount)))


def store_usage(
    context: MerchantContext, customer_id: str, slug: str, plan: Plan, amount: Decimal, metadata: Any
) -> None:
    """Store a usage report and update the running totals of its billing period.

    Args:
        context: the merchant.
        customer_id: the customer.
        slug: the meter's slug.
        plan: the customer's plan, which gives the billing period.
        amount: the reported amount.
        metadata: the reported metadata; None when there is none.
    """
    value, start = unique_value(amount, metadata), format_datetime(plan.period_start)
    context.db.insert(
        "usage_events",
        customer_id=customer_id,
        meter_slug=slug,
        amount=decimal_text(amount),
        unique_value=value,
        metadata=None if metadata is None else dumps(metadata),
        created_at=context.now_text,
    )
    key = (customer_id, slug, start)
    is_new = context.db.run("INSERT OR IGNORE INTO usage_values VALUES (?, ?, ?, ?)", *key, value)
    _add_to_totals(context, key, amount, amount, 1, is_new)


def store_history(context: MerchantContext, customer_id: str, slug: str, plan: Plan, reports: list[_Report]) -> None:
    """Store many usage reports of one billing period at once, each with a datetime of its own.

    Args:
        context: the merchant.
        customer_id: the customer.
        slug: the meter's slug.
        plan: the customer's plan, which gives the billing period.
        reports: datetime and amount of each report.
    """
    if not reports:
        return
    key = (customer_id, slug, format_datetime(plan.period_start))
    values = [canonical(amount) for _, amount in reports]
    rows = [
        (customer_id, slug, str(amount), value, format_datetime(at))
        for (at, amount), value in zip(reports, values, strict=True)
    ]
    marks = ", ".join(["(?, ?, ?, ?, ?)"] * len(rows))
    context.db.run(
        f"INSERT INTO usage_events (customer_id, meter_slug, amount, unique_value, created_at) VALUES {marks}",
        *(column for row in rows for column in row),
    )
    marks = ", ".join(["(?, ?, ?, ?)"] * len(values))
    new = context.db.run(
        f"INSERT OR IGNORE INTO usage_values VALUES {marks}", *(column for value in values for column in (*key, value))
    )
    amounts = [Decimal(amount) for _, amount in reports]
    _add_to_totals(context, key, sum(amounts, Decimal(0)), max(amounts), len(amounts), new)


def _add_to_totals(
    context: MerchantContext, key: tuple[str, str, str], amount: Decimal, largest: Decimal, events: int, new: int
) -> None:
    row = context.db.one(
        "SELECT total, largest FROM usage_totals WHERE customer_id = ? AND meter_slug = ? AND period_start = ?", *key
    )
    before, peak = (Decimal(row["total"]), Decimal(row["largest"])) if row else (Decimal(0), Decimal(0))
    context.db.run(
        "INSERT INTO usage_totals VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET total = excluded.total,"
        " largest = excluded.largest, events = events + excluded.events,"
        " distinct_values = distinct_values + excluded.distinct_values",
        *key,
        decimal_text(before + amount),
        decimal_text(max(peak, largest)),
        events,
        new,
    )
