"""Refunds and discounts."""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from typing import Any

from ..database import Row, pick
from ..datetimes import format_datetime, parse_datetime
from ..ids import new_id
from ..json import decimal, decimal_text, number, omit_none
from ..problems import conflict
from .charges import total
from .merchant_context import MerchantContext, operation


@operation("create_refund")
def create_refund(context: MerchantContext) -> Any:
    """POST /refunds."""
    transaction = context.get_or_404("transactions", "transaction", context.body["transaction_id"])
    if transaction["status"] != "succeeded":
        raise conflict("transaction_not_paid", f"the transaction {transaction['status']}: nothing was paid")
    amount = Decimal(context.body["amount"])
    left = Decimal(transaction["amount"]) - _refunded_amount(context, transaction["id"])
    if amount > left:
        raise conflict("refund_exceeds_transaction", f"{amount:f} is more than the {left:f} that is left")
    refund_id = new_id("ref")
    context.db.insert(
        "refunds",
        id=refund_id,
        merchant_id=context.merchant_id,
        transaction_id=transaction["id"],
        amount=decimal_text(amount),
        status="succeeded",
        reason=context.body.get("reason"),
        created_at=context.now_text,
    )
    serialized = serialize(context.get_or_404("refunds", "refund", refund_id))
    context.record_event("refund.created", refund_id, serialized)
    return serialized


def serialize(row: Row) -> dict[str, Any]:
    """A refund's JSON."""
    names = ("id", "status", "transaction_id", "reason", "created_at")
    return omit_none({**pick(row, *names), "amount": decimal(row["amount"])})


def _refunded_amount(context: MerchantContext, transaction_id: str) -> Decimal:
    rows = context.db.all("SELECT amount FROM refunds WHERE transaction_id = ?", transaction_id)
    return total(Decimal(row["amount"]) for row in rows)


# Discounts


@operation("create_discount")
def create_discount(context: MerchantContext) -> Any:
    """POST /discounts."""
    body = context.body
    discount_id = new_id("disc")
    months, redemptions = body.get("duration_in_months"), body.get("max_redemptions")
    try:
        context.db.insert(
            "discounts",
            id=discount_id,
            merchant_id=context.merchant_id,
            name=body["name"],
            code=body["code"],
            status="active",
            percent_off=decimal_text(body.get("percent_off")),
            amount_off=decimal_text(body.get("amount_off")),
            currency=body.get("currency", "USD").upper(),
            duration=body["duration"],
            duration_in_months=None if months is None else int(months),
            max_redemptions=None if redemptions is None else int(redemptions),
            times_redeemed=0,
            valid_until=format_datetime(parse_datetime(body["valid_until"])) if "valid_until" in body else None,
            created_at=context.now_text,
        )
    except sqlite3.IntegrityError:
        raise conflict("conflict", f"a discount with the code {body['code']!r} exists") from None
    serialized = serialize_discount(context.get_or_404("discounts", "discount", discount_id))
    context.record_event("discount.created", discount_id, serialized)
    return serialized


def serialize_discount(row: Row) -> dict[str, Any]:
    """A discount's JSON."""
    names = (
        *("id", "name", "code", "status", "currency", "duration", "duration_in_months", "max_redemptions"),
        *("times_redeemed", "valid_until", "created_at"),
    )
    off = {"percent_off": number(row["percent_off"]), "amount_off": decimal(row["amount_off"])}
    return omit_none({**pick(row, *names), **off})


def find_redeemable_discount(context: MerchantContext, code: str) -> Row | str:
    """The discount of a code, or a message for the payer that says why it can't be redeemed.

    Args:
        context: the merchant.
        code: the discount code.
    """
    row = context.db.one("SELECT * FROM discounts WHERE merchant_id = ? AND code = ?", context.merchant_id, code)
    if row is None or row["status"] != "active":
        return "There is no such discount code."
    if row["valid_until"] is not None and row["valid_until"] <= context.now_text:
        return "This discount code has expired."
    if row["max_redemptions"] is not None and row["times_redeemed"] >= row["max_redemptions"]:
        return "This discount code has been used up."
    return row
