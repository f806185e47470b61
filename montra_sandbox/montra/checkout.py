"""Checkout links, and what paying or declining on their hosted page does."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import attrs

from ..context import Context, Handler
from ..problems import conflict
from ..store import Row, new_id, pick
from ..wire import decimal, decimal_text, dumps, loads, money
from . import customers, money as discounts
from .pricing import cents, discounted, total
from .subscriptions import change_plan, find, still_running, subscribe


def show(context: Context, row: Row) -> dict[str, Any]:
    return {"id": row["id"], "url": f"{context.origin}/pay/{row['id']}", "status": row["status"]}


def create_checkout_link(context: Context) -> Any:
    body = context.body
    items: list[dict[str, Any]] = [
        {"product_id": one["product_id"], "quantity": int(one.get("quantity", 1))} for one in body.get("line_items", [])
    ]
    for item in items:
        context.find("products", "product", item["product_id"])
    if "amount" not in body and not sum_of(context, items):
        raise conflict("nothing_to_pay", "the products of line_items cost nothing; give an amount")
    link_id = new_id("link")
    context.store.insert(
        "checkout_links",
        id=link_id,
        merchant_id=context.merchant_id,
        link_name=body["link_name"],
        payment_name=body["payment_name"],
        amount=decimal_text(body.get("amount")),
        description=body.get("description"),
        line_items=dumps(items),
        image_ids=dumps(body.get("image_ids", [])),
        image_url=body.get("image_url"),
        status=body.get("status", "active"),
        created_at=context.now_text,
    )
    shown = show(context, context.find("checkout_links", "checkout link", link_id))
    context.record("checkout_link.created", link_id, {**shown, "link_name": body["link_name"]})
    return shown


def line_items(link: Row) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = loads(link["line_items"].encode())
    return items


def sum_of(context: Context, items: list[dict[str, Any]]) -> Decimal:
    products = [context.find("products", "product", item["product_id"]) for item in items]
    return total(
        Decimal(product["amount"] or 0) * item["quantity"] for product, item in zip(products, items, strict=True)
    )


def price(context: Context, link: Row) -> Decimal:
    """What the page asks for: the link's amount, else the sum of its items."""
    return Decimal(link["amount"]) if link["amount"] is not None else sum_of(context, line_items(link))


def open_session(context: Context, link: Row) -> Row:
    """One visit of the page. A session is paid at most once, however often its form is sent."""
    session_id = new_id("cs")
    context.store.insert(
        "checkout_sessions",
        id=session_id,
        merchant_id=context.merchant_id,
        link_id=link["id"],
        status="open",
        created_at=context.now_text,
    )
    return context.find("checkout_sessions", "checkout session", session_id)


@attrs.frozen(kw_only=True)
class Payment:
    """What somebody typed into the page. `declined` is the card's refusal in words, None when it pays."""

    name: str
    email: str
    code: str | None = None
    declined: str | None = None


class Refused(Exception):
    """The form can't be accepted as it is; the words are for the payer."""


def pay(context: Context, session: Row, payment: Payment) -> Row:
    """Take the payment, or note that it failed; the transaction.

    Raises:
        Refused: the discount code can't be used.
    """
    if session["status"] == "paid":
        return find_transaction(context, session["transaction_id"])
    link = context.find("checkout_links", "checkout link", session["link_id"])
    discount = _discount(context, payment.code)
    amount = cents(price(context, link))
    if discount is not None:
        amount = discounted(amount, decimal(discount["percent_off"]), decimal(discount["amount_off"]))
    customer = None if payment.declined else _customer(context, payment)
    transaction = _add_transaction(context, link, payment, amount, customer, discount)
    status = "declined" if payment.declined else "paid"
    context.store.update("checkout_sessions", session["id"], status=status, transaction_id=transaction["id"])
    if customer is not None:
        _complete(context, link, session, transaction, customer, discount)
    return transaction


def _discount(context: Context, code: str | None) -> Row | None:
    if not code:
        return None
    found = discounts.redeemable(context, code)
    if isinstance(found, str):
        raise Refused(found)
    return found


def _customer(context: Context, payment: Payment) -> Row:
    known = context.store.one(
        "SELECT * FROM customers WHERE merchant_id = ? AND email = ?", context.merchant_id, payment.email
    )
    return known or customers.add(context, {"name": payment.name, "email": payment.email})


def _add_transaction(
    context: Context, link: Row, payment: Payment, amount: Decimal, customer: Row | None, discount: Row | None
) -> Row:
    transaction_id = new_id("tx")
    context.store.insert(
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
    row = find_transaction(context, transaction_id)
    context.record(f"transaction.{row['status']}", transaction_id, show_transaction(row))
    return row


def _complete(context: Context, link: Row, session: Row, transaction: Row, customer: Row, discount: Row | None) -> None:
    if discount is not None:
        context.store.update("discounts", discount["id"], times_redeemed=discount["times_redeemed"] + 1)
    subscription_id = _start_subscription(context, link, customer, discount)
    payload = {
        "session_id": session["id"],
        "link_id": link["id"],
        "transaction_id": transaction["id"],
        "customer_id": customer["id"],
        "customer_email": customer["email"],
        "subscription_id": subscription_id,
        "amount": money(transaction["amount"]),
        "currency": transaction["currency"],
        "status": "succeeded",
        "line_items": line_items(link),
    }
    context.record("checkout.completed", session["id"], payload)


def _start_subscription(context: Context, link: Row, customer: Row, discount: Row | None) -> str | None:
    """Buying a recurring product puts the customer on that product's plan."""
    products = [context.find("products", "product", item["product_id"]) for item in line_items(link)]
    plan = next((one["pricing_model_id"] for one in products if one["price_type"] == "recurring"), None)
    if plan is None:
        return None
    running = still_running(context, customer["id"])
    if running is None:
        return str(subscribe(context, customer["id"], plan, paid=True, discount=discount)["id"])
    if running["pricing_model_id"] != plan:
        change_plan(context, find(context, running["id"]), plan)
    return str(running["id"])


def find_transaction(context: Context, transaction_id: str) -> Row:
    return context.find("transactions", "transaction", transaction_id)


def show_transaction(row: Row) -> dict[str, Any]:
    names = ("id", "link_id", "customer_id", "currency", "status", "failure", "description", "created_at")
    return {
        **pick(row, *names),
        "amount": money(row["amount"]),
        "product_ids": loads(row["product_ids"].encode()),
    }


HANDLERS: dict[str, Handler] = {"create_checkout_link": create_checkout_link}
