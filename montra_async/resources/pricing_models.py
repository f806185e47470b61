"""Pricing models (plans) and their products."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias

import attrs

from ..core import validation
from ..core.client import BaseClient
from ..core.errors import InvalidArgumentError
from ..core.models.model import Model
from ..core.validation import UNSET, Number, Unset

PriceType: TypeAlias = Literal["one_time", "recurring", "usage"] | str
"""How a `Product` is charged. Values that this SDK does not know stay strings."""
PricingStructure: TypeAlias = Literal["fixed", "tiered"] | str
"""Structure of a product's price. Values that this SDK does not know stay strings."""
ProductStatus: TypeAlias = Literal["Active", "Archived"] | str
"""Status of a `Product`. Values that this SDK does not know stay strings."""


@attrs.frozen(kw_only=True)
class PricingModel(Model):
    """A plan. A change applies to all of its customers from the next entitlement check on.

    Attributes:
        id: `pm_...`.
        name: display name.
        is_default: whether it is the plan of customers without a subscription.
        products_count: number of its products.
        merchant_id: the merchant that it belongs to.
        created_at: when it was created.
    """

    id: str
    name: str | None = None
    is_default: bool | None = None
    products_count: int | None = None
    merchant_id: str | None = None
    created_at: datetime | None = None


@attrs.frozen(kw_only=True)
class Product(Model):
    """A product of a pricing model.

    Attributes:
        id: `prod_...`.
        name: name at checkout and on invoices.
        price_type: `one_time`, `recurring` (per billing period) or `usage` (per unit of a meter).
        amount: price in major units of `currency`.
        status: `Active` or `Archived`.
        pricing_model_id: the pricing model that it belongs to.
        pricing_structure: `fixed` or `tiered`.
        meter_slug: slug of the meter that a `usage` product charges for.
        currency: ISO 4217 code.
        created_at: when it was created.
    """

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
    """Calls for pricing models and products."""

    async def list_pricing_models(self) -> list[PricingModel]:
        """List all pricing models of the merchant (`GET /pricing-models`)."""
        return await self._get("/pricing-models", list[PricingModel])

    async def create_pricing_model(
        self, *, name: str, is_default: bool | None = None, idempotency_key: str | None = None
    ) -> PricingModel:
        """Create a pricing model (`POST /pricing-models`).

        Args:
            name: display name.
            is_default: whether it becomes the plan of customers without a subscription; False by default. A merchant
                has at most one default: True clears the flag of the other.
            idempotency_key: 1 to 255 printable ASCII characters without spaces; a random key by default.
        """
        body = {"name": validation.text("name", name), "is_default": validation.optional_flag("is_default", is_default)}
        return await self._post("/pricing-models", body, PricingModel, idempotency_key)

    async def update_pricing_model(
        self, pricing_model_id: str, *, name: str | Unset = UNSET, is_default: bool | Unset = UNSET
    ) -> PricingModel:
        """Change the given fields of a pricing model (`PATCH /pricing-models`).

        A field that is not given keeps its value.

        Args:
            pricing_model_id: `pm_...`.
            name: display name. Can't be cleared.
            is_default: whether it is the plan of customers without a subscription. Can't be cleared; True clears the
                flag of the merchant's other default.

        Raises:
            NotFoundError: the pricing model does not exist.
        """
        body = validation.patch_body(
            id=validation.text("pricing_model_id", pricing_model_id),
            name=validation.patch_field("name", name, validation.text),
            is_default=validation.patch_field("is_default", is_default, validation.flag),
        )
        return await self._patch("/pricing-models", body, PricingModel)

    async def list_products(self, pricing_model_id: str | None = None) -> list[Product]:
        """List all products, or those of one pricing model (`GET /products`).

        Args:
            pricing_model_id: `pm_...`; all pricing models by default.

        Raises:
            NotFoundError: the pricing model does not exist.
        """
        query = validation.query(pricing_model_id=validation.optional_text("pricing_model_id", pricing_model_id))
        return await self._get("/products", list[Product], query)

    async def create_product(
        self,
        pricing_model_id: str,
        *,
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
            pricing_model_id: `pm_...`, the pricing model that it belongs to.
            name: name at checkout and on invoices.
            price_type: `one_time`, `recurring` (per billing period) or `usage` (per unit of a meter).
            amount: price in major units, e.g. `Decimal("299.00")` dollars; 0 is a price. Required for a `recurring`
                product that is not `tiered`.
            pricing_structure: `fixed` (the default) or `tiered`.
            meter_slug: slug of the meter that a `usage` product charges for; required for those.
            status: `Active` by default.
            idempotency_key: 1 to 255 printable ASCII characters without spaces; a random key by default.

        Raises:
            InvalidArgumentError: `meter_slug` or `amount` is missing.
            NotFoundError: the pricing model or the meter does not exist.
        """
        if price_type == "usage" and meter_slug is None:
            raise InvalidArgumentError("meter_slug", "required for a product with price_type 'usage'")
        if price_type == "recurring" and amount is None and pricing_structure != "tiered":
            raise InvalidArgumentError("amount", "required for a product with price_type 'recurring'")
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
