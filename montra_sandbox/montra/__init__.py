"""The Montra side: one file per group of resources; each handler is named after its operation in the contract."""

from __future__ import annotations

from ..context import Handler
from . import (
    analytics,
    audit,
    catalog,
    checkout,
    customers,
    entitlements,
    files,
    invoices,
    money,
    subscriptions,
    usage,
    webhooks,
)

HANDLERS: dict[str, Handler] = {
    name: handler
    for module in (
        analytics,
        audit,
        catalog,
        checkout,
        customers,
        entitlements,
        files,
        invoices,
        money,
        subscriptions,
        usage,
        webhooks,
    )
    for name, handler in module.HANDLERS.items()
}
"""By `operationId`."""
