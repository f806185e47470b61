"""Checkouts, and what paying on their hosted page does."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from urllib.parse import urlencode

from ..clock import from_text
from ..problems import Problem
from ..store import Row, new_id
from ..wire import dumps, loads
from .config import price_of, wire_id
from .context import Handler, PaywallContext
from .purchases import buy, end_others
from .users import acting, by_id, has_active

SESSION = "__SESSION__"


def start_checkout(context: PaywallContext) -> Any:
    body, config = context.body, context.config
    user = acting(context, body.get("email"), body.get("userMeta", {}).get("userId"))
    earlier = _under_key(context, user)
    if earlier is not None:
        return _answer(context, earlier)
    price = price_of(config, body["priceId"])
    if has_active(context, user) and not body.get("ignoreActivePurchase"):
        raise Problem(409, "already_purchased", "this user has an active purchase", {"hasActivePurchase": True})
    offer = offer_for(config["offers"], price, body.get("offerId"), context.now)
    checkout_id = new_id("chk")
    context.store.insert(
        "paywall_checkouts",
        id=checkout_id,
        paywall_id=context.paywall_id,
        user_id=user["id"],
        price=dumps(charged(price, body.get("localCurrency"))),
        discount=None if offer is None else dumps(offer),
        trial_days=None if "trial_days" not in body else int(body["trial_days"]),
        success_url=body.get("successUrl"),
        error_url=body.get("errorUrl"),
        shop_url=body.get("shopUrl"),
        product_name=body.get("productName"),
        visitor_id=body.get("visitorId"),
        is_guest=context.session_user is None,
        ends_others=body.get("ignoreActivePurchase", False),
        key=context.key,
        status="open",
        created_at=context.now_text,
    )
    return _answer(context, find(context, checkout_id))


def find(context: PaywallContext, checkout_id: str) -> Row:
    row = context.store.one("SELECT * FROM paywall_checkouts WHERE id = ?", checkout_id)
    assert row is not None
    return row


def _under_key(context: PaywallContext, user: Row) -> Row | None:
    """The checkout that this user began under this idempotency key: the key decides, whatever else is asked for now."""
    if context.key is None:
        return None
    return context.store.one(
        "SELECT * FROM paywall_checkouts WHERE user_id = ? AND key = ? ORDER BY rowid LIMIT 1", user["id"], context.key
    )


def _answer(context: PaywallContext, checkout: Row) -> dict[str, Any]:
    return {
        "checkoutUrl": f"{context.origin}/checkout/{checkout['id']}",
        "userId": checkout["user_id"],
        "acquiring": context.config["acquiring"],
    }


# Decisions


def offer_for(
    offers: list[dict[str, Any]], price: Mapping[str, Any], wanted: Any, now: datetime
) -> dict[str, Any] | None:
    """Pure: the offer that counts. One that is asked for and fits, else one that runs by itself until its end; an offer
    on this very price before one on all. What is unknown, over or for another price is as good as not asked for."""
    here = (None, price["id"], price.get("replaces", price["id"]))  # a variant's price has the offers of its original
    running = [
        one
        for one in offers
        if one["price_id"] in here
        and one["discount_percent"] > 0
        and (one["expires_at"] is None or from_text(one["expires_at"]) > now)
    ]
    asked = [one for one in running if wanted is not None and one["id"] == wire_id(wanted)]
    fitting = asked or [one for one in running if one["expires_at"] is not None]
    return min(fitting, key=lambda one: one["price_id"] is None, default=None)


def charged(price: Mapping[str, Any], currency: str | None) -> dict[str, Any]:
    """Pure: the price as it is charged, which may be the local one."""
    local = price.get("local")
    if local is None or currency is None or local["currency"].upper() != currency.upper():
        return dict(price)
    return {**price, "currency": local["currency"], "amount": local["amount"]}


def to_pay(checkout: Row) -> Decimal:
    """The price in major units, after the offer's discount."""
    price = loads(checkout["price"].encode())
    amount = Decimal(price["amount"])
    if checkout["discount"] is not None:
        amount -= amount * Decimal(loads(checkout["discount"].encode())["discount_percent"]) / 100
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


def trial_days(context: PaywallContext, checkout: Row) -> int:
    """Days without payment of a subscription; nobody gets a second trial."""
    price = loads(checkout["price"].encode())
    if price["interval"] in (None, "lifetime") or by_id(context, checkout["user_id"])["had_trial"]:
        return 0
    return int(price["trial_days"] if checkout["trial_days"] is None else checkout["trial_days"])


def way_back(checkout: Row, status: str) -> str | None:
    """Where the payer goes on to when it was `paid`, `failed` or `cancelled`; None when nobody said.

    The public client finds the outcome in the fragment, which never reaches a server.
    """
    address = checkout["success_url" if status == "paid" else "error_url"]
    if address is None:
        return None
    page, _, fragment = str(address).replace(SESSION, checkout["id"]).partition("#")
    marks = urlencode({"paywall_status": status, "paywall_price_id": loads(checkout["price"].encode())["id"]})
    return f"{page}#{fragment}&{marks}" if fragment else f"{page}#{marks}"


def pay(context: PaywallContext, checkout: Row) -> str:
    """Take the payment, once however often the page is sent; the purchase's id."""
    if checkout["status"] == "paid":
        return str(checkout["purchase_id"])
    user = by_id(context, checkout["user_id"])
    purchase_id = buy(
        context,
        user,
        price=loads(checkout["price"].encode()),
        discount=None if checkout["discount"] is None else loads(checkout["discount"].encode()),
        amount=to_pay(checkout),
        trial_days=trial_days(context, checkout),
    )
    if checkout["ends_others"]:
        end_others(context, user, purchase_id)
    context.store.update("paywall_checkouts", checkout["id"], status="paid", purchase_id=purchase_id)
    return purchase_id


HANDLERS: dict[str, Handler] = {"start_checkout": start_checkout}
