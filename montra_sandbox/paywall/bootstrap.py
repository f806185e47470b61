"""What a paywall shows: its settings, prices, offers and languages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .context import Handler, PaywallContext
from .users import by_email, state

_SHOWN = (
    "id",
    "currency",
    "amount",
    "interval",
    "interval_count",
    "trial_days",
    "label",
    "description",
    "local",
)


def show_price(price: Mapping[str, Any]) -> dict[str, Any]:
    return {name: price[name] for name in _SHOWN if name in price}


def get_bootstrap(context: PaywallContext) -> Any:
    config, version = context.config, str(context.paywall["version"])
    said = context.session_user or by_email(context, context.said_email)
    user = {"user": state(context, said)} if said is not None else {}
    if context.query.get("if_version") == version:
        return {"unchanged": True, "version": version, **user}
    settings = {
        "id": context.paywall_id,
        "name": config["name"],
        "custom_domain": None,
        "locale_default": None,
        "is_test_mode": True,
        "checkout_mode": "redirect",
        "success_redirect_url": None,
        "checkout_shop_url": None,
        "checkout_product_name": None,
        "trial": {"days": config["trial_days"]} if config["trial_days"] else None,
        "visibility": "public",
        **config["settings"],
    }
    return {
        "settings": settings,
        "prices": [show_price(price) for price in config["prices"]],
        "offers": config["offers"],
        "locales": config["locales"],
        "version": version,
        **user,
    }


HANDLERS: dict[str, Handler] = {"get_bootstrap": get_bootstrap}
