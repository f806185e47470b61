"""What a period costs: invoices of subscriptions, and the recurring revenue they add up to."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from ..clock import from_text, to_text
from ..context import Context
from ..periods import add_months
from ..store import Row
from ..wire import decimal, decimal_text, loads
from .invoices import add as add_invoice
from .plans import Plan, price_of
from .pricing import cents, discounted, tiered_charge, total, usage_charge
from .usage import measure

DAYS_TO_PAY = 14

_STATUS_WHILE_PAUSED = {"keep_as_is": "draft", "mark_uncollectible": "uncollectible", "void": "void"}


def invoice_period(context: Context, subscription: Row, *, usage_of: Plan | None, paid: bool = False) -> None:
    """The invoice at the start of a period: the recurring price of this one, and the usage of the last.

    While paused, the pause behavior decides what becomes of it. Nothing to pay: no invoice.
    """
    recurring = _after_discount(context, subscription, price_of(context, subscription["pricing_model_id"]))
    used = Decimal(0) if usage_of is None else usage_total(context, subscription, usage_of)
    amount = cents(recurring + used)
    if not amount:
        return
    status = "paid" if paid else "open"
    if subscription["status"] == "paused":
        status = _STATUS_WHILE_PAUSED[subscription["pause_behavior"] or "keep_as_is"]
    add_invoice(
        context,
        customer_id=subscription["customer_id"],
        subscription_id=subscription["id"],
        title="Subscription",
        amount_due=amount,
        currency="USD",
        status=status,
        description=f"Recurring {cents(recurring)}, usage {cents(used)}",
        due_date=context.now + timedelta(days=DAYS_TO_PAY),
    )


def discount_end(discount: Row, start: datetime) -> str | None:
    """When a discount that begins with a subscription ends; None is never. `once` covers the first period."""
    months = {"once": 1, "repeating": discount["duration_in_months"]}.get(discount["duration"])
    return None if months is None else to_text(add_months(start, months))


def _after_discount(context: Context, subscription: Row, price: Decimal) -> Decimal:
    until = subscription["discount_until"]
    if subscription["discount_id"] is None or (until is not None and until <= context.now_text):
        return price
    discount = context.find("discounts", "discount", subscription["discount_id"])
    return discounted(price, decimal(discount["percent_off"]), decimal(discount["amount_off"]))


def usage_total(context: Context, subscription: Row, period: Plan) -> Decimal:
    """What the usage of a period costs, over all meters of the plan."""
    customer = context.find("customers", "customer", subscription["customer_id"])
    meters = context.store.all("SELECT * FROM meters WHERE pricing_model_id = ?", period.pricing_model_id)
    return total(_meter_charge(context, customer, period, meter) for meter in meters)


def _meter_charge(context: Context, customer: Row, period: Plan, meter: Row) -> Decimal:
    units = measure(context, customer, period, meter)
    products = context.store.all(
        "SELECT * FROM products WHERE pricing_model_id = ? AND meter_slug = ? AND price_type = 'usage'"
        " AND status = 'Active'",
        meter["pricing_model_id"],
        meter["slug"],
    )
    charges = [_product_charge(product, meter, units) for product in products]
    if charges:
        return total(charges)
    return usage_charge(units, Decimal(meter["amount"] or 0), meter["events_per_unit"])


def _product_charge(product: Row, meter: Row, units: Decimal) -> Decimal:
    if product["pricing_structure"] == "tiered" and product["tiers"]:
        tiers: list[dict[str, Any]] = loads(product["tiers"].encode())
        return tiered_charge(units / meter["events_per_unit"], tiers)
    amount = product["amount"] if product["amount"] is not None else meter["amount"]
    return usage_charge(units, Decimal(amount or 0), meter["events_per_unit"])


def record_mrr(context: Context, pricing_model_id: str, kind: str, amount: Decimal) -> None:
    """`kind`: new, expansion, contraction or churn."""
    context.store.insert(
        "mrr_movements",
        merchant_id=context.merchant_id,
        pricing_model_id=pricing_model_id,
        kind=kind,
        amount=decimal_text(amount),
        created_at=context.now_text,
    )


def plan_during(subscription: Row) -> Plan:
    """The plan and period that a subscription is in."""
    return Plan(
        pricing_model_id=subscription["pricing_model_id"],
        period_start=from_text(subscription["current_period_start"]),
        period_end=from_text(subscription["current_period_end"]),
    )
