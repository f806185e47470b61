"""The configuration of a paywall, which its owner sets up: defaults and validation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from ..datetimes import format_datetime, parse_datetime
from ..json import is_array, is_object
from ..problems import Problem, invalid

_INTERVALS = ("month", "year", "week", "day", "lifetime", None)
_ACQUIRERS = ("stripe", "paddle", "chargebee", "overpay", "freemius")
_MODES = ("echo", "stream")
_TRIAL_MODES = ("time", "opens")
_TRIAL_STORAGES = ("client", "server")
_MAX_TRIAL_DAYS = 3650
_MAX_PAUSE = 60
_MAX_COUNT = 10**9
_MAX_AMOUNT = 10**12
_MAX_DECIMALS = 9
_MAX_NUMERIC_ID = 10**15
_ID = re.compile(r"[^\x00-\x20\x7f]{1,100}")
_CURRENCY = re.compile(r"[A-Za-z]{3}")
_PROVIDER_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_QUERY_TYPE = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,98}[\x21-\x7e])?")

DEMO_CONFIG: dict[str, Any] = {
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
"""The configuration of the paywall that every new merchant gets."""

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


def merge_config(current: Mapping[str, Any] | None, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Replace parts of a configuration and validate the result.

    Args:
        current: the present configuration; None for a new paywall.
        changes: the new values of some parts.

    Raises:
        Problem: 400, with what is wrong.
    """
    unknown = sorted(changes.keys() - _DEFAULTS.keys())
    if unknown:
        raise invalid(f"{', '.join(unknown)}: a paywall has {', '.join(_DEFAULTS)}")
    config = {**_DEFAULTS, **(current or {}), **changes}
    if config["acquiring"] not in _ACQUIRERS:
        raise invalid(f"acquiring: one of {', '.join(_ACQUIRERS)}")
    prices, offers = _objects("prices", config["prices"]), _objects("offers", config["offers"])
    config["prices"] = [_price(f"prices[{i}]", price) for i, price in enumerate(prices)]
    config["offers"] = [_offer(f"offers[{i}]", offer) for i, offer in enumerate(offers)]
    for name in ("locales", "tokenization", "providers"):
        if not is_object(config[name]) or not all(map(is_object, config[name].values())):
            raise invalid(f"{name}: an object of objects")
    if not (config["layout"] is None or is_object(config["layout"])):
        raise invalid("layout: an object or null")
    config["experiment"] = None if config["experiment"] is None else _experiment(config["experiment"])
    config["settings"] = _settings(config["settings"])
    config["providers"] = {name: _provider(name, fields) for name, fields in config["providers"].items()}
    for name, rule in config["tokenization"].items():
        _count(f"tokenization.{name}.daily_trial", rule.get("daily_trial", 0))
    _count("trial_days", config["trial_days"], maximum=_MAX_TRIAL_DAYS)
    return config


def _provider(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A gateway provider: `echo` returns the request, `stream` sends `events` as server-sent events."""
    known = {"query_type", "mode", "enabled", "events", "pause", "break_after"}
    if not _PROVIDER_NAME.fullmatch(name) or fields.keys() - known:
        raise invalid(
            f"providers.{name}: a name has letters, digits and -._; the fields are {', '.join(sorted(known))}"
        )
    checked = {"query_type": "default", "mode": "echo", "enabled": True, "pause": 0, **fields}
    if checked["mode"] not in _MODES:
        raise invalid(f"providers.{name}.mode: one of {', '.join(_MODES)}")
    if not isinstance(checked["query_type"], str) or not _QUERY_TYPE.fullmatch(checked["query_type"]):
        raise invalid(f"providers.{name}.query_type: text that fits into a header")
    if not is_array(checked.get("events", [])):
        raise invalid(f"providers.{name}.events: a list")
    if checked.get("break_after") is not None:
        _count(f"providers.{name}.break_after", checked["break_after"])
    if isinstance(checked["pause"], float):  # from Python; parsed JSON has no floats
        checked["pause"] = Decimal(str(checked["pause"]))
    checked["pause"] = _amount(f"providers.{name}.pause", checked["pause"], maximum=_MAX_PAUSE)
    return checked


def _all_prices(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The regular prices, and those of the experiment's variants.

    Args:
        config: the paywall's configuration.
    """
    yield from config["prices"]
    variants: list[dict[str, Any]] = [] if config["experiment"] is None else config["experiment"]["variants"]
    for variant in variants:
        yield from variant.get("prices", [])


def find_price(config: Mapping[str, Any], price_id: Any) -> dict[str, Any]:
    """The price with an id.

    Args:
        config: the paywall's configuration.
        price_id: the id as a client sent it.

    Raises:
        Problem: 404 `price_not_found`.
    """
    price = next((price for price in _all_prices(config) if price["id"] == normalize_id(price_id)), None)
    if price is None:
        raise Problem(404, "price_not_found", f"this paywall has no price {str(price_id)[:100]!r}")
    return price


def normalize_id(value: Any) -> str:
    """An id as text. Clients send numbers as well: 101, "101" and 101.0 are the same id.

    Args:
        value: the id as a client sent it.
    """
    return str(int(value)) if isinstance(value, Decimal) else str(value)


def _price(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    price: dict[str, Any] = {"currency": "USD", "interval": "month", "interval_count": 1, "trial_days": 0, **fields}
    price["id"] = _identifier(f"{name}.id", price.get("id"))
    price["amount"] = _amount(f"{name}.amount", price.get("amount"))
    _currency(f"{name}.currency", price["currency"])
    if price["interval"] not in _INTERVALS:
        raise invalid(f"{name}.interval: month, year, week, day, lifetime or null (once)")
    _count(f"{name}.trial_days", price["trial_days"], maximum=_MAX_TRIAL_DAYS)
    _count(f"{name}.interval_count", price["interval_count"], minimum=1, maximum=100)
    tokens = price.get("tokens", {})
    if not is_object(tokens):
        raise invalid(f"{name}.tokens: an object of counts")
    for kind, number in tokens.items():
        _count(f"{name}.tokens.{kind}", number)
    local = price.get("local")
    if local is not None:
        if not is_object(local):
            raise invalid(f"{name}.local: currency and amount")
        _currency(f"{name}.local.currency", local.get("currency"))
        price["local"] = {**local, "amount": _amount(f"{name}.local.amount", local.get("amount"))}
    return price


def _offer(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """An offer without `price_id` is on every price."""
    offer: dict[str, Any] = {"expires_at": None, "label": "", "price_id": None, **fields}
    offer["id"] = _identifier(f"{name}.id", offer.get("id"))
    offer["discount_percent"] = _amount(f"{name}.discount_percent", offer.get("discount_percent"), maximum=100)
    if offer["price_id"] is not None:
        offer["price_id"] = _identifier(f"{name}.price_id", offer["price_id"])
    if offer["expires_at"] is not None:
        offer["expires_at"] = _datetime(f"{name}.expires_at", offer["expires_at"])
    if offer.get("duration_minutes") is not None:
        _count(f"{name}.duration_minutes", offer["duration_minutes"])
    return offer


def _experiment(fields: Any) -> dict[str, Any]:
    """`{"id", "kind", "variants": [{"key", "weight", "prices"?: prices that have the id that they `replaces`}]}`."""
    if not is_object(fields):
        raise invalid("experiment: an object or null")
    experiment: dict[str, Any] = {"kind": "prices", "variants": [], **fields}
    experiment["id"] = _identifier("experiment.id", experiment.get("id"))
    experiment["variants"] = [
        _variant(f"experiment.variants[{i}]", variant)
        for i, variant in enumerate(_objects("experiment.variants", experiment["variants"]))
    ]
    return experiment


def _variant(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    variant: dict[str, Any] = {"weight": 1, **fields}
    variant["key"] = _identifier(f"{name}.key", variant.get("key"))
    _count(f"{name}.weight", variant["weight"])
    if "prices" in variant:
        prices = _objects(f"{name}.prices", fields["prices"])
        variant["prices"] = [_variant_price(name, f"{name}.prices[{i}]", price) for i, price in enumerate(prices)]
    return variant


def _variant_price(variant: str, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    price = _price(name, fields)
    replaces = price.get("replaces")
    return {**price, "replaces": None if replaces is None else _identifier(f"{variant}.replaces", replaces)}


def _settings(settings: Any) -> dict[str, Any]:
    if not is_object(settings):
        raise invalid("settings: an object")
    trial = settings.get("trial")
    if trial is not None:
        if not is_object(trial) or trial.keys() != {"mode", "payload", "storage"}:
            raise invalid("settings.trial: mode, payload and storage, or null")
        if trial["mode"] not in _TRIAL_MODES or trial["storage"] not in _TRIAL_STORAGES:
            raise invalid(f"settings.trial: mode {' or '.join(_TRIAL_MODES)}, storage {' or '.join(_TRIAL_STORAGES)}")
        _count("settings.trial.payload", trial["payload"])
    if not is_object(settings.get("visibility", {})):
        raise invalid("settings.visibility: an object")
    if not isinstance(settings.get("checkout_mode", ""), str):
        raise invalid("settings.checkout_mode: guest or preauth")
    return settings


# Values


def _objects(name: str, value: Any) -> list[dict[str, Any]]:
    if not is_array(value) or not all(map(is_object, value)):
        raise invalid(f"{name}: a list of objects")
    return value


def _identifier(name: str, value: Any) -> str:
    """An id as text; a whole number is accepted."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_NUMERIC_ID:
        return str(value)
    if isinstance(value, str) and _ID.fullmatch(value):
        return value
    raise invalid(f"{name}: a whole number, or text of up to 100 characters without spaces")


def _count(name: str, value: Any, *, minimum: int = 0, maximum: int = _MAX_COUNT) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise invalid(f"{name}: a whole number from {minimum} to {maximum}")
    return value


def _amount(name: str, value: Any, *, maximum: int = _MAX_AMOUNT) -> int | Decimal:
    """A finite number from 0, with no more decimals than any currency has."""
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise invalid(f"{name}: a number from 0 to {maximum}")
    if isinstance(value, Decimal) and not value.is_finite():
        raise invalid(f"{name}: a number from 0 to {maximum}")
    if not 0 <= value <= maximum:
        raise invalid(f"{name}: a number from 0 to {maximum}")
    if not value:
        return 0
    if isinstance(value, Decimal) and value != round(value, _MAX_DECIMALS):
        raise invalid(f"{name}: at most {_MAX_DECIMALS} decimals")
    return value


def _currency(name: str, value: Any) -> str:
    if not isinstance(value, str) or not _CURRENCY.fullmatch(value):
        raise invalid(f"{name}: three letters")
    return value


def _datetime(name: str, value: Any) -> str:
    """An ISO 8601 datetime as the sandbox writes it."""
    if not isinstance(value, str):
        raise invalid(f"{name}: an ISO 8601 datetime")
    try:
        return format_datetime(parse_datetime(value))
    except ValueError:
        raise invalid(f"{name}: an ISO 8601 datetime") from None
