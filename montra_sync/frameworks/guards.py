"""What the guards of all synchronous frameworks do; the decisions are those of the asynchronous ones."""

from __future__ import annotations

from collections.abc import Callable

from montra_async import MontraError
from montra_async.frameworks.access import (
    CONTENT_TYPE,
    MISCONFIGURED,
    Kind,
    Refusal,
    checked_guard,
    identified,
    log,
    refusal_of,
    refused,
    unidentified,
)

from ..client import Montra


def admit(
    kind: Kind,
    slug: str,
    client: Callable[[], Montra],
    customer: Callable[[], object],
    passes: tuple[type[Exception], ...],
) -> Refusal | None:
    """Find out who is asking, and ask the service whether they may. Returns None for who may pass.

    Args:
        kind: what is asked.
        slug: of the feature or meter.
        client: gives the application's client.
        customer: finds the customer's id.
        passes: the framework's own answers, which `customer` may raise (a redirect to the log-in, say).
    """
    try:
        found = customer()
    except Exception as error:
        if isinstance(error, passes) and not isinstance(error, LookupError):
            raise
        return unidentified(error)
    customer_id = identified(found)
    if isinstance(customer_id, Refusal):
        return customer_id
    try:
        if kind == "feature":
            access = client().check_feature_access(customer_id, slug)
        else:
            access = client().check_entitlement(customer_id, slug)
    except MontraError as error:
        return refused(kind, slug, customer_id, error)
    return refusal_of(kind, slug, access)


__all__ = ["CONTENT_TYPE", "MISCONFIGURED", "Kind", "Refusal", "admit", "checked_guard", "log"]
