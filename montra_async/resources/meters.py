"""Meters and usage: what is counted, and the counting."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import attrs

from ..core import validation
from ..core.bulk_calls import CONCURRENCY, BulkRun, run_all
from ..core.bulk_items import Items, items_of
from ..core.bulk_results import BulkHook, BulkResult
from ..core.client import BaseClient
from ..core.models.model import Model
from ..core.validation import Number

Aggregation: TypeAlias = Literal["sum", "max", "unique", "count"] | str
"""How a `Meter` aggregates usage. Values that this SDK does not know stay strings."""


@attrs.frozen(kw_only=True)
class Meter(Model):
    """A meter: counts the usage of the customers of a pricing model.

    Attributes:
        id: `meter_...`.
        slug: name in code, unique within the pricing model.
        name: display name.
        pricing_model_id: the pricing model that it belongs to.
        merchant_id: the merchant that it belongs to.
        aggregation: `sum`, `max`, `unique` or `count`.
        currency: ISO 4217 code.
        amount: price of `events_per_unit` units in major units of `currency`; None when usage is free.
        events_per_unit: number of units that `amount` is the price of.
        created_at: when it was created.
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
    """Calls for meters and usage."""

    async def report_usage(
        self,
        customer_id: str,
        meter_slug: str,
        *,
        amount: Number = 1,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> bool:
        """Report usage of a meter by a customer (`POST /usage`).

        Args:
            customer_id: `cust_...`.
            meter_slug: slug of the meter, e.g. `api-tokens`.
            amount: number of units, at least 0, with or without a fraction; 1 by default.
            metadata: your own JSON object. A `unique` meter counts the distinct values of `metadata["unique_key"]`.
            idempotency_key: 1 to 255 printable ASCII characters without spaces, e.g. the id of the job that used the
                tokens, so that reporting it again does not count twice; a random key by default.

        Returns:
            True. The usage is recorded.

        Raises:
            NotFoundError: the customer or the meter does not exist.
        """
        body = {
            "customer_id": validation.text("customer_id", customer_id),
            "meter_slug": validation.text("meter_slug", meter_slug),
            "amount": validation.number("amount", amount),
            "metadata": validation.json_object("metadata", metadata),
        }
        await self._post_without_result("/usage", body, idempotency_key)
        return True

    def report_usage_many(
        self,
        items: Items,
        *,
        concurrency: int = CONCURRENCY,
        batch_key: str | None = None,
        on_progress: BulkHook | None = None,
    ) -> AsyncGenerator[BulkResult[bool], None]:
        """Report many usages, several at once (`POST /usage` for each).

        The calls are made now, and what is not sent when the process ends is lost. `UsageReporter.report_usage_many`
        takes the same items, writes them to an outbox first and delivers them in the background.

        Results come as calls end, each with the `index` of its item; `sorted(results)` is in order. An item that fails
        is a result, no exception, and does not stop the others. At most `concurrency` items and results are in memory.
        When the service has too many requests (429), all items wait for as long as it asks, and are sent again up to
        eight times. When it asks for more than a minute, or refuses the key, nothing more is sent: the remaining items
        are `skipped`. Ending the iteration early, or cancelling it, cancels the calls in flight. They, and those whose
        results were not yielded yet, may have been carried out: with a `batch_key` the same list can be sent again,
        for as long as the service remembers its keys (a day to a month).

        Args:
            items: dicts with the arguments of `report_usage`: a list or a generator; for the asynchronous client
                also an asynchronous one. The synchronous client iterates over it in the thread of the caller.
            concurrency: number of calls at the same time, 1 to 1000; never more than `pool_size`. Default: 10.
            batch_key: prefix of the idempotency keys, for example the name of the file: at most 200 printable ASCII
                characters without spaces. Item n then has the key `<batch_key>-<n>`, so that sending the same list
                again, after a crash for example, has no second effect; an item that was changed or moved is a
                `ConflictError`. Default: random keys. The `idempotency_key` of an item goes first.
            on_progress: function that is called with a `BulkProgress` before each result is yielded. What it raises
                ends the iteration, after the results of the calls in flight. Default: None.

        Raises:
            InvalidArgumentError: `concurrency` or `batch_key` is invalid. Invalid items are results.
        """
        run = BulkRun(
            self.report_usage,
            self.with_raw_response,
            pool_size=self._pool_size,
            concurrency=concurrency,
            batch_key=batch_key,
            on_progress=on_progress,
        )
        return run_all(run, items_of(items))

    async def list_meters(self) -> list[Meter]:
        """List all meters of the merchant (`GET /meters`)."""
        return await self._get("/meters", list[Meter])

    async def create_meter(
        self,
        pricing_model_id: str,
        *,
        name: str,
        slug: str,
        aggregation: Aggregation | None = None,
        currency: str | None = None,
        amount: Number | None = None,
        events_per_unit: int | None = None,
        idempotency_key: str | None = None,
    ) -> Meter:
        """Create a meter (`POST /meters`).

        Args:
            pricing_model_id: `pm_...`, the pricing model that it belongs to.
            name: display name.
            slug: name for `report_usage` and `check_entitlement`, unique within the pricing model.
            aggregation: `sum` (the default) adds the amounts, `max` takes the largest, `count` counts reports, `unique`
                counts distinct values.
            currency: ISO 4217 code; `USD` by default.
            amount: price of `events_per_unit` units in major units; free by default.
            events_per_unit: number of units that `amount` is the price of; 1 by default.
            idempotency_key: 1 to 255 printable ASCII characters without spaces; a random key by default.

        Raises:
            NotFoundError: the pricing model does not exist.
            ConflictError: the pricing model has a meter with this slug.
        """
        body = {
            "name": validation.text("name", name),
            "slug": validation.text("slug", slug),
            "pricing_model_id": validation.text("pricing_model_id", pricing_model_id),
            "aggregation": validation.optional_text("aggregation", aggregation),
            "currency": validation.optional_text("currency", currency),
            "amount": validation.optional_number("amount", amount),
            "events_per_unit": validation.optional_whole("events_per_unit", events_per_unit, minimum=1),
        }
        return await self._post("/meters", body, Meter, idempotency_key)
