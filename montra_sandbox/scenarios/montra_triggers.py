"""What causes the events of the Montra service."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ..database import Row
from ..datetimes import format_datetime
from ..json import decimal_text
from ..montra import subscriptions
from ..montra.meters import find_meter
from ..montra.plans import Plan, current_plan, plan_price, subscription_price
from ..montra.usage import Limit, find_limit, measure
from ..problems import conflict, invalid
from .calls import Calls, unique_suffix
from .fields import given_fields
from .registry import causes

SERVICE: str = "montra"

_PRICE = Decimal("29.00")
_LIMIT = Decimal(100)
_MAX_REPORTS = 1_000
_STATUSES = ("active", "past_due", "unpaid", "incomplete", "incomplete_expired", "trialing")
_CUSTOMER = ("customer_id", "email", "name")
_SUBSCRIPTION = ("subscription_id", *_CUSTOMER, "pricing_model_id", "amount")


# Customers and invoices


@causes(SERVICE, "customer.created", "name", "email", "phone", "metadata")
def create_customer(calls: Calls, fields: dict[str, Any]) -> None:
    """Creates a customer."""
    make_customer(calls, fields)


@causes(SERVICE, "customer.updated", "customer_id", "name", "email", "phone", "metadata")
def update_customer(calls: Calls, fields: dict[str, Any]) -> None:
    """Changes a customer: the given fields, or the phone number."""
    changes = given_fields(fields, "name", "email", "phone", "metadata") or {"phone": "+1 555 0100"}
    customer_id = fields.get("customer_id") or make_customer(calls, given_fields(fields, "name"))
    calls.montra("update_customer", changes, path={"customer_id": customer_id})


@causes(SERVICE, "invoice.created", *_CUSTOMER, "amount", "currency", "description", "status", "due_date")
def create_invoice(calls: Calls, fields: dict[str, Any]) -> None:
    """Creates an invoice that belongs to no subscription."""
    body = given_fields(fields, "currency", "description", "status", "due_date")
    amount = fields.get("amount", _PRICE)
    calls.montra("create_invoice", {"customer_id": find_customer(calls, fields), "amount_due": amount, **body})


# Checkout and refunds


@causes(SERVICE, "checkout.completed", "link_id", "email", "name", "code", "amount", "pricing_model_id", "one_time")
def complete_checkout(calls: Calls, fields: dict[str, Any]) -> None:
    """Creates a checkout link for a plan and pays it, which subscribes the customer; or pays an existing link."""
    pay_link(calls, fields)


@causes(SERVICE, "refund.created", "transaction_id", "amount", "reason", "email", "name")
def create_refund(calls: Calls, fields: dict[str, Any]) -> None:
    """Refunds a payment, a new one if none is given: the given amount, or all that is left of it."""
    transaction_id = fields.get("transaction_id")
    if transaction_id is None:
        payer = given_fields(fields, "email", "name")
        transaction_id = pay_link(calls, {**payer, "one_time": True, "amount": fields.get("amount", _PRICE)})["id"]
    amount = fields.get("amount")
    if amount is None:
        amount = _amount_left(calls, transaction_id)
    body = {"transaction_id": transaction_id, "amount": amount, **given_fields(fields, "reason")}
    calls.montra("create_refund", body)


def _amount_left(calls: Calls, transaction_id: str) -> Decimal:
    transaction = calls.context().get_or_404("transactions", "transaction", transaction_id)
    refunds = calls.db.all("SELECT amount FROM refunds WHERE transaction_id = ?", transaction_id)
    left = Decimal(transaction["amount"]) - sum(Decimal(row["amount"]) for row in refunds)
    if not left:
        raise conflict("refund_exceeds_transaction", "nothing is left of this transaction")
    return left


# Subscriptions


@causes(SERVICE, "subscription.created", *_CUSTOMER, "pricing_model_id", "amount")
def create_subscription(calls: Calls, fields: dict[str, Any]) -> None:
    """Subscribes a customer to a plan."""
    customer_id, plan_id = find_customer(calls, fields), find_plan(calls, fields)
    calls.montra("create_subscription", {"customer_id": customer_id, "pricing_model_id": plan_id})


@causes(
    SERVICE,
    "subscription.updated",
    *(*_SUBSCRIPTION, "new_pricing_model_id", "status", "cancel_at_period_end"),
)
def update_subscription(calls: Calls, fields: dict[str, Any]) -> None:
    """Changes to another plan; or sets the status or the cancellation as the service does."""
    subscription_id = find_subscription(calls, fields)
    decided = given_fields(fields, "status", "cancel_at_period_end")
    if decided:
        if decided.get("status", "active") not in _STATUSES:
            raise invalid(f"status: one of {', '.join(_STATUSES)}")
        context = calls.context()
        subscriptions.set_by_service(context, subscriptions.get_row(context, subscription_id), **decided)
    if "new_pricing_model_id" in fields or not decided:
        new_plan = fields.get("new_pricing_model_id") or _find_other_plan(calls, subscription_id)
        path = {"subscription_id": subscription_id}
        calls.montra("upgrade_subscription", {"new_pricing_model_id": new_plan}, path=path)


@causes(SERVICE, "subscription.paused", *_SUBSCRIPTION, "pause_behavior", "resume_at")
def pause_subscription(calls: Calls, fields: dict[str, Any]) -> None:
    """Pauses a subscription."""
    body = given_fields(fields, "pause_behavior", "resume_at")
    calls.montra("pause_subscription", body, path={"subscription_id": find_subscription(calls, fields)})


@causes(SERVICE, "subscription.resumed", *_SUBSCRIPTION)
def resume_subscription(calls: Calls, fields: dict[str, Any]) -> None:
    """Resumes a paused subscription; pauses it first if it is not."""
    path = {"subscription_id": find_subscription(calls, fields)}
    if calls.montra("get_subscription", path=path)["status"] != "paused":
        calls.montra("pause_subscription", path=path)
    calls.montra("resume_subscription", path=path)


@causes(SERVICE, "subscription.canceled", *_SUBSCRIPTION)
def cancel_subscription(calls: Calls, fields: dict[str, Any]) -> None:
    """Ends a subscription now."""
    context = calls.context()
    row = subscriptions.get_row(context, find_subscription(calls, fields))
    if row["status"] == "canceled":
        raise conflict("subscription_ended", "the subscription is canceled")
    subscriptions.set_by_service(context, row, status="canceled")


# Usage


@causes(SERVICE, "usage.limit_reached", *_CUSTOMER, "pricing_model_id", "meter_slug", "limit", "amount")
def reach_limit(calls: Calls, fields: dict[str, Any]) -> None:
    """Reports usage until the customer's limit of a meter is reached; creates meter and limit if there are none."""
    customer = calls.context().get_or_404("customers", "customer", find_customer(calls, fields))
    plan = current_plan(calls.context(), customer)
    if plan.pricing_model_id is None:
        body = {"customer_id": customer["id"], "pricing_model_id": find_plan(calls, fields)}
        calls.montra("create_subscription", body)
        plan = current_plan(calls.context(), customer)
    meter = _find_or_make_meter(calls, plan, fields.get("meter_slug"))
    limit = _find_or_set_limit(calls, plan, meter, fields.get("limit"))
    used = measure(calls.context(), customer, plan, meter, limit)
    if limit.max_amount is None or used >= limit.max_amount:
        shown = "unlimited" if limit.max_amount is None else f"{limit.max_amount:f}, and {used:f} are used"
        raise conflict("limit_reached", f"the limit of {meter['slug']!r} is {shown}: give a higher limit")
    aggregation = limit.aggregation or meter["aggregation"]
    for body in usage_reports(aggregation, used, limit.max_amount):
        calls.montra("report_usage", {"customer_id": customer["id"], "meter_slug": meter["slug"], **body})


def usage_reports(aggregation: str, used: Decimal, limit: Decimal) -> list[dict[str, Any]]:
    """The reports that raise the usage to an amount: `amount` or `metadata` of each.

    Args:
        aggregation: how the meter aggregates.
        used: the usage now.
        limit: the usage afterwards.

    Raises:
        Problem: 400, more than 1,000 reports.
    """
    if aggregation in ("sum", "max"):
        return [{"amount": limit - used if aggregation == "sum" else limit}]
    count = int((limit - used).to_integral_value(rounding="ROUND_CEILING"))
    if count > _MAX_REPORTS:
        raise invalid(f"a meter that counts takes one report per unit, at most {_MAX_REPORTS}; {count} are left")
    return [{"metadata": {"unique_key": f"{unique_suffix()}-{number}"}} for number in range(count)]


def _find_or_make_meter(calls: Calls, plan: Plan, slug: str | None) -> Row:
    """The meter with a slug; without one the plan's first with a limit, else its first, else a new one."""
    if slug is None:
        slug = calls.db.value(
            "SELECT meter.slug FROM meters meter LEFT JOIN plan_limits plan_limit"
            " ON plan_limit.pricing_model_id = meter.pricing_model_id AND plan_limit.meter_slug = meter.slug"
            " WHERE meter.pricing_model_id = ? ORDER BY plan_limit.max_amount IS NULL, meter.rowid LIMIT 1",
            plan.pricing_model_id,
        )
    if slug is None:
        slug = "api-calls"
        calls.montra("create_meter", {"name": "API calls", "slug": slug, "pricing_model_id": plan.pricing_model_id})
    return find_meter(calls.context(), plan, slug)


def _find_or_set_limit(calls: Calls, plan: Plan, meter: Row, max_amount: Decimal | None) -> Limit:
    limit = find_limit(calls.context(), plan, meter["slug"])
    if max_amount is None and limit is not None:
        return limit
    amount = _LIMIT if max_amount is None else max_amount
    period, aggregation = (limit.period, limit.aggregation) if limit else ("billing_period", None)
    set_limit(calls, str(plan.pricing_model_id), meter["slug"], amount, period, aggregation)
    return Limit(max_amount=amount, period=period, aggregation=aggregation)


def set_limit(
    calls: Calls,
    pricing_model_id: str,
    meter_slug: str,
    max_amount: Decimal | None,
    period: str = "billing_period",
    aggregation: str | None = None,
) -> None:
    """Set how much of a meter a plan allows, inside the caller's transaction.

    Args:
        calls: the merchant's calls.
        pricing_model_id: the plan.
        meter_slug: the meter.
        max_amount: the limit; None for unlimited.
        period: one of `usage.LIMIT_PERIODS`.
        aggregation: replaces the meter's aggregation; None keeps it.
    """
    calls.db.run(
        "INSERT OR REPLACE INTO plan_limits VALUES (?, ?, ?, ?, ?)",
        *(pricing_model_id, meter_slug, decimal_text(max_amount), period, aggregation),
    )


# Objects that triggers need


def make_customer(calls: Calls, fields: dict[str, Any]) -> str:
    """Create a customer; returns its id.

    Args:
        calls: the merchant's calls.
        fields: `name`, `email`, `phone`, `metadata`, if they matter.
    """
    person = {"name": "Ada Lovelace", "email": f"ada.{unique_suffix()}@example.com"}
    body = {**person, **given_fields(fields, "name", "email", "phone", "metadata")}
    return str(calls.montra("create_customer", body)["id"])


def find_customer(calls: Calls, fields: dict[str, Any]) -> str:
    """The id of the customer with the `customer_id` or the `email`; without either, of a new one.

    Args:
        calls: the merchant's calls.
        fields: the fields.
    """
    if "customer_id" in fields:
        return str(fields["customer_id"])
    known = calls.db.value(
        "SELECT id FROM customers WHERE merchant_id = ? AND email = ?", calls.merchant_id, fields.get("email")
    )
    return str(known) if known is not None else make_customer(calls, fields)


def find_plan(calls: Calls, fields: dict[str, Any]) -> str:
    """The id of the plan `pricing_model_id`; without it, of the oldest plan with a price (of `amount`, if given).

    Args:
        calls: the merchant's calls.
        fields: the fields.
    """
    if "pricing_model_id" in fields:
        return str(fields["pricing_model_id"])
    amount = fields.get("amount")
    for plan_id, price in _priced_plans(calls):
        if amount in (None, price):
            return plan_id
    return make_plan(calls, "Pro", _PRICE if amount is None else amount)


def make_plan(calls: Calls, name: str, amount: Decimal) -> str:
    """Create a plan with one recurring product; returns its id.

    Args:
        calls: the merchant's calls.
        name: the name of plan and product; with a suffix if a plan has it already.
        amount: the price per month.
    """
    if calls.db.value("SELECT 1 FROM pricing_models WHERE merchant_id = ? AND name = ?", calls.merchant_id, name):
        name = f"{name} {unique_suffix()}"
    plan_id = str(calls.montra("create_pricing_model", {"name": name})["id"])
    product = {"pricing_model_id": plan_id, "name": name, "price_type": "recurring", "amount": amount}
    calls.montra("create_product", product)
    return plan_id


def _priced_plans(calls: Calls) -> list[tuple[str, Decimal]]:
    context = calls.context()
    plans = [(str(row["id"]), plan_price(context, row["id"])) for row in context.list_rows("pricing_models")]
    return [(plan_id, price) for plan_id, price in plans if price]


def _find_other_plan(calls: Calls, subscription_id: str) -> str:
    """The next dearer plan, else the dearest other one, else a new one of twice the price."""
    context = calls.context()
    subscription = subscriptions.get_row(context, subscription_id)
    present, price = subscription["pricing_model_id"], subscription_price(context, subscription)
    others = sorted((cost, plan_id) for plan_id, cost in _priced_plans(calls) if plan_id != present)
    dearer = [plan_id for cost, plan_id in others if cost > price]
    if dearer:
        return dearer[0]
    return others[-1][1] if others else make_plan(calls, "Team", price * 2 or _PRICE)


def find_subscription(calls: Calls, fields: dict[str, Any]) -> str:
    """The id of `subscription_id`; without it, of the customer's running subscription, else of a new one.

    Args:
        calls: the merchant's calls.
        fields: the fields.
    """
    if "subscription_id" in fields:
        return str(fields["subscription_id"])
    customer_id = find_customer(calls, fields)
    running = subscriptions.find_running(calls.context(), customer_id)
    if running is not None:
        return str(running["id"])
    body = {"customer_id": customer_id, "pricing_model_id": find_plan(calls, fields)}
    return str(calls.montra("create_subscription", body)["id"])


def make_link(calls: Calls, fields: dict[str, Any]) -> str:
    """Create a checkout link, for a plan or for an amount; returns its id.

    Args:
        calls: the merchant's calls.
        fields: `one_time`, `amount`, `pricing_model_id`, if they matter.
    """
    name = f"Link of {format_datetime(calls.now())[:16]}"
    if fields.get("one_time"):
        body = {"payment_name": "Credits", "amount": fields.get("amount", _PRICE)}
    else:
        body = {"payment_name": "Subscription", "line_items": [{"product_id": _recurring_product(calls, fields)}]}
    return str(calls.montra("create_checkout_link", {"link_name": name, **body})["id"])


def _recurring_product(calls: Calls, fields: dict[str, Any]) -> str:
    plan_id = find_plan(calls, fields)
    for product in calls.montra("list_products", query={"pricing_model_id": plan_id}):
        if product["price_type"] == "recurring" and product.get("amount") and product["status"] == "Active":
            return str(product["id"])
    raise conflict("nothing_to_pay", "this plan has no recurring product with a price")


def pay_link(calls: Calls, fields: dict[str, Any]) -> dict[str, Any]:
    """Pay the link `link_id`, or a new one; returns the transaction.

    Args:
        calls: the merchant's calls.
        fields: `link_id`, `email`, `name`, `code`, and those of `make_link`.
    """
    link_id = fields.get("link_id") or make_link(calls, fields)
    email = fields.get("email", f"ada.{unique_suffix()}@example.com")
    return calls.pay_link(link_id, name=fields.get("name", "Ada Lovelace"), email=email, code=fields.get("code"))
