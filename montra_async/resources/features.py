"""Features, and the entitlement checks of customers."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeAlias

import attrs

from ..core import validation
from ..core.client import BaseClient
from ..core.models.model import Model
from ..core.validation import UNSET, Unset

FeatureType: TypeAlias = Literal["Toggle"] | str
"""Type of a `Feature`. Values that this SDK does not know stay strings."""
FeatureStatus: TypeAlias = Literal["Active", "Archived"] | str
"""Status of a `Feature`. Values that this SDK does not know stay strings."""
EntitlementType: TypeAlias = Literal["meter", "feature"] | str
"""What an `Entitlement` is about. Values that this SDK does not know stay strings."""


@attrs.frozen(kw_only=True)
class Feature(Model):
    """A feature that a pricing model enables.

    Attributes:
        id: `feat_...`.
        slug: name in code, unique within the pricing model.
        name: display name.
        description: description for people.
        type: `Toggle`.
        status: `Active` or `Archived`.
        pricing_model_id: the pricing model that enables it.
        created_at: when it was created.
    """

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
    """Whether a customer may use a meter or a feature. It is false when there is no access: `if entitlement:` is right.

    Attributes:
        has_access: whether the customer has access.
        usage: units of the meter used in the current billing period.
        limit: units of the meter allowed in the period; None means unlimited, unless `extra` has a `limit` that could
            not be read. `has_access` is right in any case.
        type: `meter` or `feature`.
        reason: why there is no access.
    """

    has_access: bool
    usage: int | float | None = None
    limit: int | float | None = None
    type: EntitlementType | None = None
    reason: str | None = None

    def __bool__(self) -> bool:
        return self.has_access


class FeaturesApi(BaseClient):
    """Calls for features and entitlements."""

    async def list_features(self) -> list[Feature]:
        """List all features of the merchant (`GET /features`)."""
        return await self._get("/features", list[Feature])

    async def create_feature(
        self,
        pricing_model_id: str,
        *,
        name: str,
        slug: str,
        type: FeatureType | None = None,
        description: str | None = None,
        status: FeatureStatus | None = None,
        idempotency_key: str | None = None,
    ) -> Feature:
        """Create a feature (`POST /features`).

        Args:
            pricing_model_id: `pm_...`, the pricing model that enables it.
            name: display name.
            slug: name for `check_feature_access`, unique within the pricing model.
            type: `Toggle` by default.
            description: description for people; may be empty.
            status: `Active` by default.
            idempotency_key: 1 to 255 printable ASCII characters without spaces; a random key by default.

        Raises:
            NotFoundError: the pricing model does not exist.
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
        name: str | Unset = UNSET,
        slug: str | Unset = UNSET,
        type: FeatureType | Unset = UNSET,
        description: str | Unset | None = UNSET,
        status: FeatureStatus | Unset = UNSET,
    ) -> Feature:
        """Change the given fields of a feature, e.g. `status="Archived"` (`PATCH /features/{id}`).

        A field that is not given keeps its value. None clears a field.

        Args:
            feature_id: `feat_...`.
            name: display name. Can't be cleared.
            slug: name for `check_feature_access`, unique within the pricing model. Can't be cleared.
            type: e.g. `Toggle`. Can't be cleared.
            description: description for people; may be empty.
            status: `Active` or `Archived`. Can't be cleared.

        Raises:
            NotFoundError: the feature does not exist.
            ConflictError: the pricing model has another feature with this slug.
        """
        body = validation.patch_body(
            name=validation.patch_field("name", name, validation.text),
            slug=validation.patch_field("slug", slug, validation.text),
            type=validation.patch_field("type", type, validation.text),
            description=validation.patch_field(
                "description", description, validation.optional_description, can_be_cleared=True
            ),
            status=validation.patch_field("status", status, validation.text),
        )
        return await self._patch(f"/features/{validation.segment('feature_id', feature_id)}", body, Feature)

    async def delete_feature(self, feature_id: str) -> None:
        """Delete a feature (`DELETE /features/{id}`).

        Args:
            feature_id: `feat_...`.

        Raises:
            NotFoundError: the feature does not exist.
        """
        await self._delete(f"/features/{validation.segment('feature_id', feature_id)}")

    async def check_entitlement(self, customer_id: str, meter_slug: str) -> Entitlement:
        """Check whether a customer may use more of a meter (`GET /entitlements?customer_id=&meter=`).

        A customer has access while the usage of the billing period is below the plan's limit, or when there is no
        limit.

        Args:
            customer_id: `cust_...`.
            meter_slug: slug of the meter, e.g. `api-tokens`.

        Raises:
            NotFoundError: the customer or the meter does not exist.
        """
        query = validation.query(
            customer_id=validation.text("customer_id", customer_id), meter=validation.text("meter_slug", meter_slug)
        )
        return await self._get("/entitlements", Entitlement, query)

    async def check_feature_access(self, customer_id: str, feature_slug: str) -> Entitlement:
        """Check whether a customer's plan enables a feature (`GET /entitlements?customer_id=&feature=`).

        Args:
            customer_id: `cust_...`.
            feature_slug: slug of the feature, e.g. `sso`.

        Raises:
            NotFoundError: the customer does not exist.
        """
        query = validation.query(
            customer_id=validation.text("customer_id", customer_id),
            feature=validation.text("feature_slug", feature_slug),
        )
        return await self._get("/entitlements", Entitlement, query)
