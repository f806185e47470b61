"""Token balances: credits, debits and the daily trial. A balance is a whole number and never below zero."""

from __future__ import annotations

from typing import Any

from ..database import Row
from ..problems import Problem
from .paywall_context import PaywallContext, operation
from .users import get_user, resolve_user

MAX_BALANCE: int = 2**53


@operation("get_balances")
def get_balances(context: PaywallContext) -> Any:
    """GET /balances."""
    user = context.require_session()
    top_up(context, user)
    return {"balances": list_balances(context, user), "tokenization": bool(context.config["tokenization"])}


@operation("change_balance")
def change_balance(context: PaywallContext) -> Any:
    """POST /balances."""
    body = context.body
    context.require_owner()
    user = resolve_user(context, body.get("email"), body.get("user_id"), unknown_code="identity_not_found")
    return _change(context, user, body["op"])


@operation("withdraw_tokens")
def withdraw_tokens(context: PaywallContext) -> Any:
    """POST /v1/withdraw-tokens."""
    context.require_owner()
    user = resolve_user(context, None, context.body["user_id"], unknown_code="identity_not_found")
    return _change(context, user, "debit")


def _change(context: PaywallContext, user: Row, op: str) -> Any:
    token_type, amount = context.body["type"], int(context.body["amount"])
    top_up(context, user)
    if op == "credit":
        if _get_count(context, user, token_type) + amount > MAX_BALANCE:
            raise Problem(400, "too_many", "a balance is at most 2**53")
        credit(context, user, token_type, amount)
    elif not debit(context, user, token_type, amount):
        count = _get_count(context, user, token_type)
        message = f"{count} of {token_type!r} are left, {amount} were requested"
        raise Problem(409, "insufficient", message, {"count": count})
    return {
        "success": True,
        "user_id": user["id"],
        "type": token_type,
        "count": _get_count(context, user, token_type),
        "balances": list_balances(context, user),
    }


def list_balances(context: PaywallContext, user: Row) -> list[dict[str, Any]]:
    """`type` and `count` of a user's balances, by type.

    Args:
        context: the paywall.
        user: the user.
    """
    rows = context.db.all("SELECT type, count FROM paywall_balances WHERE user_id = ? ORDER BY type", user["id"])
    return [{"type": row["type"], "count": row["count"]} for row in rows]


def _get_count(context: PaywallContext, user: Row, token_type: str) -> int:
    count = context.db.value(
        "SELECT count FROM paywall_balances WHERE user_id = ? AND type = ?", user["id"], token_type
    )
    return int(count or 0)


def top_up(context: PaywallContext, user: Row) -> None:
    """Once per day, raise the user's balances to the daily trial. Higher balances stay.

    Args:
        context: the paywall.
        user: the user.
    """
    today = context.now_text[:10]
    if get_user(context, user["id"])["topped_up_on"] == today:
        return
    context.db.update("paywall_users", user["id"], topped_up_on=today)
    for token_type, rule in context.config["tokenization"].items():
        if rule.get("daily_trial"):
            context.db.run(
                "INSERT INTO paywall_balances VALUES (?, ?, ?)"
                " ON CONFLICT (user_id, type) DO UPDATE SET count = max(count, excluded.count)",
                *(user["id"], token_type, rule["daily_trial"]),
            )


def credit(context: PaywallContext, user: Row, token_type: str, amount: int) -> None:
    """Add to a balance, up to `MAX_BALANCE`.

    Args:
        context: the paywall.
        user: the user.
        token_type: which balance.
        amount: how many tokens.
    """
    context.db.run(
        "INSERT INTO paywall_balances VALUES (?, ?, ?)"
        " ON CONFLICT (user_id, type) DO UPDATE SET count = min(count + excluded.count, ?)",
        *(user["id"], token_type, amount, MAX_BALANCE),
    )


def debit(context: PaywallContext, user: Row, token_type: str, amount: int) -> bool:
    """Subtract from a balance; returns False, and changes nothing, when it is too low.

    Args:
        context: the paywall.
        user: the user.
        token_type: which balance.
        amount: how many tokens.
    """
    return bool(
        context.db.run(
            "UPDATE paywall_balances SET count = count - ? WHERE user_id = ? AND type = ? AND count >= ?",
            *(amount, user["id"], token_type, amount),
        )
    )


def transfer_balances(context: PaywallContext, source: Row, target: Row) -> None:
    """Move all balances of one user to another.

    Args:
        context: the paywall.
        source: the user who loses them.
        target: the user who gets them.
    """
    for balance in list_balances(context, source):
        credit(context, target, balance["type"], balance["count"])
    context.db.run("DELETE FROM paywall_balances WHERE user_id = ?", source["id"])
