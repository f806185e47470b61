"""Pays a checkout as a person does on its page, without a browser."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import attrs

from .. import cards
from ..database import Row
from ..json import loads
from ..montra import payments
from ..montra.charges import exact_decimals
from ..paywall import hosted_checkout, users
from ..paywall.paywall_context import PaywallContext, major_units
from ..paywall.purchase_lifecycle import get_purchase
from ..problems import Problem, invalid
from ..world import World

_MAX_TEXT = 300
_NAMED_CARDS = {
    "declined": "4000000000000002",
    "insufficient_funds": "4000000000009995",
    "expired": "4000000000000069",
}


@attrs.frozen(kw_only=True)
class PaidCheckout:
    """What came of a payment.

    Attributes:
        id: the transaction of Montra, or the purchase of the paywall service; None for a purchase that was declined.
        status: `succeeded` or `failed`.
        amount: what was paid, or was to be paid, in major units. During a trial, what each later payment is.
        currency: ISO code.
        email: the payer's email address.
        customer_id: the customer of Montra, created if there was none; None otherwise.
        user_id: the user of the paywall service; None otherwise.
        subscription_id: the subscription that was started or changed; None without one.
        failure: why it was declined, for the payer; None for a success.
        redirect_url: where the page leads to; None when it stays.
    """

    id: str | None
    status: str
    amount: Decimal
    currency: str
    email: str | None
    customer_id: str | None = None
    user_id: str | None = None
    subscription_id: str | None = None
    failure: str | None = None
    redirect_url: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """All attributes as JSON; the amount is text."""
        return {**attrs.asdict(self), "amount": str(self.amount)}


def pay(world: World, target: Any, *, card: Any, email: Any, name: Any, code: Any) -> PaidCheckout:
    """Pay a checkout link of Montra, or a checkout of the paywall service.

    Args:
        world: the state.
        target: its address or id, or an object with one of them as `url` or `id`.
        card: the number of a test card, or `declined`, `insufficient_funds` or `expired`; None for one that pays.
        email: the payer's email address. The paywall service has it from the checkout.
        name: the payer's name.
        code: a discount code; None without one. Checkout links only.

    Raises:
        Problem: 400 invalid value, or a code that can't be redeemed; 404 no such checkout; 409 paid already; 410 the
            link is not active.
    """
    fields = {"card": _card_number(card), "name": _text("name", name), "email": _text("email", email)}
    code = None if code is None else _text("code", code)
    checkout_id = _id_of(target)
    now = world.run_due()
    with exact_decimals(), world.db.transaction() as db:
        link = db.one("SELECT * FROM checkout_links WHERE id = ?", checkout_id)
        checkout = db.one("SELECT * FROM paywall_checkouts WHERE id = ?", checkout_id) if link is None else None
        if link is not None:
            paid = _pay_link(world, link, fields, code)
        elif checkout is not None:
            if code is not None:
                raise invalid("code: the checkout of a paywall has its offers, and takes no code")
            paywall = db.one("SELECT * FROM paywalls WHERE id = ?", checkout["paywall_id"])
            assert paywall is not None
            paid = _pay_checkout(world.paywall_context(paywall, now), checkout, fields)
        else:
            raise Problem(404, "not_found", f"no checkout link and no checkout {checkout_id[:100]!r}")
    world.notify()
    return paid


def _pay_link(world: World, link: Row, fields: dict[str, str], code: str | None) -> PaidCheckout:
    if link["status"] != "active":
        raise Problem(410, "link_inactive", "This checkout link is no longer active.")
    if not cards.EMAIL.fullmatch(fields["email"]):
        raise invalid("email: an email address")
    context = world.merchant_context(link["merchant_id"], world.clock.now())
    payment = payments.Payment(
        name=fields["name"], email=fields["email"], code=code, declined=cards.decline_reason(fields)
    )
    session = payments.open_session(context, link)
    try:
        transaction = payments.pay(context, session, payment)
    except payments.DiscountRefused as refused:
        raise invalid(f"code: {refused}") from None
    completed = context.db.value(
        "SELECT payload FROM audit_logs WHERE merchant_id = ? AND event_type = 'checkout.completed' AND resource_id = ?"
        " ORDER BY sequence DESC LIMIT 1",
        *(context.merchant_id, session["id"]),
    )
    subscription_id = None if completed is None else loads(completed.encode()).get("subscription_id")
    return PaidCheckout(
        id=transaction["id"],
        status=transaction["status"],
        amount=Decimal(transaction["amount"]),
        currency=transaction["currency"],
        email=fields["email"],
        customer_id=transaction["customer_id"],
        subscription_id=subscription_id,
        failure=transaction["failure"],
    )


def _pay_checkout(context: PaywallContext, checkout: Row, fields: dict[str, str]) -> PaidCheckout:
    if checkout["status"] == "paid":
        raise Problem(409, "already_paid", "this checkout was paid already")
    user = users.get_user(context, checkout["user_id"])
    declined = cards.decline_reason(fields)
    if declined is not None:
        return PaidCheckout(
            id=None,
            status="failed",
            amount=hosted_checkout.amount_due(checkout),
            currency=_currency(checkout),
            email=user["email"],
            user_id=user["id"],
            failure=declined,
            redirect_url=hosted_checkout.return_url(checkout, "failed"),
        )
    purchase = get_purchase(context, hosted_checkout.pay(context, checkout))
    return PaidCheckout(
        id=purchase["id"],
        status="succeeded",
        amount=major_units(purchase["unit_amount"], purchase["currency"]),
        currency=purchase["currency"],
        email=user["email"],
        user_id=user["id"],
        subscription_id=purchase["id"] if purchase["current_period_end"] is not None else None,
        redirect_url=hosted_checkout.return_url(checkout, "paid"),
    )


def _currency(checkout: Row) -> str:
    return str(loads(checkout["price"].encode())["currency"])


def _id_of(target: Any) -> str:
    """The id at the end of an address, or the text itself."""
    found = getattr(target, "url", None) or getattr(target, "id", None) or target
    if not isinstance(found, str) or not found or len(found) > 2_000:
        raise invalid("pay what? A checkout link or checkout: the object, its url or its id")
    return urlsplit(found).path.rstrip("/").rpartition("/")[2]


def _card_number(card: Any) -> str:
    if card is None:
        return next(iter(cards.CARDS))
    number = _NAMED_CARDS.get(str(card), "".join(filter(str.isdigit, str(card)[:_MAX_TEXT])))
    if number not in cards.CARDS:
        raise invalid(f"card: one of {', '.join([*_NAMED_CARDS, *cards.CARDS])}")
    return number


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > _MAX_TEXT:
        raise invalid(f"{name}: a string of 1 to {_MAX_TEXT} characters")
    return value.strip()
