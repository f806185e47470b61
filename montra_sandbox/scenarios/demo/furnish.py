"""Furnish an empty sandbox: every call of the past is made with the time at which it happened."""

from __future__ import annotations

import random
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from ...database import Database
from ...datetimes import add_months
from ...ids import CURRENT_IDS, IdGenerator
from ...problems import conflict, invalid
from ...world import World
from ..calls import Calls, first_merchant
from .catalog import make_catalog
from .lives import Lives
from .names import People
from .visitors import Visitors

MAX_CUSTOMERS: int = 2_000
MAX_MONTHS: int = 36
_MAX_SEED = 2**63
_ID_SEEDS = 2**64
"""Added to the seed of the ids, so that they are not those that a sandbox with the same seed makes later."""
_MAX_REPORTS = 100_000
_REPORTS_PER_MONTH = 8
_GROWTH = 1 / 1.7
_MUST_BE_EMPTY = ("customers", "pricing_models", "checkout_links", "discounts", "paywall_users")
_COUNTED = (
    *("customers", "pricing_models", "subscriptions", "transactions", "refunds", "invoices", "usage_events"),
    *("paywall_users", "paywall_purchases", "paywall_tickets", "paywall_tracked", "events"),
)


def furnish(world: World, *, customers: int = 200, months: int = 12, seed: int = 42) -> dict[str, int]:
    """Fill an empty sandbox with believable data of the first merchant, ending now. In one transaction.

    Webhooks are not sent for the past. The same seed gives the same data, moved to the present.

    Args:
        world: the state.
        customers: how many customers, 1 to 2,000.
        months: how long ago the first of them signed up, 1 to 36 months.
        seed: the seed of everything that is drawn.

    Returns:
        How many objects there are of each kind.

    Raises:
        Problem: 400 argument out of range, 409 the sandbox is not empty.
    """
    _check("customers", customers, 1, MAX_CUSTOMERS)
    _check("months", months, 1, MAX_MONTHS)
    _check("seed", seed, 0, _MAX_SEED)
    world.run_due()
    if any(world.db.one(f"SELECT 1 FROM {table} LIMIT 1") for table in _MUST_BE_EMPTY):
        raise conflict("not_empty", "the sandbox has data already: reset it first, e.g. with `montra sandbox reset`")
    calls = Calls(world, first_merchant(world))
    end = calls.now()
    token = CURRENT_IDS.set(IdGenerator(_ID_SEEDS + seed))
    try:
        with calls.transaction(), _without_webhooks(world.db):
            _live(calls, customers, add_months(end, -months), end, seed)
    finally:
        CURRENT_IDS.reset(token)
    return {table: int(world.db.value(f"SELECT count(*) FROM {table}")) for table in _COUNTED}


def _live(calls: Calls, customers: int, start: datetime, end: datetime, seed: int) -> None:
    calls.at = start
    lives = Lives(calls, make_catalog(calls), end)
    months = (end - start).days / 30
    lives.set_usage_density(min(1.0, _MAX_REPORTS / (customers * months * _REPORTS_PER_MONTH)))
    visitors = Visitors(calls, calls.get_paywall()["id"], lives.timeline)
    people = People(_random(seed, "people"))
    for number in range(customers):
        rng = _random(seed, f"customer {number}")
        lives.timeline.at(_sign_up_time(rng, start, end), partial(lives.sign_up, people.make(), rng))
    for number in range(max(3, customers // 3)):
        rng = _random(seed, f"visitor {number}")
        lives.timeline.at(_sign_up_time(rng, start, end), partial(visitors.visit, people.make(is_solo=True), rng))
    lives.timeline.run()
    calls.at = None


def _random(seed: int, name: str) -> random.Random:
    return random.Random(f"{seed} {name}")  # noqa: S311 - reproducible


def _sign_up_time(rng: random.Random, start: datetime, end: datetime) -> datetime:
    """More and more sign up per month, rarely on weekends, and during the day."""
    when = start + (end - start) * float(rng.random() ** _GROWTH)
    days, stays = rng.randrange(2, 5), rng.random() < 0.4
    if when.weekday() >= 5 and not stays:
        when -= timedelta(days=days)
    when = when.replace(hour=rng.randrange(7, 22), minute=rng.randrange(60))
    return min(max(when, start + timedelta(minutes=1)), end - timedelta(minutes=30))


@contextmanager
def _without_webhooks(db: Database) -> Generator[None]:
    """Queue no deliveries: endpoints that exist already would get thousands of webhooks of the past."""
    endpoints = [row["id"] for row in db.all("SELECT id FROM webhook_endpoints WHERE enabled")]
    paywalls = [(row["id"], row["webhook_url"]) for row in db.all("SELECT id, webhook_url FROM paywalls")]
    db.run("UPDATE webhook_endpoints SET enabled = 0")
    db.run("UPDATE paywalls SET webhook_url = NULL")
    yield
    for endpoint_id in endpoints:
        db.update("webhook_endpoints", endpoint_id, enabled=True)
    for paywall_id, url in paywalls:
        db.update("paywalls", paywall_id, webhook_url=url)


def _check(name: str, value: Any, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise invalid(f"{name}: a whole number from {least} to {most}")
