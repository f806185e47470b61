"""What a paywall shows: settings, prices, offers and languages, and the state of its user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..database import Row, pick
from ..datetimes import parse_datetime
from .paywall_context import PaywallContext, operation
from .users import find_by_email, has_active_purchase, list_user_purchases

_PRICE_FIELDS = (
    *("id", "currency", "amount", "interval", "interval_count", "trial_days"),
    *("label", "description", "local"),
)


@operation("get_bootstrap")
def get_bootstrap(context: PaywallContext) -> Any:
    """GET /bootstrap."""
    config, version = context.config, str(context.paywall["version"])
    user = context.session_user or find_by_email(context, context.header_email)
    user_state = {"user": _user_state(context, user)} if user is not None else {}
    if context.query.get("if_version") == version:
        return {"unchanged": True, "version": version, **user_state}
    layout, experiment = config["layout"], config["experiment"]
    return {
        "settings": _serialize_settings(context.paywall_id, config),
        "prices": [_serialize_price(price) for price in config["prices"]],
        "offers": config["offers"],
        **({} if layout is None else {"layout": layout}),
        **({} if experiment is None else {"experiment": _serialize_experiment(experiment)}),
        "locales": config["locales"],
        "version": version,
        **user_state,
    }


@operation("get_user_state")
def get_user_state(context: PaywallContext) -> Any:
    """GET /user-state."""
    return _user_state(context, context.session_user or find_by_email(context, context.header_email))


def _serialize_price(price: Mapping[str, Any]) -> dict[str, Any]:
    return {name: price[name] for name in _PRICE_FIELDS if name in price}


def _serialize_settings(paywall_id: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of every paywall, overridden by the owner's `settings`."""
    trial = {"mode": "time", "payload": 24 * config["trial_days"], "storage": "server"}
    return {
        "id": paywall_id,
        "name": config["name"],
        "custom_domain": None,
        "locale_default": None,
        "is_test_mode": True,
        "checkout_mode": "guest",
        "success_redirect_url": None,
        "checkout_shop_url": None,
        "checkout_product_name": None,
        "trial": trial if config["trial_days"] else None,
        "visibility": {"visible": True, "reason": None, "country": None, "tier": None},
        **config["settings"],
    }


def _serialize_experiment(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """All variants: the client selects one by its visitor id."""
    return {**experiment, "variants": [_serialize_variant(variant) for variant in experiment["variants"]]}


def _serialize_variant(variant: Mapping[str, Any]) -> dict[str, Any]:
    if "prices" not in variant:
        return dict(variant)
    prices = [{**_serialize_price(price), "replaces": price["replaces"]} for price in variant["prices"]]
    return {**variant, "prices": prices}


def _user_state(context: PaywallContext, user: Row | None) -> dict[str, Any]:
    if user is None:
        return {"has_active_subscription": False, "purchases": [], "trial": None, "had_previous_trial": False}
    trial = None  # the account's trial; a trial with a card is a purchase
    if user["trial_expires_at"] is not None and parse_datetime(user["trial_expires_at"]) > context.now:
        trial = {"started_at": user["trial_started_at"], "expires_at": user["trial_expires_at"]}
    return {
        "has_active_subscription": trial is not None or has_active_purchase(context, user),
        "purchases": [
            {
                **pick(purchase, "id", "status", "current_period_end"),
                "cancel_at_period_end": bool(purchase["cancel_at_period_end"]),
            }
            for purchase in list_user_purchases(context, user)
        ],
        "trial": trial,
        "had_previous_trial": bool(user["had_trial"]),
    }
