"""What the paywall service answers. `Price.amount` is in major units, `Purchase.unit_amount` in minor ones (cents)."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import attrs

from ..core.models.model import Model, wire
from ..core.redaction import mask

Acquiring: TypeAlias = Literal["stripe", "paddle", "chargebee", "overpay", "freemius"] | str
Interval: TypeAlias = Literal["month", "year", "week", "day", "lifetime"] | str
CheckoutMode: TypeAlias = Literal["guest", "preauth"] | str
PurchaseStatus: TypeAlias = Literal["active", "trialing", "canceled", "completed"] | str
SignUpStatus: TypeAlias = Literal["signed_in", "confirmation_required", "already_registered"] | str
UpgradeStatus: TypeAlias = Literal["updated", "confirmation_required"] | str


# What is sold


@attrs.frozen(kw_only=True)
class LocalPrice(Model):
    """A price in the currency of the visitor's country, major units."""

    currency: str
    amount: Decimal


@attrs.frozen(kw_only=True)
class Price(Model):
    """Something to buy. `amount` is in major units of `currency`; `interval` is None for a single payment."""

    id: str
    currency: str
    amount: Decimal
    interval: Interval | None = None
    interval_count: int | None = None
    trial_days: int | None = None
    label: str | None = None
    description: str | None = None
    local: LocalPrice | None = None


@attrs.frozen(kw_only=True)
class Offer(Model):
    """A discount on one price, in percent, until a moment or for some minutes."""

    id: str
    discount_percent: Decimal | None = None
    expires_at: datetime | None = None
    duration_minutes: int | None = None
    price_id: str | None = None
    label: str | None = None


@attrs.frozen(kw_only=True)
class PaywallSettings(Model):
    """How a paywall is set up. `visibility` and `trial` are objects; the latter has `mode`, `payload` and `storage`."""

    id: str | None = None
    name: str | None = None
    custom_domain: str | None = None
    locale_default: str | None = None
    is_test_mode: bool | None = None
    checkout_mode: CheckoutMode | None = None
    success_redirect_url: str | None = None
    checkout_shop_url: str | None = None
    checkout_product_name: str | None = None
    trial: dict[str, Any] | None = None
    visibility: Any = None


@attrs.frozen(kw_only=True)
class Trial(Model):
    """A trial without payment that is running."""

    started_at: datetime | None = None
    expires_at: datetime | None = None


@attrs.frozen(kw_only=True)
class UserPurchase(Model):
    """A purchase in short; `Purchase` has the rest."""

    id: str
    status: PurchaseStatus | None = None
    current_period_end: datetime | None = None
    cancel_at_period_end: bool | None = None


@attrs.frozen(kw_only=True)
class PaywallUser(Model):
    """What a user has. Someone the paywall has never seen has nothing."""

    has_active_subscription: bool = False
    purchases: list[UserPurchase] = attrs.field(factory=list[UserPurchase])
    trial: Trial | None = None
    had_previous_trial: bool = False


@attrs.frozen(kw_only=True)
class Bootstrap(Model):
    """Everything a paywall shows; labels and descriptions are in the language that was asked for."""

    settings: PaywallSettings
    prices: list[Price] = attrs.field(factory=list[Price])
    offers: list[Offer] = attrs.field(factory=list[Offer])
    layout: dict[str, Any] | None = None
    experiment: dict[str, Any] | None = None
    user: PaywallUser | None = None
    locales: dict[str, Any] | None = None
    version: str | None = None


# What was bought


@attrs.frozen(kw_only=True)
class CheckoutResult(Model):
    """Where to send the payer. `user_id` is the service's id of the user."""

    url: str = attrs.field(metadata=wire("checkoutUrl"))
    user_id: str | None = attrs.field(default=None, metadata=wire("userId"))
    acquiring: Acquiring | None = None


@attrs.frozen(kw_only=True)
class Purchase(Model):
    """A purchase with everything known of it. `unit_amount` is in minor units of `currency`: 999 is 9.99 USD.

    `discount` is a number of per cent (`int` or `Decimal`) when it was bought with an offer, and None otherwise. A
    service that says more of it answers an object.
    """

    id: str
    status: PurchaseStatus | None = None
    cancel_at: datetime | None = None
    cancel_at_period_end: bool | None = None
    canceled_at: datetime | None = None
    created: datetime | None = None
    ended_at: datetime | None = None
    current_period_start: datetime | None = None
    current_period_end: datetime | None = None
    unit_amount: int | None = None
    currency: str | None = None
    interval: Interval | None = None
    discount: Any = None


@attrs.frozen(kw_only=True)
class CanceledSubscription(Model):
    """A subscription after it was cancelled: by default it runs until `cancel_at`."""

    status: PurchaseStatus | None = None
    canceled_at: datetime | None = None
    cancel_at: datetime | None = None
    cancel_at_period_end: bool | None = None


@attrs.frozen(kw_only=True)
class Ticket(Model):
    """A support ticket."""

    id: int
    status: str | None = None


# Tokens


@attrs.frozen(kw_only=True)
class Balance(Model):
    """How much a user has of one token type."""

    type: str
    count: int


@attrs.frozen(kw_only=True)
class TokenBalance(Model):
    """A balance after it was changed."""

    type: str
    count: int
    user_id: str | None = None
    balances: list[Balance] | None = None


# Sign-in


@attrs.frozen(kw_only=True)
class AuthUser(Model):
    """A user of the paywall. `email` is None for anonymous ones."""

    id: str
    email: str | None = None
    name: str | None = None
    avatar: str | None = None
    country: str | None = None
    is_anonymous: bool | None = None


@attrs.frozen(kw_only=True)
class AuthSession(Model):
    """Someone who is signed in. The tokens show in no repr; `to_dict` has them, for storage."""

    access_token: str = attrs.field(repr=mask)
    refresh_token: str = attrs.field(repr=mask)
    expires_at: datetime
    user: AuthUser | None = None


@attrs.frozen(kw_only=True)
class SignUpResult(Model):
    """`session` is there when `status` is `signed_in`."""

    status: SignUpStatus
    session: AuthSession | None = None
    user: AuthUser | None = None
    email: str | None = None


@attrs.frozen(kw_only=True)
class UpgradeResult(Model):
    """What became of an anonymous user's email address. `email` is the address that awaits confirmation."""

    status: UpgradeStatus
    user: AuthUser | None = None
    email: str | None = None


@attrs.frozen(kw_only=True)
class UpdatedUser(Model):
    """An answer that may name the user it changed."""

    user: AuthUser | None = None


@attrs.frozen(kw_only=True)
class OAuthStart:
    """A sign-in at a provider that has begun: send the user to `authorize_url`.

    `code_verifier` is needed to complete it. This client keeps it for ten minutes; keep it yourself, by `state`, when
    another process may complete the sign-in.
    """

    authorize_url: str
    state: str
    code_verifier: str = attrs.field(repr=mask)
