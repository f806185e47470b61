"""Plans: pricing models with their products, meters, features and limits, all of which can be edited."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ..database import Row
from ..json import loads, number, omit_none
from ..montra.plans import plan_price
from ..pages.formatting import format_number
from ..problems import invalid
from .routing import Done, form, page
from .view import View

_MAX_ROWS = 200
_FORM_TIERS = 5
_MAX_TIERS = 100
_START_CODE = """\
pro = await montra.create_pricing_model(name="Pro")
await montra.create_product(pro.id, name="Seat", price_type="recurring", amount=20)"""
_SELECT = """
SELECT model.*, (SELECT count(*) FROM products WHERE pricing_model_id = model.id) AS products,
  (SELECT count(*) FROM meters WHERE pricing_model_id = model.id) AS meters,
  (SELECT count(*) FROM features WHERE pricing_model_id = model.id) AS features,
  (SELECT count(*) FROM subscriptions WHERE pricing_model_id = model.id AND merchant_id = model.merchant_id
    AND status IN ('active', 'trialing', 'past_due', 'paused')) AS subscribers
FROM pricing_models model WHERE model.merchant_id = ? ORDER BY model.created_at DESC, model.rowid DESC"""


async def show_plans(view: View) -> web.StreamResponse:
    """Show the plans, newest first.

    Args:
        view: the request.
    """
    rows = view.list_rows(_SELECT, view.merchant_id)
    context = view.world.merchant_context(view.merchant_id, view.now)
    prices = {row["id"]: plan_price(context, row["id"]) for row in rows.items}
    return view.page("plans.html", section="plans", rows=rows, prices=prices, start_code=_START_CODE)


async def show_plan(view: View) -> web.StreamResponse:
    """Show a plan with the forms that edit it.

    Args:
        view: the request.
    """
    model = _get_model(view)
    context = view.world.merchant_context(view.merchant_id, view.now)
    limits = {row["meter_slug"]: _limit(row) for row in _of_model(view, "plan_limits", model, "meter_slug")}
    products = [_product(row) for row in _of_model(view, "products", model, "created_at, rowid")]
    return view.page(
        "plan.html",
        section="plans",
        model=model,
        price=plan_price(context, model["id"]),
        products=products,
        meters=_of_model(view, "meters", model, "slug"),
        features=_of_model(view, "features", model, "slug"),
        limits=limits,
        form_tiers=range(1, _FORM_TIERS + 1),
        subscribers=view.list_rows(
            "SELECT subscription.id, subscription.status, customer.id AS customer_id, customer.name AS customer_name,"
            " subscription.current_period_end FROM subscriptions subscription"
            " JOIN customers customer ON customer.id = subscription.customer_id"
            " WHERE subscription.pricing_model_id = ? AND subscription.status <> 'canceled'"
            " ORDER BY subscription.created_at DESC, subscription.rowid DESC",
            model["id"],
        ),
    )


def _get_model(view: View) -> Row:
    return view.get_row("pricing_models", "pricing model", view.path_value("id"))


def _of_model(view: View, table: str, model: Row, order: str) -> list[Row]:
    sql = f"SELECT * FROM {table} WHERE pricing_model_id = ? ORDER BY {order} LIMIT ?"
    return view.db.all(sql, model["id"], _MAX_ROWS)


def _limit(row: Row) -> dict[str, Any]:
    return {**dict(row), "max_amount": number(row["max_amount"])}


def _product(row: Row) -> dict[str, Any]:
    tiers: list[dict[str, Any]] = loads(row["tiers"].encode()) if row["tiers"] else []
    return {**dict(row), "tiers": tiers}


# Forms


async def create_plan(view: View) -> Done:
    """Create a plan.

    Args:
        view: the request.
    """
    body = {"name": view.text("name") or "", "is_default": view.text("is_default") is not None}
    created = view.api.montra("create_pricing_model", body)
    return Done(f"The plan {created['name']} was created.", f"/dashboard/plans/{created['id']}")


async def update_plan(view: View) -> Done:
    """Rename a plan, or make it the default.

    Args:
        view: the request.
    """
    body = {"id": _get_model(view)["id"], "name": view.text("name") or ""}
    view.api.montra("update_pricing_model", {**body, "is_default": view.text("is_default") is not None})
    return Done("The plan was changed.")


async def create_product(view: View) -> Done:
    """Create a product.

    Args:
        view: the request.
    """
    of_usage = ("pricing_structure", "meter_slug") if view.text("price_type") == "usage" else ()
    names = ("name", "price_type", *of_usage)
    body = {"pricing_model_id": _get_model(view)["id"], "amount": view.number("amount")}
    created = view.api.montra("create_product", omit_none({**body, **{name: view.text(name) for name in names}}))
    return Done(f"The product {created['name']} was created.")


async def create_meter(view: View) -> Done:
    """Create a meter.

    Args:
        view: the request.
    """
    names = ("name", "slug", "aggregation")
    body = {"pricing_model_id": _get_model(view)["id"], "amount": view.number("amount")}
    created = view.api.montra("create_meter", omit_none({**body, **{name: view.text(name) for name in names}}))
    return Done(f"The meter {created['slug']} was created.")


async def create_feature(view: View) -> Done:
    """Create a feature.

    Args:
        view: the request.
    """
    names = ("name", "slug", "description")
    body = {"pricing_model_id": _get_model(view)["id"], **{name: view.text(name) for name in names}}
    created = view.api.montra("create_feature", omit_none(body))
    return Done(f"The feature {created['slug']} was created.")


async def change_feature(view: View) -> Done:
    """Switch a feature on or off, or delete it.

    Args:
        view: the request.
    """
    feature = view.get_row("features", "feature", view.path_value("id"))
    path, action = {"feature_id": feature["id"]}, view.fields.get("action")
    if action == "delete":
        view.api.montra("delete_feature", path=path)
        return Done(f"The feature {feature['slug']} was deleted.")
    status = "Active" if action == "activate" else "Inactive"
    view.api.montra("update_feature", {"status": status}, path=path)
    return Done(f"The feature {feature['slug']} is {status.lower()}.")


async def set_limit(view: View) -> Done:
    """Set how much of a meter the plan allows; without an amount it is unlimited.

    Args:
        view: the request.
    """
    model = _get_model(view)
    slug, amount = view.text("meter_slug") or "", view.number("max_amount")
    period = view.text("period") or "billing_period"
    view.controls.set_limit(pricing_model_id=model["id"], meter_slug=slug, max_amount=amount, period=period)
    words = "unlimited" if amount is None else f"at most {format_number(amount)} per {period.replace('_', ' ')}"
    return Done(f"{slug} is {words}.")


async def set_tiers(view: View) -> Done:
    """Set the graduated prices of a product.

    Args:
        view: the request.

    Raises:
        Problem: 400, the tiers don't rise.
    """
    product = view.get_row("products", "product", view.path_value("id"))
    tiers: list[dict[str, Any]] = []
    for i in range(1, _MAX_TIERS + 1):
        up_to, price = view.number(f"up_to_{i}"), view.number(f"unit_amount_{i}")
        if price is not None:
            tiers.append({"up_to": up_to, "unit_amount": price})
        elif up_to is not None:
            raise invalid(f"Give a price for the units up to {format_number(up_to)}.")
    view.controls.set_tiers(product["id"], tiers)
    return Done(f"The prices of {product['name']} were set.")


ROUTES = (
    page("/dashboard/plans", show_plans),
    page("/dashboard/plans/{id}", show_plan),
    form("/dashboard/plans", create_plan),
    form("/dashboard/plans/{id}", update_plan),
    form("/dashboard/plans/{id}/products", create_product),
    form("/dashboard/plans/{id}/meters", create_meter),
    form("/dashboard/plans/{id}/features", create_feature),
    form("/dashboard/plans/{id}/limits", set_limit),
    form("/dashboard/features/{id}", change_feature),
    form("/dashboard/products/{id}/tiers", set_tiers),
)
