"""What a billing period of a subscription costs: its invoice, and the movements of recurring revenue."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from ..database import Row
from ..datetimes import add_months, format_datetime
from ..json import decimal, decimal_text, loads
from .charges import apply_discount, round_to_cents, tiered_charge, total, usage_charge
from .invoices import insert_invoice
from .merchant_context import MerchantContext
from .plans import Plan, subscription_price
from .usage import measure

DAYS_UNTIL_DUE: int = 14

_STATUS_WHILE_PAUSED = {"keep_as_is": "draft", "mark_uncollectible": "uncollectible", "void": "void"}


def invoice_period(
    context: MerchantContext, subscription: Row, *, usage_of: Plan | None, checkout: Row | None = None
) -> None:
    """Create the invoice at the start of a period: its recurring price and the usage of the previous period.

    No invoice is created when nothing is due. While the subscription is paused, its pause behavior decides the status.

    Args:
        context: the merchant, at the start of the period.
        subscription: the subscription, already in the new period.
        usage_of: the previous period; None for the first period.
        checkout: the transaction of a checkout that has paid the period: the invoice is about what was paid.
    """
    recurring = _apply_subscription_discount(context, subscription, subscription_price(context, subscription))
    usage = Decimal(0) if usage_of is None else _usage_charges(context, subscription, usage_of)
    amount = round_to_cents(recurring + usage)
    description = f"Recurring {round_to_cents(recurring)}, usage {round_to_cents(usage)}"
    if checkout is not None and Decimal(checkout["amount"]) != amount:  # what is paid once, or a price of the link
        amount, description = Decimal(checkout["amount"]), checkout["description"]
    if not amount:
        return
    status = "open" if checkout is None else "paid"
    if subscription["status"] == "paused":
        status = _STATUS_WHILE_PAUSED[subscription["pause_behavior"] or "keep_as_is"]
    insert_invoice(
        context,
        customer_id=subscription["customer_id"],
        subscription_id=subscription["id"],
        title="Subscription",
        amount_due=amount,
        currency="USD",
        status=status,
        description=description,
        due_date=context.now + timedelta(days=DAYS_UNTIL_DUE),
    )


def discount_end(discount: Row, start: datetime) -> str | None:
    """When a discount of a subscription ends, as stored text; None for never. `once` covers the first period.

    Args:
        discount: the discount.
        start: when the subscription starts.
    """
    months = {"once": 1, "repeating": discount["duration_in_months"]}.get(discount["duration"])
    return None if months is None else format_datetime(add_months(start, months))


def _apply_subscription_discount(context: MerchantContext, subscription: Row, price: Decimal) -> Decimal:
    until = subscription["discount_until"]
    if subscription["discount_id"] is None or (until is not None and until <= context.now_text):
        return price
    discount = context.get_or_404("discounts", "discount", subscription["discount_id"])
    return apply_discount(price, decimal(discount["percent_off"]), decimal(discount["amount_off"]))


def _usage_charges(context: MerchantContext, subscription: Row, period: Plan) -> Decimal:
    """The charges for all meters of the plan in a period."""
    customer = context.get_or_404("customers", "customer", subscription["customer_id"])
    meters = context.db.all("SELECT * FROM meters WHERE pricing_model_id = ?", period.pricing_model_id)
    return total(_meter_charge(context, customer, period, meter) for meter in meters)


def _meter_charge(context: MerchantContext, customer: Row, period: Plan, meter: Row) -> Decimal:
    """The charges of the plan's usage products for a meter; without such a product, the meter's own price."""
    usage = measure(context, customer, period, meter)
    products = context.db.all(
        "SELECT * FROM products WHERE pricing_model_id = ? AND meter_slug = ? AND price_type = 'usage'"
        " AND status = 'Active'",
        meter["pricing_model_id"],
        meter["slug"],
    )
    charges = [_product_charge(product, meter, usage) for product in products]
    if charges:
        return total(charges)
    return usage_charge(usage, Decimal(meter["amount"] or 0), meter["events_per_unit"])


def _product_charge(product: Row, meter: Row, usage: Decimal) -> Decimal:
    if product["pricing_structure"] == "tiered" and product["tiers"]:
        tiers: list[dict[str, Any]] = loads(product["tiers"].encode())
        return tiered_charge(usage / meter["events_per_unit"], tiers)
    amount = product["amount"] if product["amount"] is not None else meter["amount"]
    return usage_charge(usage, Decimal(amount or 0), meter["events_per_unit"])


def record_mrr_movement(context: MerchantContext, pricing_model_id: str, kind: str, amount: Decimal) -> None:
    """Record how the monthly recurring revenue (MRR) moved, for analytics.

    Args:
        context: the merchant.
        pricing_model_id: the plan.
        kind: `new`, `expansion`, `contraction` or `churn`.
        amount: by how much, positive.
    """
    context.db.insert(
        "mrr_movements",
        merchant_id=context.merchant_id,
        pricing_model_id=pricing_model_id,
        kind=kind,
        amount=decimal_text(amount),
        created_at=context.now_text,
    )
