"""Collecting invoices: the service charges the customer's card for each new period, and the card may be declined."""

from __future__ import annotations

from ..database import Row
from ..ids import new_id
from ..json import dumps
from ..montra.invoices import serialize
from ..montra.merchant_context import MerchantContext
from ..montra.payments import get_transaction, serialize_transaction

RETRY_DAYS: int = 3
"""Days after a declined payment at which it is tried again."""
GIVE_UP_DAYS: int = 10
"""Days after the first declined payment at which the service gives up."""


def charge_invoice(context: MerchantContext, invoice_id: str, declined: str | None = None) -> None:
    """Charge an open invoice: records the transaction, and the invoice is paid if the card was not declined.

    Args:
        context: the merchant.
        invoice_id: the invoice.
        declined: why the card was declined; None when it paid.
    """
    invoice = _get(context, invoice_id)
    transaction_id = new_id("tx")
    context.db.insert(
        "transactions",
        id=transaction_id,
        merchant_id=context.merchant_id,
        customer_id=invoice["customer_id"],
        amount=invoice["amount_due"],
        currency=invoice["currency"],
        status="failed" if declined else "succeeded",
        failure=declined,
        description=f"Invoice {invoice['invoice_number']}",
        product_ids=dumps([]),
        created_at=context.now_text,
    )
    row = get_transaction(context, transaction_id)
    context.record_event(f"transaction.{row['status']}", transaction_id, serialize_transaction(row))
    if not declined:
        set_invoice_status(context, invoice_id, "paid")


def set_invoice_status(context: MerchantContext, invoice_id: str, status: str) -> None:
    """Set the status of an invoice, which no call of the API does, and write it to the audit log.

    Args:
        context: the merchant.
        invoice_id: the invoice.
        status: such as `paid` or `uncollectible`.
    """
    context.db.update("invoices", invoice_id, status=status)
    context.record_event(f"invoice.{status}", invoice_id, serialize(_get(context, invoice_id)))


def newest_invoice(context: MerchantContext, subscription_id: str) -> str:
    """The id of a subscription's newest invoice.

    Args:
        context: the merchant.
        subscription_id: the subscription.
    """
    return str(
        context.db.value(
            "SELECT id FROM invoices WHERE subscription_id = ? ORDER BY created_at DESC, rowid DESC LIMIT 1",
            subscription_id,
        )
    )


def _get(context: MerchantContext, invoice_id: str) -> Row:
    return context.get_or_404("invoices", "invoice", invoice_id)
