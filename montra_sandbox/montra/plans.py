"""The plan of a customer: the pricing model, the billing period and the price."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

import attrs

from ..database import Row
from ..datetimes import month_containing, parse_datetime
from ..json import loads
from .charges import total
from .merchant_context import MerchantContext


@attrs.frozen(kw_only=True)
class Plan:
    """A pricing model during one billing period.

    Attributes:
        pricing_model_id: the pricing model; None when the customer has no plan.
        period_start: start of the billing period, inclusive.
        period_end: end of the billing period, exclusive.
    """

    pricing_model_id: str | None
    period_start: datetime
    period_end: datetime


def current_plan(context: MerchantContext, customer: Row) -> Plan:
    """The plan of the customer's active or trialing subscription; without one, the merchant's default plan.

    Without a subscription the billing period is the month counted from the customer's creation.

    Args:
        context: the merchant.
        customer: the customer.
    """
    subscription = context.db.one(
        "SELECT * FROM subscriptions WHERE customer_id = ? AND status IN ('active', 'trialing')"
        " ORDER BY created_at DESC LIMIT 1",
        customer["id"],
    )
    if subscription is not None:
        return subscription_plan(subscription)
    default = context.db.value(
        "SELECT id FROM pricing_models WHERE merchant_id = ? AND is_default", context.merchant_id
    )
    start, end = month_containing(parse_datetime(customer["created_at"]), context.now)
    return Plan(pricing_model_id=default, period_start=start, period_end=end)


def subscription_plan(subscription: Row) -> Plan:
    """The plan and the current period of a subscription.

    Args:
        subscription: the subscription.
    """
    return Plan(
        pricing_model_id=subscription["pricing_model_id"],
        period_start=parse_datetime(subscription["current_period_start"]),
        period_end=parse_datetime(subscription["current_period_end"]),
    )


def plan_price(context: MerchantContext, pricing_model_id: str) -> Decimal:
    """A plan's price per period: the sum of its active recurring products.

    Args:
        context: the merchant.
        pricing_model_id: the pricing model.
    """
    return total(price for _, price in recurring_products(context, pricing_model_id))


def recurring_products(context: MerchantContext, pricing_model_id: str) -> list[tuple[str, Decimal]]:
    """Id and price per period of a plan's active recurring products.

    Args:
        context: the merchant.
        pricing_model_id: the pricing model.
    """
    rows = context.db.all(
        "SELECT id, amount FROM products WHERE pricing_model_id = ? AND price_type = 'recurring' AND status = 'Active'",
        pricing_model_id,
    )
    return [(row["id"], Decimal(row["amount"] or 0)) for row in rows]


def subscription_price(context: MerchantContext, subscription: Row) -> Decimal:
    """A subscription's price per period: of what was bought at a checkout; otherwise of its whole plan.

    Args:
        context: the merchant.
        subscription: the subscription.
    """
    if subscription["items"] is None:
        return plan_price(context, subscription["pricing_model_id"])
    quantities: Mapping[str, int] = loads(subscription["items"].encode())
    products = [
        (context.get_or_404("products", "product", product_id), quantity) for product_id, quantity in quantities.items()
    ]
    return total(
        Decimal(product["amount"] or 0) * quantity for product, quantity in products if product["status"] == "Active"
    )
