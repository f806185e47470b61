"""The paywall side: one file per group of calls; each handler is named after its operation in the contract."""

from __future__ import annotations

from . import auth, balances, bootstrap, checkout, purchases, support, tracking, users
from .context import Handler

HANDLERS: dict[str, Handler] = {
    name: handler
    for module in (auth, balances, bootstrap, checkout, purchases, support, tracking, users)
    for name, handler in module.HANDLERS.items()
}
"""By `operationId`."""
