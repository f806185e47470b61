"""Accounts are safe from other users: attempts, pending passwords, shared keys, and the database file."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import pytest
from hypothesis import given, settings, strategies as st

from montra_sandbox import Sandbox

from .server_side import in_server

Post: TypeAlias = Callable[..., Awaitable[tuple[int, Any]]]
VICTIM = "victim@example.com"


@pytest.fixture
async def post(sandbox: Sandbox) -> AsyncIterator[Post]:
    """Call the sign-in side: status, and the answer or its code."""
    async with aiohttp.ClientSession() as http:
        yield _poster(http, sandbox)


def _poster(http: aiohttp.ClientSession, sandbox: Sandbox) -> Post:
    async def post(path: str, headers: dict[str, str] | None = None, **body: Any) -> tuple[int, Any]:
        url = f"{sandbox.url}/api/v1/paywall/{sandbox.paywall_id}/{path}"
        async with http.post(url, json=body, headers=headers) as answer:
            payload = await answer.json()
            return answer.status, payload if answer.status == 200 else payload["code"]

    return post


def _code(sandbox: Sandbox, kind: str, email: str = VICTIM) -> str:
    """The code of the latest mail of a kind to an address."""
    return next(one["token"] for one in sandbox.mails() if (one["email"], one["type"]) == (email, kind))


def _other(code: str, by: int = 1) -> str:
    return f"{(int(code) + by) % 10**6:06}"


# Guesses


async def test_a_code_can_be_guessed_five_times(post: Post, sandbox: Sandbox) -> None:
    await post("auth/otp/send", email=VICTIM)
    code = _code(sandbox, "email")
    for i in range(1, 6):
        assert await post("auth/otp/verify", email=VICTIM, token=_other(code, i), type="email") == (401, "invalid_otp")
    assert await post("auth/otp/verify", email=VICTIM, token=code, type="email") == (401, "invalid_otp")
    await post("auth/otp/send", email=VICTIM)
    fresh = _code(sandbox, "email")
    assert (await post("auth/otp/verify", email=VICTIM, token=fresh, type="email"))[0] == 200


async def test_four_wrong_codes_and_the_right_one(post: Post, sandbox: Sandbox) -> None:
    await post("auth/otp/send", email=VICTIM)
    code = _code(sandbox, "email")
    for i in range(1, 5):
        await post("auth/otp/verify", email=VICTIM, token=_other(code, i), type="email")
    assert (await post("auth/otp/verify", email=f" {VICTIM.upper()}".strip(), token=code, type="email"))[0] == 200


async def test_new_codes_do_not_raise_the_hourly_limit(post: Post, sandbox: Sandbox) -> None:
    answers = []
    for i in range(24):
        if i % 4 == 0:
            await post("auth/otp/send", email=VICTIM)
        guess = _other(_code(sandbox, "email"), i + 1)
        answers.append((await post("auth/otp/verify", email=VICTIM, token=guess, type="email"))[1])
    assert answers == ["invalid_otp"] * 20 + ["too_many_attempts"] * 4
    await post("auth/otp/send", email=VICTIM)
    code = _code(sandbox, "email")
    assert await post("auth/otp/verify", email=VICTIM, token=code, type="email") == (429, "too_many_attempts")
    await post("auth/otp/send", email="other@example.com")
    other = _code(sandbox, "email", "other@example.com")
    assert (await post("auth/otp/verify", email="other@example.com", token=other, type="email"))[0] == 200
    sandbox.advance(hours=1)
    await post("auth/otp/send", email=VICTIM)
    code = _code(sandbox, "email")
    assert (await post("auth/otp/verify", email=VICTIM, token=code, type="email"))[0] == 200


async def test_passwords_can_be_guessed_twenty_times_an_hour(post: Post, sandbox: Sandbox) -> None:
    await post("auth/email/signup", email=VICTIM, password="correct horse")
    answers = [await post("auth/email/signin", email=VICTIM, password=f"guess {i}") for i in range(22)]
    assert answers == [(401, "invalid_credentials")] * 20 + [(429, "too_many_attempts")] * 2
    assert await post("auth/email/signin", email=VICTIM, password="correct horse") == (429, "too_many_attempts")
    sandbox.advance(minutes=61)
    for _ in range(3):  # signing in rightly starts the count again
        for i in range(15):
            await post("auth/email/signin", email=VICTIM, password=f"guess {i}")
        assert (await post("auth/email/signin", email=VICTIM, password="correct horse"))[0] == 200


# An attacker who was there first


@pytest.fixture
async def attacked(post: Post, sandbox: Sandbox) -> Post:
    """The attacker has signed up with the victim's address, and can't read the victim's mail."""
    sandbox.set_paywall(sandbox.paywall_id, require_confirmation=True)
    status, answer = await post("auth/email/signup", email=VICTIM, password="attacker's")
    assert (status, answer["status"], answer["email"]) == (200, "confirmation_required", VICTIM)
    return post


async def _attacker_is_out(post: Post) -> None:
    status, code = await post("auth/email/signin", email=VICTIM, password="attacker's")
    assert (status, code) in ((401, "invalid_credentials"), (403, "email_not_confirmed"))


@pytest.mark.parametrize("kind", ["email", "recovery"])
async def test_a_mailed_code_confirms_no_password(attacked: Post, sandbox: Sandbox, kind: str) -> None:
    await _attacker_is_out(attacked)
    path = "auth/otp/send" if kind == "email" else "auth/password/request-reset"
    await attacked(path, email=VICTIM)
    status, _ = await attacked("auth/otp/verify", email=VICTIM, token=_code(sandbox, kind), type=kind)
    assert status == 200
    await _attacker_is_out(attacked)
    old = _code(sandbox, "signup")
    assert await attacked("auth/otp/verify", email=VICTIM, token=old, type="signup") == (401, "invalid_otp")


async def test_a_provider_confirms_no_password(attacked: Post, sandbox: Sandbox) -> None:
    await _oauth(attacked, sandbox, VICTIM)
    await _attacker_is_out(attacked)
    assert (await attacked("auth/email/signup", email=VICTIM, password="victim's"))[1]["status"] == (
        "confirmation_required"
    )
    status, _ = await attacked("auth/otp/verify", email=VICTIM, token=_code(sandbox, "signup"), type="signup")
    assert status == 200
    assert (await attacked("auth/email/signin", email=VICTIM, password="victim's"))[0] == 200


@pytest.mark.parametrize("again", [False, True])
async def test_two_sign_ups_confirm_neither_password(attacked: Post, sandbox: Sandbox, again: bool) -> None:
    """The victim signs up as well and enters any of the mailed codes."""
    await attacked("auth/email/signup", email=VICTIM, password="victim's")
    if again:
        await attacked("auth/email/signup", email=VICTIM, password="attacker's")
        await attacked("auth/email/resend", email=VICTIM)
    for _ in range(5):  # the attacker makes the codes worthless, to be the only one
        guess = _other(_code(sandbox, "signup"))
        await attacked("auth/otp/verify", email=VICTIM, token=guess, type="signup")
    await attacked("auth/email/resend", email=VICTIM)
    token = _code(sandbox, "signup")
    assert (await attacked("auth/otp/verify", email=VICTIM, token=token, type="signup"))[0] == 200
    await _attacker_is_out(attacked)
    await attacked("auth/email/resend", email=VICTIM)
    await _attacker_is_out(attacked)


async def test_a_confirmation_by_another_visitor_confirms_no_password(post: Post, sandbox: Sandbox) -> None:
    sandbox.set_paywall(sandbox.paywall_id, require_confirmation=True)
    await post("auth/email/signup", email=VICTIM, password="attacker's", **ATTACKER)
    await post("auth/email/resend", email=VICTIM)
    token = _code(sandbox, "signup")
    assert (await post("auth/otp/verify", email=VICTIM, token=token, type="signup", **OWNER))[0] == 200
    await _attacker_is_out(post)


async def test_a_repeated_sign_up_after_a_lost_mail(post: Post, sandbox: Sandbox) -> None:
    sandbox.set_paywall(sandbox.paywall_id, require_confirmation=True)
    for _ in range(2):
        await post("auth/email/signup", email=VICTIM, password="victim's")
    assert await post("auth/email/signin", email=VICTIM, password="victim's") == (403, "email_not_confirmed")
    sandbox.advance(hours=2)
    await post("auth/email/resend", email=VICTIM)
    token = _code(sandbox, "signup")
    assert (await post("auth/otp/verify", email=VICTIM, token=token, type="signup"))[0] == 200
    assert (await post("auth/email/signin", email=VICTIM, password="victim's"))[0] == 200


async def test_an_attackers_anonymous_account_does_not_get_the_address(attacked: Post, sandbox: Sandbox) -> None:
    """The user who reads the mail of the address gets a separate account."""
    _, mine = await attacked("auth/anonymous/signin")
    bearer = {"Authorization": f"Bearer {mine['access_token']}"}
    other = "new@example.com"
    _, answer = await attacked("auth/anonymous/upgrade", bearer, email=other, password="attacker's")
    assert (answer["status"], answer["email"], answer["user"]["email"]) == ("confirmation_required", other, None)
    await attacked("auth/email/signup", email=other, password="victim's")
    token = _code(sandbox, "signup", other)
    _, session = await attacked("auth/otp/verify", email=other, token=token, type="signup")
    assert session["user"]["id"] != mine["user"]["id"]
    assert (await attacked("auth/password/update", bearer, password="another"))[1]["user"]["email"] is None


async def test_an_address_that_was_taken_before_its_confirmation(post: Post, sandbox: Sandbox) -> None:
    sandbox.set_paywall(sandbox.paywall_id, require_confirmation=True)
    _, mine = await post("auth/anonymous/signin")
    bearer = {"Authorization": f"Bearer {mine['access_token']}"}
    await post("auth/anonymous/upgrade", bearer, email=VICTIM, password="my own one")
    await post("start-checkout", email=VICTIM, priceId=101)
    token = _code(sandbox, "signup")
    assert await post("auth/otp/verify", email=VICTIM, token=token, type="signup") == (409, "email_exists")


async def test_an_anonymous_user_changes_the_address_once(post: Post, sandbox: Sandbox) -> None:
    """Of two pending upgrades, the second confirmation finds a user who is not anonymous any more."""
    sandbox.set_paywall(sandbox.paywall_id, require_confirmation=True)
    _, mine = await post("auth/anonymous/signin")
    bearer = {"Authorization": f"Bearer {mine['access_token']}"}
    found = []
    for email in ("first@example.com", "second@example.com"):
        await post("auth/anonymous/upgrade", bearer, email=email, password="my own one")
    for email in ("first@example.com", "second@example.com"):
        token = _code(sandbox, "signup", email)
        found.append((await post("auth/otp/verify", email=email, token=token, type="signup"))[1]["user"])
    assert [one["email"] for one in found] == ["first@example.com", "second@example.com"]
    assert [one["id"] == mine["user"]["id"] for one in found] == [True, False]


async def _oauth(post: Post, sandbox: Sandbox, email: str, **headers: str) -> tuple[int, Any]:
    verifier = "v" * 43
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    begin = {"provider": "google", "code_challenge": challenge, "code_challenge_method": "s256"}
    url = (await post("auth/oauth/init", headers, **begin))[1]["authorize_url"]
    async with aiohttp.ClientSession() as http:
        form = {"state": url.partition("state=")[2], "email": email, "action": "allow"}
        async with http.post(url.partition("?")[0], data=form) as answer:
            code = re.search(r'id="code">([^<]+)', await answer.text())
    assert code is not None
    return await post("auth/oauth/exchange", auth_code=code[1], code_verifier=verifier)


# Idempotency keys


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("auth/anonymous/signin", {}),
        ("auth/email/signup", {"email": VICTIM, "password": "correct horse"}),
        ("auth/email/signin", {"email": "known@example.com", "password": "correct horse"}),
    ],
)
async def test_users_with_the_same_key_share_no_session(post: Post, path: str, body: dict[str, Any]) -> None:
    await post("auth/email/signup", email="known@example.com", password="correct horse")
    key = {"Idempotency-Key": "1"}
    answers = [await post(path, key, **body) for _ in range(3)]
    tokens = [answer["access_token"] for status, answer in answers if status == 200 and "access_token" in answer]
    assert tokens
    assert len(set(tokens)) == len(tokens)


async def test_refreshed_tokens_are_not_replayed(post: Post) -> None:
    _, session = await post("auth/anonymous/signin")
    key = {"Idempotency-Key": "1"}
    assert (await post("auth/refresh", key, refresh_token=session["refresh_token"]))[0] == 200
    assert (await post("auth/refresh", key, refresh_token=session["refresh_token"]))[0] == 401


async def test_users_behind_one_owner_share_no_response(post: Post, sandbox: Sandbox) -> None:
    """A server acts for many users, each with their session, and with one key by mistake."""
    portals = []
    for email in ("a@example.com", "b@example.com"):
        _, session = await post("auth/email/signup", email=email, password="correct horse")
        checkout = (await post("start-checkout", email=email, priceId=101))[1]["checkoutUrl"]
        async with aiohttp.ClientSession() as http:
            await http.post(checkout, data={"card": "4242424242424242", "action": "pay"})
        headers = {
            "X-Api-Key": sandbox.api_key,
            "Authorization": f"Bearer {session['access_token']}",
            "Idempotency-Key": "1",
        }
        status, answer = await post("get-customer-portal", headers)
        assert status == 200
        async with aiohttp.ClientSession() as http, http.get(answer["url"]) as page:
            assert email in await page.text()
        portals.append(answer["url"])
    assert portals[0] != portals[1]


async def test_users_with_the_same_key_share_no_checkout(post: Post) -> None:
    key = {"Idempotency-Key": "1"}
    urls = [
        (await post("start-checkout", key, email=one, priceId=101))[1]["checkoutUrl"] for one in ("a@x.fi", "b@x.fi")
    ]
    assert urls[0] != urls[1]
    assert (await post("start-checkout", key, email="a@x.fi", priceId=101))[1]["checkoutUrl"] == urls[0]


# What the file tells


async def _live(sandbox: Sandbox, http: aiohttp.ClientSession) -> list[str]:
    """Use everything that has a secret; the secrets."""
    post = _poster(http, sandbox)
    key = {"Idempotency-Key": "k1"}
    sandbox.set_paywall(sandbox.paywall_id, require_confirmation=True)
    await post("auth/email/signup", key, email=VICTIM, password="secret-horse-1")
    code = _code(sandbox, "signup")
    _, session = await post("auth/otp/verify", key, email=VICTIM, token=code, type="signup")
    checkout = (await post("start-checkout", email=VICTIM, priceId=101))[1]["checkoutUrl"]
    await http.post(checkout, data={"card": "4242424242424242", "action": "pay"})
    _, renewed = await post("auth/refresh", refresh_token=session["refresh_token"])
    bearer = {"Authorization": f"Bearer {renewed['access_token']}"}
    await post("auth/password/update", bearer, password="secret-horse-2")
    _, portal = await post("get-customer-portal", bearer)
    begin = {"provider": "google", "code_challenge": "x" * 43, "code_challenge_method": "s256"}
    _, started = await post("auth/oauth/init", **begin)
    state = started["authorize_url"].partition("state=")[2]
    form = {"state": state, "email": VICTIM, "action": "allow"}
    async with http.post(started["authorize_url"].partition("?")[0], data=form) as answer:
        oauth_code = (await answer.text()).partition('id="code">')[2].partition("<")[0]
    tokens = [one[name] for one in (session, renewed) for name in ("access_token", "refresh_token")]
    passwords = ["secret-horse-1", "secret-horse-2"]
    return [sandbox.api_key, *tokens, *passwords, portal["url"].rpartition("/")[2], state, oauth_code, f'"{code}"']


async def test_the_file_holds_no_plain_secret_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with Sandbox(db=str(path), api_keys=["sk_test_very_secret"]) as sandbox, aiohttp.ClientSession() as http:
        secrets = await _live(sandbox, http)
        [code] = {one["token"] for one in sandbox.mails()}
        files = _files(tmp_path)
        content = b"".join(one.read_bytes() for one in files)
        if sys.platform != "win32":
            assert {one.name for one in files} == {"state.db", "state.db-lock", "state.db-shm", "state.db-wal"}
            assert {stat.S_IMODE(one.stat().st_mode) for one in files} == {0o600}
    content += path.read_bytes()
    assert VICTIM.encode() in content  # so that the search would find something
    assert [one for one in secrets if len(one) < 6 or one.encode() in content] == []
    with sqlite3.connect(path) as db:
        values = {
            str(value) for (table,) in _tables(db) for row in db.execute(f"SELECT * FROM {table}") for value in row
        }
    db.close()
    assert code not in values
    assert VICTIM in values


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def _tables(db: sqlite3.Connection) -> list[tuple[str]]:
    return db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of Unix")
async def test_a_readable_file_becomes_private(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    old = os.umask(0)
    try:
        async with Sandbox(db=str(path)):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        for one in (path, tmp_path / "state.db-wal", tmp_path / "state.db-shm"):
            one.touch()
            one.chmod(0o666)
        async with Sandbox(db=str(path)):
            assert {stat.S_IMODE(one.stat().st_mode) for one in _files(tmp_path)} == {0o600}
    finally:
        os.umask(old)


async def test_codes_work_after_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "state.db")
    async with Sandbox(db=path) as sandbox, aiohttp.ClientSession() as http:
        await _poster(http, sandbox)("auth/otp/send", email=VICTIM)
        code = _code(sandbox, "email")
    async with Sandbox(db=path) as sandbox, aiohttp.ClientSession() as http:
        assert [one["token"] for one in sandbox.mails()] == [None]
        post = _poster(http, sandbox)
        assert (await post("auth/otp/verify", email=VICTIM, token=code, type="email"))[0] == 200
        sandbox.reset()
        assert sandbox.mails() == []


async def test_a_file_of_an_earlier_version_loses_only_its_plain_secrets(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with Sandbox(db=str(path)) as sandbox, aiohttp.ClientSession() as http:
        await _poster(http, sandbox)("start-checkout", email=VICTIM, priceId=101)
    with sqlite3.connect(path) as db:
        db.executescript(
            "DROP TABLE paywall_mails; CREATE TABLE paywall_mails (id TEXT PRIMARY KEY, token TEXT);"
            "INSERT INTO paywall_mails VALUES ('m', 'in-clear'); ALTER TABLE paywall_purchases DROP COLUMN reason;"
            "ALTER TABLE paywall_checkouts DROP COLUMN status; PRAGMA user_version = 0;"
        )
    db.close()
    async with Sandbox(db=str(path)) as sandbox, aiohttp.ClientSession() as http:
        post = _poster(http, sandbox)
        assert (await post("auth/otp/send", email=VICTIM))[0] == 200
        assert (await post("start-checkout", email=VICTIM, priceId=101))[0] == 200
        assert [one["email"] for one in sandbox.paywall_users(sandbox.paywall_id)] == [VICTIM]
    assert b"in-clear" not in path.read_bytes()


# Whatever is tried, in any order

ATTACKER, OWNER = {"visitor_id": "a" * 16}, {"visitor_id": "b" * 16}
STEPS = ["attack", "sign up", "send", "guess", "resend", "verify email", "verify signup", "oauth", "half an hour"]


@settings(max_examples=20)
@given(steps=st.lists(st.sampled_from(STEPS), max_size=15))
async def test_an_attackers_password_never_becomes_valid(steps: list[str]) -> None:
    """Only the victim reads the mail and enters any of its codes at any time. The attacker never gets in."""
    async with Sandbox() as sandbox, aiohttp.ClientSession() as http:
        post = _poster(http, sandbox)
        sandbox.set_paywall(sandbox.paywall_id, require_confirmation=True)
        for step in ["attack", *steps, "verify signup", "attack", "resend", "verify signup"]:
            await _take(step, post, sandbox)
            in_server(sandbox, lambda world: world.db.run("DELETE FROM paywall_guesses"))
            status, _ = await post("auth/email/signin", email=VICTIM, password="attacker's", **ATTACKER)
            assert status in (401, 403), step


async def _take(step: str, post: Post, sandbox: Sandbox) -> None:
    mails = {one["type"]: one["token"] for one in reversed(sandbox.mails())}
    if step == "attack":
        await post("auth/email/signup", email=VICTIM, password="attacker's", **ATTACKER)
    elif step == "sign up":
        await post("auth/email/signup", email=VICTIM, password="victim's", **OWNER)
    elif step == "send":
        await post("auth/otp/send", email=VICTIM)
    elif step == "resend":
        await post("auth/email/resend", email=VICTIM)
    elif step == "guess":
        for kind in mails:
            await post("auth/otp/verify", email=VICTIM, token=_other(mails[kind]), type=kind, **ATTACKER)
    elif step == "half an hour":
        sandbox.advance(minutes=30)
    elif step == "oauth":
        await _oauth(post, sandbox, VICTIM)
    else:
        kind = step.removeprefix("verify ")
        for token in [one["token"] for one in sandbox.mails() if one["type"] == kind]:
            await post("auth/otp/verify", email=VICTIM, token=token, type=kind, **OWNER)
