"""Refunds and discounts."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias

import attrs

from ..core import validation
from ..core.client import BaseClient
from ..core.errors import InvalidArgumentError
from ..core.models.model import Model
from ..core.validation import Number

RefundStatus: TypeAlias = Literal["succeeded"] | str
"""Status of a `Refund`. Values that this SDK does not know stay strings."""
DiscountDuration: TypeAlias = Literal["once", "repeating", "forever"] | str
"""How long a `Discount` applies. Values that this SDK does not know stay strings."""


@attrs.frozen(kw_only=True)
class Refund(Model):
    """A refund of a transaction, full or partial.

    Attributes:
        id: `ref_...`.
        status: `succeeded`.
        amount: refunded amount in major units of the transaction's currency.
        transaction_id: `tx_...`.
        reason: the reason that was given.
        created_at: when it was created.
    """

    id: str
    status: RefundStatus
    amount: Decimal
    transaction_id: str | None = None
    reason: str | None = None
    created_at: datetime | None = None


@attrs.frozen(kw_only=True)
class Discount(Model):
    """A discount code.

    Attributes:
        id: `disc_...`.
        code: the code that the payer enters.
        name: display name.
        status: e.g. `active`.
        percent_off: discount in percent, more than 0 and at most 100; None when `amount_off` is set.
        amount_off: discount in major units of `currency`; None when `percent_off` is set.
        currency: ISO 4217 code.
        duration: `once`, `repeating` or `forever`.
        duration_in_months: number of months that a `repeating` discount applies for.
        max_redemptions: how often the code can be used; None means unlimited.
        times_redeemed: how often the code was used.
        valid_until: when the code expires.
        created_at: when it was created.
    """

    id: str
    code: str
    name: str | None = None
    status: str | None = None
    percent_off: Decimal | None = None
    amount_off: Decimal | None = None
    currency: str | None = None
    duration: DiscountDuration | None = None
    duration_in_months: int | None = None
    max_redemptions: int | None = None
    times_redeemed: int | None = None
    valid_until: datetime | None = None
    created_at: datetime | None = None


class RefundsApi(BaseClient):
    """Calls for refunds and discounts."""

    async def create_refund(
        self, transaction_id: str, *, amount: Number, reason: str | None = None, idempotency_key: str | None = None
    ) -> Refund:
        """Refund a transaction, in full or in part (`POST /refunds`).

        Args:
            transaction_id: `tx_...`.
            amount: amount in major units, e.g. `Decimal("50.00")` dollars; more than 0.
            reason: the reason, stored with the refund.
            idempotency_key: 1 to 255 printable ASCII characters without spaces; a random key by default.

        Raises:
            NotFoundError: the transaction does not exist.
            ConflictError: the sum of the refunds would exceed the transaction.
        """
        body = {
            "transaction_id": validation.text("transaction_id", transaction_id),
            "amount": validation.number("amount", amount, above_zero=True),
            "reason": validation.optional_text("reason", reason),
        }
        return await self._post("/refunds", body, Refund, idempotency_key)

    async def create_discount(
        self,
        *,
        name: str,
        code: str,
        duration: DiscountDuration,
        percent_off: Number | None = None,
        amount_off: Number | None = None,
        duration_in_months: int | None = None,
        currency: str | None = None,
        max_redemptions: int | None = None,
        valid_until: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> Discount:
        """Create a discount code (`POST /discounts`).

        Args:
            name: display name.
            code: the code that the payer enters, unique within the merchant.
            duration: `once`, `repeating` (for `duration_in_months`) or `forever`.
            percent_off: discount in percent, more than 0 and at most 100. Either this or `amount_off` is required.
            amount_off: discount in major units of `currency`, more than 0.
            duration_in_months: number of months that a `repeating` discount applies for; required for those.
            currency: ISO 4217 code; `USD` by default.
            max_redemptions: how often the code can be used, at least 1; unlimited by default.
            valid_until: when the code expires: an aware datetime; never by default.
            idempotency_key: 1 to 255 printable ASCII characters without spaces; a random key by default.

        Raises:
            InvalidArgumentError: not exactly one of `percent_off` and `amount_off` is given, or `duration_in_months`
                is missing.
            ConflictError: a discount with this code exists.
        """
        if (percent_off is None) == (amount_off is None):
            raise InvalidArgumentError("percent_off", "exactly one of percent_off and amount_off is required")
        if duration == "repeating" and duration_in_months is None:
            raise InvalidArgumentError("duration_in_months", "required for a repeating discount")
        percent = validation.optional_number("percent_off", percent_off, above_zero=True)
        if percent is not None and percent > 100:
            raise InvalidArgumentError("percent_off", f"must be at most 100, not {percent}")
        body = {
            "name": validation.text("name", name),
            "code": validation.text("code", code),
            "duration": validation.text("duration", duration),
            "percent_off": percent,
            "amount_off": validation.optional_number("amount_off", amount_off, above_zero=True),
            "duration_in_months": validation.optional_whole("duration_in_months", duration_in_months, minimum=1),
            "currency": validation.optional_text("currency", currency),
            "max_redemptions": validation.optional_whole("max_redemptions", max_redemptions, minimum=1),
            "valid_until": validation.optional_datetime("valid_until", valid_until),
        }
        return await self._post("/discounts", body, Discount, idempotency_key)
