"""Pricing models with their products, features and meters: what is sold."""

from __future__ import annotations

import sqlite3
from typing import Any

from ..context import NOTHING, Context, Handler, present
from ..problems import conflict, not_found
from ..store import Row, new_id, pick
from ..wire import decimal_text, money

_MODEL = """
SELECT model.*, (SELECT count(*) FROM products WHERE pricing_model_id = model.id) AS products_count
FROM pricing_models model WHERE model.merchant_id = ?"""


# Pricing models


def show_model(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "merchant_id": row["merchant_id"],
        "name": row["name"],
        "products_count": row["products_count"],
        "is_default": bool(row["is_default"]),
        "created_at": row["created_at"],
    }


def list_pricing_models(context: Context) -> list[Any]:
    rows = context.store.all(f"{_MODEL} ORDER BY created_at, rowid", context.merchant_id)
    return [show_model(row) for row in rows]


def create_pricing_model(context: Context) -> Any:
    model_id = new_id("pm")
    is_default = context.body.get("is_default", False)
    if is_default:
        _clear_default(context)
    context.store.insert(
        "pricing_models",
        id=model_id,
        merchant_id=context.merchant_id,
        name=context.body["name"],
        is_default=is_default,
        created_at=context.now_text,
    )
    return _announce_model(context, "pricing_model.created", model_id)


def update_pricing_model(context: Context) -> Any:
    model_id = find_model(context, context.body["id"])["id"]
    changes = {name: value for name, value in context.body.items() if name != "id"}
    if changes.get("is_default"):
        _clear_default(context)
    context.store.update("pricing_models", model_id, **changes)
    return _announce_model(context, "pricing_model.updated", model_id)


def find_model(context: Context, model_id: str) -> Row:
    return context.find("pricing_models", "pricing model", model_id)


def _clear_default(context: Context) -> None:
    context.store.run("UPDATE pricing_models SET is_default = 0 WHERE merchant_id = ?", context.merchant_id)


def _announce_model(context: Context, event_type: str, model_id: str) -> Any:
    row = context.store.one(f"{_MODEL} AND model.id = ?", context.merchant_id, model_id)
    assert row is not None
    shown = show_model(row)
    context.record(event_type, model_id, shown)
    return shown


# Products


def show_product(row: Row) -> dict[str, Any]:
    names = ("id", "name", "price_type", "status", "pricing_model_id", "pricing_structure", "meter_slug", "currency")
    return present({**pick(row, *names, "created_at"), "amount": money(row["amount"])})


def list_products(context: Context) -> list[Any]:
    model_id = context.query.get("pricing_model_id")
    if model_id is not None:
        find_model(context, model_id)
    return [show_product(row) for row in context.mine("products") if model_id in (None, row["pricing_model_id"])]


def create_product(context: Context) -> Any:
    body = context.body
    model_id = find_model(context, body["pricing_model_id"])["id"]
    meter_slug = body.get("meter_slug")
    if meter_slug is not None and meter_of_model(context, model_id, meter_slug) is None:
        raise not_found("meter of this pricing model with the slug", meter_slug)
    product_id = new_id("prod")
    context.store.insert(
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
    shown = show_product(context.find("products", "product", product_id))
    context.record("product.created", product_id, shown)
    return shown


# Features


def show_feature(row: Row) -> dict[str, Any]:
    names = ("id", "name", "slug", "description", "type", "status", "pricing_model_id", "created_at")
    return present(pick(row, *names))


def list_features(context: Context) -> list[Any]:
    return [show_feature(row) for row in context.mine("features")]


def create_feature(context: Context) -> Any:
    body = context.body
    feature_id = new_id("feat")
    try:
        context.store.insert(
            "features",
            id=feature_id,
            merchant_id=context.merchant_id,
            pricing_model_id=find_model(context, body["pricing_model_id"])["id"],
            name=body["name"],
            slug=body["slug"],
            description=body.get("description"),
            type=body.get("type", "Toggle"),
            status=body.get("status", "Active"),
            created_at=context.now_text,
        )
    except sqlite3.IntegrityError:
        raise _slug_taken("feature", body["slug"]) from None
    return _announce_feature(context, "feature.created", feature_id)


def update_feature(context: Context) -> Any:
    feature_id = _find_feature(context)["id"]
    try:
        context.store.update("features", feature_id, **context.body)
    except sqlite3.IntegrityError:
        raise _slug_taken("feature", context.body["slug"]) from None
    return _announce_feature(context, "feature.updated", feature_id)


def delete_feature(context: Context) -> Any:
    row = _find_feature(context)
    context.store.run("DELETE FROM features WHERE id = ?", row["id"])
    context.record("feature.deleted", row["id"], show_feature(row))
    return NOTHING


def _find_feature(context: Context) -> Row:
    return context.find("features", "feature", context.path["feature_id"])


def _announce_feature(context: Context, event_type: str, feature_id: str) -> Any:
    shown = show_feature(context.find("features", "feature", feature_id))
    context.record(event_type, feature_id, shown)
    return shown


# Meters


def show_meter(row: Row) -> dict[str, Any]:
    names = (
        "id",
        "merchant_id",
        "pricing_model_id",
        "name",
        "slug",
        "aggregation",
        "currency",
        "events_per_unit",
        "created_at",
    )
    return {**pick(row, *names), "amount": money(row["amount"])}


def list_meters(context: Context) -> list[Any]:
    return [show_meter(row) for row in context.mine("meters")]


def create_meter(context: Context) -> Any:
    body = context.body
    meter_id = new_id("meter")
    try:
        context.store.insert(
            "meters",
            id=meter_id,
            merchant_id=context.merchant_id,
            pricing_model_id=find_model(context, body["pricing_model_id"])["id"],
            name=body["name"],
            slug=body["slug"],
            aggregation=body.get("aggregation", "sum"),
            currency=body.get("currency", "USD").upper(),
            amount=decimal_text(body.get("amount")),
            events_per_unit=int(body.get("events_per_unit", 1)),
            created_at=context.now_text,
        )
    except sqlite3.IntegrityError:
        raise _slug_taken("meter", body["slug"]) from None
    shown = show_meter(context.find("meters", "meter", meter_id))
    context.record("meter.created", meter_id, shown)
    return shown


def meter_of_model(context: Context, model_id: str, slug: str) -> Row | None:
    return context.store.one(
        "SELECT * FROM meters WHERE merchant_id = ? AND pricing_model_id = ? AND slug = ?",
        context.merchant_id,
        model_id,
        slug,
    )


def _slug_taken(what: str, slug: str) -> Exception:
    return conflict("conflict", f"this pricing model has a {what} with the slug {slug!r}")


HANDLERS: dict[str, Handler] = {
    "list_pricing_models": list_pricing_models,
    "create_pricing_model": create_pricing_model,
    "update_pricing_model": update_pricing_model,
    "list_products": list_products,
    "create_product": create_product,
    "list_features": list_features,
    "create_feature": create_feature,
    "update_feature": update_feature,
    "delete_feature": delete_feature,
    "list_meters": list_meters,
    "create_meter": create_meter,
}
