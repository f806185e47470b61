"""What the owner of a paywall sets up: prices, offers, acquirer, token types, gateway providers, languages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from ..problems import Problem, invalid
from ..wire import is_array, is_object

INTERVALS = ("month", "year", "week", "day", "lifetime", None)
ACQUIRERS = ("stripe", "paddle", "chargebee", "overpay", "freemius")
MODES = ("echo", "stream")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")

DEMO: dict[str, Any] = {
    "name": "Demo paywall",
    "acquiring": "stripe",
    "prices": [
        {
            "id": 101,
            "currency": "USD",
            "amount": Decimal("9.99"),
            "interval": "month",
            "label": "Monthly",
            "description": "100 questions every month",
            "tokens": {"gpt-4": 100},
            "local": {"currency": "EUR", "amount": Decimal("9.49")},
        },
        {"id": 102, "currency": "USD", "amount": Decimal("99.00"), "interval": "year", "label": "Yearly"},
        {"id": 103, "currency": "USD", "amount": Decimal("299.00"), "interval": "lifetime", "label": "For ever"},
        {
            "id": 104,
            "currency": "USD",
            "amount": Decimal("5.00"),
            "interval": None,
            "label": "50 questions",
            "tokens": {"gpt-4": 50},
        },
    ],
    "offers": [{"id": 201, "discount_percent": 20, "price_id": 102, "label": "Welcome", "duration_minutes": 30}],
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
    config["prices"] = [_price(i, one) for i, one in enumerate(_items("prices", config["prices"]))]
    config["offers"] = [_offer(i, one) for i, one in enumerate(_items("offers", config["offers"]))]
    for name in ("locales", "tokenization", "settings", "providers"):
        if not is_object(config[name]) or (name != "settings" and not all(map(is_object, config[name].values()))):
            raise invalid(f"{name}: an object of objects" if name != "settings" else "settings: an object")
    config["providers"] = {name: provider(name, one) for name, one in config["providers"].items()}
    for name, rule in config["tokenization"].items():
        _count(f"tokenization.{name}.daily_trial", rule.get("daily_trial", 0))
    _count("trial_days", config["trial_days"])
    return config


def provider(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A gateway provider: `echo` says what it was sent, `stream` sends `events` as server-sent events."""
    known = {"query_type", "mode", "enabled", "events", "pause", "break_after"}
    if not _NAME.fullmatch(name) or fields.keys() - known:
        raise invalid(f"providers.{name}: letters, digits and -._ in its name; it has {', '.join(sorted(known))}")
    checked = {"query_type": "default", "mode": "echo", "enabled": True, "pause": 0, **fields}
    if checked["mode"] not in MODES:
        raise invalid(f"providers.{name}.mode: one of {', '.join(MODES)}")
    return checked


def price_of(config: Mapping[str, Any], price_id: Any) -> dict[str, Any]:
    found = _by_id(config["prices"], price_id)
    if found is None:
        raise Problem(404, "price_not_found", f"this paywall has no price {str(price_id)[:100]!r}")
    return found


def offer_of(config: Mapping[str, Any], offer_id: Any, price: Mapping[str, Any]) -> dict[str, Any]:
    found = _by_id(config["offers"], offer_id)
    if found is None or found["price_id"] != price["id"]:
        raise Problem(404, "offer_not_found", f"this paywall has no offer {str(offer_id)[:100]!r} for this price")
    return found


def _by_id(items: list[dict[str, Any]], wanted: Any) -> dict[str, Any] | None:
    return next((one for one in items if str(one["id"]) == str(wanted)), None)


def _items(name: str, items: Any) -> list[dict[str, Any]]:
    if not is_array(items) or not all(map(is_object, items)):
        raise invalid(f"{name}: a list of objects")
    return items


def _price(i: int, fields: Mapping[str, Any]) -> dict[str, Any]:
    price: dict[str, Any] = {"currency": "USD", "interval": "month", "interval_count": 1, "trial_days": 0, **fields}
    amount = price.get("amount")
    if not isinstance(price.get("id"), int) or not isinstance(amount, (int, Decimal)) or amount < 0:
        raise invalid(f"prices[{i}]: a whole number as id and an amount of at least 0")
    if price["interval"] not in INTERVALS:
        raise invalid(f"prices[{i}].interval: month, year, week, day, lifetime or null (once)")
    _count(f"prices[{i}].trial_days", price["trial_days"])
    if _count(f"prices[{i}].interval_count", price["interval_count"]) < 1:
        raise invalid(f"prices[{i}].interval_count: at least 1")
    return price


def _offer(i: int, fields: Mapping[str, Any]) -> dict[str, Any]:
    offer = {"expires_at": None, "label": "", **fields}
    percent = offer.get("discount_percent")
    if not isinstance(offer.get("id"), int) or not isinstance(percent, (int, Decimal)) or not 0 <= percent <= 100:
        raise invalid(f"offers[{i}]: a whole number as id and a discount_percent from 0 to 100")
    if not isinstance(offer.get("price_id"), int):
        raise invalid(f"offers[{i}].price_id: the id of a price")
    return offer


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 10**9:
        raise invalid(f"{name}: a whole number of at least 0")
    return value
