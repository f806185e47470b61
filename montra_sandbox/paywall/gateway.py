"""The metered API gateway: each call costs one token. `http/provider_responses` sends the provider's response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..database import Row
from ..problems import Problem
from .paywall_context import PaywallContext, operation
from .tokens import debit, list_balances, top_up
from .users import find_by_external_id

DEFAULT_EVENTS: list[Any] = [
    {"delta": "Once"},
    {"delta": " upon"},
    {"delta": " a time"},
    {"delta": "."},
]
"""What a provider in mode `stream` sends when it has no `events` of its own."""


@operation("gateway_get", "gateway_post", "gateway_put", "gateway_patch", "gateway_delete")
def charge_call(context: PaywallContext) -> Mapping[str, Any]:
    """Debit one token for a call; returns the provider's configuration.

    Args:
        context: the paywall and the request; the path has `provider_id`.

    Raises:
        Problem: 404 unknown provider, 403 `provider-disabled`, 401 or 404 when there is nobody to charge,
            402 `not_enough_queries`.
    """
    provider_id = context.path["provider_id"]
    provider: dict[str, Any] | None = context.config["providers"].get(provider_id)
    if provider is None:
        raise Problem(404, "provider-not-found", f"this paywall has no provider {provider_id[:100]!r}")
    if not provider["enabled"]:
        raise Problem(403, "provider-disabled", f"the provider {provider_id!r} is disabled")
    user = _charged_user(context)
    top_up(context, user)
    if not debit(context, user, provider["query_type"], 1):
        raise _quota_exceeded(context, user, provider["query_type"])
    return provider


def _charged_user(context: PaywallContext) -> Row:
    if context.session_user is not None:
        return context.session_user
    if not context.header_user_id:
        raise Problem(401, "not_authenticated", "send a session, or the header X-User-ID")
    user = find_by_external_id(context, context.header_user_id)
    if user is None:
        raise Problem(404, "identity_not_found", "this paywall does not know this user")
    return user


def _quota_exceeded(context: PaywallContext, user: Row, query_type: str) -> Problem:
    balances = list_balances(context, user)
    details = {
        "balances": [{"balances": balances}],
        "queryType": query_type,
        "currentBalance": next((balance for balance in balances if balance["type"] == query_type), None),
    }
    return Problem(402, "not_enough_queries", f"no {query_type!r} query is left", {"details": details})
