"""The Montra service: one file per resource, named as in `montra_async/resources/`, and the rules they share."""

from __future__ import annotations

from ..operations import OperationRegistry
from . import (
    analytics,
    audit_logs,
    checkout_links,
    customers,
    features,
    invoices,
    meters,
    pricing_models,
    refunds,
    subscriptions,
    webhook_endpoints,
)
from .merchant_context import MerchantContext, operation

__all__ = [
    "OPERATIONS",
    "analytics",
    "audit_logs",
    "checkout_links",
    "customers",
    "features",
    "invoices",
    "meters",
    "pricing_models",
    "refunds",
    "subscriptions",
    "webhook_endpoints",
]

OPERATIONS: OperationRegistry[MerchantContext] = operation
"""The handlers by operation id; complete because the modules above are imported."""
