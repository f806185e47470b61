"""Customers."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from ..database import Row
from ..ids import new_id
from ..json import dumps, loads, omit_none
from ..problems import Problem, conflict
from .merchant_context import MerchantContext, operation

_TEXT_FIELDS = ("name", "email", "phone")
_JSON_FIELDS = ("address", "invoicing_emails", "metadata")


@operation("list_customers")
def list_customers(context: MerchantContext) -> Any:
    """GET /customers."""
    return [serialize(row) for row in context.list_rows("customers")]


@operation("create_customer")
def create_customer(context: MerchantContext) -> Any:
    """POST /customers."""
    return serialize(insert(context, context.body))


@operation("get_customer")
def get_customer(context: MerchantContext) -> Any:
    """GET /customers/{customer_id}."""
    return serialize(_get(context, context.path["customer_id"]))


@operation("update_customer")
def update_customer(context: MerchantContext) -> Any:
    """PATCH /customers/{customer_id}."""
    customer_id = _get(context, context.path["customer_id"])["id"]
    try:
        context.db.update("customers", customer_id, **_columns(context.body))
    except sqlite3.IntegrityError:
        raise _email_taken(context.body["email"]) from None
    updated = serialize(_get(context, customer_id))
    context.record_event("customer.updated", customer_id, updated)
    return updated


def serialize(row: Row) -> dict[str, Any]:
    """A customer's JSON."""
    return omit_none(
        {
            "id": row["id"],
            "name": row["name"],
            "email": row["email"],
            "status": row["status"],
            "phone": row["phone"],
            **{name: None if row[name] is None else loads(row[name].encode()) for name in _JSON_FIELDS},
            "created_at": row["created_at"],
        }
    )


def insert(context: MerchantContext, fields: Mapping[str, Any]) -> Row:
    """Insert a customer and record `customer.created`.

    Args:
        context: the merchant.
        fields: `name` and `email`, and any other fields of `create_customer`.

    Raises:
        Problem: 409, another customer has the email address.
    """
    customer_id = new_id("cust")
    try:
        context.db.insert(
            "customers",
            id=customer_id,
            merchant_id=context.merchant_id,
            status="active",
            created_at=context.now_text,
            **_columns(fields),
        )
    except sqlite3.IntegrityError:
        raise _email_taken(fields["email"]) from None
    row = _get(context, customer_id)
    context.record_event("customer.created", customer_id, serialize(row))
    return row


def _get(context: MerchantContext, customer_id: str) -> Row:
    return context.get_or_404("customers", "customer", customer_id)


def _columns(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the columns that a request may set; the names are ours, whatever the request holds."""
    texts = {name: fields[name] for name in _TEXT_FIELDS if name in fields}
    objects = {name: fields[name] for name in _JSON_FIELDS if name in fields}
    return {**texts, **{name: None if value is None else dumps(value) for name, value in objects.items()}}


def _email_taken(email: str) -> Problem:
    return conflict("conflict", f"a customer with the email {email!r} exists")
