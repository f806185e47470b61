"""Pricing models and their products: the plans that customers are on."""

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

PriceType: TypeAlias = Literal["one_time", "recurring", "usage"] | str
PricingStructure: TypeAlias = Literal["fixed", "tiered"] | str
ProductStatus: TypeAlias = Literal["Active", "Archived"] | str


@attrs.frozen(kw_only=True)
class PricingModel(Model):
    """A plan. Changes to it reach every customer on it at once: the next entitlement check sees them."""

    id: str
    name: str | None = None
    is_default: bool | None = None
    products_count: int | None = None
    merchant_id: str | None = None
    created_at: datetime | None = None


@attrs.frozen(kw_only=True)
class Product(Model):
    """Something with a price. `amount` is in major units of `currency`."""

    id: str
    name: str | None = None
    price_type: PriceType | None = None
    amount: Decimal | None = None
    status: ProductStatus | None = None
    pricing_model_id: str | None = None
    pricing_structure: PricingStructure | None = None
    meter_slug: str | None = None
    currency: str | None = None
    created_at: datetime | None = None


class PricingModelsApi(BaseClient):
    async def list_pricing_models(self) -> list[PricingModel]:
        """All pricing models of the merchant (`GET /pricing-models`)."""
        return await self._get("/pricing-models", list[PricingModel])

    async def create_pricing_model(
        self, *, name: str, is_default: bool | None = None, idempotency_key: str | None = None
    ) -> PricingModel:
        """Create a pricing model (`POST /pricing-models`).

        Args:
            name: for people.
            is_default: the plan of customers without a subscription. A merchant has one default: this clears the old.
            idempotency_key: your own key; one is made when you give none.
        """
        body = {"name": validation.text("name", name), "is_default": validation.optional_flag("is_default", is_default)}
        return await self._post("/pricing-models", body, PricingModel, idempotency_key)

    async def update_pricing_model(
        self, pricing_model_id: str, *, name: str | None = None, is_default: bool | None = None
    ) -> PricingModel:
        """Rename a pricing model, or make it the default (`PATCH /pricing-models`).

        Raises:
            NotFoundError: no such pricing model.
        """
        body = {
            "id": validation.text("pricing_model_id", pricing_model_id),
            "name": validation.optional_text("name", name),
            "is_default": validation.optional_flag("is_default", is_default),
        }
        return await self._patch("/pricing-models", body, PricingModel)

    async def list_products(self, pricing_model_id: str | None = None) -> list[Product]:
        """All products, or those of one pricing model (`GET /products`)."""
        query = validation.query(pricing_model_id=validation.optional_text("pricing_model_id", pricing_model_id))
        return await self._get("/products", list[Product], query)

    async def create_product(
        self,
        *,
        pricing_model_id: str,
        name: str,
        price_type: PriceType,
        amount: Number | None = None,
        pricing_structure: PricingStructure | None = None,
        meter_slug: str | None = None,
        status: ProductStatus | None = None,
        idempotency_key: str | None = None,
    ) -> Product:
        """Create a product (`POST /products`).

        Args:
            pricing_model_id: the plan that it belongs to.
            name: shown at checkout and on invoices.
            price_type: `one_time`, `recurring` (per billing period) or `usage` (per unit of a meter).
            amount: price in major units, e.g. `Decimal("299.00")` dollars. Required for a `recurring` product, unless
                it is `tiered`; 0 is a price.
            pricing_structure: `fixed` (the default) or `tiered`.
            meter_slug: the meter that a `usage` product charges for; required for those.
            status: `Active` by default.
            idempotency_key: your own key; one is made when you give none.

        Raises:
            NotFoundError: no such pricing model or meter.
        """
        if price_type == "usage" and meter_slug is None:
            raise InvalidArgumentError("meter_slug", "a product with price_type 'usage' needs the meter it charges for")
        if price_type == "recurring" and amount is None and pricing_structure != "tiered":
            raise InvalidArgumentError("amount", "a product with price_type 'recurring' needs its price per period")
        body = {
            "pricing_model_id": validation.text("pricing_model_id", pricing_model_id),
            "name": validation.text("name", name),
            "price_type": validation.text("price_type", price_type),
            "amount": validation.optional_number("amount", amount),
            "pricing_structure": validation.optional_text("pricing_structure", pricing_structure),
            "meter_slug": validation.optional_text("meter_slug", meter_slug),
            "status": validation.optional_text("status", status),
        }
        return await self._post("/products", body, Product, idempotency_key)
