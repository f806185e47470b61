"""What the owner of a paywall sets up: prices, offers, acquirer, token types, gateway providers, languages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from ..problems import Problem, invalid
from ..wire import is_array, is_object
from .checks import amount, count, currency, identifier, items, moment

INTERVALS = ("month", "year", "week", "day", "lifetime", None)
ACQUIRERS = ("stripe", "paddle", "chargebee", "overpay", "freemius")
MODES = ("echo", "stream")
TRIAL_MODES = ("time", "opens")
TRIAL_STORAGES = ("client", "server")
MAX_TRIAL_DAYS = 3650
MAX_PAUSE = 60
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_QUERY_TYPE = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,98}[\x21-\x7e])?")

DEMO: dict[str, Any] = {
    "name": "Demo paywall",
    "acquiring": "stripe",
    "prices": [
        {
            "id": "101",
            "currency": "USD",
            "amount": Decimal("9.99"),
            "interval": "month",
            "label": "Monthly",
            "description": "100 questions every month",
            "tokens": {"gpt-4": 100},
            "local": {"currency": "EUR", "amount": Decimal("9.49")},
        },
        {"id": "102", "currency": "USD", "amount": Decimal("99.00"), "interval": "year", "label": "Yearly"},
        {"id": "103", "currency": "USD", "amount": Decimal("299.00"), "interval": "lifetime", "label": "For ever"},
        {
            "id": "104",
            "currency": "USD",
            "amount": Decimal("5.00"),
            "interval": None,
            "label": "50 questions",
            "tokens": {"gpt-4": 50},
        },
    ],
    "offers": [{"id": "201", "discount_percent": 20, "price_id": "102", "label": "Welcome", "duration_minutes": 30}],
    "locales": {"de": {"prices": {"101": {"label": "Monatlich", "description": "100 Fragen im Monat"}}}},
    "tokenization": {"gpt-4": {"daily_trial": 3}, "images": {}},
    "providers": {
        "openai": {"query_type": "gpt-4", "mode": "stream"},
        "echo": {"query_type": "gpt-4", "mode": "echo"},
    },
}
"""A paywall that sells something, so that there is one to begin with."""

_DEFAULTS: dict[str, Any] = {
    "name": "Paywall",
    "acquiring": "stripe",
    "prices": [],
    "offers": [],
    "layout": None,
    "experiment": None,
    "locales": {},
    "tokenization": {},
    "providers": {},
    "settings": {},
    "trial_days": 0,
    "require_confirmation": False,
}


def merged(current: Mapping[str, Any] | None, changes: Mapping[str, Any]) -> dict[str, Any]:
    """A paywall's configuration with some of its parts replaced, each checked.

    Raises:
        Problem: 400, with what is wrong.
    """
    unknown = sorted(changes.keys() - _DEFAULTS.keys())
    if unknown:
        raise invalid(f"{', '.join(unknown)}: a paywall has {', '.join(_DEFAULTS)}")
    config = {**_DEFAULTS, **(current or {}), **changes}
    if config["acquiring"] not in ACQUIRERS:
        raise invalid(f"acquiring: one of {', '.join(ACQUIRERS)}")
    config["prices"] = [_price(f"prices[{i}]", one) for i, one in enumerate(items("prices", config["prices"]))]
    config["offers"] = [_offer(i, one) for i, one in enumerate(items("offers", config["offers"]))]
    for name in ("locales", "tokenization", "providers"):
        if not is_object(config[name]) or not all(map(is_object, config[name].values())):
            raise invalid(f"{name}: an object of objects")
    if not (config["layout"] is None or is_object(config["layout"])):
        raise invalid("layout: an object or null")
    config["experiment"] = None if config["experiment"] is None else _experiment(config["experiment"])
    config["settings"] = _settings(config["settings"])
    config["providers"] = {name: provider(name, one) for name, one in config["providers"].items()}
    for name, rule in config["tokenization"].items():
        count(f"tokenization.{name}.daily_trial", rule.get("daily_trial", 0))
    count("trial_days", config["trial_days"], most=MAX_TRIAL_DAYS)
    return config


def provider(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A gateway provider: `echo` says what it was sent, `stream` sends `events` as server-sent events."""
    known = {"query_type", "mode", "enabled", "events", "pause", "break_after"}
    if not _NAME.fullmatch(name) or fields.keys() - known:
        raise invalid(f"providers.{name}: letters, digits and -._ in its name; it has {', '.join(sorted(known))}")
    checked = {"query_type": "default", "mode": "echo", "enabled": True, "pause": 0, **fields}
    if checked["mode"] not in MODES:
        raise invalid(f"providers.{name}.mode: one of {', '.join(MODES)}")
    if not isinstance(checked["query_type"], str) or not _QUERY_TYPE.fullmatch(checked["query_type"]):
        raise invalid(f"providers.{name}.query_type: what a header can hold")
    if not is_array(checked.get("events", [])):
        raise invalid(f"providers.{name}.events: a list")
    if checked.get("break_after") is not None:
        count(f"providers.{name}.break_after", checked["break_after"])
    if isinstance(checked["pause"], float):  # from Python; JSON brings none
        checked["pause"] = Decimal(str(checked["pause"]))
    checked["pause"] = amount(f"providers.{name}.pause", checked["pause"], most=MAX_PAUSE)
    return checked


def all_prices(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Those on show, and those that a variant of the experiment puts in their place."""
    yield from config["prices"]
    variants: list[dict[str, Any]] = [] if config["experiment"] is None else config["experiment"]["variants"]
    for variant in variants:
        yield from variant.get("prices", [])


def price_of(config: Mapping[str, Any], price_id: Any) -> dict[str, Any]:
    found = next((one for one in all_prices(config) if one["id"] == wire_id(price_id)), None)
    if found is None:
        raise Problem(404, "price_not_found", f"this paywall has no price {str(price_id)[:100]!r}")
    return found


def wire_id(value: Any) -> str:
    """Clients send a number where they can: 101, "101" and 101.0 are the same id."""
    return str(int(value)) if isinstance(value, Decimal) else str(value)


def _price(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    price: dict[str, Any] = {"currency": "USD", "interval": "month", "interval_count": 1, "trial_days": 0, **fields}
    price["id"] = identifier(f"{name}.id", price.get("id"))
    price["amount"] = amount(f"{name}.amount", price.get("amount"))
    currency(f"{name}.currency", price["currency"])
    if price["interval"] not in INTERVALS:
        raise invalid(f"{name}.interval: month, year, week, day, lifetime or null (once)")
    count(f"{name}.trial_days", price["trial_days"], most=MAX_TRIAL_DAYS)
    count(f"{name}.interval_count", price["interval_count"], least=1, most=100)
    tokens = price.get("tokens", {})
    if not is_object(tokens):
        raise invalid(f"{name}.tokens: an object of counts")
    for kind, number in tokens.items():
        count(f"{name}.tokens.{kind}", number)
    local = price.get("local")
    if local is not None:
        if not is_object(local):
            raise invalid(f"{name}.local: currency and amount")
        currency(f"{name}.local.currency", local.get("currency"))
        price["local"] = {**local, "amount": amount(f"{name}.local.amount", local.get("amount"))}
    return price


def _offer(i: int, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without a `price_id` it is an offer on every price."""
    offer: dict[str, Any] = {"expires_at": None, "label": "", "price_id": None, **fields}
    offer["id"] = identifier(f"offers[{i}].id", offer.get("id"))
    offer["discount_percent"] = amount(f"offers[{i}].discount_percent", offer.get("discount_percent"), most=100)
    if offer["price_id"] is not None:
        offer["price_id"] = identifier(f"offers[{i}].price_id", offer["price_id"])
    if offer["expires_at"] is not None:
        offer["expires_at"] = moment(f"offers[{i}].expires_at", offer["expires_at"])
    if offer.get("duration_minutes") is not None:
        count(f"offers[{i}].duration_minutes", offer["duration_minutes"])
    return offer


def _experiment(fields: Any) -> dict[str, Any]:
    """`{"id", "kind", "variants": [{"key", "weight", "prices"?: [a price and the id that it `replaces`]}]}`."""
    if not is_object(fields):
        raise invalid("experiment: an object or null")
    experiment: dict[str, Any] = {"kind": "prices", "variants": [], **fields}
    experiment["id"] = identifier("experiment.id", experiment.get("id"))
    experiment["variants"] = [
        _variant(f"experiment.variants[{i}]", one)
        for i, one in enumerate(items("experiment.variants", experiment["variants"]))
    ]
    return experiment


def _variant(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    variant: dict[str, Any] = {"weight": 1, **fields}
    variant["key"] = identifier(f"{name}.key", variant.get("key"))
    count(f"{name}.weight", variant["weight"])
    if "prices" in variant:
        prices = [_price(f"{name}.prices[{i}]", one) for i, one in enumerate(items(f"{name}.prices", fields["prices"]))]
        variant["prices"] = [
            {
                **one,
                "replaces": None if one.get("replaces") is None else identifier(f"{name}.replaces", one["replaces"]),
            }
            for one in prices
        ]
    return variant


def _settings(settings: Any) -> dict[str, Any]:
    if not is_object(settings):
        raise invalid("settings: an object")
    trial = settings.get("trial")
    if trial is not None:
        if not is_object(trial) or trial.keys() != {"mode", "payload", "storage"}:
            raise invalid("settings.trial: mode, payload and storage, or null")
        if trial["mode"] not in TRIAL_MODES or trial["storage"] not in TRIAL_STORAGES:
            raise invalid(f"settings.trial: mode {' or '.join(TRIAL_MODES)}, storage {' or '.join(TRIAL_STORAGES)}")
        count("settings.trial.payload", trial["payload"])
    if not is_object(settings.get("visibility", {})):
        raise invalid("settings.visibility: an object")
    if not isinstance(settings.get("checkout_mode", ""), str):
        raise invalid("settings.checkout_mode: guest or preauth")
    return settings
