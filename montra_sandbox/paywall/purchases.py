"""Purchases: bought, renewed as time passes, cancelled, refunded, and told of in webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from ..clock import from_text, to_text
from ..periods import add_months
from ..problems import Problem
from ..store import Row, Store, new_id, pick
from ..wire import dumps, loads
from .balances import credit, move
from .context import Handler, PaywallContext, minor_units
from .users import ACTIVE, acted_for, by_id, purchases_of

_DUE = (
    "SELECT id, paywall_id, current_period_end AS moment FROM paywall_purchases"
    " WHERE status IN ('active', 'trialing') AND current_period_end IS NOT NULL ORDER BY current_period_end LIMIT 1"
)
MOST_STEPS = 10_000
"""Bounds what one advance may set off."""


def find(context: PaywallContext, purchase_id: str) -> Row:
    row = context.store.one(
        "SELECT * FROM paywall_purchases WHERE id = ? AND paywall_id = ?", purchase_id, context.paywall_id
    )
    if row is None:
        raise Problem(400, "subscription_not_found", f"this paywall has no subscription {purchase_id[:100]!r}")
    return row


def buy(
    context: PaywallContext,
    user: Row,
    *,
    price: Mapping[str, Any],
    discount: Mapping[str, Any] | None,
    amount: Decimal,
    trial_days: int,
) -> str:
    """Make the purchase and tell of it; its id."""
    recurring = price["interval"] not in (None, "lifetime")
    trial = recurring and trial_days > 0
    anchor = context.now + timedelta(days=trial_days) if trial else context.now
    ends = anchor if trial else _after(anchor, price, 1)
    purchase_id = new_id("sub" if recurring else "pur")
    context.store.insert(
        "paywall_purchases",
        id=purchase_id,
        paywall_id=context.paywall_id,
        user_id=user["id"],
        price=dumps(price),
        discount=None if discount is None else dumps(discount),
        status="trialing" if trial else "active" if price["interval"] else "completed",
        unit_amount=minor_units(amount, price["currency"]),
        currency=price["currency"],
        interval=price["interval"],
        interval_count=price["interval_count"],
        anchor=to_text(anchor),
        renewals=0 if trial else 1,
        current_period_start=context.now_text,
        current_period_end=None if ends is None else to_text(ends),
        cancel_at_period_end=False,
        created_at=context.now_text,
    )
    if trial:
        context.store.update("paywall_users", user["id"], had_trial=1)
    if recurring:
        _tell(context, "subscription.created", purchase_id)
    if not trial:
        _paid(context, purchase_id)
    return purchase_id


def _after(anchor: datetime, price: Mapping[str, Any], periods: int) -> datetime | None:
    """The end of the `periods`-th period; None when there is none."""
    many = price["interval_count"] * periods
    if price["interval"] in ("month", "year"):
        return add_months(anchor, many * (12 if price["interval"] == "year" else 1))
    if price["interval"] in ("week", "day"):
        return anchor + timedelta(days=many * (7 if price["interval"] == "week" else 1))
    return None


def _paid(context: PaywallContext, purchase_id: str) -> None:
    """A payment went through: credit what the price includes, and tell of it."""
    purchase = find(context, purchase_id)
    user = by_id(context, purchase["user_id"])
    for kind, count in loads(purchase["price"].encode()).get("tokens", {}).items():
        credit(context, user, kind, int(count))
    _tell(context, "payment.completed", purchase_id, payment={"id": new_id("pay"), "status": "completed"})


def _tell(context: PaywallContext, event_type: str, purchase_id: str, **more: Any) -> None:
    purchase = find(context, purchase_id)
    user = by_id(context, purchase["user_id"])
    price = loads(purchase["price"].encode())
    subscription = pick(purchase, "id", "status", "current_period_start", "current_period_end")
    data = {
        "price": {"id": price["id"], "unit_amount": purchase["unit_amount"], "interval": purchase["interval"]},
        "customer": {"id": f"cus_{user['id'][4:]}", "email": user["email"]},
        "user": {"id": user["id"], "email": user["email"], "metadata": {"userId": user["external_id"]}},
        "paywall": {"id": context.paywall_id},
        "acquiring": {"id": f"acq_{context.paywall_id}", "provider": context.config["acquiring"]},
        **more,
        **({"subscription": subscription} if purchase["current_period_end"] is not None else {}),
    }
    context.announce(event_type, data)


def show(row: Row) -> dict[str, Any]:
    names = (
        *("id", "status", "cancel_at", "canceled_at", "ended_at", "current_period_start", "current_period_end"),
        *("unit_amount", "currency", "interval"),
    )
    shown = {
        **pick(row, *names),
        "created": row["created_at"],
        "cancel_at_period_end": bool(row["cancel_at_period_end"]),
    }
    if row["discount"] is not None:
        shown["discount"] = loads(row["discount"].encode())["discount_percent"]
    return shown


def list_purchases(context: PaywallContext) -> Any:
    query = context.query
    user = acted_for(context, query.get("email"), query.get("user_id"), unknown="identity_not_on_paywall")
    return {"purchases": [show(row) for row in purchases_of(context, user)]}


def cancel_subscription(context: PaywallContext) -> Any:
    body = context.body
    user = acted_for(context, body.get("email"), body.get("userId"), unknown="identity_not_on_paywall")
    purchase = find(context, body["subscriptionId"])
    if purchase["user_id"] != user["id"]:
        raise Problem(400, "subscription_not_found", "this user has no such subscription")
    return {"subscription": cancel(context, purchase, body["cancellationReason"])}


def end_others(context: PaywallContext, user: Row, kept: str) -> None:
    """The subscriptions that a new purchase takes the place of end at once."""
    for one in purchases_of(context, user):
        if one["id"] != kept and one["status"] in ACTIVE and one["current_period_end"] is not None:
            _end(context, one["id"], canceled_at=one["canceled_at"] or context.now_text, cancel_at=context.now_text)


def _end(context: PaywallContext, purchase_id: str, **more: Any) -> None:
    context.store.update("paywall_purchases", purchase_id, status="canceled", ended_at=context.now_text, **more)
    _tell(context, "subscription.cancelled", purchase_id)


def adopt(context: PaywallContext, user: Row, visitor_id: str | None) -> None:
    """Move what a guest bought under this visitor id to the user who signs in with it.

    A guest is somebody who never proved their address: what belongs to others is not moved, whoever uses their browser.
    """
    if not visitor_id or user["is_anonymous"]:
        return
    guests = context.store.all(
        "SELECT DISTINCT user.* FROM paywall_checkouts checkout JOIN paywall_purchases purchase"
        " ON purchase.id = checkout.purchase_id JOIN paywall_users user ON user.id = purchase.user_id"
        " WHERE checkout.paywall_id = ? AND checkout.visitor_id = ? AND checkout.is_guest AND NOT user.confirmed"
        " AND NOT user.is_anonymous AND user.id <> ?",
        *(context.paywall_id, visitor_id, user["id"]),
    )
    for guest in guests:
        context.store.run(
            "UPDATE paywall_purchases SET user_id = ? WHERE user_id = ? AND id IN"
            " (SELECT purchase_id FROM paywall_checkouts WHERE visitor_id = ? AND is_guest)",
            *(user["id"], guest["id"], visitor_id),
        )
        if guest["had_trial"]:
            context.store.update("paywall_users", user["id"], had_trial=1)
        if not purchases_of(context, guest):
            move(context, guest, user)


def cancel(context: PaywallContext, purchase: Row, reason: str) -> dict[str, Any]:
    """At the end of the period; cancelling again changes nothing."""
    if purchase["current_period_end"] is None:
        raise Problem(400, "not_a_subscription", "this purchase does not renew, so there is nothing to cancel")
    if purchase["status"] in ("active", "trialing") and not purchase["cancel_at_period_end"]:
        context.store.update(
            "paywall_purchases",
            purchase["id"],
            cancel_at_period_end=True,
            cancel_at=purchase["current_period_end"],
            canceled_at=context.now_text,
            reason=reason,
        )
        _tell(context, "subscription.updated", purchase["id"])
    shown = show(find(context, purchase["id"]))
    return {name: shown[name] for name in ("status", "canceled_at", "cancel_at", "cancel_at_period_end")}


def refund(context: PaywallContext, purchase: Row) -> None:
    _tell(
        context,
        "refund.created",
        purchase["id"],
        refund={"id": new_id("re"), "unit_amount": purchase["unit_amount"], "status": "succeeded"},
    )


# What happens by itself.


def next_due(store: Store) -> datetime | None:
    row = store.one(_DUE)
    return None if row is None else from_text(row["moment"])


def catch_up(store: Store, now: datetime, origin: str) -> None:
    """Let all periods end that have ended by now, in order and each at its own moment."""
    for _ in range(MOST_STEPS):
        due = store.one(_DUE)
        if due is None or due["moment"] > to_text(now):
            return
        paywall = store.one("SELECT * FROM paywalls WHERE id = ?", due["paywall_id"])
        assert paywall is not None
        moment = from_text(due["moment"])
        _end_period(PaywallContext(store=store, now=moment, origin=origin, paywall=paywall), due["id"])


def _end_period(context: PaywallContext, purchase_id: str) -> None:
    purchase = find(context, purchase_id)
    if purchase["cancel_at_period_end"]:
        _end(context, purchase_id)
        return
    periods = purchase["renewals"] + 1
    ends = _after(from_text(purchase["anchor"]), loads(purchase["price"].encode()), periods)
    assert ends is not None
    context.store.update(
        "paywall_purchases",
        purchase_id,
        status="active",
        renewals=periods,
        current_period_start=context.now_text,
        current_period_end=to_text(ends),
    )
    _tell(context, "subscription.updated", purchase_id)
    _paid(context, purchase_id)


HANDLERS: dict[str, Handler] = {"list_purchases": list_purchases, "cancel_subscription": cancel_subscription}
