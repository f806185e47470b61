"""Customers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias

import attrs

from ..core import validation
from ..core.bulk_calls import CONCURRENCY, BulkRun, run_all
from ..core.bulk_items import Items, items_of
from ..core.bulk_results import BulkHook, BulkResult
from ..core.client import BaseClient
from ..core.errors import MontraError
from ..core.models.model import Model
from ..core.validation import UNSET, Unset
from .subscriptions import Subscription, subscription_body

CustomerStatus: TypeAlias = Literal["active"] | str
"""Status of a `Customer`. Values that this SDK does not know stay strings."""


@attrs.frozen(kw_only=True)
class Customer(Model):
    """A customer of the merchant.

    Attributes:
        id: `cust_...`.
        email: email address, unique within the merchant.
        name: name on invoices.
        status: `active`.
        created_at: when the customer was created.
        phone: phone number, in the format it was given in.
        address: postal address, as it was given.
        invoicing_emails: additional addresses that receive invoices.
        metadata: your own JSON object, as it was given.
    """

    id: str
    email: str
    name: str | None = None
    status: CustomerStatus | None = None
    created_at: datetime | None = None
    phone: str | None = None
    address: dict[str, Any] | None = None
    invoicing_emails: list[str] | None = None
    metadata: dict[str, Any] | None = None


@attrs.frozen(kw_only=True)
class CustomerWithSubscription(Model):
    """The result of `create_customer_with_subscription`.

    Attributes:
        customer: the new customer.
        subscription: the customer's subscription.
    """

    customer: Customer
    subscription: Subscription


class CustomersApi(BaseClient):
    """Calls for customers."""

    async def list_customers(self) -> list[Customer]:
        """List all customers of the merchant (`GET /customers`)."""
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
            name: name on invoices.
            email: email address, unique within the merchant.
            phone: phone number, in any format.
            address: postal address, e.g. `{"line1": ..., "city": ..., "country": "FI"}`.
            invoicing_emails: additional addresses that receive invoices.
            metadata: your own JSON object.
            idempotency_key: 1 to 255 printable ASCII characters without spaces; a random key by default.

        Raises:
            ConflictError: a customer with this email exists.
        """
        body: dict[str, Any] = {"name": validation.text("name", name), "email": validation.text("email", email)}
        if phone is not None:
            body["phone"] = validation.text("phone", phone)
        if address is not None:
            body["address"] = validation.json_object("address", address)
        if invoicing_emails is not None:
            body["invoicing_emails"] = validation.texts("invoicing_emails", invoicing_emails)
        if metadata is not None:
            body["metadata"] = validation.json_object("metadata", metadata)
        return await self._post("/customers", body, Customer, idempotency_key)

    def create_customers(
        self,
        items: Items,
        *,
        concurrency: int = CONCURRENCY,
        batch_key: str | None = None,
        on_progress: BulkHook | None = None,
    ) -> AsyncGenerator[BulkResult[Customer], None]:
        """Create many customers, several at once (`POST /customers` for each).

        Results come as calls end, each with the `index` of its item; `sorted(results)` is in order. An item that fails
        is a result, no exception, and does not stop the others. At most `concurrency` items and results are in memory.
        When the service has too many requests (429), all items wait for as long as it asks, and are sent again up to
        eight times. When it asks for more than a minute, or refuses the key, nothing more is sent: the remaining items
        are `skipped`. Ending the iteration early, or cancelling it, cancels the calls in flight. They, and those whose
        results were not yielded yet, may have been carried out: with a `batch_key` the same list can be sent again,
        for as long as the service remembers its keys (a day to a month).

        Args:
            items: dicts with the arguments of `create_customer`: a list or a generator; for the asynchronous client
                also an asynchronous one. The synchronous client iterates over it in the thread of the caller.
            concurrency: number of calls at the same time, 1 to 1000; never more than `pool_size`. Default: 10.
            batch_key: prefix of the idempotency keys, for example the name of the file: at most 200 printable ASCII
                characters without spaces. Item n then has the key `<batch_key>-<n>`, so that sending the same list
                again, after a crash for example, has no second effect; an item that was changed or moved is a
                `ConflictError`. Default: random keys. The `idempotency_key` of an item goes first.
            on_progress: function that is called with a `BulkProgress` before each result is yielded. What it raises
                ends the iteration, after the results of the calls in flight. Default: None.

        Raises:
            InvalidArgumentError: `concurrency` or `batch_key` is invalid. Invalid items are results.
        """
        run = BulkRun(
            self.create_customer,
            self.with_raw_response,
            pool_size=self._pool_size,
            concurrency=concurrency,
            batch_key=batch_key,
            on_progress=on_progress,
        )
        return run_all(run, items_of(items))

    async def get_customer(self, customer_id: str) -> Customer:
        """Get a customer (`GET /customers/{id}`).

        Args:
            customer_id: `cust_...`.

        Raises:
            NotFoundError: the customer does not exist.
        """
        return await self._get(f"/customers/{validation.segment('customer_id', customer_id)}", Customer)

    async def update_customer(
        self,
        customer_id: str,
        *,
        name: str | Unset = UNSET,
        email: str | Unset = UNSET,
        phone: str | Unset | None = UNSET,
        address: Mapping[str, Any] | Unset | None = UNSET,
        invoicing_emails: Sequence[str] | Unset | None = UNSET,
        metadata: Mapping[str, Any] | Unset | None = UNSET,
    ) -> Customer:
        """Change the given fields of a customer (`PATCH /customers/{id}`).

        A field that is not given keeps its value. None clears a field.

        Args:
            customer_id: `cust_...`.
            name: name on invoices. Can't be cleared.
            email: email address, unique within the merchant. Can't be cleared.
            phone: phone number, in any format.
            address: postal address. Replaces the old one.
            invoicing_emails: additional addresses that receive invoices. Replaces the old list.
            metadata: your own JSON object. Replaces the old one.

        Raises:
            NotFoundError: the customer does not exist.
            ConflictError: another customer has this email.
        """
        body = validation.patch_body(
            name=validation.patch_field("name", name, validation.text),
            email=validation.patch_field("email", email, validation.text),
            phone=validation.patch_field("phone", phone, validation.text, can_be_cleared=True),
            address=validation.patch_field("address", address, validation.json_object, can_be_cleared=True),
            invoicing_emails=validation.patch_field(
                "invoicing_emails", invoicing_emails, validation.texts, can_be_cleared=True
            ),
            metadata=validation.patch_field("metadata", metadata, validation.json_object, can_be_cleared=True),
        )
        return await self._patch(f"/customers/{validation.segment('customer_id', customer_id)}", body, Customer)

    async def create_customer_with_subscription(
        self,
        pricing_model_id: str,
        *,
        name: str,
        email: str,
        phone: str | None = None,
        address: Mapping[str, Any] | None = None,
        invoicing_emails: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> CustomerWithSubscription:
        """Create a customer and a subscription for them (`POST /customers`, then `POST /subscriptions`).

        These are two requests. When the second fails, the customer exists without a subscription. To complete the
        call, repeat it with the same arguments and with `idempotency_key=error.idempotency_key`. A request that
        succeeded before is not carried out again.

        Args:
            pricing_model_id: `pm_...`, the pricing model to subscribe to.
            name: name on invoices.
            email: email address, unique within the merchant.
            phone: phone number, in any format.
            address: postal address, e.g. `{"line1": ..., "city": ..., "country": "FI"}`.
            invoicing_emails: additional addresses that receive invoices.
            metadata: your own JSON object.
            idempotency_key: key of the first request, 1 to 251 printable ASCII characters without spaces; a random key
                by default. The second request uses it with the suffix `_sub`.

        Raises:
            ConflictError: a customer with this email exists.
            NotFoundError: the pricing model does not exist. The customer has been created.
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
        try:
            subscription = await self._post("/subscriptions", body, Subscription, f"{key}_sub")
        except MontraError as error:
            if error.call is not None:  # that of the second request; the whole call is what can be repeated
                error.call = attrs.evolve(error.call, idempotency_key=key, uncertain=True)
            raise
        return CustomerWithSubscription(customer=customer, subscription=subscription)
