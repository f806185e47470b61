"""Invoices."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from ..database import Row, pick
from ..datetimes import format_datetime, parse_datetime
from ..ids import new_id
from ..json import decimal, decimal_text, omit_none
from .merchant_context import MerchantContext, operation

_DEFAULT_TITLE = "Invoice"


@operation("list_invoices")
def list_invoices(context: MerchantContext) -> Any:
    """GET /invoices."""
    return [serialize(row) for row in context.list_rows("invoices")]


@operation("get_invoice")
def get_invoice(context: MerchantContext) -> Any:
    """GET /invoices/{invoice_id}."""
    return serialize(context.get_or_404("invoices", "invoice", context.path["invoice_id"]))


@operation("create_invoice")
def create_invoice(context: MerchantContext) -> Any:
    """POST /invoices."""
    body = context.body
    customer = context.get_or_404("customers", "customer", body["customer_id"])
    return insert_invoice(
        context,
        customer_id=customer["id"],
        subscription_id=None,
        title=_DEFAULT_TITLE,
        amount_due=Decimal(body["amount_due"]),
        currency=body.get("currency", "USD").upper(),
        status=body.get("status", "open"),
        description=body.get("description"),
        due_date=parse_datetime(body["due_date"]) if "due_date" in body else None,
    )


def serialize(row: Row) -> dict[str, Any]:
    """An invoice's JSON."""
    names = ("id", "customer_id", "title", "currency", "status", "description", "due_date", "invoice_number")
    return omit_none({**pick(row, *names, "created_at"), "amount_due": decimal(row["amount_due"])})


def insert_invoice(
    context: MerchantContext,
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
    """Number and insert an invoice and record `invoice.created`; returns its JSON.

    Args:
        context: the merchant.
        customer_id: who pays.
        subscription_id: the subscription whose period is invoiced; None for other invoices.
        title: the title.
        amount_due: the amount in major units.
        currency: ISO code in upper case.
        status: such as `open`, `paid`, `draft`.
        description: further text, or None.
        due_date: when it is due, or None.
    """
    invoice_id = new_id("inv")
    invoice_number = context.db.next_number(f"invoices:{context.merchant_id}")
    context.db.insert(
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
        due_date=None if due_date is None else format_datetime(due_date),
        invoice_number=f"INV-{invoice_number:06d}",
        created_at=context.now_text,
    )
    serialized = serialize(context.get_or_404("invoices", "invoice", invoice_id))
    context.record_event("invoice.created", invoice_id, serialized)
    return serialized
