"""Checkouts, and what paying on their hosted page does."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from ..clock import from_text
from ..problems import Problem
from ..store import Row, new_id
from ..wire import dumps, loads
from .config import offer_of, price_of
from .context import Handler, PaywallContext
from .purchases import buy
from .users import by_id, has_active, link


def start_checkout(context: PaywallContext) -> Any:
    body, config = context.body, context.config
    price = price_of(config, body["priceId"])
    offer = offer_of(config, body["offerId"], price) if "offerId" in body else None
    if offer is not None and offer["expires_at"] is not None and from_text(offer["expires_at"]) <= context.now:
        raise Problem(400, "offer_expired", "this offer has ended")
    user = link(context, body["email"], body.get("userMeta", {}).get("userId"))
    if has_active(context, user) and not body.get("ignoreActivePurchase"):
        raise Problem(409, "already_purchased", "this user has an active purchase", {"hasActivePurchase": True})
    checkout_id = new_id("chk")
    context.store.insert(
        "paywall_checkouts",
        id=checkout_id,
        paywall_id=context.paywall_id,
        user_id=user["id"],
        price=dumps(price),
        discount=None if offer is None else dumps(offer),
        trial_days=None if "trial_days" not in body else int(body["trial_days"]),
        success_url=body.get("successUrl"),
        error_url=body.get("errorUrl"),
        shop_url=body.get("shopUrl"),
        product_name=body.get("productName"),
        status="open",
        created_at=context.now_text,
    )
    return {
        "checkoutUrl": f"{context.origin}/checkout/{checkout_id}",
        "userId": user["id"],
        "acquiring": config["acquiring"],
    }


def to_pay(checkout: Row) -> Decimal:
    """The price in major units, after the offer's discount."""
    price = loads(checkout["price"].encode())
    amount = Decimal(price["amount"])
    if checkout["discount"] is not None:
        amount -= amount * Decimal(loads(checkout["discount"].encode())["discount_percent"]) / 100
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


def trial_days(checkout: Row) -> int:
    price = loads(checkout["price"].encode())
    return int(price["trial_days"] if checkout["trial_days"] is None else checkout["trial_days"])


def pay(context: PaywallContext, checkout: Row) -> str:
    """Take the payment, once however often the page is sent; the purchase's id."""
    if checkout["status"] == "paid":
        return str(checkout["purchase_id"])
    purchase_id = buy(
        context,
        by_id(context, checkout["user_id"]),
        price=loads(checkout["price"].encode()),
        discount=None if checkout["discount"] is None else loads(checkout["discount"].encode()),
        amount=to_pay(checkout),
        trial_days=trial_days(checkout),
    )
    context.store.update("paywall_checkouts", checkout["id"], status="paid", purchase_id=purchase_id)
    return purchase_id


HANDLERS: dict[str, Handler] = {"start_checkout": start_checkout}
