"""Events of the paywall service. Amounts are in minor units: 999 is 9.99 USD."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

import attrs

from ..core.models.model import Model
from .events import WebhookEvent


@attrs.frozen(kw_only=True)
class EventPrice(Model):
    id: str | None = None
    unit_amount: int | None = None
    interval: str | None = None


@attrs.frozen(kw_only=True)
class EventCustomer(Model):
    id: str | None = None
    email: str | None = None


@attrs.frozen(kw_only=True)
class EventUser(Model):
    """Whom it is about. `metadata` has what you gave at checkout, e.g. `{"userId": "42"}`."""

    id: str | None = None
    email: str | None = None
    metadata: dict[str, Any] | None = attrs.field(default=None, hash=False)

    @property
    def user_id(self) -> str | None:
        """Your own id of the user."""
        found = (self.metadata or {}).get("userId")
        return None if found is None else str(found)


@attrs.frozen(kw_only=True)
class EventPaywall(Model):
    id: str | None = None


@attrs.frozen(kw_only=True)
class EventAcquiring(Model):
    id: str | None = None
    provider: str | None = None


@attrs.frozen(kw_only=True)
class EventPayment(Model):
    id: str | None = None
    status: str | None = None


@attrs.frozen(kw_only=True)
class EventSubscription(Model):
    id: str | None = None
    status: str | None = None
    current_period_start: datetime | None = None
    current_period_end: datetime | None = None


@attrs.frozen(kw_only=True)
class PaywallEventData(Model):
    """What every event of the paywall service carries; `payment`, `subscription` and `refund` where it is about one."""

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
    data: PaywallEventData


@attrs.frozen(kw_only=True)
class PaywallSubscriptionCreated(WebhookEvent):
    data: PaywallEventData


@attrs.frozen(kw_only=True)
class PaywallSubscriptionUpdated(WebhookEvent):
    data: PaywallEventData


@attrs.frozen(kw_only=True)
class PaywallSubscriptionCancelled(WebhookEvent):
    data: PaywallEventData


@attrs.frozen(kw_only=True)
class PaywallRefundCreated(WebhookEvent):
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
"""The paywall service's events by type."""
