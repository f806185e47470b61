"""Customers."""

from __future__ import annotations

import sqlite3
from typing import Any

from ..context import Context, Handler, present
from ..problems import conflict
from ..store import Row, new_id
from ..wire import dumps, loads


def show(row: Row) -> dict[str, Any]:
    return present(
        {
            "id": row["id"],
            "name": row["name"],
            "email": row["email"],
            "status": row["status"],
            "phone": row["phone"],
            "address": _stored(row["address"]),
            "invoicing_emails": _stored(row["invoicing_emails"]),
            "metadata": _stored(row["metadata"]),
            "created_at": row["created_at"],
        }
    )


def list_customers(context: Context) -> list[Any]:
    return [show(row) for row in context.mine("customers")]


def create_customer(context: Context) -> Any:
    return show(add(context, dict(context.body)))


def add(context: Context, fields: dict[str, Any]) -> Row:
    """Insert and announce a customer.

    Raises:
        Problem: 409, the email is taken.
    """
    customer_id = new_id("cust")
    try:
        context.store.insert(
            "customers",
            id=customer_id,
            merchant_id=context.merchant_id,
            status="active",
            created_at=context.now_text,
            **_columns(fields),
        )
    except sqlite3.IntegrityError:
        raise _email_taken(fields["email"]) from None
    row = context.find("customers", "customer", customer_id)
    context.record("customer.created", customer_id, show(row))
    return row


def get_customer(context: Context) -> Any:
    return show(context.find("customers", "customer", context.path["customer_id"]))


def update_customer(context: Context) -> Any:
    customer_id = context.find("customers", "customer", context.path["customer_id"])["id"]
    try:
        context.store.update("customers", customer_id, **_columns(dict(context.body)))
    except sqlite3.IntegrityError:
        raise _email_taken(context.body["email"]) from None
    changed = show(context.find("customers", "customer", customer_id))
    context.record("customer.updated", customer_id, changed)
    return changed


def _columns(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: dumps(value) if isinstance(value, (dict, list)) else value for name, value in fields.items()}


def _stored(text: str | None) -> Any:
    return None if text is None else loads(text.encode())


def _email_taken(email: str) -> Exception:
    return conflict("conflict", f"a customer with the email {email!r} exists")


HANDLERS: dict[str, Handler] = {
    "list_customers": list_customers,
    "create_customer": create_customer,
    "get_customer": get_customer,
    "update_customer": update_customer,
}
