"""Sign-in, sessions and their storage."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest

from montra_async.paywall import FileSessionStorage, MemorySessionStorage, PaywallError
from montra_sandbox import Sandbox

from ..browser import Browser
from ..conftest import Service

BOB = ("bob@example.com", "correct horse")


@pytest.fixture
async def auth(service: Service) -> AsyncIterator[Any]:
    async with service.auth(visitor_id="v-1", user_meta={"plan": "x"}) as client:
        yield client


async def test_register_sign_out_sign_in(auth: Any) -> None:
    result = await auth.sign_up(*BOB)
    assert (result.status, result.session.user.email) == ("signed_in", BOB[0])
    assert await auth.get_session() == result.session
    assert (await auth.sign_up(*BOB)).status == "already_registered"
    await auth.sign_out()
    assert await auth.get_session() is None
    session = await auth.sign_in_with_email(*BOB)
    assert session.user.id == result.session.user.id
    assert timedelta(minutes=59) < session.expires_at - datetime.now(timezone.utc) <= timedelta(hours=1)
    with pytest.raises(PaywallError) as caught:
        await auth.sign_in_with_email(BOB[0], "wrong-password-0815")
    assert (caught.value.code, caught.value.status) == ("invalid_credentials", 401)
    assert "0815" not in str(caught.value)


async def test_confirmation(auth: Any, sandbox: Sandbox) -> None:
    sandbox.set_paywall(sandbox.paywall_id, require_confirmation=True)
    result = await auth.sign_up(*BOB)
    assert (result.status, result.session, result.user.email) == ("confirmation_required", None, BOB[0])
    with pytest.raises(PaywallError, match="email_not_confirmed"):
        await auth.sign_in_with_email(*BOB)
    await auth.resend_confirmation(BOB[0])
    mail, _ = sandbox.mails()
    session = await auth.verify_otp(BOB[0], mail["token"], type="signup")
    assert session.user.email == BOB[0]


@pytest.mark.parametrize("password", ["w", "short", "wrong-password-0815"])
async def test_a_wrong_password_of_any_length_is_refused(auth: Any, password: str) -> None:
    await auth.sign_up(*BOB)
    for email in (BOB[0], "nobody@example.com"):
        with pytest.raises(PaywallError) as caught:
            await auth.sign_in_with_email(email, password)
        assert (caught.value.code, caught.value.status) == ("invalid_credentials", 401)


async def test_a_short_password_is_refused(auth: Any) -> None:
    with pytest.raises(PaywallError, match="weak_password"):
        await auth.sign_up(BOB[0], "short")
    await auth.sign_in_anonymously()
    with pytest.raises(PaywallError, match="weak_password"):
        await auth.upgrade_anonymous_to_email(BOB[0], "short")
    with pytest.raises(PaywallError, match="weak_password"):
        await auth.update_password("short")
    assert (await auth.sign_up(*BOB)).status == "signed_in"


async def test_a_confirmed_sign_up_can_sign_in(auth: Any, sandbox: Sandbox) -> None:
    sandbox.set_paywall(sandbox.paywall_id, require_confirmation=True)
    await auth.sign_up(*BOB)
    await auth.resend_confirmation(BOB[0])
    await auth.verify_otp(BOB[0], sandbox.mails()[0]["token"], type="signup")
    assert (await auth.sign_in_with_email(*BOB)).user.email == BOB[0]


async def test_sign_up_with_the_address_of_a_buyer_requires_confirmation(auth: Any, ada: Any) -> None:
    assert (await auth.sign_up("ada@example.com", "stolen!")).status == "confirmation_required"


async def test_one_time_codes(auth: Any, sandbox: Sandbox) -> None:
    await auth.send_otp(BOB[0], create_user=False)
    assert sandbox.mails() == []
    await auth.send_otp(BOB[0])
    [mail] = sandbox.mails()
    with pytest.raises(PaywallError, match="invalid_otp"):
        await auth.verify_otp(BOB[0], "x")
    assert (await auth.verify_otp(BOB[0], mail["token"])).user.email == BOB[0]
    with pytest.raises(PaywallError, match="invalid_otp"):
        await auth.verify_otp(BOB[0], mail["token"])


async def test_password_reset(auth: Any, sandbox: Sandbox) -> None:
    await auth.sign_up(*BOB)
    await auth.sign_out()
    await auth.request_password_reset(BOB[0])
    await auth.verify_otp(BOB[0], sandbox.mails()[0]["token"], type="recovery")
    assert (await auth.update_password("another horse")).email == BOB[0]
    assert (await auth.sign_in_with_email(BOB[0], "another horse")).user.email == BOB[0]


async def test_an_anonymous_user_is_upgraded(auth: Any, service: Service) -> None:
    service.sandbox.add_fault(kind="latency", seconds=1)  # so that threads, too, have begun before the first has ended
    sessions = await asyncio.gather(*(auth.sign_in_anonymously() for _ in range(5)))
    assert len({session.user.id for session in sessions}) == 1
    assert (sessions[0].user.email, sessions[0].user.is_anonymous) == (None, True)
    upgraded = await auth.upgrade_anonymous_to_email(*BOB)
    assert (upgraded.status, upgraded.user.email) == ("updated", BOB[0])
    assert (await auth.get_session()).user == upgraded.user
    with pytest.raises(PaywallError, match="not_anonymous"):
        await auth.upgrade_anonymous_to_email(*BOB)
    assert set(service.users()) == {BOB[0]}


async def test_upgrade_to_a_taken_address_is_refused(auth: Any) -> None:
    await auth.sign_up(*BOB)
    other = auth.with_storage(MemorySessionStorage())
    assert (await other.sign_in_anonymously()).user.is_anonymous
    with pytest.raises(PaywallError) as caught:
        await other.upgrade_anonymous_to_email(*BOB)
    assert (caught.value.code, caught.value.status) == ("email_exists", 409)


async def test_an_upgrade_requires_confirmation(auth: Any, sandbox: Sandbox) -> None:
    """Until the confirmation the user stays anonymous."""
    sandbox.set_paywall(sandbox.paywall_id, require_confirmation=True)
    user = (await auth.sign_in_anonymously()).user
    result = await auth.upgrade_anonymous_to_email(*BOB)
    assert result.status == "confirmation_required"
    assert BOB[0] in (getattr(result, "email", None), result.extra.get("email"))
    assert (result.user.email, result.user.is_anonymous) == (None, True)
    assert (await auth.get_session()).user == user
    session = await auth.verify_otp(BOB[0], sandbox.mails()[0]["token"], type="signup")
    assert (session.user.id, session.user.email, session.user.is_anonymous) == (user.id, BOB[0], False)
    assert (await auth.sign_in_with_email(*BOB)).user.id == user.id


async def test_oauth(auth: Any, service: Service, browser: Browser) -> None:
    start = await auth.start_oauth("google", scopes=["email", "profile"])
    assert parse_qs(urlparse(start.authorize_url).query)["state"] == [start.state]
    assert start.code_verifier not in repr(start)
    page = await browser.open(start.authorize_url)
    assert "Sign in with google" in page.words
    allowed = await browser.submit(page, action="allow", email=BOB[0])
    code = re.search(r'id="code">([^<]+)', allowed.html)
    assert code is not None
    with pytest.raises(PaywallError, match="oauth_invalid_code"):
        await auth.complete_oauth(start.state, "wrong")
    assert (await auth.complete_oauth(start.state, code[1])).user.email == BOB[0]
    with pytest.raises(PaywallError) as caught:
        await auth.complete_oauth(start.state, code[1])
    assert (caught.value.code, caught.value.call) == ("oauth_invalid_state", None)


async def test_oauth_completed_by_another_process(service: Service, browser: Browser) -> None:
    start = await service.auth().start_oauth("github")
    page = await browser.submit(await browser.open(start.authorize_url), action="allow", email=BOB[0])
    code = re.search(r'id="code">([^<]+)', page.html)
    assert code is not None
    other = service.auth()
    with pytest.raises(PaywallError, match="oauth_invalid_state"):
        await other.complete_oauth(start.state, code[1])
    session = await other.complete_oauth(start.state, code[1], code_verifier=start.code_verifier)
    assert session.user.email == BOB[0]


async def test_concurrent_callers_share_one_refresh(auth: Any, service: Service, sandbox: Sandbox) -> None:
    await auth.sign_up(*BOB)
    sandbox.advance(hours=2)
    sandbox.add_fault(kind="latency", seconds=0.1, path="/paywall", share=1)
    async with service.billing(auth=auth) as billing:
        views = [billing.for_user(auth=auth) for _ in range(10)]
        balances = await asyncio.gather(*(view.get_balances(force=True) for view in views))
    assert len(balances) == 10
    assert all(balances)


async def test_a_token_is_refreshed_a_minute_before_it_expires(auth: Any) -> None:
    session = (await auth.sign_up(*BOB)).session
    assert await auth.get_access_token() == session.access_token
    soon = session.to_dict() | {"expires_at": (datetime.now(timezone.utc) + timedelta(seconds=59)).isoformat()}
    storage = MemorySessionStorage()
    storage.save(soon)
    assert await auth.with_storage(storage).get_access_token() != session.access_token


async def test_a_refused_refresh_clears_the_session(auth: Any, service: Service) -> None:
    session = (await auth.sign_up(*BOB)).session
    thief = MemorySessionStorage()
    thief.save(session.to_dict())
    other = auth.with_storage(thief)
    assert await other.refresh() is not None
    assert await auth.refresh() is None
    assert await auth.get_session() is None
    with pytest.raises(PaywallError) as caught:
        await auth.get_access_token()
    assert (caught.value.code, caught.value.call) == ("not_authenticated", None)
    await other.revoke_all_sessions()
    assert await other.get_session() is None
    with pytest.raises(PaywallError, match="not_authenticated"):
        await other.revoke_all_sessions()


async def test_a_refresh_whose_response_was_lost_is_not_repeated(bad_day: Service) -> None:
    auth = bad_day.auth()
    session = (await auth.sign_up(*BOB)).session
    bad_day.sandbox.add_fault(kind="drop_before", path="/paywall", times=3)
    with pytest.raises(PaywallError, match="network_error"):
        await auth.refresh()
    assert bad_day.sandbox.faults()[0]["hits"] == 1
    bad_day.sandbox.clear_faults()
    assert await auth.get_session() == session  # still there: the service may not have heard of it
    assert await auth.refresh() is not None


async def test_sign_out_succeeds_when_the_service_fails(bad_day: Service) -> None:
    auth = bad_day.auth()
    await auth.sign_up(*BOB)
    bad_day.sandbox.add_fault(kind="drop_before", share=1)
    await auth.sign_out()
    assert await auth.get_session() is None
    await auth.sign_out()


async def test_each_storage_has_its_own_session(auth: Any, service: Service) -> None:
    users = [auth.with_storage(MemorySessionStorage()) for _ in range(20)]
    await asyncio.gather(*(user.sign_up(f"u{i}@example.com", "secret-1") for i, user in enumerate(users)))
    async with service.billing() as billing:
        await asyncio.gather(*(billing.for_user(auth=user).get_balances() for user in users))
    assert [(await user.get_session()).user.email for user in users] == [f"u{i}@example.com" for i in range(20)]
    assert await auth.get_session() is None


async def test_file_storage(auth: Any, tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    first = auth.with_storage(FileSessionStorage(path))
    assert await first.get_session() is None
    session = (await first.sign_up(*BOB)).session
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["access_token"] == session.access_token
    second = auth.with_storage(FileSessionStorage(str(path)))
    assert await second.get_session() == session
    assert await second.refresh() is not None
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["session.json"]
    adopted = await first.refresh()  # the other was quicker: its session is taken over, nothing is asked
    assert adopted == await second.get_session()
    await first.sign_out()
    assert not path.exists()
    assert session.access_token not in repr(FileSessionStorage(path))


async def test_a_file_that_can_not_be_written_is_an_error(auth: Any, tmp_path: Path) -> None:
    """The session is in memory only."""
    user = auth.with_storage(FileSessionStorage(tmp_path / "no" / "such" / "folder"))
    with pytest.raises(PaywallError, match=r"save \(FileNotFoundError: No such file") as caught:
        await user.sign_up(*BOB)
    assert caught.value.code == "storage_failed"
    assert (await user.get_session()).user.email == BOB[0]
    target = tmp_path / "a folder"
    target.mkdir()
    user = auth.with_storage(FileSessionStorage(target))
    with pytest.raises(PaywallError, match="load"):
        await user.get_session()
    with pytest.raises(PaywallError, match="save"):
        await user.sign_in_anonymously()
    assert os.listdir(tmp_path) == ["a folder"]  # nothing half-written is left


async def test_a_session_that_another_process_refreshed_is_used(auth: Any) -> None:
    class Slow(MemorySessionStorage):
        """Another process writes between our read and the service's refusal."""

        reads = 0
        newer: dict[str, Any] | None = None

        def load(self) -> dict[str, Any] | None:
            self.reads += 1
            return self.newer if self.newer is not None and self.reads > 2 else super().load()

    session = (await auth.sign_up(*BOB)).session
    storage = Slow()
    storage.save(session.to_dict())
    user = auth.with_storage(storage)
    assert await user.get_session() == session
    storage.newer = (await auth.refresh()).to_dict()
    assert await user.refresh() == await auth.get_session()
    assert await user.get_session() == await auth.get_session()


@pytest.mark.parametrize("content", ["", "no json", "[]", "{}", '{"access_token": 5}', "\xff"])
async def test_a_malformed_file_is_ignored(auth: Any, tmp_path: Path, content: str) -> None:
    path = tmp_path / "session.json"
    path.write_bytes(content.encode("latin-1"))
    assert await auth.with_storage(FileSessionStorage(path)).get_session() is None


async def test_custom_storage(auth: Any) -> None:
    rows: dict[str, Any] = {}

    class Table:
        """Coroutines, as a database would have them."""

        async def load(self) -> dict[str, Any] | None:
            return rows.get("bob")

        async def save(self, session: dict[str, Any]) -> None:
            rows["bob"] = json.loads(json.dumps(session))

        async def clear(self) -> None:
            rows.clear()

    session = (await auth.with_storage(Table()).sign_up(*BOB)).session
    assert (await auth.with_storage(Table()).get_session()).user == session.user
    await auth.with_storage(Table()).sign_out()
    assert rows == {}


async def test_a_session_takes_precedence_over_key_and_address(auth: Any, service: Service, ada: Any) -> None:
    await auth.sign_up(*BOB)
    both = ada.for_user(email="ada@example.com", user_id="ada", auth=auth)
    assert await both.list_purchases() == []
    assert not (await both.get_user()).has_active_subscription
    with pytest.raises(PaywallError, match="forbidden"):
        await both.get_customer_portal_url()
    assert (await ada.get_user()).has_active_subscription


async def test_a_session_can_cancel_its_subscription(service: Service, ada: Any, auth: Any, sandbox: Sandbox) -> None:
    [purchase] = await ada.list_purchases()
    await auth.send_otp("ada@example.com")
    await auth.verify_otp("ada@example.com", sandbox.mails()[0]["token"])
    keyless = service.billing(auth=auth).for_user(auth=auth)
    assert (await keyless.cancel_subscription(purchase.id, "moved away")).cancel_at_period_end
    other = auth.with_storage(MemorySessionStorage())
    await other.sign_up(*BOB)
    with pytest.raises(PaywallError, match="subscription_not_found"):
        await keyless.for_user(auth=other).cancel_subscription(purchase.id, "not mine")


async def test_without_a_session_there_are_no_balances(billing: Any, auth: Any) -> None:
    assert await billing.get_balances() == []
    assert await billing.for_user(auth=auth).get_balances() == []


@pytest.mark.parametrize(
    "call",
    [
        lambda auth: auth.sign_in_with_email("", "x"),
        lambda auth: auth.sign_up("a@b.c", ""),
        lambda auth: auth.verify_otp("a@b.c", None),
        lambda auth: auth.send_otp(5),
        lambda auth: auth.start_oauth(""),
        lambda auth: auth.start_oauth("google", scopes={1, 2}),
        lambda auth: auth.complete_oauth("", "x"),
        lambda auth: auth.update_password(""),
        lambda auth: auth.sign_in_anonymously(captcha_token=""),
    ],
)
async def test_invalid_arguments_are_not_sent(service: Service, call: Any) -> None:
    auth = service.kinds.AuthClient("pw", "http://127.0.0.1:9")
    with pytest.raises(PaywallError) as caught:
        await call(auth)
    assert (caught.value.code, caught.value.call) == ("invalid_argument", None)
