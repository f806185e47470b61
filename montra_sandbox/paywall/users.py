"""Users of a paywall: finding, creating and identifying them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ..database import Row, pick
from ..datetimes import format_datetime
from ..ids import new_id
from ..problems import Problem
from .paywall_context import PaywallContext

ACTIVE_STATUSES: tuple[str, ...] = ("active", "trialing")


def get_user(context: PaywallContext, user_id: str) -> Row:
    """The user with an id that is known to exist.

    Args:
        context: the paywall.
        user_id: the user's id.
    """
    row = context.db.one("SELECT * FROM paywall_users WHERE id = ?", user_id)
    assert row is not None
    return row


def find_by_email(context: PaywallContext, email: str | None) -> Row | None:
    """The paywall's user with an email address; None when there is none.

    Args:
        context: the paywall.
        email: the address, in any case.
    """
    if not email:
        return None
    return context.db.one(
        "SELECT * FROM paywall_users WHERE paywall_id = ? AND email = ?", context.paywall_id, normalize_email(email)
    )


def find_by_external_id(context: PaywallContext, external_id: str | None) -> Row | None:
    """The paywall's user with an id; None when there is none.

    Args:
        context: the paywall.
        external_id: the integrator's id of the user, or the sandbox's own.
    """
    if not external_id:
        return None
    return context.db.one(
        "SELECT * FROM paywall_users WHERE paywall_id = ? AND (external_id = ? OR id = ?)",
        *(context.paywall_id, external_id, external_id),
    )


def normalize_email(email: str) -> str:
    """An email address as it is stored and compared."""
    return email.strip().lower()


def resolve_user(context: PaywallContext, email: str | None, external_id: str | None, *, unknown_code: str) -> Row:
    """The user that a request is about: the session's user, else the user whom the owner names.

    Args:
        context: the paywall and the request.
        email: the address in the request; ignored when there is a session.
        external_id: the user's id in the request; used when the address finds nobody.
        unknown_code: the code of the 404 when the paywall does not know the user.

    Raises:
        Problem: 401 without session and owner's key, 400 without address and id, 404 for an unknown user.
    """
    if context.session_user is not None:
        return context.session_user
    context.require_owner()
    if not email and not external_id:
        raise Problem(400, "identity_required", "send email or user_id to say which user is meant")
    user = find_by_email(context, email) or find_by_external_id(context, external_id)
    if user is None:
        raise Problem(404, unknown_code, "this paywall does not know this user")
    return user


def resolve_buyer(context: PaywallContext, email: str | None, external_id: str | None) -> Row:
    """The user who buys: the session's user, else the one with the email address, who is created if necessary.

    Args:
        context: the paywall and the request.
        email: the address in the request; ignored when there is a session.
        external_id: the integrator's id, which is stored if the user has none.

    Raises:
        Problem: 400 `email_required`, neither a session nor an address.
    """
    if context.session_user is None:
        if not email:
            raise Problem(400, "email_required", "send a session or an email address to say who buys")
        return _set_external_id(context, get_or_create(context, email), external_id)
    return _set_external_id(context, context.session_user, external_id)


def get_or_create(context: PaywallContext, email: str) -> Row:
    """The user with an email address, created when there is none.

    Args:
        context: the paywall.
        email: the address, in any case.
    """
    return find_by_email(context, email) or create_user(context, email=normalize_email(email))


def _set_external_id(context: PaywallContext, user: Row, external_id: str | None) -> Row:
    """Store the integrator's id of a user, unless the user has one or another user has this one."""
    if external_id and user["external_id"] is None and find_by_external_id(context, external_id) is None:
        context.db.update("paywall_users", user["id"], external_id=external_id)
    return get_user(context, user["id"])


def create_user(context: PaywallContext, *, email: str | None = None, is_anonymous: bool = False) -> Row:
    """Create a user. The account trial of the paywall, if it has one, starts now.

    Args:
        context: the paywall.
        email: the normalized address; None for an anonymous user.
        is_anonymous: whether the user has no address yet.
    """
    user_id = new_id("usr")
    trial_days = context.config["trial_days"]
    expires_at = format_datetime(context.now + timedelta(days=trial_days)) if trial_days else None
    context.db.insert(
        "paywall_users",
        id=user_id,
        paywall_id=context.paywall_id,
        email=email,
        is_anonymous=is_anonymous,
        trial_started_at=context.now_text if trial_days else None,
        trial_expires_at=expires_at,
        had_trial=bool(trial_days),
        created_at=context.now_text,
    )
    return get_user(context, user_id)


def serialize_user(user: Row) -> dict[str, Any]:
    """A user's JSON as sign-ins return it."""
    serialized = {**pick(user, "id", "email"), "is_anonymous": bool(user["is_anonymous"])}
    return {**serialized, "name": user["name"]} if user["name"] else serialized


def list_user_purchases(context: PaywallContext, user: Row) -> list[Row]:
    """A user's purchases, newest first.

    Args:
        context: the paywall.
        user: the user.
    """
    return context.db.all(
        "SELECT * FROM paywall_purchases WHERE user_id = ? ORDER BY created_at DESC, rowid DESC", user["id"]
    )


def has_active_purchase(context: PaywallContext, user: Row) -> bool:
    """Whether a user has an active or trialing purchase.

    Args:
        context: the paywall.
        user: the user.
    """
    return any(row["status"] in ACTIVE_STATUSES for row in list_user_purchases(context, user))
