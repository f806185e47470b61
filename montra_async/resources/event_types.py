"""The names of events, where nobody needs their classes: for subscribing to them, and for telling slips."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable

log = logging.getLogger("montra")

EVENT_TYPES = (
    "checkout.completed",
    "usage.limit_reached",
    "invoice.created",
    "subscription.created",
    "subscription.updated",
    "subscription.paused",
    "subscription.resumed",
    "subscription.canceled",
    "customer.created",
    "customer.updated",
    "refund.created",
)
"""The types of events that Montra sends, as far as this SDK knows. `"*"` stands for all, also for those to come."""

_LONGEST = 100  # characters of a name that is compared with others: the comparison is quadratic


def warn_of_unknown(names: Iterable[str], known: Collection[str], *, where: str, service: str) -> None:
    """Log a warning for each name that may be a slip. Not an error: a service may send what this SDK doesn't know."""
    for name in names:
        if name != "*" and name not in known:
            log.warning("%s: this SDK knows no event %.100r of %s; %s", where, name, service, _question(name, known))


def _question(name: str, known: Collection[str]) -> str:
    if len(name) <= _LONGEST:
        from difflib import get_close_matches  # imported for slips only

        if near := get_close_matches(name.lower(), known, n=1):
            return f"did you mean {near[0]!r}?"
    return "is it spelt right?"
