"""What the invented company sells: plans with products, meters, limits and features, checkout links and discounts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import attrs

from ...json import dumps
from ..calls import Calls
from ..montra_triggers import set_limit

COMPANY: str = "Northwind AI"

_METERS: tuple[tuple[str, str], ...] = (
    ("Tokens", "tokens"),
    ("Images", "images"),
    ("Audio minutes", "audio-minutes"),
)
_FEATURES: tuple[tuple[str, str], ...] = (
    ("API access", "api-access"),
    ("Priority support", "priority-support"),
    ("Single sign-on", "sso"),
    ("Audit log", "audit-log"),
    ("Custom models", "custom-models"),
)
_TIERS = [{"up_to": "1000000", "unit_amount": "0.00002"}, {"up_to": None, "unit_amount": "0.000012"}]


@attrs.frozen(kw_only=True)
class PlanSpec:
    """A plan.

    Attributes:
        name: its name.
        price: per month, in major units; 0 for none.
        limits: by meter; None for unlimited.
        unit_prices: by meter: amount and how much usage makes one unit.
        features: how many of the features it has.
    """

    name: str
    price: Decimal
    limits: dict[str, int | None]
    unit_prices: dict[str, tuple[Decimal, int]] = attrs.field(factory=dict[str, tuple[Decimal, int]])
    features: int


PLANS: tuple[PlanSpec, ...] = (
    PlanSpec(
        name="Free",
        price=Decimal(0),
        limits={"tokens": 50_000, "images": 20, "audio-minutes": 30},
        features=1,
    ),
    PlanSpec(
        name="Pro",
        price=Decimal("29.00"),
        limits={"tokens": 2_000_000, "images": 500, "audio-minutes": 600},
        features=2,
    ),
    PlanSpec(
        name="Team",
        price=Decimal("99.00"),
        limits={"tokens": 20_000_000, "images": None, "audio-minutes": None},
        unit_prices={"images": (Decimal("0.02"), 1), "audio-minutes": (Decimal("0.36"), 60)},
        features=4,
    ),
    PlanSpec(
        name="Enterprise",
        price=Decimal("499.00"),
        limits={"tokens": None, "images": None, "audio-minutes": None},
        unit_prices={"images": (Decimal("0.015"), 1), "audio-minutes": (Decimal("0.24"), 60)},
        features=5,
    ),
)


@attrs.frozen(kw_only=True)
class Catalog:
    """What was created.

    Attributes:
        plans: the plans' ids by name.
        links: the ids of the plans' checkout links by name; `Credits` is a one-time payment.
        limits: by plan id and meter; None for unlimited.
    """

    plans: dict[str, str]
    links: dict[str, str]
    limits: dict[tuple[str, str], int | None]

    def name_of(self, plan_id: str) -> str:
        """The name of a plan.

        Args:
            plan_id: the plan's id.
        """
        return next(name for name, known in self.plans.items() if known == plan_id)


def make_catalog(calls: Calls) -> Catalog:
    """Create everything that is sold.

    Args:
        calls: the merchant's calls.
    """
    catalog = Catalog(plans={}, links={}, limits={})
    for spec in PLANS:
        _make_plan(calls, spec, catalog)
    pack = {"link_name": "Credits", "payment_name": "1,000 image credits", "amount": Decimal("20.00")}
    catalog.links["Credits"] = calls.montra("create_checkout_link", pack)["id"]
    discounts: list[dict[str, Any]] = [
        {"name": "Launch", "code": "LAUNCH20", "percent_off": 20, "duration": "once"},
        {"name": "Startups", "code": "STARTUP50", "percent_off": 50, "duration": "repeating", "duration_in_months": 3},
        {"name": "Friends", "code": "FRIENDS10", "amount_off": 10, "duration": "forever", "max_redemptions": 25},
    ]
    for discount in discounts:
        calls.montra("create_discount", discount)
    endpoint = {
        "url": "https://app.northwind.example.com/webhooks/montra",
        "description": "Production, switched off here",
        "events": ["*"],
        "enabled": False,
    }
    calls.montra("create_webhook", endpoint)
    return catalog


def _make_plan(calls: Calls, spec: PlanSpec, catalog: Catalog) -> None:
    model = calls.montra("create_pricing_model", {"name": spec.name, "is_default": not spec.price})
    plan = {"pricing_model_id": model["id"]}
    catalog.plans[spec.name] = model["id"]
    for name, slug in _METERS:
        unit = spec.unit_prices.get(slug)
        price = {} if unit is None else {"amount": unit[0], "events_per_unit": unit[1]}
        calls.montra("create_meter", {**plan, "name": name, "slug": slug, **price})
        limit = spec.limits[slug]
        catalog.limits[model["id"], slug] = limit
        set_limit(calls, model["id"], slug, None if limit is None else Decimal(limit))
    for name, slug in _FEATURES[: spec.features]:
        calls.montra("create_feature", {**plan, "name": name, "slug": slug})
    if not spec.price:
        return
    product = {**plan, "name": f"{COMPANY} {spec.name}", "price_type": "recurring", "amount": spec.price}
    product_id = calls.montra("create_product", product)["id"]
    link = {"link_name": spec.name, "payment_name": f"{COMPANY} {spec.name}", "description": "Billed monthly"}
    line_items = [{"product_id": product_id, "quantity": 1}]
    catalog.links[spec.name] = calls.montra("create_checkout_link", {**link, "line_items": line_items})["id"]
    if spec.name == "Enterprise":
        tiered = {"name": "Tokens, graduated", "price_type": "usage", "pricing_structure": "tiered"}
        usage = calls.montra("create_product", {**plan, **tiered, "meter_slug": "tokens"})
        calls.db.update("products", usage["id"], tiers=dumps(_TIERS))
