"""Models of prices, users, purchases, tickets and tokens.

`Price.amount` is in major units, `Purchase.unit_amount` in minor units (cents).
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import attrs

from ..core.models.model import Model, wire

Acquiring: TypeAlias = Literal["stripe", "paddle", "chargebee", "overpay", "freemius"] | str
Interval: TypeAlias = Literal["month", "year", "week", "day", "lifetime"] | str
CheckoutMode: TypeAlias = Literal["guest", "preauth"] | str
PurchaseStatus: TypeAlias = Literal["active", "trialing", "canceled", "completed"] | str


# Prices and users


@attrs.frozen(kw_only=True)
class LocalPrice(Model):
    """A price in the currency of the visitor's country.

    Attributes:
        currency: ISO code of the currency.
        amount: amount in major units of `currency`.
    """

    currency: str
    amount: Decimal


@attrs.frozen(kw_only=True)
class Price(Model):
    """A price of the paywall.

    Attributes:
        id: id of the price, for `create_checkout`.
        currency: ISO code of the currency.
        amount: amount in major units of `currency`, e.g. 9.99.
        interval: `day`, `week`, `month` or `year` for a subscription, `lifetime` or None for a single payment.
        interval_count: number of intervals between two payments.
        trial_days: days without payment at the beginning.
        label: name of the price, in the requested language.
        description: description of the price, in the requested language.
        local: the price in the currency of the visitor's country.
    """

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
    """A discount.

    Attributes:
        id: id of the offer, for `create_checkout`.
        discount_percent: discount in percent, 0 to 100.
        expires_at: end of the offer.
        duration_minutes: minutes that the offer is valid after it was shown.
        price_id: id of the price that it is for; None for every price.
        label: name of the offer, in the requested language.
    """

    id: str
    discount_percent: Decimal | None = None
    expires_at: datetime | None = None
    duration_minutes: int | None = None
    price_id: str | None = None
    label: str | None = None


@attrs.frozen(kw_only=True)
class PaywallSettings(Model):
    """The settings of a paywall.

    Attributes:
        id: id of the paywall.
        name: name of the paywall.
        custom_domain: the paywall's own domain.
        locale_default: language tag of labels and descriptions without a translation.
        is_test_mode: whether payments are test payments.
        checkout_mode: `guest`, or `preauth` when users sign in before the checkout.
        success_redirect_url: default URL after a payment.
        checkout_shop_url: default URL of the "back to the shop" link.
        checkout_product_name: default name of the product in the checkout.
        trial: settings of trials without payment: an object with `mode`, `payload` and `storage`.
        visibility: settings of the paywall's visibility: an object.
    """

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
    """A trial without payment that has not ended.

    Attributes:
        started_at: start of the trial.
        expires_at: end of the trial.
    """

    started_at: datetime | None = None
    expires_at: datetime | None = None


@attrs.frozen(kw_only=True)
class UserPurchase(Model):
    """A purchase in the state of a user. `Purchase` has all fields.

    Attributes:
        id: id of the purchase.
        status: status of the purchase.
        current_period_end: end of the period that is paid for.
        cancel_at_period_end: whether the subscription ends with this period.
    """

    id: str
    status: PurchaseStatus | None = None
    current_period_end: datetime | None = None
    cancel_at_period_end: bool | None = None


@attrs.frozen(kw_only=True)
class PaywallUser(Model):
    """Access, purchases and trial of a user. Empty for a user that the paywall does not know.

    Attributes:
        has_active_subscription: whether the user has access, by a subscription or a trial. Default: False.
        purchases: the user's purchases. Default: empty.
        trial: the current trial; None when there is none.
        had_previous_trial: whether the user has had a trial. Default: False.
    """

    has_active_subscription: bool = False
    purchases: list[UserPurchase] = attrs.field(factory=list[UserPurchase])
    trial: Trial | None = None
    had_previous_trial: bool = False


@attrs.frozen(kw_only=True)
class Bootstrap(Model):
    """Settings, prices and offers of a paywall.

    Attributes:
        settings: settings of the paywall.
        prices: prices, with labels in the requested language.
        offers: offers, with labels in the requested language.
        layout: layout of the paywall's widget.
        experiment: experiment (A/B test) that the visitor takes part in.
        user: state of the user that the request was made for.
        locales: translations of labels and descriptions, by language tag.
        version: version of this bootstrap, for revalidation.
    """

    settings: PaywallSettings
    prices: list[Price] = attrs.field(factory=list[Price])
    offers: list[Offer] = attrs.field(factory=list[Offer])
    layout: dict[str, Any] | None = None
    experiment: dict[str, Any] | None = None
    user: PaywallUser | None = None
    locales: dict[str, Any] | None = None
    version: str | None = None


# Purchases


@attrs.frozen(kw_only=True)
class CheckoutResult(Model):
    """A checkout.

    Attributes:
        url: URL of the payment page. Redirect the payer to it.
        user_id: the service's id of the user.
        acquiring: the payment provider.
    """

    url: str = attrs.field(metadata=wire("checkoutUrl"))
    user_id: str | None = attrs.field(default=None, metadata=wire("userId"))
    acquiring: Acquiring | None = None


@attrs.frozen(kw_only=True)
class Purchase(Model):
    """A purchase with all its fields.

    Attributes:
        id: id of the purchase, for `cancel_subscription`.
        status: status of the purchase.
        cancel_at: when the subscription ends.
        cancel_at_period_end: whether the subscription ends with this period.
        canceled_at: when it was cancelled.
        created: when it was bought.
        ended_at: when the subscription ended.
        current_period_start: start of the period that is paid for.
        current_period_end: end of the period that is paid for.
        unit_amount: amount in minor units of `currency`: 999 is 9.99 USD.
        currency: ISO code of the currency.
        interval: interval of the price.
        discount: discount of an offer in percent (`int` or `Decimal`), or an object of the service; None without one.
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
    """A subscription that was cancelled.

    Attributes:
        status: status of the subscription.
        canceled_at: when it was cancelled.
        cancel_at: when it ends.
        cancel_at_period_end: whether it ends with the period that is paid for.
    """

    status: PurchaseStatus | None = None
    canceled_at: datetime | None = None
    cancel_at: datetime | None = None
    cancel_at_period_end: bool | None = None


@attrs.frozen(kw_only=True)
class Ticket(Model):
    """A support ticket.

    Attributes:
        id: id of the ticket.
        status: status of the ticket.
    """

    id: int
    status: str | None = None


# Tokens


@attrs.frozen(kw_only=True)
class Balance(Model):
    """A token balance.

    Attributes:
        type: token type, e.g. `gpt-4`.
        count: number of tokens.
    """

    type: str
    count: int


@attrs.frozen(kw_only=True)
class TokenBalance(Model):
    """A token balance after a change.

    Attributes:
        type: token type, e.g. `gpt-4`.
        count: number of tokens after the change.
        user_id: the service's id of the user.
        balances: all balances of the user.
    """

    type: str
    count: int
    user_id: str | None = None
    balances: list[Balance] | None = None
