"""Subscriptions: create, upgrade, schedule changes, pause, resume. `scheduler` does what happens as time passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..database import Row, pick
from ..datetimes import format_datetime, month_containing, parse_datetime
from ..ids import new_id
from ..json import dumps, omit_none
from ..problems import conflict, invalid
from .billing_periods import discount_end, invoice_period, record_mrr_movement
from .charges import prorate
from .merchant_context import MerchantContext, operation
from .plans import plan_price, subscription_price
from .pricing_models import get_pricing_model

RUNNING_STATUSES: tuple[str, ...] = ("active", "trialing", "past_due", "paused")


@operation("list_subscriptions")
def list_subscriptions(context: MerchantContext) -> Any:
    """GET /subscriptions."""
    customer_id, status = context.query.get("customer_id"), context.query.get("status")
    return [
        serialize(row)
        for row in context.list_rows("subscriptions")
        if customer_id in (None, row["customer_id"]) and status in (None, row["status"])
    ]


@operation("get_subscription")
def get_subscription(context: MerchantContext) -> Any:
    """GET /subscriptions/{subscription_id}."""
    return serialize(get_row(context, context.path["subscription_id"]))


@operation("create_subscription")
def create_subscription(context: MerchantContext) -> Any:
    """POST /subscriptions."""
    customer = context.get_or_404("customers", "customer", context.body["customer_id"])
    model = get_pricing_model(context, context.body["pricing_model_id"])
    running = find_running(context, customer["id"])
    if running is not None:
        raise conflict("already_subscribed", f"the customer has a running subscription, {running['id']}; upgrade that")
    return subscribe(context, customer["id"], model["id"])


@operation("upgrade_subscription")
def upgrade_subscription(context: MerchantContext) -> Any:
    """POST /subscriptions/{subscription_id}/upgrade."""
    subscription = get_row(context, context.path["subscription_id"])
    model = get_pricing_model(context, context.body["new_pricing_model_id"])
    _require_running(subscription)
    proration = prorate(
        subscription_price(context, subscription),
        plan_price(context, model["id"]),
        parse_datetime(subscription["current_period_start"]),
        parse_datetime(subscription["current_period_end"]),
        context.now,
    )
    return {
        "subscription": change_plan(context, subscription, model["id"]),
        "proration": {
            "unused_amount": proration.unused_amount,
            "remaining_amount": proration.remaining_amount,
            "net_amount": proration.net_amount,
            "remaining_ratio": proration.remaining_ratio,
        },
    }


def serialize(row: Row) -> dict[str, Any]:
    """A subscription's JSON."""
    names = ("id", "customer_id", "pricing_model_id", "status", "current_period_start", "current_period_end")
    return omit_none(
        {
            **pick(row, *names, "paused_at", "resume_at", "created_at"),
            "cancel_at_period_end": bool(row["cancel_at_period_end"]),
            "billing_interval": "monthly",
        }
    )


def get_row(context: MerchantContext, subscription_id: str) -> Row:
    """A subscription of the merchant.

    Args:
        context: the merchant.
        subscription_id: the subscription's id.

    Raises:
        Problem: 404.
    """
    return context.get_or_404("subscriptions", "subscription", subscription_id)


def record_event(context: MerchantContext, event_type: str, subscription_id: str) -> dict[str, Any]:
    """Record an event with the subscription as payload; returns the subscription's JSON.

    Args:
        context: the merchant.
        event_type: such as `subscription.updated`.
        subscription_id: the subscription's id.
    """
    serialized = serialize(get_row(context, subscription_id))
    context.record_event(event_type, subscription_id, serialized)
    return serialized


def find_running(context: MerchantContext, customer_id: str) -> Row | None:
    """The customer's subscription that has not ended; None when there is none.

    Args:
        context: the merchant.
        customer_id: the customer.
    """
    placeholders = ", ".join("?" * len(RUNNING_STATUSES))
    return context.db.one(
        f"SELECT * FROM subscriptions WHERE customer_id = ? AND status IN ({placeholders})",
        customer_id,
        *RUNNING_STATUSES,
    )


def subscribe(
    context: MerchantContext,
    customer_id: str,
    pricing_model_id: str,
    *,
    items: Mapping[str, int] | None = None,
    checkout: Row | None = None,
    discount: Row | None = None,
) -> dict[str, Any]:
    """Start a subscription now, with the invoice of its first period; returns its JSON.

    Args:
        context: the merchant.
        customer_id: the customer.
        pricing_model_id: the plan.
        items: quantities by recurring product; None for the whole plan.
        checkout: the transaction of a checkout that has paid the first period.
        discount: the discount on the recurring price.
    """
    subscription_id = new_id("sub")
    start, end = month_containing(context.now, context.now)
    context.db.insert(
        "subscriptions",
        id=subscription_id,
        merchant_id=context.merchant_id,
        customer_id=customer_id,
        pricing_model_id=pricing_model_id,
        items=None if items is None else dumps(items),
        status="active",
        anchor=format_datetime(start),
        current_period_start=format_datetime(start),
        current_period_end=format_datetime(end),
        cancel_at_period_end=0,
        discount_id=None if discount is None else discount["id"],
        discount_until=None if discount is None else discount_end(discount, start),
        created_at=context.now_text,
    )
    subscription = get_row(context, subscription_id)
    record_mrr_movement(context, pricing_model_id, "new", subscription_price(context, subscription))
    serialized = record_event(context, "subscription.created", subscription_id)
    invoice_period(context, subscription, usage_of=None, checkout=checkout)
    return serialized


def change_plan(
    context: MerchantContext, subscription: Row, pricing_model_id: str, items: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Switch to another plan within the current period; returns the subscription's JSON.

    Args:
        context: the merchant.
        subscription: the subscription.
        pricing_model_id: the new plan.
        items: quantities by recurring product; None for the whole plan.
    """
    context.db.update(
        "subscriptions",
        subscription["id"],
        pricing_model_id=pricing_model_id,
        items=None if items is None else dumps(items),
    )
    changed = get_row(context, subscription["id"])
    difference = subscription_price(context, changed) - subscription_price(context, subscription)
    if difference:
        kind = "expansion" if difference > 0 else "contraction"
        record_mrr_movement(context, pricing_model_id, kind, abs(difference))
    return record_event(context, "subscription.updated", subscription["id"])


def cancel(context: MerchantContext, subscription: Row) -> None:
    """End a subscription now.

    Args:
        context: the merchant.
        subscription: the subscription.
    """
    context.db.update("subscriptions", subscription["id"], status="canceled", resume_at=None)
    model_id = subscription["pricing_model_id"]
    record_mrr_movement(context, model_id, "churn", subscription_price(context, subscription))
    record_event(context, "subscription.canceled", subscription["id"])


def set_by_service(
    context: MerchantContext, subscription: Row, *, status: str | None = None, cancel_at_period_end: bool | None = None
) -> dict[str, Any]:
    """Set what the service itself decides: a failed payment, a trial, a cancellation; returns the subscription's JSON.

    Args:
        context: the merchant.
        subscription: the subscription.
        status: the new status, any but `paused`; None keeps it.
        cancel_at_period_end: whether it ends with the current period; None keeps it.
    """
    if cancel_at_period_end is not None:
        context.db.update("subscriptions", subscription["id"], cancel_at_period_end=cancel_at_period_end)
    if status == "canceled":
        cancel(context, subscription)
        return serialize(get_row(context, subscription["id"]))
    if status is not None:
        context.db.update("subscriptions", subscription["id"], status=status, paused_at=None, resume_at=None)
    return record_event(context, "subscription.updated", subscription["id"])


def _require_running(subscription: Row) -> None:
    if subscription["status"] not in RUNNING_STATUSES:
        raise conflict("subscription_ended", f"the subscription is {subscription['status']}")


# Scheduled changes


@operation("schedule_subscription_change")
def schedule_subscription_change(context: MerchantContext) -> Any:
    """POST /subscriptions/{subscription_id}/scheduled-changes."""
    subscription = get_row(context, context.path["subscription_id"])
    model = get_pricing_model(context, context.body["new_pricing_model_id"])
    _require_running(subscription)
    scheduled_for = parse_datetime(context.body["scheduled_for"])
    if scheduled_for <= context.now:
        raise invalid(f"scheduled_for must be in the future; the sandbox's time is {context.now_text}")
    change_id = new_id("sch")
    context.db.insert(
        "scheduled_changes",
        id=change_id,
        merchant_id=context.merchant_id,
        subscription_id=subscription["id"],
        new_pricing_model_id=model["id"],
        scheduled_for=format_datetime(scheduled_for),
        status="pending",
        created_at=context.now_text,
    )
    serialized = serialize_change(context.get_or_404("scheduled_changes", "scheduled change", change_id))
    context.record_event("scheduled_change.created", change_id, serialized)
    return serialized


@operation("list_scheduled_changes")
def list_scheduled_changes(context: MerchantContext) -> Any:
    """GET /subscriptions/{subscription_id}/scheduled-changes."""
    subscription = get_row(context, context.path["subscription_id"])
    rows = context.db.all(
        "SELECT * FROM scheduled_changes WHERE subscription_id = ? ORDER BY scheduled_for, rowid", subscription["id"]
    )
    return [serialize_change(row) for row in rows]


def serialize_change(row: Row) -> dict[str, Any]:
    """A scheduled change's JSON."""
    return pick(row, "id", "subscription_id", "new_pricing_model_id", "scheduled_for", "status", "created_at")


# Pause and resume


@operation("pause_subscription")
def pause_subscription(context: MerchantContext) -> Any:
    """POST /subscriptions/{subscription_id}/pause."""
    subscription = get_row(context, context.path["subscription_id"])
    if subscription["status"] == "paused":
        raise conflict("already_paused", "the subscription is paused")
    _require_running(subscription)
    text = context.body.get("resume_at")
    resume_at = None if text is None else parse_datetime(text)
    if resume_at is not None and resume_at <= context.now:
        raise invalid(f"resume_at must be in the future; the sandbox's time is {context.now_text}")
    context.db.update(
        "subscriptions",
        subscription["id"],
        status="paused",
        paused_at=context.now_text,
        pause_behavior=context.body.get("pause_behavior", "keep_as_is"),
        resume_at=None if resume_at is None else format_datetime(resume_at),
    )
    return record_event(context, "subscription.paused", subscription["id"])


@operation("resume_subscription")
def resume_subscription(context: MerchantContext) -> Any:
    """POST /subscriptions/{subscription_id}/resume."""
    subscription = get_row(context, context.path["subscription_id"])
    if subscription["status"] != "paused":
        raise conflict("not_paused", f"the subscription is {subscription['status']}, not paused")
    return resume(context, subscription["id"])


def resume(context: MerchantContext, subscription_id: str) -> dict[str, Any]:
    """Resume a paused subscription; returns its JSON.

    Args:
        context: the merchant.
        subscription_id: the subscription.
    """
    context.db.update(
        "subscriptions", subscription_id, status="active", paused_at=None, pause_behavior=None, resume_at=None
    )
    return record_event(context, "subscription.resumed", subscription_id)
