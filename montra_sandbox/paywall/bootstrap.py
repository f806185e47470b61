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


def show_settings(paywall_id: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What the owner set up, over what a paywall has anyway. An account trial hides the paywall for that long."""
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


def show_experiment(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """All variants: the client picks one by its visitor id."""
    variants = [
        {
            **one,
            **(
                {"prices": [{**show_price(price), "replaces": price["replaces"]} for price in one["prices"]]}
                if "prices" in one
                else {}
            ),
        }
        for one in experiment["variants"]
    ]
    return {**experiment, "variants": variants}


def get_bootstrap(context: PaywallContext) -> Any:
    config, version = context.config, str(context.paywall["version"])
    said = context.session_user or by_email(context, context.said_email)
    user = {"user": state(context, said)} if said is not None else {}
    if context.query.get("if_version") == version:
        return {"unchanged": True, "version": version, **user}
    layout, experiment = config["layout"], config["experiment"]
    return {
        "settings": show_settings(context.paywall_id, config),
        "prices": [show_price(price) for price in config["prices"]],
        "offers": config["offers"],
        **({} if layout is None else {"layout": layout}),
        **({} if experiment is None else {"experiment": show_experiment(experiment)}),
        "locales": config["locales"],
        "version": version,
        **user,
    }


HANDLERS: dict[str, Handler] = {"get_bootstrap": get_bootstrap}
