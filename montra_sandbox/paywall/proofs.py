"""How users prove who they are: passwords, codes by mail, and how often one may guess.

None of it is in the database in clear: passwords and codes are salted digests. A refusal that counts is a
`CountedProblem`, so that the count outlives the transaction that it ends.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import timedelta
from typing import Literal, TypeAlias

from ..clock import to_text
from ..problems import CountedProblem, Problem
from ..store import Row, new_id
from .context import PaywallContext
from .users import normal

LEAST_PASSWORD = 6
CODE_GOOD = timedelta(hours=1)
MAX_ATTEMPTS = 5
"""Wrong guesses after which a code is worth nothing."""
MAX_WRONG = 20
"""Wrong guesses for one address within an hour, of passwords and of codes."""
GUESSES_FORGOTTEN = timedelta(hours=1)
_MOST_OPEN = 5
_MOST_SIGN_UPS = 20
_ROUNDS = 1_000  # a sandbox keeps no real passwords

Guess: TypeAlias = Literal["code", "password"]


# Passwords


def hashed(password: str, salt: str | None = None) -> str:
    salt = salt or secrets.token_hex(8)
    raw = hashlib.pbkdf2_hmac("sha256", password.encode("utf-8", "surrogatepass"), salt.encode(), _ROUNDS)
    return f"{salt}${raw.hex()}"


def fits(password: str, stored: str | None) -> bool:
    """Takes as long without a stored digest as with one."""
    known = stored or "0$"
    return hmac.compare_digest(hashed(password, known.partition("$")[0]), known)


def strong(password: str) -> str:
    """The password, if it is long enough for a new one.

    Raises:
        Problem: 422 `weak_password`.
    """
    if len(password) < LEAST_PASSWORD:
        raise Problem(422, "weak_password", f"a password has at least {LEAST_PASSWORD} characters")
    return password


# Guesses


def refuse_many_guesses(context: PaywallContext, kind: Guess, email: str) -> None:
    """
    Raises:
        Problem: 429 `too_many_attempts`.
    """
    row = _guesses(context, kind, email)
    if row is not None and row["wrong"] >= MAX_WRONG:
        minutes = int(GUESSES_FORGOTTEN.total_seconds() // 60)
        raise Problem(
            429,
            "too_many_attempts",
            f"{MAX_WRONG} wrong guesses for this address within {minutes} minutes; wait, or advance the clock",
        )


def wrong_guess(context: PaywallContext, kind: Guess, email: str, problem: CountedProblem) -> CountedProblem:
    """Count a wrong guess; the problem, to be raised."""
    forgotten = to_text(context.now - GUESSES_FORGOTTEN)
    context.store.run("DELETE FROM paywall_guesses WHERE since <= ?", forgotten)
    context.store.run(
        "INSERT INTO paywall_guesses VALUES (?, ?, ?, 1, ?)"
        " ON CONFLICT (paywall_id, email, kind) DO UPDATE SET wrong = wrong + 1",
        *(context.paywall_id, normal(email), kind, context.now_text),
    )
    return problem


def right_guess(context: PaywallContext, kind: Guess, email: str) -> None:
    context.store.run(
        "DELETE FROM paywall_guesses WHERE paywall_id = ? AND email = ? AND kind = ?",
        *(context.paywall_id, normal(email), kind),
    )


def _guesses(context: PaywallContext, kind: Guess, email: str) -> Row | None:
    return context.store.one(
        "SELECT * FROM paywall_guesses WHERE paywall_id = ? AND email = ? AND kind = ? AND since > ?",
        *(context.paywall_id, normal(email), kind, to_text(context.now - GUESSES_FORGOTTEN)),
    )


# Codes by mail


def mail(
    context: PaywallContext,
    email: str,
    kind: str,
    *,
    password_hash: str | None = None,
    user_id: str | None = None,
    visitor_id: str | None = None,
) -> None:
    """Send a code. The rest is what its confirmation brings about: see `settle_sign_up`."""
    mail_id, token = new_id("mail"), f"{secrets.randbelow(10**6):06}"
    context.store.insert(
        "paywall_mails",
        id=mail_id,
        paywall_id=context.paywall_id,
        email=normal(email),
        type=kind,
        token_hash=hashed(token),
        password_hash=password_hash,
        user_id=user_id,
        visitor_id=visitor_id,
        expires_at=to_text(context.now + CODE_GOOD),
        created_at=context.now_text,
    )
    context.store.keep_code(mail_id, token)


def spend_code(context: PaywallContext, email: str, kind: str, token: str) -> Row:
    """The mail whose code this is; it is worth nothing from now on.

    Raises:
        Problem: 401 `invalid_otp`, counted; 429.
    """
    refuse_many_guesses(context, "code", email)
    open_ones = context.store.all(
        "SELECT * FROM paywall_mails WHERE paywall_id = ? AND email = ? AND type = ? AND NOT used AND expires_at > ?"
        " ORDER BY rowid DESC LIMIT ?",
        *(context.paywall_id, normal(email), kind, context.now_text, _MOST_OPEN),
    )
    for row in open_ones:
        if fits(token, row["token_hash"]):
            context.store.update("paywall_mails", row["id"], used=True)
            right_guess(context, "code", email)
            return row
    for row in open_ones:
        attempts = row["attempts"] + 1
        context.store.update("paywall_mails", row["id"], attempts=attempts, used=attempts >= MAX_ATTEMPTS)
    problem = CountedProblem(401, "invalid_otp", "this code is wrong, used or too old")
    raise wrong_guess(context, "code", email, problem)


# Sign-ups that wait for the confirmation of their address


def pending_sign_ups(context: PaywallContext, email: str) -> list[Row]:
    """The latest first, one for each password that was chosen."""
    return context.store.all(
        "SELECT *, max(rowid) FROM paywall_mails WHERE paywall_id = ? AND email = ? AND password_hash IS NOT NULL"
        " GROUP BY password_hash ORDER BY max(rowid) DESC LIMIT ?",
        *(context.paywall_id, normal(email), _MOST_SIGN_UPS),
    )


def pending_hash(context: PaywallContext, email: str, password: str) -> str:
    """The digest of a password; the pending sign-up's own when it was chosen before, so that the two are one."""
    for row in pending_sign_ups(context, email):
        if fits(password, row["password_hash"]):
            return str(row["password_hash"])
    return hashed(password)


def settle_sign_up(context: PaywallContext, confirmed: Row) -> Row | None:
    """The sign-up that a confirmed code completes, if any; all others of its address are void from now on.

    Whoever reads the mails of an address confirms it, and with it the password of whoever signed up. So a password
    counts only when the code was mailed for that sign-up, it is no other visitor's, and no other sign-up chose
    another one: then nobody can tell whose is meant, and it is for the confirmed user to choose again. A sign-in by
    one-time code, or a recovery, confirms the address and no password.
    """
    pending = pending_sign_ups(context, confirmed["email"])
    void_sign_ups(context, confirmed["email"])
    undisputed = [row["password_hash"] for row in pending] == [confirmed["password_hash"]]
    visitor, visitor_then = context.body.get("visitor_id"), confirmed["visitor_id"]
    same_visitor = visitor is None or visitor_then is None or visitor == visitor_then
    return confirmed if confirmed["type"] == "signup" and undisputed and same_visitor else None


def void_sign_ups(context: PaywallContext, email: str) -> None:
    context.store.run(
        "UPDATE paywall_mails SET password_hash = NULL, user_id = NULL, used = 1"
        " WHERE paywall_id = ? AND email = ? AND type = 'signup'",
        *(context.paywall_id, normal(email)),
    )
