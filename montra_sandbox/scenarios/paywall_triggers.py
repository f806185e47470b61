"""What causes the events of the paywall service."""

from __future__ import annotations

from typing import Any

from ..database import Row
from ..paywall import paywall_config, purchase_lifecycle
from ..paywall.users import ACTIVE_STATUSES, find_by_email, find_by_external_id, get_user, list_user_purchases
from ..problems import conflict
from .calls import Calls, unique_suffix
from .registry import causes

SERVICE: str = "paywall"

_BUYER = ("paywall_id", "price_id", "email", "user_id")


@causes(SERVICE, "payment.completed", *_BUYER)
def complete_payment(calls: Calls, fields: dict[str, Any]) -> None:
    """Starts a checkout and pays it. The price is the paywall's first."""
    buy(calls, fields)


@causes(SERVICE, "subscription.created", *_BUYER, "trial_days")
def create_subscription(calls: Calls, fields: dict[str, Any]) -> None:
    """Buys a subscription, with or without a trial. The price is the paywall's first recurring one."""
    buy(calls, fields, is_recurring=True)


@causes(SERVICE, "subscription.updated", "purchase_id", *_BUYER, "reason")
def update_subscription(calls: Calls, fields: dict[str, Any]) -> None:
    """Cancels a subscription at the end of its period, a new one if none is given."""
    paywall_id = calls.get_paywall(fields.get("paywall_id"))["id"]
    purchase = _find_running(calls, paywall_id, fields)
    if purchase["cancel_at_period_end"]:
        raise conflict("already_canceled", "this subscription ends with its period already")
    cancel(calls, paywall_id, purchase, fields.get("reason", "too expensive"))


@causes(SERVICE, "subscription.cancelled", "purchase_id", *_BUYER)
def end_subscription(calls: Calls, fields: dict[str, Any]) -> None:
    """Ends a subscription at once, as its owner can, a new one if none is given."""
    paywall_id = calls.get_paywall(fields.get("paywall_id"))["id"]
    purchase_lifecycle.end_now(calls.paywall_context(paywall_id), _find_running(calls, paywall_id, fields))


@causes(SERVICE, "refund.created", "purchase_id", *_BUYER)
def refund(calls: Calls, fields: dict[str, Any]) -> None:
    """Refunds a purchase, a new one if none is given."""
    context = calls.paywall_context(calls.get_paywall(fields.get("paywall_id"))["id"])
    purchase_id = fields.get("purchase_id") or buy(calls, fields)
    purchase_lifecycle.refund(context, purchase_lifecycle.get_purchase(context, purchase_id))


def buy(calls: Calls, fields: dict[str, Any], *, is_recurring: bool = False) -> str:
    """Start a checkout and pay it; returns the purchase's id.

    Args:
        calls: the merchant's calls.
        fields: `paywall_id`, `price_id`, `email`, `user_id`, `trial_days`, if they matter.
        is_recurring: whether the price must be recurring.
    """
    paywall = calls.get_paywall(fields.get("paywall_id"))
    price = _find_price(calls, paywall["id"], fields.get("price_id"), is_recurring=is_recurring)
    body: dict[str, Any] = {"priceId": price["id"], "email": fields.get("email", f"ada.{unique_suffix()}@example.com")}
    if "user_id" in fields:
        body["userMeta"] = {"userId": fields["user_id"]}
    if "trial_days" in fields:
        body["trial_days"] = fields["trial_days"]
    return calls.pay_checkout(paywall["id"], calls.paywall(paywall["id"], "start_checkout", body))


def cancel(calls: Calls, paywall_id: str, purchase: Row, reason: str) -> None:
    """Cancel a subscription at the end of its period.

    Args:
        calls: the merchant's calls.
        paywall_id: the paywall.
        purchase: the subscription.
        reason: why, in the user's words.
    """
    user = get_user(calls.paywall_context(paywall_id), purchase["user_id"])
    body = {"subscriptionId": purchase["id"], "paywallId": paywall_id, "cancellationReason": reason}
    calls.paywall(paywall_id, "cancel_subscription", body, user=user)


def _find_price(calls: Calls, paywall_id: str, price_id: str | None, *, is_recurring: bool) -> dict[str, Any]:
    config = calls.paywall_context(paywall_id).config
    prices = config["prices"] if price_id is None else [paywall_config.find_price(config, price_id)]
    for price in prices:
        if not is_recurring or price["interval"] not in (None, "lifetime"):
            found: dict[str, Any] = price
            return found
    raise conflict("price_not_found", f"this paywall has no {'recurring ' if is_recurring else ''}price for it")


def _find_running(calls: Calls, paywall_id: str, fields: dict[str, Any]) -> Row:
    """The subscription `purchase_id`; without it, the running one of the user, else a new one."""
    context = calls.paywall_context(paywall_id)
    user = find_by_email(context, fields.get("email")) or find_by_external_id(context, fields.get("user_id"))
    for row in [] if user is None or "purchase_id" in fields else list_user_purchases(context, user):
        if row["status"] in ACTIVE_STATUSES and row["current_period_end"] is not None:
            return row
    purchase_id = fields.get("purchase_id") or buy(calls, fields, is_recurring=True)
    row = purchase_lifecycle.get_purchase(context, purchase_id)
    if row["status"] not in ACTIVE_STATUSES or row["current_period_end"] is None:
        raise conflict("not_a_running_subscription", f"the purchase is {row['status']}: there is nothing to cancel")
    return row
