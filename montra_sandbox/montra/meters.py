"""Meters, and the usage that is reported to them."""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from typing import Any

from ..database import Row, pick
from ..ids import new_id
from ..json import decimal, decimal_text, number
from ..problems import conflict, not_found
from .merchant_context import NO_DATA, MerchantContext, operation
from .plans import Plan, current_plan
from .usage import find_limit, measure, store_usage


@operation("report_usage")
def report_usage(context: MerchantContext) -> Any:
    """POST /usage."""
    body = context.body
    customer = context.get_or_404("customers", "customer", body["customer_id"])
    plan = current_plan(context, customer)
    meter = find_meter(context, plan, body["meter_slug"])
    limit = find_limit(context, plan, meter["slug"])
    before = measure(context, customer, plan, meter, limit) if limit is not None else Decimal(0)

    amount = Decimal(body.get("amount", 1))
    metadata = body.get("metadata")
    store_usage(context, customer["id"], meter["slug"], plan, amount, metadata)
    context.record_event(
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
            context.record_event("usage.limit_reached", customer["id"], payload)
    return NO_DATA


@operation("list_meters")
def list_meters(context: MerchantContext) -> Any:
    """GET /meters."""
    return [serialize(row) for row in context.list_rows("meters")]


@operation("create_meter")
def create_meter(context: MerchantContext) -> Any:
    """POST /meters."""
    body = context.body
    meter_id = new_id("meter")
    model = context.get_or_404("pricing_models", "pricing model", body["pricing_model_id"])
    try:
        context.db.insert(
            "meters",
            id=meter_id,
            merchant_id=context.merchant_id,
            pricing_model_id=model["id"],
            name=body["name"],
            slug=body["slug"],
            aggregation=body.get("aggregation", "sum"),
            currency=body.get("currency", "USD").upper(),
            amount=decimal_text(body.get("amount")),
            events_per_unit=int(body.get("events_per_unit", 1)),
            created_at=context.now_text,
        )
    except sqlite3.IntegrityError:
        raise conflict("conflict", f"this pricing model has a meter with the slug {body['slug']!r}") from None
    serialized = serialize(context.get_or_404("meters", "meter", meter_id))
    context.record_event("meter.created", meter_id, serialized)
    return serialized


def serialize(row: Row) -> dict[str, Any]:
    """A meter's JSON. `amount` is null when a unit has no price."""
    names = ("id", "merchant_id", "pricing_model_id", "name", "slug", "aggregation", "currency", "events_per_unit")
    return {**pick(row, *names, "created_at"), "amount": decimal(row["amount"])}


def find_meter(context: MerchantContext, plan: Plan, slug: str) -> Row:
    """The plan's meter with a slug; if it has none, any meter of the merchant with that slug.

    Args:
        context: the merchant.
        plan: the customer's plan.
        slug: the meter's slug.

    Raises:
        Problem: 404, no meter has this slug.
    """
    meter = find_meter_of_model(context, plan.pricing_model_id, slug) if plan.pricing_model_id else None
    if meter is None:
        meter = context.db.one(
            "SELECT * FROM meters WHERE merchant_id = ? AND slug = ? ORDER BY created_at LIMIT 1",
            context.merchant_id,
            slug,
        )
    if meter is None:
        raise not_found("meter with the slug", slug)
    return meter


def find_meter_of_model(context: MerchantContext, model_id: str, slug: str) -> Row | None:
    """A pricing model's meter with a slug; None when there is none.

    Args:
        context: the merchant.
        model_id: the pricing model's id.
        slug: the meter's slug.
    """
    return context.db.one(
        "SELECT * FROM meters WHERE merchant_id = ? AND pricing_model_id = ? AND slug = ?",
        context.merchant_id,
        model_id,
        slug,
    )
