"""Montra's events: one class per type."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import attrs

from ..core.models.model import Model
from ..resources.customers import Customer
from ..resources.invoices import Invoice
from ..resources.refunds import Refund
from ..resources.subscriptions import Subscription
from .webhook_event import WebhookEvent


@attrs.frozen(kw_only=True)
class CheckoutData(Model):
    """`data` of `checkout.completed`: a checkout link that was paid.

    Attributes:
        session_id: of the checkout session.
        link_id: of the checkout link.
        transaction_id: of the payment.
        customer_id: of the customer.
        customer_email: of the customer.
        subscription_id: of the subscription that was created; None for a one-time payment.
        amount: in major units: 9.99 is 9.99 USD.
        currency: ISO 4217 code.
        status: of the checkout.
        line_items: what was bought, as the service sends it.
    """

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
class UsageLimitData(Model):
    """`data` of `usage.limit_reached`: a customer has used up the plan's limit of a meter.

    Attributes:
        customer_id: of the customer.
        meter_slug: of the meter.
        usage: units used in the billing period.
        limit: units that the plan includes.
    """

    customer_id: str
    meter_slug: str | None = None
    usage: int | float | None = None
    limit: int | float | None = None


@attrs.frozen(kw_only=True)
class CheckoutCompleted(WebhookEvent):
    """`checkout.completed`: a checkout was paid."""

    data: CheckoutData


@attrs.frozen(kw_only=True)
class UsageLimitReached(WebhookEvent):
    """`usage.limit_reached`: a customer has used up the limit of a meter."""

    data: UsageLimitData


@attrs.frozen(kw_only=True)
class InvoiceCreated(WebhookEvent):
    """`invoice.created`"""

    data: Invoice


@attrs.frozen(kw_only=True)
class SubscriptionCreated(WebhookEvent):
    """`subscription.created`"""

    data: Subscription


@attrs.frozen(kw_only=True)
class SubscriptionUpdated(WebhookEvent):
    """`subscription.updated`"""

    data: Subscription


@attrs.frozen(kw_only=True)
class SubscriptionPaused(WebhookEvent):
    """`subscription.paused`"""

    data: Subscription


@attrs.frozen(kw_only=True)
class SubscriptionResumed(WebhookEvent):
    """`subscription.resumed`"""

    data: Subscription


@attrs.frozen(kw_only=True)
class SubscriptionCanceled(WebhookEvent):
    """`subscription.canceled`"""

    data: Subscription


@attrs.frozen(kw_only=True)
class CustomerCreated(WebhookEvent):
    """`customer.created`"""

    data: Customer


@attrs.frozen(kw_only=True)
class CustomerUpdated(WebhookEvent):
    """`customer.updated`"""

    data: Customer


@attrs.frozen(kw_only=True)
class RefundCreated(WebhookEvent):
    """`refund.created`"""

    data: Refund


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
"""The classes of Montra's events by type."""
