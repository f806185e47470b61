"""Refunds and discounts."""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from typing import Any

from ..clock import from_text, to_text
from ..context import Context, Handler, present
from ..problems import conflict
from ..store import Row, new_id, pick
from ..wire import decimal_text, money, number
from .pricing import total


def show_refund(row: Row) -> dict[str, Any]:
    names = ("id", "status", "transaction_id", "reason", "created_at")
    return present({**pick(row, *names), "amount": money(row["amount"])})


def create_refund(context: Context) -> Any:
    transaction = context.find("transactions", "transaction", context.body["transaction_id"])
    if transaction["status"] != "succeeded":
        raise conflict("transaction_not_paid", f"the transaction {transaction['status']}: nothing was paid")
    amount = Decimal(context.body["amount"])
    left = Decimal(transaction["amount"]) - refunded(context, transaction["id"])
    if amount > left:
        raise conflict("refund_exceeds_transaction", f"{amount:f} is more than the {left:f} that is left")
    refund_id = new_id("ref")
    context.store.insert(
        "refunds",
        id=refund_id,
        merchant_id=context.merchant_id,
        transaction_id=transaction["id"],
        amount=decimal_text(amount),
        status="succeeded",
        reason=context.body.get("reason"),
        created_at=context.now_text,
    )
    shown = show_refund(context.find("refunds", "refund", refund_id))
    context.record("refund.created", refund_id, shown)
    return shown


def refunded(context: Context, transaction_id: str) -> Decimal:
    """What has been given back of a transaction."""
    rows = context.store.all("SELECT amount FROM refunds WHERE transaction_id = ?", transaction_id)
    return total(Decimal(row["amount"]) for row in rows)


def show_discount(row: Row) -> dict[str, Any]:
    names = (
        "id",
        "name",
        "code",
        "status",
        "currency",
        "duration",
        "duration_in_months",
        "max_redemptions",
        "times_redeemed",
        "valid_until",
        "created_at",
    )
    off = {"percent_off": number(row["percent_off"]), "amount_off": money(row["amount_off"])}
    return present({**pick(row, *names), **off})


def create_discount(context: Context) -> Any:
    body = context.body
    discount_id = new_id("disc")
    whole = ("duration_in_months", "max_redemptions")
    try:
        context.store.insert(
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
            times_redeemed=0,
            valid_until=to_text(from_text(body["valid_until"])) if "valid_until" in body else None,
            created_at=context.now_text,
            **{name: int(body[name]) for name in whole if name in body},
        )
    except sqlite3.IntegrityError:
        raise conflict("conflict", f"a discount with the code {body['code']!r} exists") from None
    shown = show_discount(context.find("discounts", "discount", discount_id))
    context.record("discount.created", discount_id, shown)
    return shown


def redeemable(context: Context, code: str) -> Row | str:
    """The discount of a code, or why it can't be used."""
    row = context.store.one("SELECT * FROM discounts WHERE merchant_id = ? AND code = ?", context.merchant_id, code)
    if row is None or row["status"] != "active":
        return "There is no such discount code."
    if row["valid_until"] is not None and row["valid_until"] <= context.now_text:
        return "This discount code has expired."
    if row["max_redemptions"] is not None and row["times_redeemed"] >= row["max_redemptions"]:
        return "This discount code has been used up."
    return row


HANDLERS: dict[str, Handler] = {"create_refund": create_refund, "create_discount": create_discount}
