"""Sign-in without a browser: passwords, one-time codes by mail, anonymous users, OAuth with PKCE.

Mails are not sent; `sandbox.mails()` shows them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from datetime import timedelta
from typing import Any

from ..clock import from_text, to_text
from ..problems import Problem
from ..store import Row, new_id
from ..wire import dumps
from .context import Handler, PaywallContext
from .sessions import end, end_all, of_refresh_token, open_session, renew
from .users import add, by_email, by_id, link, normal, show

_MAIL_GOOD = timedelta(hours=1)
_OAUTH_GOOD = timedelta(minutes=10)
_ROUNDS = 1_000  # a sandbox keeps no real passwords


def _hashed(password: str, salt: str | None = None) -> str:
    salt = salt or secrets.token_hex(8)
    raw = hashlib.pbkdf2_hmac("sha256", password.encode("utf-8", "surrogatepass"), salt.encode(), _ROUNDS)
    return f"{salt}${raw.hex()}"


def _fits(password: str, hashed: str | None) -> bool:
    return hashed is not None and hmac.compare_digest(_hashed(password, hashed.partition("$")[0]), hashed)


def mail(context: PaywallContext, email: str, kind: str, password_hash: str | None = None) -> None:
    context.store.insert(
        "paywall_mails",
        id=new_id("mail"),
        paywall_id=context.paywall_id,
        email=normal(email),
        type=kind,
        token=f"{secrets.randbelow(10**6):06}",
        password_hash=password_hash,
        expires_at=to_text(context.now + _MAIL_GOOD),
        created_at=context.now_text,
    )


def sign_in(context: PaywallContext) -> Any:
    user = by_email(context, context.body["email"])
    if user is None or not _fits(context.body["password"], user["password_hash"]):
        raise Problem(401, "invalid_credentials", "wrong email address or password")
    if not user["confirmed"]:
        raise Problem(403, "email_not_confirmed", "this email address has not been confirmed")
    return open_session(context, user)


def sign_up(context: PaywallContext) -> Any:
    email, password_hash = normal(context.body["email"]), _hashed(context.body["password"])
    known = by_email(context, email)
    if known is not None and known["password_hash"] is not None:
        return {"status": "already_registered", "email": email}
    confirm = context.config["require_confirmation"] or known is not None  # a buyer's account is not for the taking
    user = known or link(context, email)
    context.store.update("paywall_users", user["id"], password_hash=password_hash, confirmed=not confirm)
    if confirm:
        mail(context, email, "signup")
        return {"status": "confirmation_required", "user": show(user)}
    return {"status": "signed_in", **open_session(context, by_id(context, user["id"]))}


def resend_confirmation(context: PaywallContext) -> Any:
    user = by_email(context, context.body["email"])
    if user is not None and not user["confirmed"]:
        mail(context, context.body["email"], "signup")
    return {"ok": True}


def send_otp(context: PaywallContext) -> Any:
    """Says the same for every address: who is known here is nobody's business."""
    if context.body.get("create_user", True) or by_email(context, context.body["email"]) is not None:
        mail(context, context.body["email"], "email")
    return {"ok": True}


def verify_otp(context: PaywallContext) -> Any:
    body = context.body
    row = context.store.one(
        "SELECT * FROM paywall_mails WHERE paywall_id = ? AND email = ? AND type = ? AND token = ? AND NOT used",
        *(context.paywall_id, normal(body["email"]), body["type"], body["token"]),
    )
    if row is None or from_text(row["expires_at"]) <= context.now:
        raise Problem(401, "otp_invalid", "this code is wrong, used or too old")
    context.store.update("paywall_mails", row["id"], used=True)
    user = link(context, body["email"])
    context.store.update("paywall_users", user["id"], confirmed=True)
    return open_session(context, by_id(context, user["id"]))


def request_password_reset(context: PaywallContext) -> Any:
    if by_email(context, context.body["email"]) is not None:
        mail(context, context.body["email"], "recovery")
    return {"ok": True}


def update_password(context: PaywallContext) -> Any:
    user = context.require_session()
    context.store.update("paywall_users", user["id"], password_hash=_hashed(context.body["password"]))
    return {"ok": True, "user": show(user)}


def sign_in_anonymously(context: PaywallContext) -> Any:
    return open_session(context, add(context, is_anonymous=True))


def upgrade_anonymous(context: PaywallContext) -> Any:
    user, email = context.require_session(), normal(context.body["email"])
    if not user["is_anonymous"]:
        raise Problem(409, "not_anonymous", "this user has an email address already")
    if by_email(context, email) is not None:
        raise Problem(409, "email_taken", "another user has this email address")
    confirm = context.config["require_confirmation"]
    context.store.update(
        "paywall_users",
        user["id"],
        email=email,
        password_hash=_hashed(context.body["password"]),
        is_anonymous=False,
        confirmed=not confirm,
    )
    if confirm:
        mail(context, email, "signup")
    return {
        "status": "confirmation_required" if confirm else "updated",
        "user": show(by_id(context, user["id"])),
    }


def start_oauth(context: PaywallContext) -> Any:
    state = secrets.token_urlsafe(16)
    context.store.insert(
        "paywall_oauth",
        state=state,
        paywall_id=context.paywall_id,
        provider=context.body["provider"],
        scopes=dumps(context.body.get("scopes", [])),
        challenge=context.body["code_challenge"],
        expires_at=to_text(context.now + _OAUTH_GOOD),
    )
    return {"authorize_url": f"{context.origin}/oauth/{context.paywall_id}?state={state}"}


def approve_oauth(context: PaywallContext, flow: Row, email: str) -> str:
    """What the provider's page does: the code that can be exchanged."""
    code = secrets.token_urlsafe(24)
    context.store.run("UPDATE paywall_oauth SET code = ?, email = ? WHERE state = ?", code, email, flow["state"])
    return code


def complete_oauth(context: PaywallContext) -> Any:
    flow = context.store.one(
        "SELECT * FROM paywall_oauth WHERE paywall_id = ? AND code = ?", context.paywall_id, context.body["auth_code"]
    )
    if flow is None or from_text(flow["expires_at"]) <= context.now:
        raise Problem(401, "oauth_invalid_code", "this code is wrong, used or too old")
    raw = hashlib.sha256(context.body["code_verifier"].encode()).digest()
    if not hmac.compare_digest(base64.urlsafe_b64encode(raw).rstrip(b"=").decode(), flow["challenge"]):
        raise Problem(401, "oauth_invalid_verifier", "the verifier does not belong to the challenge")
    context.store.run("DELETE FROM paywall_oauth WHERE state = ?", flow["state"])
    user = link(context, flow["email"])
    context.store.update("paywall_users", user["id"], confirmed=True)
    return open_session(context, by_id(context, user["id"]))


def refresh(context: PaywallContext) -> Any:
    session = of_refresh_token(context, context.body["refresh_token"])
    if session is None:
        raise Problem(401, "invalid_refresh_token", "this refresh token was used or never given")
    return renew(context, session["id"])


def sign_out(context: PaywallContext) -> Any:
    context.require_session()
    assert context.session is not None
    end(context, context.session)
    return {"ok": True}


def revoke_all(context: PaywallContext) -> Any:
    end_all(context, context.require_session())
    return {"ok": True}


HANDLERS: dict[str, Handler] = {
    "sign_in": sign_in,
    "sign_up": sign_up,
    "resend_confirmation": resend_confirmation,
    "send_otp": send_otp,
    "verify_otp": verify_otp,
    "request_password_reset": request_password_reset,
    "update_password": update_password,
    "sign_in_anonymously": sign_in_anonymously,
    "upgrade_anonymous": upgrade_anonymous,
    "start_oauth": start_oauth,
    "complete_oauth": complete_oauth,
    "refresh": refresh,
    "sign_out": sign_out,
    "revoke_all": revoke_all,
}
