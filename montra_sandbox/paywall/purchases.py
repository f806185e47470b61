"""Operations about purchases: checkout, customer portal, list, cancel."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

from ..database import Row, pick
from ..datetimes import format_datetime
from ..json import loads
from ..problems import Problem
from .hosted_checkout import checkout_url, find_by_idempotency_key, open_checkout
from .paywall_context import PaywallContext, operation
from .purchase_lifecycle import cancel_at_period_end, get_purchase
from .user_sessions import hash_token
from .users import (
    find_by_email,
    find_by_external_id,
    list_user_purchases,
    resolve_buyer,
    resolve_user,
)

_PORTAL_LIFETIME = timedelta(hours=1)


@operation("start_checkout")
def start_checkout(context: PaywallContext) -> Any:
    """POST /start-checkout."""
    body = context.body
    user = resolve_buyer(context, body.get("email"), body.get("userMeta", {}).get("userId"))
    checkout = find_by_idempotency_key(context, user) or open_checkout(context, user)
    return {
        "checkoutUrl": checkout_url(context, checkout),
        "userId": checkout["user_id"],
        "acquiring": context.config["acquiring"],
    }


@operation("get_customer_portal")
def get_customer_portal(context: PaywallContext) -> Any:
    """POST /get-customer-portal."""
    body = context.body
    user = context.session_user or find_by_email(context, body.get("email"))
    if user is None and context.is_owner:
        user = find_by_external_id(context, body.get("userMeta", {}).get("userId"))
    if context.config["acquiring"] == "freemius":
        raise Problem(403, "forbidden", "Freemius has no customer portal")
    if user is None or not list_user_purchases(context, user):
        raise Problem(403, "forbidden", "there is nothing to manage for this user")
    token = secrets.token_urlsafe(24)
    context.db.insert(
        "paywall_portals",
        token_hash=hash_token(token),
        user_id=user["id"],
        return_url=body.get("returnUrl"),
        expires_at=format_datetime(context.now + _PORTAL_LIFETIME),
    )
    return {"url": f"{context.origin}/portal/{token}"}


@operation("list_purchases")
def list_purchases(context: PaywallContext) -> Any:
    """GET /user."""
    query = context.query
    user = resolve_user(context, query.get("email"), query.get("user_id"), unknown_code="identity_not_on_paywall")
    return {"purchases": [serialize(row) for row in list_user_purchases(context, user)]}


@operation("cancel_subscription")
def cancel_subscription(context: PaywallContext) -> Any:
    """POST /paywall/cancel-subscription."""
    body = context.body
    user = resolve_user(context, body.get("email"), body.get("userId"), unknown_code="identity_not_on_paywall")
    purchase = get_purchase(context, body["subscriptionId"])
    if purchase["user_id"] != user["id"]:
        raise Problem(400, "subscription_not_found", "this user has no such subscription")
    cancel_at_period_end(context, purchase, body["cancellationReason"])
    serialized = serialize(get_purchase(context, purchase["id"]))
    names = ("status", "canceled_at", "cancel_at", "cancel_at_period_end")
    return {"subscription": {name: serialized[name] for name in names}}


def serialize(row: Row) -> dict[str, Any]:
    """A purchase's JSON."""
    names = (
        *("id", "status", "cancel_at", "canceled_at", "ended_at", "current_period_start", "current_period_end"),
        *("unit_amount", "currency", "interval"),
    )
    serialized = {
        **pick(row, *names),
        "created": row["created_at"],
        "cancel_at_period_end": bool(row["cancel_at_period_end"]),
    }
    if row["discount"] is not None:
        serialized["discount"] = loads(row["discount"].encode())["discount_percent"]
    return serialized
