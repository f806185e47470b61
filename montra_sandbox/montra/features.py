"""Features of pricing models, and entitlement checks."""

from __future__ import annotations

import sqlite3
from typing import Any

from ..database import Row, pick
from ..ids import new_id
from ..json import number, omit_none
from ..problems import Problem, conflict, invalid
from .merchant_context import NO_DATA, MerchantContext, operation
from .meters import find_meter
from .plans import Plan, current_plan
from .usage import find_limit, measure

_UPDATABLE = ("name", "slug", "type", "description", "status")


@operation("list_features")
def list_features(context: MerchantContext) -> Any:
    """GET /features."""
    return [serialize(row) for row in context.list_rows("features")]


@operation("create_feature")
def create_feature(context: MerchantContext) -> Any:
    """POST /features."""
    body = context.body
    feature_id = new_id("feat")
    model = context.get_or_404("pricing_models", "pricing model", body["pricing_model_id"])
    try:
        context.db.insert(
            "features",
            id=feature_id,
            merchant_id=context.merchant_id,
            pricing_model_id=model["id"],
            name=body["name"],
            slug=body["slug"],
            description=body.get("description"),
            type=body.get("type", "Toggle"),
            status=body.get("status", "Active"),
            created_at=context.now_text,
        )
    except sqlite3.IntegrityError:
        raise _slug_taken(body["slug"]) from None
    return _record_event(context, "feature.created", feature_id)


@operation("update_feature")
def update_feature(context: MerchantContext) -> Any:
    """PATCH /features/{feature_id}."""
    feature_id = _get(context, context.path["feature_id"])["id"]
    changes = {name: context.body[name] for name in _UPDATABLE if name in context.body}
    try:
        context.db.update("features", feature_id, **changes)
    except sqlite3.IntegrityError:
        raise _slug_taken(context.body["slug"]) from None
    return _record_event(context, "feature.updated", feature_id)


@operation("delete_feature")
def delete_feature(context: MerchantContext) -> Any:
    """DELETE /features/{feature_id}."""
    row = _get(context, context.path["feature_id"])
    context.db.run("DELETE FROM features WHERE id = ?", row["id"])
    context.record_event("feature.deleted", row["id"], serialize(row))
    return NO_DATA


def serialize(row: Row) -> dict[str, Any]:
    """A feature's JSON."""
    names = ("id", "name", "slug", "description", "type", "status", "pricing_model_id", "created_at")
    return omit_none(pick(row, *names))


def _get(context: MerchantContext, feature_id: str) -> Row:
    return context.get_or_404("features", "feature", feature_id)


def _record_event(context: MerchantContext, event_type: str, feature_id: str) -> Any:
    serialized = serialize(_get(context, feature_id))
    context.record_event(event_type, feature_id, serialized)
    return serialized


def _slug_taken(slug: str) -> Problem:
    return conflict("conflict", f"this pricing model has a feature with the slug {slug!r}")


# Entitlements


@operation("check_entitlement")
def check_entitlement(context: MerchantContext) -> Any:
    """GET /entitlements."""
    meter, feature = context.query.get("meter"), context.query.get("feature")
    if (meter is None) == (feature is None):
        raise invalid("give exactly one of meter and feature")
    customer = context.get_or_404("customers", "customer", context.query["customer_id"])
    plan = current_plan(context, customer)
    if meter is not None:
        return _meter_entitlement(context, customer, plan, meter)
    return _feature_entitlement(context, plan, str(feature))


def _meter_entitlement(context: MerchantContext, customer: Row, plan: Plan, slug: str) -> dict[str, Any]:
    meter = find_meter(context, plan, slug)
    limit = find_limit(context, plan, slug)
    usage = measure(context, customer, plan, meter, limit)
    max_amount = limit.max_amount if limit else None
    entitlement: dict[str, Any] = {
        "has_access": True,
        "usage": number(str(usage)),
        "limit": None if max_amount is None else number(str(max_amount)),
        "type": "meter",
    }
    if plan.pricing_model_id is None:
        return {**entitlement, "has_access": False, "reason": "no_plan"}
    if max_amount is not None and usage >= max_amount:
        return {**entitlement, "has_access": False, "reason": "limit_reached"}
    return entitlement


def _feature_entitlement(context: MerchantContext, plan: Plan, slug: str) -> dict[str, Any]:
    if plan.pricing_model_id is None:
        return {"has_access": False, "type": "feature", "reason": "no_plan"}
    status = context.db.value(
        "SELECT status FROM features WHERE pricing_model_id = ? AND slug = ?", plan.pricing_model_id, slug
    )
    if status == "Active":
        return {"has_access": True, "type": "feature"}
    reason = "not_in_plan" if status is None else "feature_not_active"
    return {"has_access": False, "type": "feature", "reason": reason}
