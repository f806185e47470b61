"""Sign-in without a browser: passwords, one-time codes, anonymous users, OAuth with PKCE.

No mail is sent: `Sandbox.mails()` lists the codes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from datetime import timedelta
from typing import Any

from ..database import Row, pick
from ..datetimes import format_datetime, parse_datetime
from ..json import dumps
from ..problems import CommittedProblem, Problem
from .credentials import (
    check_failed_attempts,
    check_password_strength,
    clear_failed_attempts,
    complete_sign_up,
    count_failed_attempt,
    hash_secret,
    pending_password_hash,
    pending_sign_ups,
    redeem_code,
    send_code,
    verify_secret,
    void_sign_ups,
)
from .paywall_context import PaywallContext, operation
from .user_sessions import end_all_sessions, end_session, find_by_refresh_token, hash_token, issue_tokens, open_session
from .users import create_user, find_by_email, get_or_create, get_user, normalize_email, serialize_user

_OAUTH_LIFETIME = timedelta(minutes=10)
_ORIGIN = re.compile(r"https?://[A-Za-z0-9._:\[\]-]{1,300}")


# Passwords and codes


@operation("sign_in")
def sign_in(context: PaywallContext) -> Any:
    """POST /auth/email/signin."""
    email, password = context.body["email"], context.body["password"]
    check_failed_attempts(context, "password", email)
    user = find_by_email(context, email)
    is_right = verify_secret(password, None if user is None else user["password_hash"])
    if not is_right or user is None or not user["confirmed"]:
        if any(verify_secret(password, row["password_hash"]) for row in pending_sign_ups(context, email)):
            raise Problem(403, "email_not_confirmed", "this email address has not been confirmed")
        count_failed_attempt(context, "password", email)
        raise CommittedProblem(401, "invalid_credentials", "wrong email address or password")
    clear_failed_attempts(context, "password", email)
    return open_session(context, user)


@operation("sign_up")
def sign_up(context: PaywallContext) -> Any:
    """POST /auth/email/signup.

    The password counts once the address is confirmed: see `credentials.complete_sign_up`.
    """
    email, password = normalize_email(context.body["email"]), check_password_strength(context.body["password"])
    known = find_by_email(context, email)
    if known is not None and known["password_hash"] is not None:
        return {"status": "already_registered", "email": email}
    user = known or get_or_create(context, email)
    # The account of a buyer exists before its sign-up, so the address must be confirmed in any case.
    if known is not None or context.config["require_confirmation"]:
        _send_sign_up_code(context, email, password)
        return {"status": "confirmation_required", "email": email, "user": serialize_user(user)}
    context.db.update("paywall_users", user["id"], password_hash=hash_secret(password), confirmed=True)
    return {"status": "signed_in", **open_session(context, get_user(context, user["id"]))}


@operation("resend_confirmation")
def resend_confirmation(context: PaywallContext) -> Any:
    """POST /auth/email/resend."""
    email = normalize_email(context.body["email"])
    user, pending = find_by_email(context, email), pending_sign_ups(context, email)
    if pending:
        send_code(context, email, "signup", **pick(pending[0], "password_hash", "user_id", "visitor_id"))
    elif user is not None and not user["confirmed"]:
        send_code(context, email, "signup")
    return {"ok": True}


@operation("send_otp")
def send_otp(context: PaywallContext) -> Any:
    """POST /auth/otp/send.

    The response is the same for every address, so that it does not reveal who is known.
    """
    if context.body.get("create_user", True) or find_by_email(context, context.body["email"]) is not None:
        send_code(context, context.body["email"], "email")
    return {"ok": True}


@operation("verify_otp")
def verify_otp(context: PaywallContext) -> Any:
    """POST /auth/otp/verify."""
    body = context.body
    mail = redeem_code(context, body["email"], body["type"], body["token"])
    sign_up_mail = complete_sign_up(context, mail)
    if sign_up_mail is None:
        return open_session(context, _confirm(context, get_or_create(context, mail["email"])))
    anonymous_id = _still_anonymous(context, sign_up_mail["user_id"])
    user = _user_for_address(context, anonymous_id, mail["email"])
    return open_session(context, _confirm(context, user, sign_up_mail["password_hash"]))


@operation("request_password_reset")
def request_password_reset(context: PaywallContext) -> Any:
    """POST /auth/password/request-reset."""
    if find_by_email(context, context.body["email"]) is not None:
        send_code(context, context.body["email"], "recovery")
    return {"ok": True}


@operation("update_password")
def update_password(context: PaywallContext) -> Any:
    """POST /auth/password/update."""
    user, password = context.require_session(), check_password_strength(context.body["password"])
    context.db.update("paywall_users", user["id"], password_hash=hash_secret(password))
    return {"ok": True, "user": serialize_user(user)}


def _send_sign_up_code(context: PaywallContext, email: str, password: str, user_id: str | None = None) -> None:
    password_hash, visitor_id = pending_password_hash(context, email, password), context.body.get("visitor_id")
    send_code(context, email, "signup", password_hash=password_hash, user_id=user_id, visitor_id=visitor_id)


def _confirm(context: PaywallContext, user: Row, password_hash: str | None = None) -> Row:
    """Mark the address as confirmed. A password from before the confirmation is dropped."""
    kept = user["password_hash"] if user["confirmed"] else None
    context.db.update("paywall_users", user["id"], confirmed=True, password_hash=kept or password_hash)
    return get_user(context, user["id"])


# Anonymous users


@operation("sign_in_anonymously")
def sign_in_anonymously(context: PaywallContext) -> Any:
    """POST /auth/anonymous/signin."""
    return open_session(context, create_user(context, is_anonymous=True))


@operation("upgrade_anonymous")
def upgrade_anonymous(context: PaywallContext) -> Any:
    """POST /auth/anonymous/upgrade.

    If a confirmation is required, the user stays anonymous and without an address until then.
    """
    user, email = context.require_session(), normalize_email(context.body["email"])
    password = check_password_strength(context.body["password"])
    if not user["is_anonymous"]:
        raise Problem(409, "not_anonymous", "this user has an email address already")
    if find_by_email(context, email) is not None:
        raise Problem(409, "email_exists", "another user has this email address")
    if context.config["require_confirmation"]:
        _send_sign_up_code(context, email, password, user["id"])
        return {"status": "confirmation_required", "email": email, "user": serialize_user(user)}
    upgraded = _confirm(context, _set_address(context, user["id"], email), hash_secret(password))
    return {"status": "updated", "user": serialize_user(upgraded)}


def _still_anonymous(context: PaywallContext, user_id: str | None) -> str | None:
    """The id, if that user is still anonymous."""
    return user_id if user_id is not None and get_user(context, user_id)["is_anonymous"] else None


def _user_for_address(context: PaywallContext, anonymous_id: str | None, email: str) -> Row:
    """The anonymous user, who gets the address; without one, the user who has it."""
    return get_or_create(context, email) if anonymous_id is None else _set_address(context, anonymous_id, email)


def _set_address(context: PaywallContext, user_id: str, email: str) -> Row:
    """Give an anonymous user an address."""
    taken = find_by_email(context, email)
    if taken is not None and taken["id"] != user_id:
        raise Problem(409, "email_exists", "another user has this email address")
    context.db.update("paywall_users", user_id, email=normalize_email(email), is_anonymous=False)
    return get_user(context, user_id)


# OAuth


@operation("start_oauth")
def start_oauth(context: PaywallContext) -> Any:
    """POST /auth/oauth/init."""
    state, user = secrets.token_urlsafe(16), context.session_user
    context.db.insert(
        "paywall_oauth",
        state_hash=hash_token(state),
        paywall_id=context.paywall_id,
        provider=context.body["provider"],
        scopes=dumps(context.body.get("scopes", [])),
        challenge=context.body["code_challenge"],
        user_id=user["id"] if user is not None and user["is_anonymous"] else None,
        origin=_web_origin(context.page_origin),
        expires_at=format_datetime(context.now + _OAUTH_LIFETIME),
    )
    return {"authorize_url": f"{context.origin}/oauth/{context.paywall_id}?state={state}"}


def _web_origin(header: str | None) -> str | None:
    """The header `Origin`, if it is scheme and host of a web page."""
    return header if header is not None and _ORIGIN.fullmatch(header) else None


def find_oauth_flow(context: PaywallContext, state: str) -> Row | None:
    """The OAuth sign-in of a state; None when it is unknown or has expired.

    Args:
        context: the paywall.
        state: the `state` parameter of the provider's page.
    """
    flow = context.db.one(
        "SELECT * FROM paywall_oauth WHERE state_hash = ? AND paywall_id = ?", hash_token(state), context.paywall_id
    )
    return None if flow is None or parse_datetime(flow["expires_at"]) <= context.now else flow


def can_link_identity(context: PaywallContext, flow: Row, email: str) -> bool:
    """Whether the anonymous user who began the sign-in may get the address; False when another user has it.

    Args:
        context: the paywall.
        flow: the OAuth sign-in.
        email: the address of the identity.
    """
    taken = find_by_email(context, email)
    return flow["user_id"] is None or taken is None or taken["id"] == flow["user_id"]


def approve_oauth(context: PaywallContext, flow: Row, email: str) -> str:
    """Approve a sign-in, as the provider's page does; returns the code to be exchanged.

    Args:
        context: the paywall.
        flow: the OAuth sign-in.
        email: the address of the identity.
    """
    code = secrets.token_urlsafe(24)
    context.db.run(
        "UPDATE paywall_oauth SET code_hash = ?, email = ? WHERE state_hash = ?",
        *(hash_token(code), normalize_email(email), flow["state_hash"]),
    )
    return code


def end_oauth(context: PaywallContext, flow: Row) -> None:
    """Delete an OAuth sign-in.

    Args:
        context: the paywall.
        flow: the OAuth sign-in.
    """
    context.db.run("DELETE FROM paywall_oauth WHERE state_hash = ?", flow["state_hash"])


@operation("complete_oauth")
def complete_oauth(context: PaywallContext) -> Any:
    """POST /auth/oauth/exchange.

    The provider has verified the address, so it is confirmed, and passwords of pending sign-ups become void.
    """
    flow = context.db.one(
        "SELECT * FROM paywall_oauth WHERE paywall_id = ? AND code_hash = ?",
        *(context.paywall_id, hash_token(context.body["auth_code"])),
    )
    if flow is None or parse_datetime(flow["expires_at"]) <= context.now:
        raise Problem(401, "oauth_invalid_code", "this code is wrong, used or expired")
    raw = hashlib.sha256(context.body["code_verifier"].encode()).digest()
    if not hmac.compare_digest(base64.urlsafe_b64encode(raw).rstrip(b"=").decode(), flow["challenge"]):
        raise Problem(401, "oauth_invalid_verifier", "the verifier does not belong to the challenge")
    end_oauth(context, flow)
    user = _user_for_address(context, _still_anonymous(context, flow["user_id"]), flow["email"])
    void_sign_ups(context, flow["email"])
    return open_session(context, _confirm(context, user))


# Sessions


@operation("refresh")
def refresh(context: PaywallContext) -> Any:
    """POST /auth/refresh."""
    session = find_by_refresh_token(context, context.body["refresh_token"])
    if session is None:
        raise Problem(401, "invalid_refresh_token", "this refresh token is unknown or was used")
    return issue_tokens(context, session["id"])


@operation("sign_out")
def sign_out(context: PaywallContext) -> Any:
    """POST /auth/signout."""
    context.require_session()
    assert context.session is not None
    end_session(context, context.session)
    return {"ok": True}


@operation("revoke_all")
def revoke_all(context: PaywallContext) -> Any:
    """POST /auth/revoke-all."""
    end_all_sessions(context, context.require_session())
    return {"ok": True}
