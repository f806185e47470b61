"""The paywall service: its operations are in files named as in `montra_async/paywall/`, beside the rules they share."""

from __future__ import annotations

from ..operations import OperationRegistry
from . import auth, catalog, gateway, purchases, support, tokens, tracking
from .paywall_context import PaywallContext, operation

__all__ = ["OPERATIONS", "auth", "catalog", "gateway", "purchases", "support", "tokens", "tracking"]

OPERATIONS: OperationRegistry[PaywallContext] = operation
"""The handlers by operation id; complete because the modules above are imported."""
