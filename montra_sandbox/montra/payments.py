"""Payments of checkout links: sessions of the hosted page, transactions, and what a payment leads to."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import attrs

from ..database import Row, pick
from ..ids import new_id
from ..json import decimal, decimal_text, dumps, loads
from . import customers
from .charges import apply_discount, round_to_cents
from .checkout_links import line_items, link_price
from .merchant_context import MerchantContext
from .plans import recurring_products
from .refunds import find_redeemable_discount
from .subscriptions import change_plan, find_running, subscribe


@attrs.frozen(kw_only=True)
class Payment:
    """What the payer entered on the page.

    Attributes:
        name: the payer's name.
        email: the payer's email address.
        code: a discount code; None without one.
        declined: why the card was declined, for the payer; None when the payment goes through.
    """

    name: str
    email: str
    code: str | None = None
    declined: str | None = None


class DiscountRefused(Exception):
    """The discount code can't be redeemed. The message is for the payer."""


def open_session(context: MerchantContext, link: Row) -> Row:
    """Open a session for one visit of the page. A session is paid at most once, however often its form is sent.

    Args:
        context: the merchant.
        link: the checkout link.
    """
    session_id = new_id("cs")
    context.db.insert(
        "checkout_sessions",
        id=session_id,
        merchant_id=context.merchant_id,
        link_id=link["id"],
        status="open",
        created_at=context.now_text,
    )
    return context.get_or_404("checkout_sessions", "checkout session", session_id)


def pay(context: MerchantContext, session: Row, payment: Payment) -> Row:
    """Record a successful or declined payment; returns the transaction.

    Args:
        context: the merchant.
        session: the session; when it is paid already, its transaction is returned.
        payment: what the payer entered.

    Raises:
        DiscountRefused: the discount code can't be redeemed.
    """
    if session["status"] == "paid":
        return get_transaction(context, session["transaction_id"])
    link = context.get_or_404("checkout_links", "checkout link", session["link_id"])
    discount = _redeem(context, payment.code)
    amount = round_to_cents(link_price(context, link))
    if discount is not None:
        amount = apply_discount(amount, decimal(discount["percent_off"]), decimal(discount["amount_off"]))
    customer = None if payment.declined else _get_or_create_customer(context, payment)
    transaction = _insert_transaction(context, link, payment, amount, customer, discount)
    status = "declined" if payment.declined else "paid"
    context.db.update("checkout_sessions", session["id"], status=status, transaction_id=transaction["id"])
    if customer is not None:
        _complete(context, link, session, transaction, customer, discount)
    return transaction


def _redeem(context: MerchantContext, code: str | None) -> Row | None:
    if not code:
        return None
    found = find_redeemable_discount(context, code)
    if isinstance(found, str):
        raise DiscountRefused(found)
    return found


def _get_or_create_customer(context: MerchantContext, payment: Payment) -> Row:
    customer = context.db.one(
        "SELECT * FROM customers WHERE merchant_id = ? AND email = ?", context.merchant_id, payment.email
    )
    return customer or customers.insert(context, {"name": payment.name, "email": payment.email})


def _insert_transaction(
    context: MerchantContext, link: Row, payment: Payment, amount: Decimal, customer: Row | None, discount: Row | None
) -> Row:
    transaction_id = new_id("tx")
    context.db.insert(
        "transactions",
        id=transaction_id,
        merchant_id=context.merchant_id,
        link_id=link["id"],
        customer_id=None if customer is None else customer["id"],
        amount=decimal_text(amount),
        currency="USD",
        status="failed" if payment.declined else "succeeded",
        failure=payment.declined,
        description=link["payment_name"],
        product_ids=dumps([item["product_id"] for item in line_items(link)]),
        discount_id=None if discount is None else discount["id"],
        created_at=context.now_text,
    )
    row = get_transaction(context, transaction_id)
    context.record_event(f"transaction.{row['status']}", transaction_id, serialize_transaction(row))
    return row


def _complete(
    context: MerchantContext, link: Row, session: Row, transaction: Row, customer: Row, discount: Row | None
) -> None:
    if discount is not None:
        context.db.update("discounts", discount["id"], times_redeemed=discount["times_redeemed"] + 1)
    subscription_id = _start_subscription(context, link, transaction, customer, discount)
    payload = {
        "session_id": session["id"],
        "link_id": link["id"],
        "transaction_id": transaction["id"],
        "customer_id": customer["id"],
        "customer_email": customer["email"],
        "subscription_id": subscription_id,
        "amount": decimal(transaction["amount"]),
        "currency": transaction["currency"],
        "status": "succeeded",
        "line_items": line_items(link),
    }
    context.record_event("checkout.completed", session["id"], payload)


def _start_subscription(
    context: MerchantContext, link: Row, transaction: Row, customer: Row, discount: Row | None
) -> str | None:
    """Subscribe the customer to the plan of the first recurring product; returns the subscription's id.

    What renews is what was bought: the recurring products of the link in their quantities.
    """
    bought = [(context.get_or_404("products", "product", one["product_id"]), one) for one in line_items(link)]
    recurring = [(product, item["quantity"]) for product, item in bought if product["price_type"] == "recurring"]
    if not recurring:
        return None
    plan = recurring[0][0]["pricing_model_id"]
    quantities: Counter[str] = Counter()
    for product, quantity in recurring:
        quantities[product["id"]] += quantity
    whole_plan = {product_id: 1 for product_id, _ in recurring_products(context, plan)}
    items = None if quantities == whole_plan else quantities
    running = find_running(context, customer["id"])
    if running is None:
        return str(subscribe(context, customer["id"], plan, items=items, checkout=transaction, discount=discount)["id"])
    has = None if running["items"] is None else loads(running["items"].encode())
    if (running["pricing_model_id"], has) != (plan, items):
        change_plan(context, running, plan, items)
    return str(running["id"])


def get_transaction(context: MerchantContext, transaction_id: str) -> Row:
    """A transaction of the merchant.

    Args:
        context: the merchant.
        transaction_id: the transaction's id.

    Raises:
        Problem: 404.
    """
    return context.get_or_404("transactions", "transaction", transaction_id)


def serialize_transaction(row: Row) -> dict[str, Any]:
    """A transaction's JSON, for the controls and the audit log."""
    names = ("id", "link_id", "customer_id", "currency", "status", "failure", "description", "created_at")
    return {**pick(row, *names), "amount": decimal(row["amount"]), "product_ids": loads(row["product_ids"].encode())}
