"""Credentials of users: passwords, one-time codes, failed attempts, and sign-ups that wait for confirmation.

Passwords and codes are stored as salted digests. A failed attempt is a `CommittedProblem`, so that its count is kept
although the request fails.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import timedelta
from typing import Literal, TypeAlias

from ..database import Row
from ..datetimes import format_datetime
from ..ids import new_id
from ..problems import CommittedProblem, Problem
from .paywall_context import PaywallContext
from .users import normalize_email

MIN_PASSWORD_LENGTH: int = 6
CODE_LIFETIME: timedelta = timedelta(hours=1)
MAX_CODE_ATTEMPTS: int = 5
"""Failed attempts after which a code is invalid."""
MAX_FAILED_ATTEMPTS: int = 20
"""Failed attempts for one address within `ATTEMPT_WINDOW`, separately for passwords and codes."""
ATTEMPT_WINDOW: timedelta = timedelta(hours=1)
_MAX_OPEN_CODES = 5
_MAX_PENDING_SIGN_UPS = 20
_HASH_ITERATIONS = 1_000  # few, because a sandbox has no real passwords

CredentialKind: TypeAlias = Literal["code", "password"]


# Passwords


def hash_secret(secret: str, salt: str | None = None) -> str:
    """The salted digest of a password or a code.

    Args:
        secret: the password or code.
        salt: the salt; random by default.
    """
    salt = salt or secrets.token_hex(8)
    raw = hashlib.pbkdf2_hmac("sha256", secret.encode("utf-8", "surrogatepass"), salt.encode(), _HASH_ITERATIONS)
    return f"{salt}${raw.hex()}"


def verify_secret(secret: str, stored: str | None) -> bool:
    """Whether a password or code has a stored digest. Takes as long without a digest as with one.

    Args:
        secret: the password or code.
        stored: the digest; None when there is none.
    """
    digest = stored or "0$"
    return hmac.compare_digest(hash_secret(secret, digest.partition("$")[0]), digest)


def check_password_strength(password: str) -> str:
    """The password, if it is long enough.

    Args:
        password: a new password.

    Raises:
        Problem: 422 `weak_password`.
    """
    if len(password) < MIN_PASSWORD_LENGTH:
        raise Problem(422, "weak_password", f"a password has at least {MIN_PASSWORD_LENGTH} characters")
    return password


# Failed attempts


def check_failed_attempts(context: PaywallContext, kind: CredentialKind, email: str) -> None:
    """Refuse further attempts for an address that had too many failed ones.

    Args:
        context: the paywall.
        kind: what is attempted.
        email: the address.

    Raises:
        Problem: 429 `too_many_attempts`.
    """
    row = context.db.one(
        "SELECT * FROM paywall_guesses WHERE paywall_id = ? AND email = ? AND kind = ? AND since > ?",
        *(context.paywall_id, normalize_email(email), kind, format_datetime(context.now - ATTEMPT_WINDOW)),
    )
    if row is not None and row["wrong"] >= MAX_FAILED_ATTEMPTS:
        minutes = int(ATTEMPT_WINDOW.total_seconds() // 60)
        raise Problem(
            429,
            "too_many_attempts",
            f"{MAX_FAILED_ATTEMPTS} failed attempts for this address within {minutes} minutes;"
            " wait, or advance the clock",
        )


def count_failed_attempt(context: PaywallContext, kind: CredentialKind, email: str) -> None:
    """Count a failed attempt. The caller raises a `CommittedProblem` afterwards.

    Args:
        context: the paywall.
        kind: what was attempted.
        email: the address.
    """
    expired = format_datetime(context.now - ATTEMPT_WINDOW)
    context.db.run("DELETE FROM paywall_guesses WHERE since <= ?", expired)
    context.db.run(
        "INSERT INTO paywall_guesses VALUES (?, ?, ?, 1, ?)"
        " ON CONFLICT (paywall_id, email, kind) DO UPDATE SET wrong = wrong + 1",
        *(context.paywall_id, normalize_email(email), kind, context.now_text),
    )


def clear_failed_attempts(context: PaywallContext, kind: CredentialKind, email: str) -> None:
    """Forget the failed attempts for an address after a successful one.

    Args:
        context: the paywall.
        kind: what succeeded.
        email: the address.
    """
    context.db.run(
        "DELETE FROM paywall_guesses WHERE paywall_id = ? AND email = ? AND kind = ?",
        *(context.paywall_id, normalize_email(email), kind),
    )


# One-time codes


def send_code(
    context: PaywallContext,
    email: str,
    kind: str,
    *,
    password_hash: str | None = None,
    user_id: str | None = None,
    visitor_id: str | None = None,
) -> None:
    """Mail a one-time code. No mail is sent: `Sandbox.mails()` lists it.

    Args:
        context: the paywall.
        email: the address.
        kind: `email` (sign-in), `signup` or `recovery`.
        password_hash: the password of a sign-up, which counts once the address is confirmed.
        user_id: the anonymous user who gets the address with the confirmation.
        visitor_id: the visitor who signed up.
    """
    mail_id, token = new_id("mail"), f"{secrets.randbelow(10**6):06}"
    context.db.insert(
        "paywall_mails",
        id=mail_id,
        paywall_id=context.paywall_id,
        email=normalize_email(email),
        type=kind,
        token_hash=hash_secret(token),
        password_hash=password_hash,
        user_id=user_id,
        visitor_id=visitor_id,
        expires_at=format_datetime(context.now + CODE_LIFETIME),
        created_at=context.now_text,
    )
    context.db.keep_code(mail_id, token)


def redeem_code(context: PaywallContext, email: str, kind: str, token: str) -> Row:
    """Invalidate a code and return its mail.

    Args:
        context: the paywall.
        email: the address.
        kind: as in `send_code`.
        token: the code.

    Raises:
        Problem: 401 `invalid_otp`, which is counted; 429 `too_many_attempts`.
    """
    check_failed_attempts(context, "code", email)
    open_codes = context.db.all(
        "SELECT * FROM paywall_mails WHERE paywall_id = ? AND email = ? AND type = ? AND NOT used AND expires_at > ?"
        " ORDER BY rowid DESC LIMIT ?",
        *(context.paywall_id, normalize_email(email), kind, context.now_text, _MAX_OPEN_CODES),
    )
    for row in open_codes:
        if verify_secret(token, row["token_hash"]):
            context.db.update("paywall_mails", row["id"], used=True)
            clear_failed_attempts(context, "code", email)
            return row
    for row in open_codes:
        attempts = row["attempts"] + 1
        context.db.update("paywall_mails", row["id"], attempts=attempts, used=attempts >= MAX_CODE_ATTEMPTS)
    count_failed_attempt(context, "code", email)
    raise CommittedProblem(401, "invalid_otp", "this code is wrong, used or expired")


# Sign-ups that wait for the confirmation of their address


def pending_sign_ups(context: PaywallContext, email: str) -> list[Row]:
    """The pending sign-ups of an address, newest first, one for each password.

    Args:
        context: the paywall.
        email: the address.
    """
    return context.db.all(
        "SELECT *, max(rowid) FROM paywall_mails WHERE paywall_id = ? AND email = ? AND password_hash IS NOT NULL"
        " GROUP BY password_hash ORDER BY max(rowid) DESC LIMIT ?",
        *(context.paywall_id, normalize_email(email), _MAX_PENDING_SIGN_UPS),
    )


def pending_password_hash(context: PaywallContext, email: str, password: str) -> str:
    """The digest of a sign-up's password; a pending sign-up with the same password shares its digest.

    Args:
        context: the paywall.
        email: the address.
        password: the password.
    """
    for row in pending_sign_ups(context, email):
        if verify_secret(password, row["password_hash"]):
            return str(row["password_hash"])
    return hash_secret(password)


def complete_sign_up(context: PaywallContext, mail: Row) -> Row | None:
    """The sign-up that a redeemed code completes, or None. All pending sign-ups of its address become void.

    The owner of an address confirms it, and with it the password of whoever signed up. Therefore a password counts
    only if the code was mailed for that sign-up, the visitor is the same, and no other sign-up chose another password;
    otherwise the confirmed user has to choose a new one. A sign-in by code and a recovery confirm no password.

    Args:
        context: the paywall and the request, whose body may have a `visitor_id`.
        mail: the mail of the redeemed code.
    """
    pending = pending_sign_ups(context, mail["email"])
    void_sign_ups(context, mail["email"])
    is_only_password = [row["password_hash"] for row in pending] == [mail["password_hash"]]
    visitor, sign_up_visitor = context.body.get("visitor_id"), mail["visitor_id"]
    is_same_visitor = visitor is None or sign_up_visitor is None or visitor == sign_up_visitor
    return mail if mail["type"] == "signup" and is_only_password and is_same_visitor else None


def void_sign_ups(context: PaywallContext, email: str) -> None:
    """Drop all pending sign-ups of an address.

    Args:
        context: the paywall.
        email: the address.
    """
    context.db.run(
        "UPDATE paywall_mails SET password_hash = NULL, user_id = NULL, used = 1"
        " WHERE paywall_id = ? AND email = ? AND type = 'signup'",
        *(context.paywall_id, normalize_email(email)),
    )
