"""The metered API gateway: one credit per call, then the provider's answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..problems import Problem
from ..store import Row
from .balances import all_of, debit, top_up
from .context import PaywallContext
from .users import by_external_id

EVENTS: list[Any] = [
    {"delta": "Once"},
    {"delta": " upon"},
    {"delta": " a time"},
    {"delta": "."},
]
"""What a provider in mode `stream` says when it was told nothing else."""


def charge(context: PaywallContext, provider_id: str, said_id: str | None) -> Mapping[str, Any]:
    """Take one credit for a call; the provider.

    Raises:
        Problem: no such provider, or it is off (403 `provider-disabled`); nobody to charge (401, 404); no credit left
            (402 with details).
    """
    provider: dict[str, Any] | None = context.config["providers"].get(provider_id)
    if provider is None:
        raise Problem(404, "provider-not-found", f"this paywall has no provider {provider_id[:100]!r}")
    if not provider["enabled"]:
        raise Problem(403, "provider-disabled", f"the provider {provider_id!r} is switched off")
    user = _payer(context, said_id)
    top_up(context, user)
    kind = provider["query_type"]
    if not debit(context, user, kind, 1):
        raise _empty(context, user, kind)
    return provider


def _payer(context: PaywallContext, said_id: str | None) -> Row:
    if context.session_user is not None:
        return context.session_user
    if not said_id:
        raise Problem(401, "not_authenticated", "send a session, or the header X-User-ID")
    user = by_external_id(context, said_id)
    if user is None:
        raise Problem(404, "identity_not_found", "this paywall has never seen this user")
    return user


def _empty(context: PaywallContext, user: Row, kind: str) -> Problem:
    balances = all_of(context, user)
    details = {
        "balances": [{"balances": balances}],
        "queryType": kind,
        "currentBalance": next((one for one in balances if one["type"] == kind), None),
    }
    return Problem(402, "not_enough_queries", f"no {kind!r} query is left", {"details": details})
