"""Customers, and everything about one of them."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from yarl import URL

from ..database import Row
from ..json import loads, number
from ..montra.merchant_context import MerchantContext
from ..montra.plans import Plan, current_plan
from ..montra.subscriptions import serialize_change
from ..montra.usage import find_limit, measure
from ..problems import Problem
from .routing import Done, form, page
from .view import View

_SHOWN = 20
_MAX_IDS = 300
_MAX_METERS = 50
_START_CODE = 'ada = await montra.create_customer(name="Ada Lovelace", email="ada@example.com")'
_RUNNING = "('active', 'trialing', 'past_due', 'paused')"
_SELECT = f"""
SELECT customer.*, subscription.status AS subscription_status, model.id AS model_id, model.name AS model_name
FROM customers customer
LEFT JOIN subscriptions subscription ON subscription.id = (SELECT id FROM subscriptions
  WHERE customer_id = customer.id AND status IN {_RUNNING} ORDER BY created_at DESC LIMIT 1)
LEFT JOIN pricing_models model ON model.id = subscription.pricing_model_id
WHERE customer.merchant_id = ?"""
_NEWEST = "ORDER BY customer.created_at DESC, customer.rowid DESC"
_OBJECTS = {
    "cust": ("customers", "/dashboard/customers/{}"),
    "pm": ("pricing_models", "/dashboard/plans/{}"),
    "tx": ("transactions", "/dashboard/payments/{}"),
    "inv": ("invoices", "/dashboard/invoices/{}"),
    "evt": ("events", "/dashboard/events/{}"),
    "dlv": ("deliveries", "/dashboard/deliveries/{}"),
}


async def show_customers(view: View) -> web.StreamResponse:
    """Show the customers, newest first; `?q=` finds a part of a name or email address, or an id.

    Args:
        view: the request.
    """
    query = view.query("q")
    found = ""
    values: list[str] = []
    if query:
        pattern = "%" + query.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        found = "AND (customer.name LIKE ? ESCAPE '\\' OR customer.email LIKE ? ESCAPE '\\' OR customer.id = ?)"
        values = [pattern, pattern, query]
    rows = view.list_rows(f"{_SELECT} {found} {_NEWEST}", view.merchant_id, *values)
    return view.page("customers.html", section="customers", rows=rows, q=query, start_code=_START_CODE)


async def search(view: View) -> web.StreamResponse:
    """Lead to the object with the id `?q=`, else to the customers that it finds.

    Args:
        view: the request.
    """
    query = view.query("q")
    prefix = query.partition("_")[0]
    if prefix in _OBJECTS:
        table, path = _OBJECTS[prefix]
        if view.db.one(f"SELECT 1 FROM {table} WHERE id = ?", query):
            raise web.HTTPSeeOther(path.format(query))
    owner = _owner_path(view, query)
    raise web.HTTPSeeOther(owner or str(URL("/dashboard/customers").with_query(q=query)))


def _owner_path(view: View, object_id: str) -> str | None:
    """The page that shows an object without a page of its own."""
    subscription = view.db.one("SELECT customer_id FROM subscriptions WHERE id = ?", object_id)
    if subscription is not None:
        return f"/dashboard/customers/{subscription['customer_id']}"
    for table in ("products", "meters", "features"):
        row = view.db.one(f"SELECT pricing_model_id FROM {table} WHERE id = ?", object_id)
        if row is not None:
            return f"/dashboard/plans/{row['pricing_model_id']}"
    user = view.db.one("SELECT id, paywall_id FROM paywall_users WHERE id = ?", object_id)
    return None if user is None else f"/dashboard/paywalls/{user['paywall_id']}/users/{user['id']}"


async def show_customer(view: View) -> web.StreamResponse:
    """Show a customer.

    Args:
        view: the request.
    """
    customer = view.get_row("customers", "customer", view.path_value("id"))
    context = view.world.merchant_context(view.merchant_id, view.now)
    plan = current_plan(context, customer)
    subscriptions = _subscriptions(view, customer)
    invoices = _rows_of(view, "invoices", customer)
    payments = _rows_of(view, "transactions", customer)
    with_usage = bool(view.query("usage"))
    return view.page(
        "customer.html",
        section="customers",
        customer=customer,
        details=_details(customer),
        plan=_plan(view, plan),
        period=plan,
        subscriptions=subscriptions,
        changes=_scheduled_changes(view, subscriptions),
        meters=_meters(view, context, customer, plan),
        features=_features(context, plan),
        invoices=invoices,
        payments=payments,
        with_usage=with_usage,
        timeline=_timeline(view, customer, [*subscriptions, *invoices, *payments], with_usage),
        plans=view.db.all("SELECT id, name FROM pricing_models WHERE merchant_id = ? LIMIT 200", view.merchant_id),
    )


def _details(customer: Row) -> dict[str, Any]:
    """The optional fields that the customer has."""
    parsed = {name: customer[name] and loads(customer[name].encode()) for name in ("address", "metadata")}
    emails = customer["invoicing_emails"] and ", ".join(loads(customer["invoicing_emails"].encode()))
    fields = {"Phone": customer["phone"], "Invoices to": emails, **{k.title(): v for k, v in parsed.items()}}
    return {name: value for name, value in fields.items() if value}


def _plan(view: View, plan: Plan) -> Row | None:
    return view.db.one("SELECT * FROM pricing_models WHERE id = ?", plan.pricing_model_id)


def _subscriptions(view: View, customer: Row) -> list[Row]:
    return view.db.all(
        "SELECT subscription.*, model.name AS model_name FROM subscriptions subscription"
        " JOIN pricing_models model ON model.id = subscription.pricing_model_id"
        " WHERE subscription.customer_id = ? ORDER BY subscription.created_at DESC LIMIT ?",
        *(customer["id"], _SHOWN),
    )


def _scheduled_changes(view: View, subscriptions: list[Row]) -> list[dict[str, Any]]:
    return [
        {**serialize_change(row), "model_name": row["model_name"]}
        for subscription in subscriptions
        for row in view.db.all(
            "SELECT change.*, model.name AS model_name FROM scheduled_changes change"
            " LEFT JOIN pricing_models model ON model.id = change.new_pricing_model_id"
            " WHERE change.subscription_id = ? AND change.status = 'pending' ORDER BY change.scheduled_for LIMIT ?",
            *(subscription["id"], _SHOWN),
        )
    ]


def _rows_of(view: View, table: str, customer: Row) -> list[Row]:
    """The newest rows of a customer."""
    return view.db.all(
        f"SELECT * FROM {table} WHERE merchant_id = ? AND customer_id = ? ORDER BY created_at DESC, rowid DESC LIMIT ?",
        *(view.merchant_id, customer["id"], _SHOWN),
    )


def _meters(view: View, context: MerchantContext, customer: Row, plan: Plan) -> list[dict[str, Any]]:
    """Usage of each meter of the plan in the period of its limit."""
    rows = view.db.all(
        "SELECT * FROM meters WHERE pricing_model_id = ? ORDER BY slug LIMIT ?", plan.pricing_model_id, _MAX_METERS
    )
    found: list[dict[str, Any]] = []
    for meter in rows:
        limit = find_limit(context, plan, meter["slug"])
        used = measure(context, customer, plan, meter, limit)
        found.append(
            {
                **dict(meter),
                "used": number(str(used)),
                "limit": limit.max_amount if limit else None,
                "period": (limit.period if limit else "billing_period").replace("_", " "),
                "is_reached": limit is not None and limit.max_amount is not None and used >= limit.max_amount,
            }
        )
    return found


def _features(context: MerchantContext, plan: Plan) -> list[Row]:
    return context.db.all(
        "SELECT * FROM features WHERE pricing_model_id = ? ORDER BY slug LIMIT ?", plan.pricing_model_id, _MAX_METERS
    )


def _timeline(view: View, customer: Row, objects: list[Row], with_usage: bool) -> list[dict[str, Any]]:
    """What the audit log says about the customer and what belongs to the customer, newest first."""
    ids = [customer["id"], *(row["id"] for row in objects)][:_MAX_IDS]
    marks = ", ".join("?" * len(ids))
    reported = "" if with_usage else "AND event_type <> 'usage.reported'"
    rows = view.db.all(
        f"SELECT * FROM audit_logs WHERE resource_id IN ({marks}) AND merchant_id = ? {reported}"
        " ORDER BY sequence DESC LIMIT ?",
        *(*ids, view.merchant_id, _SHOWN),
    )
    return [{**dict(row), "payload": loads(row["payload"].encode())} for row in rows]


# Forms


async def create_customer(view: View) -> Done:
    """Create a customer.

    Args:
        view: the request.
    """
    body = {name: view.fields.get(name, "").strip() for name in ("name", "email")}
    created = view.api.montra("create_customer", body)
    return Done(f"The customer {created['name']} was created.", f"/dashboard/customers/{created['id']}")


async def subscribe(view: View) -> Done:
    """Subscribe a customer to a plan, or change the plan of the running subscription.

    Args:
        view: the request.
    """
    customer = view.get_row("customers", "customer", view.path_value("id"))
    plan = view.fields.get("plan", "")
    running = view.db.one(
        f"SELECT * FROM subscriptions WHERE customer_id = ? AND status IN {_RUNNING} ORDER BY created_at DESC LIMIT 1",
        customer["id"],
    )
    if running is None:
        view.api.montra("create_subscription", {"customer_id": customer["id"], "pricing_model_id": plan})
        return Done("The subscription was created.")
    if running["pricing_model_id"] == plan:
        raise Problem(409, "same_plan", "The customer has this plan already.")
    path = {"subscription_id": running["id"]}
    view.api.montra("upgrade_subscription", {"new_pricing_model_id": plan}, path=path)
    return Done("The plan was changed.")


async def set_subscription(view: View) -> Done:
    """Pause, resume, cancel or fail a subscription.

    Args:
        view: the request.
    """
    subscription = view.get_row("subscriptions", "subscription", view.path_value("id"))
    path, action = {"subscription_id": subscription["id"]}, view.fields.get("action")
    if action == "pause":
        view.api.montra("pause_subscription", {}, path=path)
        return Done("The subscription is paused.")
    if action == "resume":
        view.api.montra("resume_subscription", {}, path=path)
        return Done("The subscription goes on.")
    if action == "cancel_at_period_end":
        view.controls.set_subscription(subscription["id"], cancel_at_period_end=True)
        return Done("The subscription ends with its period.")
    view.controls.set_subscription(subscription["id"], status=action)
    return Done(f"The subscription is {str(action).replace('_', ' ')}.")


async def report_usage(view: View) -> Done:
    """Report usage of a meter.

    Args:
        view: the request.
    """
    customer = view.get_row("customers", "customer", view.path_value("id"))
    slug = view.fields.get("meter_slug", "")
    amount = view.number("amount")
    body = {"customer_id": customer["id"], "meter_slug": slug, "amount": 1 if amount is None else amount}
    view.api.montra("report_usage", body)
    return Done(f"{body['amount']} of {slug} were reported.")


ROUTES = (
    page("/dashboard/customers", show_customers),
    page("/dashboard/customers/{id}", show_customer),
    page("/dashboard/search", search),
    form("/dashboard/customers", create_customer),
    form("/dashboard/customers/{id}/subscription", subscribe),
    form("/dashboard/customers/{id}/usage", report_usage),
    form("/dashboard/subscriptions/{id}", set_subscription),
)
