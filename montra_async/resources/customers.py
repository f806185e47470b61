"""Customers: who is billed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias

import attrs

from ..core import validation
from ..core.client import BaseClient
from ..core.models.model import Model
from .subscriptions import Subscription, subscription_body

CustomerStatus: TypeAlias = Literal["active"] | str


@attrs.frozen(kw_only=True)
class Customer(Model):
    """Somebody who is billed. `metadata` is your own JSON, given back as you stored it."""

    id: str
    email: str
    name: str | None = None
    status: CustomerStatus | None = None
    created_at: datetime | None = None
    phone: str | None = None
    address: dict[str, Any] | None = attrs.field(default=None, hash=False)
    invoicing_emails: list[str] | None = attrs.field(default=None, hash=False)
    metadata: dict[str, Any] | None = attrs.field(default=None, hash=False)


@attrs.frozen(kw_only=True)
class CustomerWithSubscription:
    """What `create_customer_with_subscription` made."""

    customer: Customer
    subscription: Subscription


class CustomersApi(BaseClient):
    async def list_customers(self) -> list[Customer]:
        """All customers of the merchant (`GET /customers`)."""
        return await self._get("/customers", list[Customer])

    async def create_customer(
        self,
        *,
        name: str,
        email: str,
        phone: str | None = None,
        address: Mapping[str, Any] | None = None,
        invoicing_emails: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Customer:
        """Create a customer (`POST /customers`).

        Args:
            name: shown on invoices.
            email: unique within the merchant.
            phone: any format.
            address: e.g. `{"line1": ..., "city": ..., "country": "FI"}`.
            invoicing_emails: who else receives invoices.
            metadata: your own JSON object.
            idempotency_key: your own key; one is made when you give none.

        Raises:
            ConflictError: a customer with this email exists.
        """
        body: dict[str, Any] = {"name": validation.text("name", name), "email": validation.text("email", email)}
        _add_details(body, phone, address, invoicing_emails, metadata)
        return await self._post("/customers", body, Customer, idempotency_key)

    async def get_customer(self, customer_id: str) -> Customer:
        """One customer (`GET /customers/{id}`).

        Raises:
            NotFoundError: no such customer.
        """
        return await self._get(f"/customers/{validation.segment('customer_id', customer_id)}", Customer)

    async def update_customer(
        self,
        customer_id: str,
        *,
        name: str | None = None,
        email: str | None = None,
        phone: str | None = None,
        address: Mapping[str, Any] | None = None,
        invoicing_emails: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Customer:
        """Change the fields that are given, leave the others (`PATCH /customers/{id}`).

        Raises:
            NotFoundError: no such customer.
            ConflictError: another customer has this email.
        """
        body: dict[str, Any] = {
            "name": validation.optional_text("name", name),
            "email": validation.optional_text("email", email),
        }
        _add_details(body, phone, address, invoicing_emails, metadata)
        return await self._patch(f"/customers/{validation.segment('customer_id', customer_id)}", body, Customer)

    async def create_customer_with_subscription(
        self,
        *,
        pricing_model_id: str,
        name: str,
        email: str,
        phone: str | None = None,
        address: Mapping[str, Any] | None = None,
        invoicing_emails: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> CustomerWithSubscription:
        """Create a customer and subscribe them, one after the other (`POST /customers`, `POST /subscriptions`).

        Two calls, so the second can fail after the first has succeeded. Then the customer exists without a
        subscription. Call again with the same arguments and the `idempotency_key` of the error (without its `_sub`
        ending when the second call failed): what is done is not done twice, what is missing is made.

        Args:
            pricing_model_id: the plan to subscribe to.
            idempotency_key: key of the first call; the second uses it with `_sub` at its end.

        Raises:
            ConflictError: a customer with this email exists.
            NotFoundError: no such pricing model. The customer has been created by then.
        """
        key = validation.idempotency_key(idempotency_key)
        validation.idempotency_key(f"{key}_sub")
        validation.text("pricing_model_id", pricing_model_id)
        customer = await self.create_customer(
            name=name,
            email=email,
            phone=phone,
            address=address,
            invoicing_emails=invoicing_emails,
            metadata=metadata,
            idempotency_key=key,
        )
        body = subscription_body(customer.id, pricing_model_id)
        subscription = await self._post("/subscriptions", body, Subscription, f"{key}_sub")
        return CustomerWithSubscription(customer=customer, subscription=subscription)


def _add_details(
    body: dict[str, Any],
    phone: str | None,
    address: Mapping[str, Any] | None,
    invoicing_emails: Sequence[str] | None,
    metadata: Mapping[str, Any] | None,
) -> None:
    if phone is not None:
        body["phone"] = validation.text("phone", phone)
    if address is not None:
        body["address"] = validation.json_object("address", address)
    if invoicing_emails is not None:
        body["invoicing_emails"] = validation.texts("invoicing_emails", invoicing_emails)
    if metadata is not None:
        body["metadata"] = validation.json_object("metadata", metadata)
