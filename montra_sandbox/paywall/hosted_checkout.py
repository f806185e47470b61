"""Checkouts of the hosted page: opening, pricing, paying, and where the payer returns to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from urllib.parse import urlencode

from ..database import Row
from ..datetimes import parse_datetime
from ..ids import new_id
from ..json import dumps, loads
from ..problems import Problem
from .paywall_config import find_price, normalize_id
from .paywall_context import PaywallContext
from .purchase_lifecycle import create_purchase, end_other_subscriptions
from .users import get_user, has_active_purchase

_CHECKOUT_PLACEHOLDER = "__SESSION__"


def open_checkout(context: PaywallContext, user: Row) -> Row:
    """Open a checkout for the price in the request's body.

    Args:
        context: the paywall and the request.
        user: who buys.

    Raises:
        Problem: 404 unknown price, 409 `already_purchased`.
    """
    body, config = context.body, context.config
    price = find_price(config, body["priceId"])
    if has_active_purchase(context, user) and not body.get("ignoreActivePurchase"):
        raise Problem(409, "already_purchased", "this user has an active purchase", {"hasActivePurchase": True})
    offer = applicable_offer(config["offers"], price, body.get("offerId"), context.now)
    checkout_id = new_id("chk")
    context.db.insert(
        "paywall_checkouts",
        id=checkout_id,
        paywall_id=context.paywall_id,
        user_id=user["id"],
        price=dumps(price_in_currency(price, body.get("localCurrency"))),
        discount=None if offer is None else dumps(offer),
        trial_days=None if "trial_days" not in body else int(body["trial_days"]),
        success_url=body.get("successUrl"),
        error_url=body.get("errorUrl"),
        shop_url=body.get("shopUrl"),
        product_name=body.get("productName"),
        visitor_id=body.get("visitorId"),
        is_guest=context.session_user is None,
        ends_others=body.get("ignoreActivePurchase", False),
        key=context.idempotency_key,
        status="open",
        created_at=context.now_text,
    )
    row = context.db.one("SELECT * FROM paywall_checkouts WHERE id = ?", checkout_id)
    assert row is not None
    return row


def find_by_idempotency_key(context: PaywallContext, user: Row) -> Row | None:
    """The checkout that the user opened with this idempotency key, whatever the body holds now.

    Args:
        context: the paywall and the request.
        user: who buys.
    """
    if context.idempotency_key is None:
        return None
    return context.db.one(
        "SELECT * FROM paywall_checkouts WHERE user_id = ? AND key = ? ORDER BY rowid LIMIT 1",
        *(user["id"], context.idempotency_key),
    )


def checkout_url(context: PaywallContext, checkout: Row) -> str:
    """The address of a checkout's page.

    Args:
        context: the paywall.
        checkout: the checkout.
    """
    return f"{context.origin}/checkout/{checkout['id']}"


# Prices


def applicable_offer(
    offers: list[dict[str, Any]], price: Mapping[str, Any], offer_id: Any, now: datetime
) -> dict[str, Any] | None:
    """The offer that reduces a price; None when there is none.

    A requested offer wins if it applies to the price and has not expired; otherwise an offer with an expiry applies
    without being requested. An offer on this price wins over one on all prices.

    Args:
        offers: the paywall's offers.
        price: the price.
        offer_id: the requested offer; None for none. An unknown id is ignored.
        now: the sandbox's time.
    """
    # A price of an experiment's variant has the offers of the price that it replaces.
    price_ids = (None, price["id"], price.get("replaces", price["id"]))
    running = [
        offer
        for offer in offers
        if offer["price_id"] in price_ids
        and offer["discount_percent"] > 0
        and (offer["expires_at"] is None or parse_datetime(offer["expires_at"]) > now)
    ]
    requested = [offer for offer in running if offer_id is not None and offer["id"] == normalize_id(offer_id)]
    candidates = requested or [offer for offer in running if offer["expires_at"] is not None]
    return min(candidates, key=lambda offer: offer["price_id"] is None, default=None)


def price_in_currency(price: Mapping[str, Any], currency: str | None) -> dict[str, Any]:
    """The price with its local amount and currency, if it has them in the requested currency; else unchanged.

    Args:
        price: the price.
        currency: the requested ISO code, in any case; None for the price's own.
    """
    local = price.get("local")
    if local is None or currency is None or local["currency"].upper() != currency.upper():
        return dict(price)
    return {**price, "currency": local["currency"], "amount": local["amount"]}


def amount_due(checkout: Row) -> Decimal:
    """What the payer pays, in major units, after the offer's discount.

    Args:
        checkout: the checkout.
    """
    price = loads(checkout["price"].encode())
    amount = Decimal(price["amount"])
    if checkout["discount"] is not None:
        amount -= amount * Decimal(loads(checkout["discount"].encode())["discount_percent"]) / 100
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


def trial_days(context: PaywallContext, checkout: Row) -> int:
    """Days without payment at the start of a subscription; 0 for other purchases and for a second trial.

    Args:
        context: the paywall.
        checkout: the checkout.
    """
    price = loads(checkout["price"].encode())
    if price["interval"] in (None, "lifetime") or get_user(context, checkout["user_id"])["had_trial"]:
        return 0
    return int(price["trial_days"] if checkout["trial_days"] is None else checkout["trial_days"])


# Payment


def pay(context: PaywallContext, checkout: Row) -> str:
    """Record the payment, once however often the form is sent; returns the purchase's id.

    Args:
        context: the paywall.
        checkout: the checkout.
    """
    if checkout["status"] == "paid":
        return str(checkout["purchase_id"])
    user = get_user(context, checkout["user_id"])
    purchase_id = create_purchase(
        context,
        user,
        price=loads(checkout["price"].encode()),
        discount=None if checkout["discount"] is None else loads(checkout["discount"].encode()),
        amount=amount_due(checkout),
        trial_days=trial_days(context, checkout),
    )
    if checkout["ends_others"]:
        end_other_subscriptions(context, user, purchase_id)
    context.db.update("paywall_checkouts", checkout["id"], status="paid", purchase_id=purchase_id)
    return purchase_id


def return_url(checkout: Row, status: str) -> str | None:
    """Where the payer returns to; None when the checkout has no address for this status.

    The status is in the fragment, where the public client reads it and no server does.

    Args:
        checkout: the checkout.
        status: `paid`, `failed` or `cancelled`.
    """
    address = checkout["success_url" if status == "paid" else "error_url"]
    if address is None:
        return None
    page, _, fragment = str(address).replace(_CHECKOUT_PLACEHOLDER, checkout["id"]).partition("#")
    outcome = urlencode({"paywall_status": status, "paywall_price_id": loads(checkout["price"].encode())["id"]})
    return f"{page}#{fragment}&{outcome}" if fragment else f"{page}#{outcome}"
