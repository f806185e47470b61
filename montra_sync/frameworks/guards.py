"""The guards of all synchronous frameworks. Their decisions are those of `montra_async.frameworks.guards`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from montra_async import ConfigError, MontraError
from montra_async.frameworks.guards import (
    CONTENT_TYPE,
    MISCONFIGURED,
    Denial,
    Kind,
    customer_id_or_denial,
    denial_for_customer_error,
    denial_of,
    denial_of_decision,
    denied,
    log,
    validate_guard,
)
from montra_async.webhooks import WebhookReceiver

from ..access import Access
from ..client import Montra


def authorize(
    kind: Kind,
    slug: str,
    client: Callable[[], Montra | Access],
    customer: Callable[[], object],
    passthrough: tuple[type[Exception], ...],
) -> Denial | None:
    """Find the request's customer and check the customer's access.

    Args:
        kind: whether `slug` is a feature's or a quota's.
        slug: of the feature or meter.
        client: returns the application's client, or an `Access`.
        customer: returns the customer's id.
        passthrough: exceptions of `customer` that the framework turns into responses, e.g. a redirect to the login
            page. They are raised.

    Returns:
        None when the request passes; otherwise the response.
    """
    customer_id = find_customer(customer, passthrough)
    if isinstance(customer_id, Denial):
        return customer_id
    try:
        asked: Any = client()
        if hasattr(asked, "peek"):
            meter, feature = (None, slug) if kind == "feature" else (slug, None)
            return denial_of_decision(kind, slug, asked.check(customer_id, meter=meter, feature=feature))
        if kind == "feature":
            access = asked.check_feature_access(customer_id, slug)
        else:
            access = asked.check_entitlement(customer_id, slug)
    except MontraError as error:
        return denied(kind, slug, customer_id, error)
    return denial_of(kind, slug, access)


def find_customer(customer: Callable[[], object], passthrough: tuple[type[Exception], ...]) -> str | Denial:
    """Find the request's customer.

    Args:
        customer: returns the customer's id.
        passthrough: exceptions of `customer` that are raised.

    Returns:
        The id, or the response.
    """
    try:
        found = customer()
    except Exception as error:
        if isinstance(error, passthrough) and not isinstance(error, LookupError):
            raise
        return denial_for_customer_error(error)
    return customer_id_or_denial(found)


def reject_async_store(receiver: WebhookReceiver) -> None:
    """Check when a view is created that its receiver can be used in synchronous code.

    Args:
        receiver: the receiver.

    Raises:
        ConfigError: its store is an `AsyncStoreAdapter`.
    """
    if receiver.needs_event_loop:
        raise ConfigError("store: a synchronous view can't use an AsyncStoreAdapter: use a store with plain methods")


__all__ = [
    "CONTENT_TYPE",
    "MISCONFIGURED",
    "Denial",
    "Kind",
    "authorize",
    "log",
    "reject_async_store",
    "validate_guard",
]
