"""Users, known per paywall: linked on their first checkout or sign-in."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ..clock import from_text, to_text
from ..problems import Problem
from ..store import Row, new_id, pick
from .context import Handler, PaywallContext

ACTIVE = ("active", "trialing")


def by_id(context: PaywallContext, user_id: str) -> Row:
    row = context.store.one("SELECT * FROM paywall_users WHERE id = ?", user_id)
    assert row is not None
    return row


def by_email(context: PaywallContext, email: str | None) -> Row | None:
    if not email:
        return None
    return context.store.one(
        "SELECT * FROM paywall_users WHERE paywall_id = ? AND email = ?", context.paywall_id, normal(email)
    )


def by_external_id(context: PaywallContext, external_id: str | None) -> Row | None:
    """By the integrator's own id, or by ours."""
    if not external_id:
        return None
    return context.store.one(
        "SELECT * FROM paywall_users WHERE paywall_id = ? AND (external_id = ? OR id = ?)",
        *(context.paywall_id, external_id, external_id),
    )


def normal(email: str) -> str:
    return email.strip().lower()


def acted_for(context: PaywallContext, email: str | None, external_id: str | None, *, unknown: str) -> Row:
    """The user a request is about: the session's, whatever else the request says; else the one the owner names.

    Raises:
        Problem: 401 without session and key, 400 without a name, 404 `unknown`.
    """
    if context.session_user is not None:
        return context.session_user
    context.require_owner()
    if not email and not external_id:
        raise Problem(400, "identity_required", "say for whom: email or user_id")
    user = by_email(context, email) or by_external_id(context, external_id)
    if user is None:
        raise Problem(404, unknown, "this paywall has never seen this user")
    return user


def link(context: PaywallContext, email: str, external_id: str | None = None, **fields: Any) -> Row:
    """The user with this address, made when there is none."""
    user = by_email(context, email)
    if user is None:
        user = add(context, email=normal(email), **fields)
    return _name(context, user, external_id)


def _name(context: PaywallContext, user: Row, external_id: str | None) -> Row:
    """Note the integrator's own id of a user, unless one of the two is taken."""
    if external_id and user["external_id"] is None and by_external_id(context, external_id) is None:
        context.store.update("paywall_users", user["id"], external_id=external_id)
    return by_id(context, user["id"])


def add(context: PaywallContext, **fields: Any) -> Row:
    user_id = new_id("usr")
    trial_days = context.config["trial_days"]
    trial: dict[str, Any] = {}
    if trial_days:
        ends = to_text(context.now + timedelta(days=trial_days))
        trial = {"trial_started_at": context.now_text, "trial_expires_at": ends, "had_trial": 1}
    context.store.insert(
        "paywall_users", id=user_id, paywall_id=context.paywall_id, created_at=context.now_text, **trial, **fields
    )
    return by_id(context, user_id)


def show(user: Row) -> dict[str, Any]:
    shown = {**pick(user, "id", "email"), "is_anonymous": bool(user["is_anonymous"])}
    return {**shown, "name": user["name"]} if user["name"] else shown


def purchases_of(context: PaywallContext, user: Row) -> list[Row]:
    """Newest first."""
    return context.store.all(
        "SELECT * FROM paywall_purchases WHERE user_id = ? ORDER BY created_at DESC, rowid DESC", user["id"]
    )


def acting(context: PaywallContext, email: str | None, external_id: str | None) -> Row:
    """Who buys: the session's user, whatever address the request holds; else the one with this address.

    Raises:
        Problem: 400 `email_required`, neither.
    """
    if context.session_user is None:
        if not email:
            raise Problem(400, "email_required", "say for whom: a session, or an email address")
        return link(context, email, external_id)
    return _name(context, context.session_user, external_id)


def has_active(context: PaywallContext, user: Row) -> bool:
    """Has a purchase that still counts."""
    return any(one["status"] in ACTIVE for one in purchases_of(context, user))


def state(context: PaywallContext, user: Row | None) -> dict[str, Any]:
    if user is None:
        return {"has_active_subscription": False, "purchases": [], "trial": None, "had_previous_trial": False}
    trial = None  # of the account; a card's is a purchase
    if user["trial_expires_at"] is not None and from_text(user["trial_expires_at"]) > context.now:
        trial = {"started_at": user["trial_started_at"], "expires_at": user["trial_expires_at"]}
    return {
        "has_active_subscription": trial is not None or has_active(context, user),
        "purchases": [
            {
                **pick(one, "id", "status", "current_period_end"),
                "cancel_at_period_end": bool(one["cancel_at_period_end"]),
            }
            for one in purchases_of(context, user)
        ],
        "trial": trial,
        "had_previous_trial": bool(user["had_trial"]),
    }


def get_user_state(context: PaywallContext) -> Any:
    return state(context, context.session_user or by_email(context, context.said_email))


HANDLERS: dict[str, Handler] = {"get_user_state": get_user_state}
