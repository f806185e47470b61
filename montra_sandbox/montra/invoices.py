"""Invoices."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from ..clock import from_text, to_text
from ..context import Context, Handler, present
from ..store import Row, new_id, pick
from ..wire import decimal_text, money

DEFAULT_TITLE = "Invoice"


def show(row: Row) -> dict[str, Any]:
    names = (
        *("id", "customer_id", "title", "currency", "status", "description", "due_date", "invoice_number"),
        "created_at",
    )
    return present({**pick(row, *names), "amount_due": money(row["amount_due"])})


def list_invoices(context: Context) -> list[Any]:
    return [show(row) for row in context.mine("invoices")]


def get_invoice(context: Context) -> Any:
    return show(context.find("invoices", "invoice", context.path["invoice_id"]))


def create_invoice(context: Context) -> Any:
    body = context.body
    customer = context.find("customers", "customer", body["customer_id"])
    return add(
        context,
        customer_id=customer["id"],
        subscription_id=None,
        title=DEFAULT_TITLE,
        amount_due=Decimal(body["amount_due"]),
        currency=body.get("currency", "USD").upper(),
        status=body.get("status", "open"),
        description=body.get("description"),
        due_date=from_text(body["due_date"]) if "due_date" in body else None,
    )


def add(
    context: Context,
    *,
    customer_id: str,
    subscription_id: str | None,
    title: str,
    amount_due: Decimal,
    currency: str,
    status: str,
    description: str | None,
    due_date: datetime | None,
) -> dict[str, Any]:
    """Number, keep and announce an invoice."""
    invoice_id = new_id("inv")
    number = context.store.next_number(f"invoices:{context.merchant_id}")
    context.store.insert(
        "invoices",
        id=invoice_id,
        merchant_id=context.merchant_id,
        customer_id=customer_id,
        subscription_id=subscription_id,
        title=title,
        amount_due=decimal_text(amount_due),
        currency=currency,
        status=status,
        description=description,
        due_date=None if due_date is None else to_text(due_date),
        invoice_number=f"INV-{number:06d}",
        created_at=context.now_text,
    )
    shown = show(context.find("invoices", "invoice", invoice_id))
    context.record("invoice.created", invoice_id, shown)
    return shown


HANDLERS: dict[str, Handler] = {
    "list_invoices": list_invoices,
    "get_invoice": get_invoice,
    "create_invoice": create_invoice,
}
