"""Subscriptions of customers to pricing models."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias

import attrs

from ..core import validation
from ..core.client import BaseClient
from ..core.models.model import Model

SubscriptionStatus: TypeAlias = (
    Literal["active", "past_due", "unpaid", "canceled", "incomplete", "incomplete_expired", "trialing", "paused"] | str
)
"""Status of a `Subscription`. Values that this SDK does not know stay strings."""
PauseBehavior: TypeAlias = Literal["keep_as_is", "mark_uncollectible", "void"] | str
"""What happens to the invoices of a paused subscription. Values that this SDK does not know stay strings."""
ScheduledChangeStatus: TypeAlias = Literal["pending", "completed", "cancelled"] | str
"""Status of a `ScheduledChange`. Values that this SDK does not know stay strings."""
BillingInterval: TypeAlias = Literal["monthly"] | str
"""Length of a billing period. Values that this SDK does not know stay strings."""


@attrs.frozen(kw_only=True)
class Subscription(Model):
    """A subscription of a customer to a pricing model. In lists, the service may leave out the optional fields.

    Attributes:
        id: `sub_...`.
        customer_id: `cust_...`.
        status: e.g. `active`, `trialing`, `past_due`, `paused` or `canceled`.
        current_period_end: end of the current billing period.
        current_period_start: start of the current billing period.
        pricing_model_id: `pm_...`.
        cancel_at_period_end: whether it ends with the current period.
        paused_at: when it was paused.
        resume_at: when it resumes automatically.
        created_at: when it was created.
        billing_interval: `monthly`.
    """

    id: str
    customer_id: str
    status: SubscriptionStatus
    current_period_end: datetime | None = None
    current_period_start: datetime | None = None
    pricing_model_id: str | None = None
    cancel_at_period_end: bool | None = None
    paused_at: datetime | None = None
    resume_at: datetime | None = None
    created_at: datetime | None = None
    billing_interval: BillingInterval | None = None


@attrs.frozen(kw_only=True)
class Proration(Model):
    """The price of a change of plan within a billing period.

    Attributes:
        unused_amount: price of the old plan for the rest of the period, in major units.
        remaining_amount: price of the new plan for the rest of the period, in major units.
        net_amount: `remaining_amount - unused_amount`: charged when positive, credited when negative.
        remaining_ratio: the remaining part of the period, 0 to 1.
    """

    unused_amount: Decimal
    remaining_amount: Decimal
    net_amount: Decimal
    remaining_ratio: Decimal


@attrs.frozen(kw_only=True)
class SubscriptionUpgrade(Model):
    """The result of `upgrade_subscription`.

    Attributes:
        subscription: the subscription after the change.
        proration: price of the change.
    """

    subscription: Subscription
    proration: Proration | None = None


@attrs.frozen(kw_only=True)
class ScheduledChange(Model):
    """A change of plan at a later time.

    Attributes:
        id: id of the change.
        subscription_id: `sub_...`.
        new_pricing_model_id: `pm_...`, the plan to change to.
        scheduled_for: when the plan changes.
        status: `pending`, `completed` or `cancelled`.
        created_at: when it was scheduled.
    """

    id: str
    subscription_id: str | None = None
    new_pricing_model_id: str | None = None
    scheduled_for: datetime | None = None
    status: ScheduledChangeStatus | None = None
    created_at: datetime | None = None


class SubscriptionsApi(BaseClient):
    """Calls for subscriptions."""

    async def list_subscriptions(
        self, customer_id: str | None = None, *, status: SubscriptionStatus | None = None
    ) -> list[Subscription]:
        """List subscriptions (`GET /subscriptions`).

        Args:
            customer_id: `cust_...`; all customers by default.
            status: e.g. `active`; all statuses by default.
        """
        query = validation.query(
            customer_id=validation.optional_text("customer_id", customer_id),
            status=validation.optional_text("status", status),
        )
        return await self._get("/subscriptions", list[Subscription], query)

    async def get_subscription(self, subscription_id: str) -> Subscription:
        """Get a subscription (`GET /subscriptions/{id}`).

        Args:
            subscription_id: `sub_...`.

        Raises:
            NotFoundError: the subscription does not exist.
        """
        return await self._get(_path(subscription_id), Subscription)

    async def create_subscription(
        self, customer_id: str, pricing_model_id: str, *, idempotency_key: str | None = None
    ) -> Subscription:
        """Subscribe a customer to a pricing model (`POST /subscriptions`).

        Args:
            customer_id: `cust_...`.
            pricing_model_id: `pm_...`.
            idempotency_key: 1 to 255 printable ASCII characters without spaces; a random key by default.

        Raises:
            NotFoundError: the customer or the pricing model does not exist.
            ConflictError: the customer has a subscription that has not ended.
        """
        body = subscription_body(customer_id, pricing_model_id)
        return await self._post("/subscriptions", body, Subscription, idempotency_key)

    async def upgrade_subscription(
        self, subscription_id: str, new_pricing_model_id: str, *, idempotency_key: str | None = None
    ) -> SubscriptionUpgrade:
        """Change the plan of a subscription now, prorated (`POST /subscriptions/{id}/upgrade`).

        Args:
            subscription_id: `sub_...`.
            new_pricing_model_id: `pm_...`, the plan to change to; it may be cheaper.
            idempotency_key: 1 to 255 printable ASCII characters without spaces; a random key by default.

        Raises:
            NotFoundError: the subscription or the pricing model does not exist.
            ConflictError: the subscription has ended.
        """
        body = {"new_pricing_model_id": validation.text("new_pricing_model_id", new_pricing_model_id)}
        return await self._post(f"{_path(subscription_id)}/upgrade", body, SubscriptionUpgrade, idempotency_key)

    async def schedule_subscription_change(
        self,
        subscription_id: str,
        new_pricing_model_id: str,
        *,
        scheduled_for: datetime,
        idempotency_key: str | None = None,
    ) -> ScheduledChange:
        """Change the plan of a subscription later (`POST /subscriptions/{id}/scheduled-changes`).

        Args:
            subscription_id: `sub_...`.
            new_pricing_model_id: `pm_...`, the plan to change to.
            scheduled_for: when the plan changes: an aware datetime in the future.
            idempotency_key: 1 to 255 printable ASCII characters without spaces; a random key by default.

        Raises:
            InvalidRequestError: `scheduled_for` is in the past.
            NotFoundError: the subscription or the pricing model does not exist.
        """
        body = {
            "new_pricing_model_id": validation.text("new_pricing_model_id", new_pricing_model_id),
            "scheduled_for": validation.aware_datetime("scheduled_for", scheduled_for),
        }
        return await self._post(f"{_path(subscription_id)}/scheduled-changes", body, ScheduledChange, idempotency_key)

    async def list_scheduled_changes(self, subscription_id: str) -> list[ScheduledChange]:
        """List all scheduled changes of a subscription (`GET /subscriptions/{id}/scheduled-changes`).

        Args:
            subscription_id: `sub_...`.

        Raises:
            NotFoundError: the subscription does not exist.
        """
        return await self._get(f"{_path(subscription_id)}/scheduled-changes", list[ScheduledChange])

    async def pause_subscription(
        self,
        subscription_id: str,
        *,
        pause_behavior: PauseBehavior | None = None,
        resume_at: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> Subscription:
        """Pause a subscription (`POST /subscriptions/{id}/pause`).

        Args:
            subscription_id: `sub_...`.
            pause_behavior: what happens to invoices during the pause: `keep_as_is`, `mark_uncollectible` or `void`; the
                service's default when not given.
            resume_at: when it resumes automatically: an aware datetime; never by default.
            idempotency_key: 1 to 255 printable ASCII characters without spaces; a random key by default.

        Raises:
            NotFoundError: the subscription does not exist.
            ConflictError: the subscription is paused already, or has ended.
        """
        body = {
            "pause_behavior": validation.optional_text("pause_behavior", pause_behavior),
            "resume_at": validation.optional_datetime("resume_at", resume_at),
        }
        given = body if any(value is not None for value in body.values()) else None
        return await self._post(f"{_path(subscription_id)}/pause", given, Subscription, idempotency_key)

    async def resume_subscription(self, subscription_id: str, *, idempotency_key: str | None = None) -> Subscription:
        """Resume a paused subscription (`POST /subscriptions/{id}/resume`).

        Args:
            subscription_id: `sub_...`.
            idempotency_key: 1 to 255 printable ASCII characters without spaces; a random key by default.

        Raises:
            NotFoundError: the subscription does not exist.
            ConflictError: the subscription is not paused.
        """
        return await self._post(f"{_path(subscription_id)}/resume", None, Subscription, idempotency_key)


def subscription_body(customer_id: str, pricing_model_id: str) -> dict[str, str]:
    return {
        "customer_id": validation.text("customer_id", customer_id),
        "pricing_model_id": validation.text("pricing_model_id", pricing_model_id),
    }


def _path(subscription_id: str) -> str:
    return f"/subscriptions/{validation.segment('subscription_id', subscription_id)}"
