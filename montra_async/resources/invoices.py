"""Invoices."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Literal, TypeAlias

import attrs

from ..core import validation
from ..core.client import BaseClient
from ..core.models.model import Model
from ..core.validation import Number

InvoiceStatus: TypeAlias = Literal["draft", "open", "paid", "void"] | str


@attrs.frozen(kw_only=True)
class Invoice(Model):
    """A bill. `amount_due` is in major units of `currency`."""

    id: str
    amount_due: Decimal
    currency: str | None = None
    status: InvoiceStatus | None = None
    customer_id: str | None = None
    title: str | None = None
    description: str | None = None
    due_date: datetime | None = None
    invoice_number: str | None = None
    created_at: datetime | None = None


class InvoicesApi(BaseClient):
    async def list_invoices(self) -> list[Invoice]:
        """All invoices of the merchant (`GET /invoices`)."""
        return await self._get("/invoices", list[Invoice])

    async def get_invoice(self, invoice_id: str) -> Invoice:
        """One invoice (`GET /invoices/{id}`).

        Raises:
            NotFoundError: no such invoice.
        """
        return await self._get(f"/invoices/{validation.segment('invoice_id', invoice_id)}", Invoice)

    async def create_invoice(
        self,
        *,
        customer_id: str,
        amount_due: Number,
        currency: str | None = None,
        due_date: date | None = None,
        description: str | None = None,
        status: InvoiceStatus | None = None,
        idempotency_key: str | None = None,
    ) -> Invoice:
        """Create an invoice by hand (`POST /invoices`).

        Args:
            customer_id: who owes.
            amount_due: major units, e.g. `Decimal("120.50")` dollars.
            currency: ISO code, `USD` by default.
            due_date: a date, or a datetime with a time zone.
            description: printed on the invoice; may be empty.
            status: `draft`, `open` (the default), `paid` or `void`.
            idempotency_key: your own key; one is made when you give none.

        Raises:
            NotFoundError: no such customer.
        """
        body = {
            "customer_id": validation.text("customer_id", customer_id),
            "amount_due": validation.number("amount_due", amount_due),
            "currency": validation.optional_text("currency", currency),
            "due_date": validation.optional_day("due_date", due_date),
            "description": validation.optional_description("description", description),
            "status": validation.optional_text("status", status),
        }
        return await self._post("/invoices", body, Invoice, idempotency_key)
