"""Sessions of signed-in users: an access token for one hour and a refresh token for one use."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import Any

from ..database import Row
from ..datetimes import format_datetime, parse_datetime
from ..ids import new_id
from ..problems import Problem
from .paywall_context import PaywallContext
from .purchase_lifecycle import move_guest_purchases
from .users import serialize_user

ACCESS_TOKEN_LIFETIME: timedelta = timedelta(hours=1)


def hash_token(token: str) -> str:
    """The digest under which a random token is stored.

    Args:
        token: the token in plain text.
    """
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def open_session(context: PaywallContext, user: Row) -> dict[str, Any]:
    """Open a session and move the user's purchases as a guest to them; returns tokens and user.

    Args:
        context: the paywall and the request, whose body may have a `visitor_id`.
        user: who signed in.
    """
    move_guest_purchases(context, user, context.body.get("visitor_id"))
    session_id = new_id("ses")
    context.db.insert(
        "paywall_sessions",
        id=session_id,
        user_id=user["id"],
        access_hash=f"new {session_id}",
        refresh_hash=f"new {session_id}",
        expires_at=context.now_text,
        created_at=context.now_text,
    )
    return {**issue_tokens(context, session_id), "user": serialize_user(user)}


def issue_tokens(context: PaywallContext, session_id: str) -> dict[str, Any]:
    """Replace a session's tokens; the previous ones become invalid. Returns the new ones.

    Args:
        context: the paywall.
        session_id: the session.
    """
    access, refresh = f"at_{secrets.token_urlsafe(32)}", f"rt_{secrets.token_urlsafe(32)}"
    expires_at = context.now + ACCESS_TOKEN_LIFETIME
    context.db.update(
        "paywall_sessions",
        session_id,
        access_hash=hash_token(access),
        refresh_hash=hash_token(refresh),
        expires_at=format_datetime(expires_at),
    )
    return {
        "access_token": access,
        "refresh_token": refresh,
        "expires_in": int(ACCESS_TOKEN_LIFETIME.total_seconds()),
        "expires_at": int(expires_at.timestamp()),
        "token_type": "bearer",
    }


def find_by_refresh_token(context: PaywallContext, token: str) -> Row | None:
    """The session of a refresh token; None when it is unknown or was used.

    Args:
        context: the paywall.
        token: the refresh token.
    """
    return context.db.one(
        "SELECT session.* FROM paywall_sessions session JOIN paywall_users user ON user.id = session.user_id"
        " WHERE session.refresh_hash = ? AND user.paywall_id = ?",
        *(hash_token(token), context.paywall_id),
    )


def get_by_access_token(context: PaywallContext, token: str) -> Row:
    """The session of an access token.

    Args:
        context: the paywall.
        token: the access token.

    Raises:
        Problem: 401 `invalid_token` or `token_expired`.
    """
    row = context.db.one(
        "SELECT session.* FROM paywall_sessions session JOIN paywall_users user ON user.id = session.user_id"
        " WHERE session.access_hash = ? AND user.paywall_id = ?",
        *(hash_token(token), context.paywall_id),
    )
    if row is None:
        raise Problem(401, "invalid_token", "this access token is not valid at this paywall")
    if parse_datetime(row["expires_at"]) <= context.now:
        raise Problem(401, "token_expired", "this access token has expired; refresh it")
    return row


def end_session(context: PaywallContext, session: Row) -> None:
    """Delete a session.

    Args:
        context: the paywall.
        session: the session.
    """
    context.db.run("DELETE FROM paywall_sessions WHERE id = ?", session["id"])


def end_all_sessions(context: PaywallContext, user: Row) -> None:
    """Delete all sessions of a user.

    Args:
        context: the paywall.
        user: the user.
    """
    context.db.run("DELETE FROM paywall_sessions WHERE user_id = ?", user["id"])
