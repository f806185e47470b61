"""Features and entitlements: what a plan unlocks, and the question whether a customer may."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeAlias

import attrs

from ..core import validation
from ..core.client import BaseClient
from ..core.models.model import Model

FeatureType: TypeAlias = Literal["Toggle"] | str
FeatureStatus: TypeAlias = Literal["Active", "Archived"] | str
EntitlementType: TypeAlias = Literal["meter", "feature"] | str


@attrs.frozen(kw_only=True)
class Feature(Model):
    """Something that a pricing model switches on."""

    id: str
    slug: str
    name: str | None = None
    description: str | None = None
    type: FeatureType | None = None
    status: FeatureStatus | None = None
    pricing_model_id: str | None = None
    created_at: datetime | None = None


@attrs.frozen(kw_only=True)
class Entitlement(Model):
    """The answer to "may this customer?".

    Attributes:
        has_access: the answer.
        usage: units used in the current billing period, for a meter.
        limit: units allowed in it; None means unlimited, unless `extra` has a `limit` that is no number. `has_access`
            holds in any case.
        type: `meter` or `feature`.
        reason: why not, when there is no access.
    """

    has_access: bool
    usage: int | float | None = None
    limit: int | float | None = None
    type: EntitlementType | None = None
    reason: str | None = None


class FeaturesApi(BaseClient):
    async def list_features(self) -> list[Feature]:
        """All features of the merchant (`GET /features`)."""
        return await self._get("/features", list[Feature])

    async def create_feature(
        self,
        *,
        name: str,
        slug: str,
        pricing_model_id: str,
        type: FeatureType | None = None,
        description: str | None = None,
        status: FeatureStatus | None = None,
        idempotency_key: str | None = None,
    ) -> Feature:
        """Create a feature (`POST /features`).

        Args:
            name: for people.
            slug: for `check_feature_access`; unique within the pricing model.
            pricing_model_id: the plan that unlocks it.
            type: `Toggle` by default.
            description: for people; may be empty.
            status: `Active` by default.
            idempotency_key: your own key; one is made when you give none.

        Raises:
            NotFoundError: no such pricing model.
            ConflictError: the pricing model has a feature with this slug.
        """
        body = {
            "name": validation.text("name", name),
            "slug": validation.text("slug", slug),
            "pricing_model_id": validation.text("pricing_model_id", pricing_model_id),
            "type": validation.optional_text("type", type),
            "description": validation.optional_description("description", description),
            "status": validation.optional_text("status", status),
        }
        return await self._post("/features", body, Feature, idempotency_key)

    async def update_feature(
        self,
        feature_id: str,
        *,
        name: str | None = None,
        slug: str | None = None,
        type: FeatureType | None = None,
        description: str | None = None,
        status: FeatureStatus | None = None,
    ) -> Feature:
        """Change the fields that are given, e.g. `status="Archived"` (`PATCH /features/{id}`).

        Raises:
            NotFoundError: no such feature.
            ConflictError: the pricing model has another feature with this slug.
        """
        body = {
            "name": validation.optional_text("name", name),
            "slug": validation.optional_text("slug", slug),
            "type": validation.optional_text("type", type),
            "description": validation.optional_description("description", description),
            "status": validation.optional_text("status", status),
        }
        return await self._patch(f"/features/{validation.segment('feature_id', feature_id)}", body, Feature)

    async def delete_feature(self, feature_id: str) -> None:
        """Delete a feature (`DELETE /features/{id}`).

        Raises:
            NotFoundError: no such feature.
        """
        await self._delete(f"/features/{validation.segment('feature_id', feature_id)}")

    async def check_entitlement(self, customer_id: str, meter_slug: str) -> Entitlement:
        """May the customer use more of a meter (`GET /entitlements?customer_id=&meter=`)?

        Access lasts while the usage of the billing period is below the plan's limit, or when there is no limit.

        Raises:
            NotFoundError: no such customer or meter.
        """
        query = validation.query(
            customer_id=validation.text("customer_id", customer_id), meter=validation.text("meter_slug", meter_slug)
        )
        return await self._get("/entitlements", Entitlement, query)

    async def check_feature_access(self, customer_id: str, feature_slug: str) -> Entitlement:
        """Does the customer's plan unlock a feature (`GET /entitlements?customer_id=&feature=`)?

        Raises:
            NotFoundError: no such customer.
        """
        query = validation.query(
            customer_id=validation.text("customer_id", customer_id),
            feature=validation.text("feature_slug", feature_slug),
        )
        return await self._get("/entitlements", Entitlement, query)
