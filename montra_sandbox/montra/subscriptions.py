"""Subscriptions: make, change, schedule, pause, resume. What happens by itself as time passes is in `timeline`."""

from __future__ import annotations

from typing import Any

from ..clock import from_text, to_text
from ..context import Context, Handler, present
from ..periods import period_at
from ..problems import conflict, invalid
from ..store import Row, new_id, pick
from .billing import discount_end, invoice_period, record_mrr
from .catalog import find_model
from .plans import price_of
from .pricing import prorate

RUNNING = ("active", "trialing", "past_due", "paused")


def show(row: Row) -> dict[str, Any]:
    return present(
        {
            "id": row["id"],
            "customer_id": row["customer_id"],
            "pricing_model_id": row["pricing_model_id"],
            "status": row["status"],
            "current_period_start": row["current_period_start"],
            "current_period_end": row["current_period_end"],
            "cancel_at_period_end": bool(row["cancel_at_period_end"]),
            "paused_at": row["paused_at"],
            "resume_at": row["resume_at"],
            "created_at": row["created_at"],
            "billing_interval": "monthly",
        }
    )


def find(context: Context, subscription_id: str) -> Row:
    return context.find("subscriptions", "subscription", subscription_id)


def announce(context: Context, event_type: str, subscription_id: str) -> dict[str, Any]:
    shown = show(find(context, subscription_id))
    context.record(event_type, subscription_id, shown)
    return shown


def list_subscriptions(context: Context) -> list[Any]:
    customer_id, status = context.query.get("customer_id"), context.query.get("status")
    return [
        show(row)
        for row in context.mine("subscriptions")
        if customer_id in (None, row["customer_id"]) and status in (None, row["status"])
    ]


def get_subscription(context: Context) -> Any:
    return show(find(context, context.path["subscription_id"]))


def create_subscription(context: Context) -> Any:
    customer = context.find("customers", "customer", context.body["customer_id"])
    model = find_model(context, context.body["pricing_model_id"])
    running = still_running(context, customer["id"])
    if running is not None:
        raise conflict("already_subscribed", f"the customer has a running subscription, {running['id']}; upgrade that")
    return subscribe(context, customer["id"], model["id"])


def still_running(context: Context, customer_id: str) -> Row | None:
    marks = ", ".join("?" * len(RUNNING))
    return context.store.one(
        f"SELECT * FROM subscriptions WHERE customer_id = ? AND status IN ({marks})",
        customer_id,
        *RUNNING,
    )


def subscribe(
    context: Context, customer_id: str, pricing_model_id: str, *, paid: bool = False, discount: Row | None = None
) -> dict[str, Any]:
    """A new subscription from now on, with the invoice of its first period, which a checkout has `paid` already."""
    subscription_id = new_id("sub")
    start, end = period_at(context.now, context.now)
    context.store.insert(
        "subscriptions",
        id=subscription_id,
        merchant_id=context.merchant_id,
        customer_id=customer_id,
        pricing_model_id=pricing_model_id,
        status="active",
        anchor=to_text(start),
        current_period_start=to_text(start),
        current_period_end=to_text(end),
        cancel_at_period_end=0,
        discount_id=None if discount is None else discount["id"],
        discount_until=None if discount is None else discount_end(discount, start),
        created_at=context.now_text,
    )
    record_mrr(context, pricing_model_id, "new", price_of(context, pricing_model_id))
    shown = announce(context, "subscription.created", subscription_id)
    invoice_period(context, find(context, subscription_id), usage_of=None, paid=paid)
    return shown


def upgrade_subscription(context: Context) -> Any:
    row = find(context, context.path["subscription_id"])
    model = find_model(context, context.body["new_pricing_model_id"])
    if row["status"] not in RUNNING:
        raise conflict("subscription_ended", f"the subscription is {row['status']}")
    proration = prorate(
        price_of(context, row["pricing_model_id"]),
        price_of(context, model["id"]),
        from_text(row["current_period_start"]),
        from_text(row["current_period_end"]),
        context.now,
    )
    return {
        "subscription": change_plan(context, row, model["id"]),
        "proration": {
            "unused_amount": proration.unused_amount,
            "remaining_amount": proration.remaining_amount,
            "net_amount": proration.net_amount,
            "remaining_ratio": proration.remaining_ratio,
        },
    }


def change_plan(context: Context, row: Row, pricing_model_id: str) -> dict[str, Any]:
    """Switch to another plan within the running period, and note how the recurring revenue moved."""
    difference = price_of(context, pricing_model_id) - price_of(context, row["pricing_model_id"])
    context.store.update("subscriptions", row["id"], pricing_model_id=pricing_model_id)
    if difference:
        record_mrr(context, pricing_model_id, "expansion" if difference > 0 else "contraction", abs(difference))
    return announce(context, "subscription.updated", row["id"])


# Scheduled changes


def show_change(row: Row) -> dict[str, Any]:
    names = ("id", "subscription_id", "new_pricing_model_id", "scheduled_for", "status", "created_at")
    return pick(row, *names)


def schedule_subscription_change(context: Context) -> Any:
    row = find(context, context.path["subscription_id"])
    model = find_model(context, context.body["new_pricing_model_id"])
    if row["status"] not in RUNNING:
        raise conflict("subscription_ended", f"the subscription is {row['status']}")
    moment = from_text(context.body["scheduled_for"])
    if moment <= context.now:
        raise invalid(f"scheduled_for must be in the future; here it is {context.now_text}")
    change_id = new_id("sch")
    context.store.insert(
        "scheduled_changes",
        id=change_id,
        merchant_id=context.merchant_id,
        subscription_id=row["id"],
        new_pricing_model_id=model["id"],
        scheduled_for=to_text(moment),
        status="pending",
        created_at=context.now_text,
    )
    shown = show_change(context.find("scheduled_changes", "scheduled change", change_id))
    context.record("scheduled_change.created", change_id, shown)
    return shown


def list_scheduled_changes(context: Context) -> list[Any]:
    row = find(context, context.path["subscription_id"])
    rows = context.store.all(
        "SELECT * FROM scheduled_changes WHERE subscription_id = ? ORDER BY scheduled_for, rowid", row["id"]
    )
    return [show_change(one) for one in rows]


# Pause and resume


def pause_subscription(context: Context) -> Any:
    row = find(context, context.path["subscription_id"])
    if row["status"] == "paused":
        raise conflict("already_paused", "the subscription is paused")
    if row["status"] not in RUNNING:
        raise conflict("subscription_ended", f"the subscription is {row['status']}")
    resume_at = context.body.get("resume_at")
    moment = None if resume_at is None else from_text(resume_at)
    if moment is not None and moment <= context.now:
        raise invalid(f"resume_at must be in the future; here it is {context.now_text}")
    context.store.update(
        "subscriptions",
        row["id"],
        status="paused",
        paused_at=context.now_text,
        pause_behavior=context.body.get("pause_behavior", "keep_as_is"),
        resume_at=None if moment is None else to_text(moment),
    )
    return announce(context, "subscription.paused", row["id"])


def resume_subscription(context: Context) -> Any:
    row = find(context, context.path["subscription_id"])
    if row["status"] != "paused":
        raise conflict("not_paused", f"the subscription is {row['status']}, not paused")
    return resume(context, row["id"])


def resume(context: Context, subscription_id: str) -> dict[str, Any]:
    context.store.update(
        "subscriptions", subscription_id, status="active", paused_at=None, pause_behavior=None, resume_at=None
    )
    return announce(context, "subscription.resumed", subscription_id)


HANDLERS: dict[str, Handler] = {
    "list_subscriptions": list_subscriptions,
    "get_subscription": get_subscription,
    "create_subscription": create_subscription,
    "upgrade_subscription": upgrade_subscription,
    "schedule_subscription_change": schedule_subscription_change,
    "list_scheduled_changes": list_scheduled_changes,
    "pause_subscription": pause_subscription,
    "resume_subscription": resume_subscription,
}
