"""The life of a purchase: payment, renewal, cancellation, refund, and the webhooks that report them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from ..database import Database, Row, pick
from ..datetimes import add_months, format_datetime, parse_datetime
from ..ids import new_id
from ..json import dumps, loads
from ..problems import Problem
from .paywall_context import PaywallContext, minor_units
from .tokens import credit, transfer_balances
from .users import ACTIVE_STATUSES, get_user, list_user_purchases

_NEXT_DUE = (
    "SELECT id, paywall_id, current_period_end AS due_at FROM paywall_purchases"
    " WHERE status IN ('active', 'trialing') AND current_period_end IS NOT NULL ORDER BY current_period_end LIMIT 1"
)
PAYWALL_EVENT_TYPES: frozenset[str] = frozenset(
    {"payment.completed", "subscription.created", "subscription.updated", "subscription.cancelled", "refund.created"}
)
"""The events that are sent as webhooks."""
MAX_STEPS: int = 10_000
"""Most steps of one run."""


def get_purchase(context: PaywallContext, purchase_id: str) -> Row:
    """A purchase at this paywall.

    Args:
        context: the paywall.
        purchase_id: the purchase's id.

    Raises:
        Problem: 400 `subscription_not_found`.
    """
    row = context.db.one(
        "SELECT * FROM paywall_purchases WHERE id = ? AND paywall_id = ?", purchase_id, context.paywall_id
    )
    if row is None:
        raise Problem(400, "subscription_not_found", f"this paywall has no subscription {purchase_id[:100]!r}")
    return row


def create_purchase(
    context: PaywallContext,
    user: Row,
    *,
    price: Mapping[str, Any],
    discount: Mapping[str, Any] | None,
    amount: Decimal,
    trial_days: int,
) -> str:
    """Create a purchase and send its webhooks; returns its id.

    Args:
        context: the paywall.
        user: who bought.
        price: the price, in the currency that is charged.
        discount: the offer that was applied, or None.
        amount: the amount per payment in major units, after the discount.
        trial_days: days until the first payment of a subscription; 0 for none.
    """
    is_recurring = price["interval"] not in (None, "lifetime")
    is_trial = is_recurring and trial_days > 0
    anchor = context.now + timedelta(days=trial_days) if is_trial else context.now
    ends_at = anchor if is_trial else _period_end(anchor, price, 1)
    purchase_id = new_id("sub" if is_recurring else "pur")
    context.db.insert(
        "paywall_purchases",
        id=purchase_id,
        paywall_id=context.paywall_id,
        user_id=user["id"],
        price=dumps(price),
        discount=None if discount is None else dumps(discount),
        status="trialing" if is_trial else "active" if price["interval"] else "completed",
        unit_amount=minor_units(amount, price["currency"]),
        currency=price["currency"],
        interval=price["interval"],
        interval_count=price["interval_count"],
        anchor=format_datetime(anchor),
        renewals=0 if is_trial else 1,
        current_period_start=context.now_text,
        current_period_end=None if ends_at is None else format_datetime(ends_at),
        cancel_at_period_end=False,
        created_at=context.now_text,
    )
    if is_trial:
        context.db.update("paywall_users", user["id"], had_trial=1)
    if is_recurring:
        _send_webhook(context, "subscription.created", purchase_id)
    if not is_trial:
        _complete_payment(context, purchase_id)
    return purchase_id


def _period_end(anchor: datetime, price: Mapping[str, Any], periods: int) -> datetime | None:
    """The end of the n-th period; None for a price without periods."""
    count = price["interval_count"] * periods
    if price["interval"] in ("month", "year"):
        return add_months(anchor, count * (12 if price["interval"] == "year" else 1))
    if price["interval"] in ("week", "day"):
        return anchor + timedelta(days=count * (7 if price["interval"] == "week" else 1))
    return None


def _complete_payment(context: PaywallContext, purchase_id: str) -> None:
    """Credit the tokens that the price includes, and send `payment.completed`."""
    purchase = get_purchase(context, purchase_id)
    user = get_user(context, purchase["user_id"])
    for token_type, count in loads(purchase["price"].encode()).get("tokens", {}).items():
        credit(context, user, token_type, int(count))
    _send_webhook(context, "payment.completed", purchase_id, payment={"id": new_id("pay"), "status": "completed"})


def _send_webhook(context: PaywallContext, event_type: str, purchase_id: str, **extra: Any) -> None:
    purchase = get_purchase(context, purchase_id)
    user = get_user(context, purchase["user_id"])
    price = loads(purchase["price"].encode())
    subscription = pick(purchase, "id", "status", "current_period_start", "current_period_end")
    data = {
        "price": {"id": price["id"], "unit_amount": purchase["unit_amount"], "interval": purchase["interval"]},
        "customer": {"id": f"cus_{user['id'][4:]}", "email": user["email"]},
        "user": {"id": user["id"], "email": user["email"], "metadata": {"userId": user["external_id"]}},
        "paywall": {"id": context.paywall_id},
        "acquiring": {"id": f"acq_{context.paywall_id}", "provider": context.config["acquiring"]},
        **extra,
        **({"subscription": subscription} if purchase["current_period_end"] is not None else {}),
    }
    context.queue_webhook(event_type, data)


# Cancellation and refund


def cancel_at_period_end(context: PaywallContext, purchase: Row, reason: str) -> None:
    """Cancel a subscription at the end of its period. A second cancellation changes nothing.

    Args:
        context: the paywall.
        purchase: the subscription.
        reason: why, in the user's words.

    Raises:
        Problem: 400 `not_a_subscription`, the purchase does not renew.
    """
    if purchase["current_period_end"] is None:
        raise Problem(400, "not_a_subscription", "this purchase does not renew, so there is nothing to cancel")
    if purchase["status"] in ACTIVE_STATUSES and not purchase["cancel_at_period_end"]:
        context.db.update(
            "paywall_purchases",
            purchase["id"],
            cancel_at_period_end=True,
            cancel_at=purchase["current_period_end"],
            canceled_at=context.now_text,
            reason=reason,
        )
        _send_webhook(context, "subscription.updated", purchase["id"])


def end_other_subscriptions(context: PaywallContext, user: Row, kept_id: str) -> None:
    """End all other subscriptions of a user at once, because a new purchase replaces them.

    Args:
        context: the paywall.
        user: the user.
        kept_id: the new purchase.
    """
    for row in list_user_purchases(context, user):
        if row["id"] != kept_id and row["status"] in ACTIVE_STATUSES and row["current_period_end"] is not None:
            end_now(context, row)


def end_now(context: PaywallContext, purchase: Row) -> None:
    """End a running subscription at once, as the owner can do at the acquirer.

    Args:
        context: the paywall.
        purchase: the subscription.
    """
    canceled_at = purchase["canceled_at"] or context.now_text
    context.db.update("paywall_purchases", purchase["id"], canceled_at=canceled_at, cancel_at=context.now_text)
    _end(context, purchase["id"])


def _end(context: PaywallContext, purchase_id: str) -> None:
    context.db.update("paywall_purchases", purchase_id, status="canceled", ended_at=context.now_text)
    _send_webhook(context, "subscription.cancelled", purchase_id)


def refund(context: PaywallContext, purchase: Row) -> None:
    """Send `refund.created` for the whole amount of a purchase.

    Args:
        context: the paywall.
        purchase: the purchase.
    """
    details = {"id": new_id("re"), "unit_amount": purchase["unit_amount"], "status": "succeeded"}
    _send_webhook(context, "refund.created", purchase["id"], refund=details)


# Guests


def move_guest_purchases(context: PaywallContext, user: Row, visitor_id: str | None) -> None:
    """Move what a guest bought with a visitor id to the user who signs in with that id.

    A guest has never confirmed an address. Purchases of confirmed users stay, even if they share a browser.

    Args:
        context: the paywall.
        user: who signed in.
        visitor_id: the visitor id of the sign-in; None for none.
    """
    if not visitor_id or user["is_anonymous"]:
        return
    guests = context.db.all(
        "SELECT DISTINCT user.* FROM paywall_checkouts checkout JOIN paywall_purchases purchase"
        " ON purchase.id = checkout.purchase_id JOIN paywall_users user ON user.id = purchase.user_id"
        " WHERE checkout.paywall_id = ? AND checkout.visitor_id = ? AND checkout.is_guest AND NOT user.confirmed"
        " AND NOT user.is_anonymous AND user.id <> ?",
        *(context.paywall_id, visitor_id, user["id"]),
    )
    for guest in guests:
        context.db.run(
            "UPDATE paywall_purchases SET user_id = ? WHERE user_id = ? AND id IN"
            " (SELECT purchase_id FROM paywall_checkouts WHERE visitor_id = ? AND is_guest)",
            *(user["id"], guest["id"], visitor_id),
        )
        if guest["had_trial"]:
            context.db.update("paywall_users", user["id"], had_trial=1)
        if not list_user_purchases(context, guest):
            transfer_balances(context, guest, user)


# Renewal


def next_due(db: Database) -> datetime | None:
    """When the next period of a subscription ends; None when there is no subscription.

    Args:
        db: the database.
    """
    row = db.one(_NEXT_DUE)
    return None if row is None else parse_datetime(row["due_at"])


def run_due(db: Database, now: datetime, origin: str) -> None:
    """End all periods that are over, in order, each with the clock at its end. Inside the caller's transaction.

    Args:
        db: the database.
        now: the sandbox's time.
        origin: the sandbox's address.
    """
    limit = format_datetime(now)
    for _ in range(MAX_STEPS):
        due = db.one(_NEXT_DUE)
        if due is None or due["due_at"] > limit:
            return
        paywall = db.one("SELECT * FROM paywalls WHERE id = ?", due["paywall_id"])
        assert paywall is not None
        context = PaywallContext(db=db, now=parse_datetime(due["due_at"]), origin=origin, paywall=paywall)
        _end_period(context, due["id"])


def _end_period(context: PaywallContext, purchase_id: str) -> None:
    purchase = get_purchase(context, purchase_id)
    if purchase["cancel_at_period_end"]:
        _end(context, purchase_id)
        return
    renewals = purchase["renewals"] + 1
    ends_at = _period_end(parse_datetime(purchase["anchor"]), loads(purchase["price"].encode()), renewals)
    assert ends_at is not None
    context.db.update(
        "paywall_purchases",
        purchase_id,
        status="active",
        renewals=renewals,
        current_period_start=context.now_text,
        current_period_end=format_datetime(ends_at),
    )
    _send_webhook(context, "subscription.updated", purchase_id)
    _complete_payment(context, purchase_id)
