"""Pricing models and their products."""

from __future__ import annotations

from typing import Any

from ..database import Row, pick
from ..ids import new_id
from ..json import decimal, decimal_text, omit_none
from ..problems import not_found
from .merchant_context import MerchantContext, operation
from .meters import find_meter_of_model

_SELECT = """
SELECT model.*, (SELECT count(*) FROM products WHERE pricing_model_id = model.id) AS products_count
FROM pricing_models model WHERE model.merchant_id = ?"""
_UPDATABLE = ("name", "is_default")


@operation("list_pricing_models")
def list_pricing_models(context: MerchantContext) -> Any:
    """GET /pricing-models."""
    rows = context.db.all(f"{_SELECT} ORDER BY created_at, rowid", context.merchant_id)
    return [serialize(row) for row in rows]


@operation("create_pricing_model")
def create_pricing_model(context: MerchantContext) -> Any:
    """POST /pricing-models."""
    model_id = new_id("pm")
    is_default = context.body.get("is_default", False)
    if is_default:
        _clear_default(context)
    context.db.insert(
        "pricing_models",
        id=model_id,
        merchant_id=context.merchant_id,
        name=context.body["name"],
        is_default=is_default,
        created_at=context.now_text,
    )
    return _record_event(context, "pricing_model.created", model_id)


@operation("update_pricing_model")
def update_pricing_model(context: MerchantContext) -> Any:
    """PATCH /pricing-models."""
    model_id = get_pricing_model(context, context.body["id"])["id"]
    changes = {name: context.body[name] for name in _UPDATABLE if name in context.body}
    if changes.get("is_default"):
        _clear_default(context)
    context.db.update("pricing_models", model_id, **changes)
    return _record_event(context, "pricing_model.updated", model_id)


def serialize(row: Row) -> dict[str, Any]:
    """A pricing model's JSON."""
    names = ("id", "merchant_id", "name", "products_count", "created_at")
    return {**pick(row, *names), "is_default": bool(row["is_default"])}


def get_pricing_model(context: MerchantContext, model_id: str) -> Row:
    """A pricing model of the merchant.

    Args:
        context: the merchant.
        model_id: the pricing model's id.

    Raises:
        Problem: 404.
    """
    return context.get_or_404("pricing_models", "pricing model", model_id)


def _clear_default(context: MerchantContext) -> None:
    context.db.run("UPDATE pricing_models SET is_default = 0 WHERE merchant_id = ?", context.merchant_id)


def _record_event(context: MerchantContext, event_type: str, model_id: str) -> Any:
    row = context.db.one(f"{_SELECT} AND model.id = ?", context.merchant_id, model_id)
    assert row is not None
    serialized = serialize(row)
    context.record_event(event_type, model_id, serialized)
    return serialized


# Products


@operation("list_products")
def list_products(context: MerchantContext) -> Any:
    """GET /products."""
    model_id = context.query.get("pricing_model_id")
    if model_id is not None:
        get_pricing_model(context, model_id)
    rows = context.list_rows("products")
    return [serialize_product(row) for row in rows if model_id in (None, row["pricing_model_id"])]


@operation("create_product")
def create_product(context: MerchantContext) -> Any:
    """POST /products."""
    body = context.body
    model_id = get_pricing_model(context, body["pricing_model_id"])["id"]
    meter_slug = body.get("meter_slug")
    if meter_slug is not None and find_meter_of_model(context, model_id, meter_slug) is None:
        raise not_found("meter of this pricing model with the slug", meter_slug)
    product_id = new_id("prod")
    context.db.insert(
        "products",
        id=product_id,
        merchant_id=context.merchant_id,
        pricing_model_id=model_id,
        name=body["name"],
        price_type=body["price_type"],
        amount=decimal_text(body.get("amount")),
        status=body.get("status", "Active"),
        pricing_structure=body.get("pricing_structure", "fixed"),
        meter_slug=meter_slug,
        currency="USD",
        created_at=context.now_text,
    )
    serialized = serialize_product(context.get_or_404("products", "product", product_id))
    context.record_event("product.created", product_id, serialized)
    return serialized


def serialize_product(row: Row) -> dict[str, Any]:
    """A product's JSON."""
    names = ("id", "name", "price_type", "status", "pricing_model_id", "pricing_structure", "meter_slug", "currency")
    return omit_none({**pick(row, *names, "created_at"), "amount": decimal(row["amount"])})
