"""Refunds and discounts: money that is given back, or not taken."""

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
DiscountDuration: TypeAlias = Literal["once", "repeating", "forever"] | str


@attrs.frozen(kw_only=True)
class Refund(Model):
    """Money returned for one transaction. `amount` is in major units of the transaction's currency."""

    id: str
    status: RefundStatus
    amount: Decimal
    transaction_id: str | None = None
    reason: str | None = None
    created_at: datetime | None = None


@attrs.frozen(kw_only=True)
class Discount(Model):
    """A code that makes a payment cheaper: by `percent_off` (0 to 100) or by `amount_off` (major units)."""

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
    async def create_refund(
        self, *, transaction_id: str, amount: Number, reason: str | None = None, idempotency_key: str | None = None
    ) -> Refund:
        """Return all or part of a transaction's money (`POST /refunds`).

        Args:
            transaction_id: `tx_...` of the payment.
            amount: major units, e.g. `Decimal("50.00")` dollars; more than what is left is refused.
            reason: kept with the refund, shown to nobody but you.
            idempotency_key: your own key; one is made when you give none.

        Raises:
            NotFoundError: no such transaction.
            ConflictError: the refunds would exceed the transaction.
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
            name: for you.
            code: what the payer types; unique within the merchant.
            duration: `once`, `repeating` (for `duration_in_months`) or `forever`.
            percent_off: more than 0, at most 100. Either this or `amount_off`.
            amount_off: major units of `currency`, more than 0.
            duration_in_months: how long a `repeating` discount lasts.
            currency: ISO code, `USD` by default.
            max_redemptions: how often the code can be used.
            valid_until: when it ends, with a time zone.
            idempotency_key: your own key; one is made when you give none.

        Raises:
            ConflictError: a discount with this code exists.
        """
        if (percent_off is None) == (amount_off is None):
            raise InvalidArgumentError("percent_off", "give either percent_off or amount_off")
        if duration == "repeating" and duration_in_months is None:
            raise InvalidArgumentError("duration_in_months", "a repeating discount needs it")
        percent = validation.optional_number("percent_off", percent_off, above_zero=True)
        if percent is not None and percent > 100:
            raise InvalidArgumentError("percent_off", f"must be at most 100, not {percent}")
        body = {
            "name": validation.text("name", name),
            "code": validation.text("code", code),
            "duration": validation.text("duration", duration),
            "percent_off": percent,
            "amount_off": validation.optional_number("amount_off", amount_off, above_zero=True),
            "duration_in_months": validation.optional_whole("duration_in_months", duration_in_months, least=1),
            "currency": validation.optional_text("currency", currency),
            "max_redemptions": validation.optional_whole("max_redemptions", max_redemptions, least=1),
            "valid_until": validation.optional_datetime("valid_until", valid_until),
        }
        return await self._post("/discounts", body, Discount, idempotency_key)
