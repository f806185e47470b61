"""Sign-in without a browser: passwords, one-time codes by mail, anonymous users, OAuth with PKCE.

Mails are not sent; `sandbox.mails()` shows them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from datetime import timedelta
from typing import Any

from ..clock import from_text, to_text
from ..problems import CountedProblem, Problem
from ..store import Row, pick
from ..wire import dumps
from .context import Handler, PaywallContext
from .proofs import (
    fits,
    hashed,
    mail,
    pending_hash,
    pending_sign_ups,
    refuse_many_guesses,
    right_guess,
    settle_sign_up,
    spend_code,
    strong,
    void_sign_ups,
    wrong_guess,
)
from .sessions import digest, end, end_all, of_refresh_token, open_session, renew
from .users import add, by_email, by_id, link, normal, show

_OAUTH_GOOD = timedelta(minutes=10)
_ORIGIN = re.compile(r"https?://[A-Za-z0-9._:\[\]-]{1,300}")


def sign_in(context: PaywallContext) -> Any:
    email, password = context.body["email"], context.body["password"]
    refuse_many_guesses(context, "password", email)
    user = by_email(context, email)
    if not fits(password, None if user is None else user["password_hash"]) or user is None or not user["confirmed"]:
        if any(fits(password, one["password_hash"]) for one in pending_sign_ups(context, email)):
            raise Problem(403, "email_not_confirmed", "this email address has not been confirmed")
        problem = CountedProblem(401, "invalid_credentials", "wrong email address or password")
        raise wrong_guess(context, "password", email, problem)
    right_guess(context, "password", email)
    return open_session(context, user)


def sign_up(context: PaywallContext) -> Any:
    """A password counts when its address is confirmed, not before: see `settle_sign_up`."""
    email, password = normal(context.body["email"]), strong(context.body["password"])
    known = by_email(context, email)
    if known is not None and known["password_hash"] is not None:
        return {"status": "already_registered", "email": email}
    user = known or link(context, email)
    if known is not None or context.config["require_confirmation"]:  # a buyer's account is not for the taking
        _mail_sign_up(context, email, password)
        return {"status": "confirmation_required", "email": email, "user": show(user)}
    context.store.update("paywall_users", user["id"], password_hash=hashed(password), confirmed=True)
    return {"status": "signed_in", **open_session(context, by_id(context, user["id"]))}


def _mail_sign_up(context: PaywallContext, email: str, password: str, user_id: str | None = None) -> None:
    password_hash, visitor_id = pending_hash(context, email, password), context.body.get("visitor_id")
    mail(context, email, "signup", password_hash=password_hash, user_id=user_id, visitor_id=visitor_id)


def resend_confirmation(context: PaywallContext) -> Any:
    email = normal(context.body["email"])
    user, pending = by_email(context, email), pending_sign_ups(context, email)
    if pending:
        latest = pending[0]
        waiting = pick(latest, "password_hash", "user_id", "visitor_id")
        mail(context, email, "signup", **waiting)
    elif user is not None and not user["confirmed"]:
        mail(context, email, "signup")
    return {"ok": True}


def send_otp(context: PaywallContext) -> Any:
    """Says the same for every address: who is known here is nobody's business."""
    if context.body.get("create_user", True) or by_email(context, context.body["email"]) is not None:
        mail(context, context.body["email"], "email")
    return {"ok": True}


def verify_otp(context: PaywallContext) -> Any:
    body = context.body
    spent = spend_code(context, body["email"], body["type"], body["token"])
    completed = settle_sign_up(context, spent)
    if completed is None:
        return open_session(context, _confirm(context, link(context, spent["email"])))
    anonymous = _anonymous(context, completed["user_id"])
    user = link(context, spent["email"]) if anonymous is None else _give_address(context, anonymous, spent["email"])
    return open_session(context, _confirm(context, user, completed["password_hash"]))


def _confirm(context: PaywallContext, user: Row, password_hash: str | None = None) -> Row:
    """Note that the user has proven the address. A password that was set before that counts no more."""
    kept = user["password_hash"] if user["confirmed"] else None
    context.store.update("paywall_users", user["id"], confirmed=True, password_hash=kept or password_hash)
    return by_id(context, user["id"])


def _anonymous(context: PaywallContext, user_id: str | None) -> str | None:
    """The id, if that user is still anonymous."""
    return user_id if user_id is not None and by_id(context, user_id)["is_anonymous"] else None


def _give_address(context: PaywallContext, user_id: str, email: str) -> Row:
    """Make an anonymous user one with an address."""
    taken = by_email(context, email)
    if taken is not None and taken["id"] != user_id:
        raise Problem(409, "email_exists", "another user has this email address")
    context.store.update("paywall_users", user_id, email=normal(email), is_anonymous=False)
    return by_id(context, user_id)


def request_password_reset(context: PaywallContext) -> Any:
    if by_email(context, context.body["email"]) is not None:
        mail(context, context.body["email"], "recovery")
    return {"ok": True}


def update_password(context: PaywallContext) -> Any:
    user, password = context.require_session(), strong(context.body["password"])
    context.store.update("paywall_users", user["id"], password_hash=hashed(password))
    return {"ok": True, "user": show(user)}


def sign_in_anonymously(context: PaywallContext) -> Any:
    return open_session(context, add(context, is_anonymous=True))


def upgrade_anonymous(context: PaywallContext) -> Any:
    """Until a needed confirmation the user stays anonymous and keeps the old address, which is none."""
    user, email = context.require_session(), normal(context.body["email"])
    password = strong(context.body["password"])
    if not user["is_anonymous"]:
        raise Problem(409, "not_anonymous", "this user has an email address already")
    if by_email(context, email) is not None:
        raise Problem(409, "email_exists", "another user has this email address")
    if context.config["require_confirmation"]:
        _mail_sign_up(context, email, password, user["id"])
        return {"status": "confirmation_required", "email": email, "user": show(user)}
    upgraded = _confirm(context, _give_address(context, user["id"], email), hashed(password))
    return {"status": "updated", "user": show(upgraded)}


# OAuth


def start_oauth(context: PaywallContext) -> Any:
    state, user = secrets.token_urlsafe(16), context.session_user
    context.store.insert(
        "paywall_oauth",
        state_hash=digest(state),
        paywall_id=context.paywall_id,
        provider=context.body["provider"],
        scopes=dumps(context.body.get("scopes", [])),
        challenge=context.body["code_challenge"],
        user_id=user["id"] if user is not None and user["is_anonymous"] else None,
        origin=_page_origin(context.page),
        expires_at=to_text(context.now + _OAUTH_GOOD),
    )
    return {"authorize_url": f"{context.origin}/oauth/{context.paywall_id}?state={state}"}


def _page_origin(said: str | None) -> str | None:
    """The header `Origin`, if it is a web page's: scheme and host."""
    return said if said is not None and _ORIGIN.fullmatch(said) else None


def find_oauth(context: PaywallContext, state: str) -> Row | None:
    flow = context.store.one(
        "SELECT * FROM paywall_oauth WHERE state_hash = ? AND paywall_id = ?", digest(state), context.paywall_id
    )
    return None if flow is None or from_text(flow["expires_at"]) <= context.now else flow


def linkable(context: PaywallContext, flow: Row, email: str) -> bool:
    """Whether the identity may go to the anonymous user who began the sign-in; it can't when another one has it."""
    taken = by_email(context, email)
    return flow["user_id"] is None or taken is None or taken["id"] == flow["user_id"]


def approve_oauth(context: PaywallContext, flow: Row, email: str) -> str:
    """What the provider's page does: the code that can be exchanged."""
    code = secrets.token_urlsafe(24)
    context.store.run(
        "UPDATE paywall_oauth SET code_hash = ?, email = ? WHERE state_hash = ?",
        *(digest(code), normal(email), flow["state_hash"]),
    )
    return code


def end_oauth(context: PaywallContext, flow: Row) -> None:
    context.store.run("DELETE FROM paywall_oauth WHERE state_hash = ?", flow["state_hash"])


def complete_oauth(context: PaywallContext) -> Any:
    """The provider vouches for the address, so it is confirmed, and no password that anybody chose for it counts."""
    flow = context.store.one(
        "SELECT * FROM paywall_oauth WHERE paywall_id = ? AND code_hash = ?",
        *(context.paywall_id, digest(context.body["auth_code"])),
    )
    if flow is None or from_text(flow["expires_at"]) <= context.now:
        raise Problem(401, "oauth_invalid_code", "this code is wrong, used or too old")
    raw = hashlib.sha256(context.body["code_verifier"].encode()).digest()
    if not hmac.compare_digest(base64.urlsafe_b64encode(raw).rstrip(b"=").decode(), flow["challenge"]):
        raise Problem(401, "oauth_invalid_verifier", "the verifier does not belong to the challenge")
    end_oauth(context, flow)
    anonymous = _anonymous(context, flow["user_id"])
    user = link(context, flow["email"]) if anonymous is None else _give_address(context, anonymous, flow["email"])
    void_sign_ups(context, flow["email"])
    return open_session(context, _confirm(context, user))


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
