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
"""Status of an `Invoice`. Values that this SDK does not know stay strings."""


@attrs.frozen(kw_only=True)
class Invoice(Model):
    """An invoice.

    Attributes:
        id: `inv_...`.
        amount_due: amount in major units of `currency`.
        currency: ISO 4217 code.
        status: `draft`, `open`, `paid` or `void`.
        customer_id: `cust_...`.
        title: title of the invoice.
        description: text on the invoice.
        due_date: when it is due.
        invoice_number: number of the invoice.
        created_at: when it was created.
    """

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
    """Calls for invoices."""

    async def list_invoices(self) -> list[Invoice]:
        """List all invoices of the merchant (`GET /invoices`)."""
        return await self._get("/invoices", list[Invoice])

    async def get_invoice(self, invoice_id: str) -> Invoice:
        """Get an invoice (`GET /invoices/{id}`).

        Args:
            invoice_id: `inv_...`.

        Raises:
            NotFoundError: the invoice does not exist.
        """
        return await self._get(f"/invoices/{validation.segment('invoice_id', invoice_id)}", Invoice)

    async def create_invoice(
        self,
        customer_id: str,
        *,
        amount_due: Number,
        currency: str | None = None,
        due_date: date | None = None,
        description: str | None = None,
        status: InvoiceStatus | None = None,
        idempotency_key: str | None = None,
    ) -> Invoice:
        """Create an invoice (`POST /invoices`).

        Args:
            customer_id: `cust_...`, the customer who is billed.
            amount_due: amount in major units, e.g. `Decimal("120.50")` dollars.
            currency: ISO 4217 code; `USD` by default.
            due_date: a date or an aware datetime; none by default.
            description: text on the invoice; may be empty.
            status: `draft`, `open` (the default), `paid` or `void`.
            idempotency_key: 1 to 255 printable ASCII characters without spaces; a random key by default.

        Raises:
            NotFoundError: the customer does not exist.
        """
        body = {
            "customer_id": validation.text("customer_id", customer_id),
            "amount_due": validation.number("amount_due", amount_due),
            "currency": validation.optional_text("currency", currency),
            "due_date": validation.optional_date("due_date", due_date),
            "description": validation.optional_description("description", description),
            "status": validation.optional_text("status", status),
        }
        return await self._post("/invoices", body, Invoice, idempotency_key)
