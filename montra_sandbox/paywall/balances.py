"""Token balances: never below zero, no part of a debit, topped up every day where the paywall says so."""

from __future__ import annotations

from typing import Any

from ..problems import Problem
from ..store import Row
from .context import Handler, PaywallContext
from .users import acted_for, by_id

MAX_BALANCE = 2**53


def all_of(context: PaywallContext, user: Row) -> list[dict[str, Any]]:
    rows = context.store.all("SELECT type, count FROM paywall_balances WHERE user_id = ? ORDER BY type", user["id"])
    return [{"type": row["type"], "count": row["count"]} for row in rows]


def count_of(context: PaywallContext, user: Row, kind: str) -> int:
    found = context.store.value("SELECT count FROM paywall_balances WHERE user_id = ? AND type = ?", user["id"], kind)
    return int(found or 0)


def top_up(context: PaywallContext, user: Row) -> None:
    """Once a day: raise balances to the daily trial, never lower one."""
    today = context.now_text[:10]
    if by_id(context, user["id"])["topped_up_on"] == today:
        return
    context.store.update("paywall_users", user["id"], topped_up_on=today)
    for kind, rule in context.config["tokenization"].items():
        if rule.get("daily_trial"):
            context.store.run(
                "INSERT INTO paywall_balances VALUES (?, ?, ?)"
                " ON CONFLICT (user_id, type) DO UPDATE SET count = max(count, excluded.count)",
                *(user["id"], kind, rule["daily_trial"]),
            )


def credit(context: PaywallContext, user: Row, kind: str, amount: int) -> None:
    context.store.run(
        "INSERT INTO paywall_balances VALUES (?, ?, ?)"
        " ON CONFLICT (user_id, type) DO UPDATE SET count = min(count + excluded.count, ?)",
        *(user["id"], kind, amount, MAX_BALANCE),
    )


def move(context: PaywallContext, giver: Row, taker: Row) -> None:
    """All that one user has, to another one."""
    for one in all_of(context, giver):
        credit(context, taker, one["type"], one["count"])
    context.store.run("DELETE FROM paywall_balances WHERE user_id = ?", giver["id"])


def debit(context: PaywallContext, user: Row, kind: str, amount: int) -> bool:
    """All of it, or nothing and False."""
    return bool(
        context.store.run(
            "UPDATE paywall_balances SET count = count - ? WHERE user_id = ? AND type = ? AND count >= ?",
            *(amount, user["id"], kind, amount),
        )
    )


def get_balances(context: PaywallContext) -> Any:
    user = context.require_session()
    top_up(context, user)
    return {"balances": all_of(context, user), "tokenization": bool(context.config["tokenization"])}


def change_balance(context: PaywallContext) -> Any:
    body = context.body
    context.require_owner()
    user = acted_for(context, body.get("email"), body.get("user_id"), unknown="identity_not_found")
    return _change(context, user, body["op"])


def withdraw_tokens(context: PaywallContext) -> Any:
    context.require_owner()
    user = acted_for(context, None, context.body["user_id"], unknown="identity_not_found")
    return _change(context, user, "debit")


def _change(context: PaywallContext, user: Row, op: str) -> Any:
    kind, amount = context.body["type"], int(context.body["amount"])
    top_up(context, user)
    if op == "credit":
        if count_of(context, user, kind) + amount > MAX_BALANCE:
            raise Problem(400, "too_many", "a balance counts to 2**53")
        credit(context, user, kind, amount)
    elif not debit(context, user, kind, amount):
        have = count_of(context, user, kind)
        raise Problem(409, "insufficient", f"{have} of {kind!r} are left, {amount} were asked for", {"count": have})
    return {
        "success": True,
        "user_id": user["id"],
        "type": kind,
        "count": count_of(context, user, kind),
        "balances": all_of(context, user),
    }


HANDLERS: dict[str, Handler] = {
    "get_balances": get_balances,
    "change_balance": change_balance,
    "withdraw_tokens": withdraw_tokens,
}
