"""The paywall service's events: one class per type. Amounts are in minor units: 999 is 9.99 USD."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

import attrs

from ..core.models.model import Model
from .webhook_event import WebhookEvent


@attrs.frozen(kw_only=True)
class EventPrice(Model):
    """The price that was paid.

    Attributes:
        id: of the price.
        unit_amount: in minor units: 999 is 9.99 USD.
        interval: e.g. "month"; None for a one-time price.
    """

    id: str | None = None
    unit_amount: int | None = None
    interval: str | None = None


@attrs.frozen(kw_only=True)
class EventCustomer(Model):
    """The customer of the payment provider.

    Attributes:
        id: of the customer.
        email: of the customer.
    """

    id: str | None = None
    email: str | None = None


@attrs.frozen(kw_only=True)
class EventUser(Model):
    """The user that the event is about.

    Attributes:
        id: of the user at the service.
        email: of the user.
        metadata: what you gave at checkout, e.g. `{"userId": "42"}`.
    """

    id: str | None = None
    email: str | None = None
    metadata: dict[str, Any] | None = attrs.field(default=None, hash=False)

    @property
    def user_id(self) -> str | None:
        """Your own id of the user: `metadata["userId"]` as text; None when it is not there."""
        found = (self.metadata or {}).get("userId")
        return None if found is None else str(found)


@attrs.frozen(kw_only=True)
class EventPaywall(Model):
    """The paywall where the event happened.

    Attributes:
        id: of the paywall.
    """

    id: str | None = None


@attrs.frozen(kw_only=True)
class EventAcquiring(Model):
    """The account at the payment provider.

    Attributes:
        id: of the account.
        provider: e.g. "stripe".
    """

    id: str | None = None
    provider: str | None = None


@attrs.frozen(kw_only=True)
class EventPayment(Model):
    """A payment.

    Attributes:
        id: of the payment.
        status: of the payment.
    """

    id: str | None = None
    status: str | None = None


@attrs.frozen(kw_only=True)
class EventSubscription(Model):
    """A subscription.

    Attributes:
        id: of the subscription.
        status: of the subscription.
        current_period_start: start of the billing period.
        current_period_end: end of the billing period.
    """

    id: str | None = None
    status: str | None = None
    current_period_start: datetime | None = None
    current_period_end: datetime | None = None


@attrs.frozen(kw_only=True)
class PaywallEventData(Model):
    """`data` of every event of the paywall service.

    Attributes:
        price: the price.
        customer: the customer of the payment provider.
        user: the user.
        paywall: the paywall.
        acquiring: the account at the payment provider.
        payment: the payment, in events about one.
        subscription: the subscription, in events about one.
        refund: the refund as the service sends it, in events about one.
    """

    price: EventPrice | None = None
    customer: EventCustomer | None = None
    user: EventUser | None = None
    paywall: EventPaywall | None = None
    acquiring: EventAcquiring | None = None
    payment: EventPayment | None = None
    subscription: EventSubscription | None = None
    refund: dict[str, Any] | None = attrs.field(default=None, hash=False)


@attrs.frozen(kw_only=True)
class PaymentCompleted(WebhookEvent):
    """`payment.completed`"""

    data: PaywallEventData


@attrs.frozen(kw_only=True)
class PaywallSubscriptionCreated(WebhookEvent):
    """`subscription.created`"""

    data: PaywallEventData


@attrs.frozen(kw_only=True)
class PaywallSubscriptionUpdated(WebhookEvent):
    """`subscription.updated`"""

    data: PaywallEventData


@attrs.frozen(kw_only=True)
class PaywallSubscriptionCancelled(WebhookEvent):
    """`subscription.cancelled`"""

    data: PaywallEventData


@attrs.frozen(kw_only=True)
class PaywallRefundCreated(WebhookEvent):
    """`refund.created`"""

    data: PaywallEventData


PAYWALL_EVENTS: Mapping[str, type[WebhookEvent]] = MappingProxyType(
    {
        "payment.completed": PaymentCompleted,
        "subscription.created": PaywallSubscriptionCreated,
        "subscription.updated": PaywallSubscriptionUpdated,
        "subscription.cancelled": PaywallSubscriptionCancelled,
        "refund.created": PaywallRefundCreated,
    }
)
"""The classes of the paywall service's events by type."""
