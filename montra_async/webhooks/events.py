"""Events: what a webhook tells, typed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, TypeVar

import attrs

from ..core.models.model import HashedByValue, Model
from ..resources.customers import Customer
from ..resources.invoices import Invoice
from ..resources.refunds import Refund
from ..resources.subscriptions import Subscription


def _nothing() -> dict[str, Any]:
    return {}


@attrs.frozen(kw_only=True)
class WebhookEvent(HashedByValue):
    """Something that happened. An event of a type that this SDK doesn't know is just this, with `data` as a dict.

    Attributes:
        id: the same for every delivery of the event: what has been handled needs no second handling.
        type: e.g. `customer.created`.
        created_at: when it happened.
        data: what it happened to.
        raw_body: the body that was signed, as it came.
        extra: fields of the body that this SDK doesn't know.
    """

    id: str
    type: str
    created_at: datetime | None = None
    data: Any
    raw_body: bytes = attrs.field(default=b"", repr=False, eq=False)
    extra: dict[str, Any] = attrs.field(factory=_nothing, repr=False, hash=False)


@attrs.frozen(kw_only=True)
class CompletedCheckout(Model):
    """A checkout link that was paid. `amount` is in major units; `subscription_id` is there for what recurs."""

    session_id: str | None = None
    link_id: str | None = None
    transaction_id: str | None = None
    customer_id: str | None = None
    customer_email: str | None = None
    subscription_id: str | None = None
    amount: Decimal | None = None
    currency: str | None = None
    status: str | None = None
    line_items: list[dict[str, Any]] | None = attrs.field(default=None, hash=False)


@attrs.frozen(kw_only=True)
class ReachedLimit(Model):
    """A customer who has used up what the plan allows of a meter."""

    customer_id: str
    meter_slug: str | None = None
    usage: int | float | None = None
    limit: int | float | None = None


@attrs.frozen(kw_only=True)
class CheckoutCompleted(WebhookEvent):
    data: CompletedCheckout


@attrs.frozen(kw_only=True)
class UsageLimitReached(WebhookEvent):
    data: ReachedLimit


@attrs.frozen(kw_only=True)
class InvoiceCreated(WebhookEvent):
    data: Invoice


@attrs.frozen(kw_only=True)
class SubscriptionCreated(WebhookEvent):
    data: Subscription


@attrs.frozen(kw_only=True)
class SubscriptionUpdated(WebhookEvent):
    data: Subscription


@attrs.frozen(kw_only=True)
class SubscriptionPaused(WebhookEvent):
    data: Subscription


@attrs.frozen(kw_only=True)
class SubscriptionResumed(WebhookEvent):
    data: Subscription


@attrs.frozen(kw_only=True)
class SubscriptionCanceled(WebhookEvent):
    data: Subscription


@attrs.frozen(kw_only=True)
class CustomerCreated(WebhookEvent):
    data: Customer


@attrs.frozen(kw_only=True)
class CustomerUpdated(WebhookEvent):
    data: Customer


@attrs.frozen(kw_only=True)
class RefundCreated(WebhookEvent):
    data: Refund


E = TypeVar("E", bound=WebhookEvent)

EVENTS: Mapping[str, type[WebhookEvent]] = MappingProxyType(
    {
        "checkout.completed": CheckoutCompleted,
        "usage.limit_reached": UsageLimitReached,
        "invoice.created": InvoiceCreated,
        "subscription.created": SubscriptionCreated,
        "subscription.updated": SubscriptionUpdated,
        "subscription.paused": SubscriptionPaused,
        "subscription.resumed": SubscriptionResumed,
        "subscription.canceled": SubscriptionCanceled,
        "customer.created": CustomerCreated,
        "customer.updated": CustomerUpdated,
        "refund.created": RefundCreated,
    }
)
"""Montra's events by type."""
