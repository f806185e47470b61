"""Sessions of signed-in users: an access token for an hour, a refresh token for one use."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import Any

from ..clock import from_text, to_text
from ..problems import Problem
from ..store import Row, new_id
from .context import PaywallContext
from .purchases import adopt
from .users import show

LIFETIME = timedelta(hours=1)


def digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def open_session(context: PaywallContext, user: Row) -> dict[str, Any]:
    """Tokens and the user, who takes along what they bought as a guest."""
    adopt(context, user, context.body.get("visitor_id"))
    session_id = new_id("ses")
    context.store.insert(
        "paywall_sessions",
        id=session_id,
        user_id=user["id"],
        access_hash=f"new {session_id}",
        refresh_hash=f"new {session_id}",
        expires_at=context.now_text,
        created_at=context.now_text,
    )
    return {**renew(context, session_id), "user": show(user)}


def renew(context: PaywallContext, session_id: str) -> dict[str, Any]:
    """New tokens; the old ones are worth nothing any more."""
    access, refresh = f"at_{secrets.token_urlsafe(32)}", f"rt_{secrets.token_urlsafe(32)}"
    expires_at = context.now + LIFETIME
    context.store.update(
        "paywall_sessions",
        session_id,
        access_hash=digest(access),
        refresh_hash=digest(refresh),
        expires_at=to_text(expires_at),
    )
    return {
        "access_token": access,
        "refresh_token": refresh,
        "expires_in": int(LIFETIME.total_seconds()),
        "expires_at": int(expires_at.timestamp()),
        "token_type": "bearer",
    }


def of_refresh_token(context: PaywallContext, token: str) -> Row | None:
    return context.store.one(
        "SELECT session.* FROM paywall_sessions session JOIN paywall_users user ON user.id = session.user_id"
        " WHERE session.refresh_hash = ? AND user.paywall_id = ?",
        *(digest(token), context.paywall_id),
    )


def of_access_token(context: PaywallContext, token: str) -> Row:
    """The session of an access token.

    Raises:
        Problem: 401, unknown or over.
    """
    row = context.store.one(
        "SELECT session.* FROM paywall_sessions session JOIN paywall_users user ON user.id = session.user_id"
        " WHERE session.access_hash = ? AND user.paywall_id = ?",
        *(digest(token), context.paywall_id),
    )
    if row is None:
        raise Problem(401, "invalid_token", "this access token is worth nothing here")
    if from_text(row["expires_at"]) <= context.now:
        raise Problem(401, "token_expired", "this access token has expired; refresh it")
    return row


def end(context: PaywallContext, session: Row) -> None:
    context.store.run("DELETE FROM paywall_sessions WHERE id = ?", session["id"])


def end_all(context: PaywallContext, user: Row) -> None:
    context.store.run("DELETE FROM paywall_sessions WHERE user_id = ?", user["id"])
