"""Subscriptions: a customer on a plan, and what can happen to that."""

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
PauseBehavior: TypeAlias = Literal["keep_as_is", "mark_uncollectible", "void"] | str
ScheduledChangeStatus: TypeAlias = Literal["pending", "completed", "cancelled"] | str
BillingInterval: TypeAlias = Literal["monthly"] | str


@attrs.frozen(kw_only=True)
class Subscription(Model):
    """A customer on a pricing model. Lists may carry only the first fields: everything else can be None."""

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
    """What a change in the middle of a period costs, in major units.

    Attributes:
        unused_amount: what is left of the old plan's price.
        remaining_amount: the new plan's price for the rest of the period.
        net_amount: the second less the first: what is charged, or credited when negative.
        remaining_ratio: the part of the period that is left, 0 to 1.
    """

    unused_amount: Decimal
    remaining_amount: Decimal
    net_amount: Decimal
    remaining_ratio: Decimal


@attrs.frozen(kw_only=True)
class SubscriptionUpgrade(Model):
    """The subscription after the change, and what the change costs."""

    subscription: Subscription
    proration: Proration | None = None


@attrs.frozen(kw_only=True)
class ScheduledChange(Model):
    """A change of plan that will happen by itself."""

    id: str
    subscription_id: str | None = None
    new_pricing_model_id: str | None = None
    scheduled_for: datetime | None = None
    status: ScheduledChangeStatus | None = None
    created_at: datetime | None = None


class SubscriptionsApi(BaseClient):
    async def list_subscriptions(
        self, customer_id: str | None = None, *, status: SubscriptionStatus | None = None
    ) -> list[Subscription]:
        """Subscriptions, of one customer or in one status if you like (`GET /subscriptions`)."""
        query = validation.query(
            customer_id=validation.optional_text("customer_id", customer_id),
            status=validation.optional_text("status", status),
        )
        return await self._get("/subscriptions", list[Subscription], query)

    async def get_subscription(self, subscription_id: str) -> Subscription:
        """One subscription (`GET /subscriptions/{id}`).

        Raises:
            NotFoundError: no such subscription.
        """
        return await self._get(_path(subscription_id), Subscription)

    async def create_subscription(
        self, customer_id: str, pricing_model_id: str, *, idempotency_key: str | None = None
    ) -> Subscription:
        """Put a customer on a plan (`POST /subscriptions`).

        Raises:
            NotFoundError: no such customer or pricing model.
            ConflictError: the customer has a running subscription.
        """
        body = subscription_body(customer_id, pricing_model_id)
        return await self._post("/subscriptions", body, Subscription, idempotency_key)

    async def upgrade_subscription(
        self, subscription_id: str, new_pricing_model_id: str, *, idempotency_key: str | None = None
    ) -> SubscriptionUpgrade:
        """Change the plan now, up or down, prorated (`POST /subscriptions/{id}/upgrade`).

        Raises:
            NotFoundError: no such subscription or pricing model.
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
        """Change the plan later (`POST /subscriptions/{id}/scheduled-changes`).

        Args:
            subscription_id: `sub_...`.
            new_pricing_model_id: the plan to change to.
            scheduled_for: when, with a time zone, in the future.
            idempotency_key: your own key; one is made when you give none.

        Raises:
            InvalidRequestError: the moment has passed.
            NotFoundError: no such subscription or pricing model.
        """
        body = {
            "new_pricing_model_id": validation.text("new_pricing_model_id", new_pricing_model_id),
            "scheduled_for": validation.aware_datetime("scheduled_for", scheduled_for),
        }
        return await self._post(f"{_path(subscription_id)}/scheduled-changes", body, ScheduledChange, idempotency_key)

    async def list_scheduled_changes(self, subscription_id: str) -> list[ScheduledChange]:
        """Planned, done and cancelled changes (`GET /subscriptions/{id}/scheduled-changes`).

        Raises:
            NotFoundError: no such subscription.
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
            pause_behavior: what becomes of invoices meanwhile: `keep_as_is`, `mark_uncollectible` or `void`.
            resume_at: when it resumes by itself, with a time zone; never when left out.
            idempotency_key: your own key; one is made when you give none.

        Raises:
            NotFoundError: no such subscription.
            ConflictError: it is paused already, or has ended.
        """
        body = {
            "pause_behavior": validation.optional_text("pause_behavior", pause_behavior),
            "resume_at": validation.optional_datetime("resume_at", resume_at),
        }
        given = body if any(value is not None for value in body.values()) else None
        return await self._post(f"{_path(subscription_id)}/pause", given, Subscription, idempotency_key)

    async def resume_subscription(self, subscription_id: str, *, idempotency_key: str | None = None) -> Subscription:
        """Resume a paused subscription (`POST /subscriptions/{id}/resume`).

        Raises:
            NotFoundError: no such subscription.
            ConflictError: it is not paused.
        """
        return await self._post(f"{_path(subscription_id)}/resume", None, Subscription, idempotency_key)


def subscription_body(customer_id: str, pricing_model_id: str) -> dict[str, str]:
    return {
        "customer_id": validation.text("customer_id", customer_id),
        "pricing_model_id": validation.text("pricing_model_id", pricing_model_id),
    }


def _path(subscription_id: str) -> str:
    return f"/subscriptions/{validation.segment('subscription_id', subscription_id)}"
