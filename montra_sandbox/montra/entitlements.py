"""May this customer? The question an AI backend asks before every answer it gives."""

from __future__ import annotations

from typing import Any

from ..context import Context, Handler
from ..problems import invalid
from ..store import Row
from ..wire import number
from .plans import Plan, plan_of
from .usage import find_meter, limit_of, measure


def check_entitlement(context: Context) -> Any:
    meter, feature = context.query.get("meter"), context.query.get("feature")
    if (meter is None) == (feature is None):
        raise invalid("give exactly one of meter and feature")
    customer = context.find("customers", "customer", context.query["customer_id"])
    plan = plan_of(context, customer)
    return _meter(context, customer, plan, meter) if meter is not None else _feature(context, plan, str(feature))


def _meter(context: Context, customer: Row, plan: Plan, slug: str) -> dict[str, Any]:
    meter = find_meter(context, plan, slug)
    limit = limit_of(context, plan, slug)
    usage = measure(context, customer, plan, meter, limit)
    allowed = limit.max_amount if limit else None
    answer: dict[str, Any] = {
        "has_access": True,
        "usage": number(str(usage)),
        "limit": None if allowed is None else number(str(allowed)),
        "type": "meter",
    }
    if plan.pricing_model_id is None:
        return {**answer, "has_access": False, "reason": "no_plan"}
    if allowed is not None and usage >= allowed:
        return {**answer, "has_access": False, "reason": "limit_reached"}
    return answer


def _feature(context: Context, plan: Plan, slug: str) -> dict[str, Any]:
    if plan.pricing_model_id is None:
        return {"has_access": False, "type": "feature", "reason": "no_plan"}
    status = context.store.value(
        "SELECT status FROM features WHERE pricing_model_id = ? AND slug = ?", plan.pricing_model_id, slug
    )
    if status == "Active":
        return {"has_access": True, "type": "feature"}
    reason = "not_in_plan" if status is None else "feature_not_active"
    return {"has_access": False, "type": "feature", "reason": reason}


HANDLERS: dict[str, Handler] = {"check_entitlement": check_entitlement}
