"""Meters and usage: what is counted, and the counting."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import attrs

from ..core import validation
from ..core.client import BaseClient
from ..core.models.model import Model
from ..core.validation import Number

Aggregation: TypeAlias = Literal["sum", "max", "unique", "count"] | str


@attrs.frozen(kw_only=True)
class Meter(Model):
    """What is counted for the customers of a pricing model.

    `amount` is the price, in major units of `currency`, of `events_per_unit` units; None when usage is free.
    """

    id: str
    slug: str
    name: str | None = None
    pricing_model_id: str | None = None
    merchant_id: str | None = None
    aggregation: Aggregation | None = None
    currency: str | None = None
    amount: Decimal | None = None
    events_per_unit: int | None = None
    created_at: datetime | None = None


class MetersApi(BaseClient):
    async def report_usage(
        self,
        *,
        customer_id: str,
        meter_slug: str,
        amount: Number = 1,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> bool:
        """Count usage of a customer on a meter (`POST /usage`). True once it is recorded.

        Args:
            customer_id: whose usage.
            meter_slug: the meter's slug, e.g. `api-tokens`.
            amount: units, at least 0; fractions are allowed.
            metadata: your own JSON; `metadata["unique_key"]` is what a `unique` meter counts.
            idempotency_key: your own key, e.g. the id of the job that used the tokens: reporting it again counts once.

        Raises:
            NotFoundError: no such customer or meter.
        """
        body = {
            "customer_id": validation.text("customer_id", customer_id),
            "meter_slug": validation.text("meter_slug", meter_slug),
            "amount": validation.number("amount", amount),
            "metadata": validation.json_object("metadata", metadata),
        }
        await self._post_without_result("/usage", body, idempotency_key)
        return True

    async def list_meters(self) -> list[Meter]:
        """All meters of the merchant (`GET /meters`)."""
        return await self._get("/meters", list[Meter])

    async def create_meter(
        self,
        *,
        name: str,
        slug: str,
        pricing_model_id: str,
        aggregation: Aggregation | None = None,
        currency: str | None = None,
        amount: Number | None = None,
        events_per_unit: int | None = None,
        idempotency_key: str | None = None,
    ) -> Meter:
        """Create a meter (`POST /meters`).

        Args:
            name: for people.
            slug: for `report_usage` and `check_entitlement`; unique within the pricing model.
            pricing_model_id: the plan that it belongs to.
            aggregation: `sum` (the default) adds up, `max` takes the largest, `count` counts reports, `unique` counts
                distinct values.
            currency: ISO code, `USD` by default.
            amount: price of `events_per_unit` units in major units; free when left out.
            events_per_unit: 1 by default.
            idempotency_key: your own key; one is made when you give none.

        Raises:
            NotFoundError: no such pricing model.
            ConflictError: the pricing model has a meter with this slug.
        """
        body = {
            "name": validation.text("name", name),
            "slug": validation.text("slug", slug),
            "pricing_model_id": validation.text("pricing_model_id", pricing_model_id),
            "aggregation": validation.optional_text("aggregation", aggregation),
            "currency": validation.optional_text("currency", currency),
            "amount": validation.optional_number("amount", amount),
            "events_per_unit": validation.optional_whole("events_per_unit", events_per_unit, least=1),
        }
        return await self._post("/meters", body, Meter, idempotency_key)
