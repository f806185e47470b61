"""Names of the events that Montra sends. Apart from their classes, which need not be imported to subscribe to them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable

log: logging.Logger = logging.getLogger("montra")

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
"""Types of events that Montra sends. `"*"` stands for all, including types that this SDK does not know."""

_LONGEST = 100  # characters of a name that is compared with the known ones; the comparison takes quadratic time


def warn_of_unknown(names: Iterable[str], known: Collection[str], *, where: str, service: str) -> None:
    """Log a warning for each unknown event type. It is no error: the type may be newer than this SDK.

    Args:
        names: event types to look at.
        known: event types that this SDK knows.
        where: the method that received them, for the message.
        service: name of the service, for the message.
    """
    for name in names:
        if name != "*" and name not in known:
            log.warning("%s: this SDK knows no event %.100r of %s; %s", where, name, service, _suggestion(name, known))


def _suggestion(name: str, known: Collection[str]) -> str:
    if len(name) <= _LONGEST:
        from difflib import get_close_matches  # imported only when a name is unknown

        if near := get_close_matches(name.lower(), known, n=1):
            return f"did you mean {near[0]!r}?"
    return "check the spelling"
