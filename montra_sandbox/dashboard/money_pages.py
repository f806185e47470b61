"""Payments of checkout links, checkout links, discounts and invoices."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from aiohttp import web

from ..database import Row
from ..montra.checkout_links import line_items, link_price
from ..problems import Problem
from .routing import Done, form, page
from .view import View

_STATUSES = ("", "succeeded", "failed")
_INVOICE_STATUSES = ("", "open", "paid", "draft", "void", "uncollectible")
_SHOWN = 10
_START_CODE = """\
link = await montra.create_checkout_link(link_name="pro", payment_name="Pro", amount=20)
print(link.url)  # open it and pay with a test card"""
_INVOICE_CODE = "invoice = await montra.create_invoice(customer_id, amount_due=120)"


async def show_payments(view: View) -> web.StreamResponse:
    """Show the payments, newest first, with the newest checkout links and discounts.

    Args:
        view: the request.
    """
    status = view.query("status")
    status = status if status in _STATUSES else ""
    rows = view.list_rows(
        "SELECT payment.*, customer.name AS customer_name FROM transactions payment"
        " LEFT JOIN customers customer ON customer.id = payment.customer_id"
        " WHERE payment.merchant_id = ? AND ? IN ('', payment.status)"
        " ORDER BY payment.created_at DESC, payment.rowid DESC",
        *(view.merchant_id, status),
    )
    return view.page(
        "payments.html",
        section="payments",
        rows=rows,
        chosen=status,
        statuses=_STATUSES,
        links=[_link(view, row) for row in _newest(view, "checkout_links")],
        discounts=_newest(view, "discounts"),
        products=view.db.all(
            "SELECT product.id, product.name, model.name AS model_name FROM products product"
            " JOIN pricing_models model ON model.id = product.pricing_model_id"
            " WHERE product.merchant_id = ? AND product.price_type <> 'usage' ORDER BY model.name, product.name"
            " LIMIT 200",
            view.merchant_id,
        ),
        start_code=_START_CODE,
    )


def _newest(view: View, table: str) -> list[Row]:
    sql = f"SELECT * FROM {table} WHERE merchant_id = ? ORDER BY created_at DESC, rowid DESC LIMIT ?"
    return view.db.all(sql, view.merchant_id, _SHOWN)


def _link(view: View, row: Row) -> dict[str, Any]:
    context = view.world.merchant_context(row["merchant_id"], view.now)
    return {**dict(row), "price": link_price(context, row)}


async def show_payment(view: View) -> web.StreamResponse:
    """Show a payment, its items and its refunds.

    Args:
        view: the request.
    """
    row = view.get_row("transactions", "payment", view.path_value("id"))
    refunds = view.db.all("SELECT * FROM refunds WHERE transaction_id = ? ORDER BY rowid LIMIT 200", row["id"])
    refunded = sum((Decimal(refund["amount"]) for refund in refunds), Decimal(0))
    link = view.db.one("SELECT * FROM checkout_links WHERE id = ?", row["link_id"])
    return view.page(
        "payment.html",
        section="payments",
        payment=row,
        customer=view.db.one("SELECT * FROM customers WHERE id = ?", row["customer_id"]),
        link=link,
        items=[] if link is None else _items(view, link),
        discount=view.db.one("SELECT * FROM discounts WHERE id = ?", row["discount_id"]),
        refunds=refunds,
        left=Decimal(row["amount"]) - refunded if row["status"] == "succeeded" else Decimal(0),
        events=_events_of(view, row["id"]),
    )


def _items(view: View, link: Row) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for item in line_items(link):
        product = view.db.one("SELECT * FROM products WHERE id = ?", item["product_id"])
        if product is not None:
            found.append({**dict(product), "quantity": item["quantity"]})
    return found


def _events_of(view: View, resource_id: str) -> list[Row]:
    return view.db.all(
        "SELECT event_type, created_at FROM audit_logs WHERE resource_id = ? AND merchant_id = ?"
        " ORDER BY sequence DESC LIMIT ?",
        *(resource_id, view.merchant_id, _SHOWN),
    )


async def show_invoices(view: View) -> web.StreamResponse:
    """Show the invoices, newest first.

    Args:
        view: the request.
    """
    status = view.query("status")
    status = status if status in _INVOICE_STATUSES else ""
    rows = view.list_rows(
        "SELECT invoice.*, customer.name AS customer_name FROM invoices invoice"
        " LEFT JOIN customers customer ON customer.id = invoice.customer_id"
        " WHERE invoice.merchant_id = ? AND ? IN ('', invoice.status)"
        " ORDER BY invoice.created_at DESC, invoice.rowid DESC",
        *(view.merchant_id, status),
    )
    return view.page(
        "invoices.html",
        section="invoices",
        rows=rows,
        chosen=status,
        statuses=_INVOICE_STATUSES,
        start_code=_INVOICE_CODE,
    )


async def show_invoice(view: View) -> web.StreamResponse:
    """Show an invoice.

    Args:
        view: the request.
    """
    invoice = view.get_row("invoices", "invoice", view.path_value("id"))
    subscription = view.db.one(
        "SELECT subscription.*, model.name AS model_name FROM subscriptions subscription"
        " JOIN pricing_models model ON model.id = subscription.pricing_model_id WHERE subscription.id = ?",
        invoice["subscription_id"],
    )
    return view.page(
        "invoice.html",
        section="invoices",
        invoice=invoice,
        customer=view.db.one("SELECT * FROM customers WHERE id = ?", invoice["customer_id"]),
        subscription=subscription,
        events=_events_of(view, invoice["id"]),
    )


# Forms


async def refund(view: View) -> Done:
    """Refund a payment, in whole or in part.

    Args:
        view: the request.

    Raises:
        Problem: 400 no amount; what the API refuses.
    """
    payment = view.get_row("transactions", "payment", view.path_value("id"))
    amount = view.number("amount")
    if amount is None:
        raise Problem(400, "validation_error", "Give the amount to refund.")
    body: dict[str, Any] = {"transaction_id": payment["id"], "amount": amount}
    if view.text("reason"):
        body["reason"] = view.text("reason")
    view.api.montra("create_refund", body)
    return Done("The payment was refunded.")


async def create_link(view: View) -> Done:
    """Create a checkout link for a product or an amount.

    Args:
        view: the request.
    """
    name, product, amount = view.text("payment_name") or "", view.text("product"), view.number("amount")
    body: dict[str, Any] = {"link_name": name, "payment_name": name}
    if amount is not None:
        body["amount"] = amount
    if product is not None:
        body["line_items"] = [{"product_id": product}]
    view.api.montra("create_checkout_link", body)
    return Done("The checkout link was created.", "/dashboard/payments")


async def create_discount(view: View) -> Done:
    """Create a discount in percent.

    Args:
        view: the request.
    """
    code, percent = view.text("code") or "", view.number("percent_off")
    body: dict[str, Any] = {"name": code, "code": code, "duration": view.text("duration") or "once"}
    if percent is not None:
        body["percent_off"] = percent
    view.api.montra("create_discount", body)
    return Done(f"The discount {code} was created.")


ROUTES = (
    page("/dashboard/payments", show_payments),
    page("/dashboard/payments/{id}", show_payment),
    page("/dashboard/invoices", show_invoices),
    page("/dashboard/invoices/{id}", show_invoice),
    form("/dashboard/payments/{id}/refunds", refund),
    form("/dashboard/checkout-links", create_link),
    form("/dashboard/discounts", create_discount),
)
