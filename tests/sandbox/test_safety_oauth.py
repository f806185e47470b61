"""The OAuth provider of the sandbox: its page, its popup, and which user gets the identity."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import attrs
import pytest

from montra_sandbox import Sandbox

VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
BEGIN = {"provider": "google", "code_challenge": CHALLENGE, "code_challenge_method": "s256"}


@attrs.frozen
class Popup:
    """The last page of a sign-in, and what its script posts to which origin."""

    status: int
    text: str
    policy: str

    @property
    def outcome(self) -> dict[str, Any]:
        found = re.search(r"const outcome = (.*);", self.text)
        assert found is not None
        outcome: dict[str, Any] = json.loads(found[1])
        return outcome


@attrs.frozen
class Page:
    """A web page that signs somebody in."""

    sandbox: Sandbox
    http: aiohttp.ClientSession

    async def post(self, path: str, headers: dict[str, str] | None = None, **body: Any) -> dict[str, Any]:
        url = f"{self.sandbox.url}/api/v1/paywall/{self.sandbox.paywall_id}/auth/{path}"
        async with self.http.post(url, json=body, headers=headers) as answer:
            payload: dict[str, Any] = await answer.json()
            return payload

    async def begin(self, **headers: str) -> str:
        url: str = (await self.post("oauth/init", headers, **BEGIN))["authorize_url"]
        return url

    async def answer(self, url: str, action: str = "allow", email: str = "bob@example.com") -> Popup:
        form = {"state": url.partition("state=")[2], "email": email, "action": action}
        async with self.http.post(url.partition("?")[0], data=form) as answer:
            return Popup(answer.status, await answer.text(), answer.headers["Content-Security-Policy"])

    async def exchange(self, code: str) -> dict[str, Any]:
        return await self.post("oauth/exchange", auth_code=code, code_verifier=VERIFIER, user_meta={"plan": "x"})


@pytest.fixture
async def shop(sandbox: Sandbox) -> AsyncIterator[Page]:
    async with aiohttp.ClientSession() as http:
        yield Page(sandbox, http)


async def test_an_approved_sign_in(shop: Page) -> None:
    url = await shop.begin(Origin="https://shop.example.com:8443")
    popup = await shop.answer(url)
    message = popup.outcome["message"]
    assert message == {
        "type": "pw-oauth",
        "messageId": url.partition("state=")[2],
        "status": "success",
        "code": message["code"],
    }
    assert popup.outcome["target"] == "https://shop.example.com:8443"
    assert (await shop.exchange(message["code"]))["user"]["email"] == "bob@example.com"
    assert (await shop.exchange(message["code"]))["code"] == "oauth_invalid_code"


async def test_a_code_without_its_verifier_is_refused(shop: Page) -> None:
    code = (await shop.answer(await shop.begin())).outcome["message"]["code"]
    stolen = await shop.post("oauth/exchange", auth_code=code, code_verifier="w" * 43)
    assert stolen["code"] == "oauth_invalid_verifier"
    assert "access_token" in await shop.exchange(code)


async def test_a_denied_sign_in(shop: Page) -> None:
    url = await shop.begin(Origin="https://shop.example.com")
    popup = await shop.answer(url, "deny", email="")
    told = popup.outcome["message"]
    assert (told["type"], told["status"], told["error"]) == ("pw-oauth", "error", "access_denied")
    assert (told["messageId"], "code" in told) == (url.partition("state=")[2], False)
    async with shop.http.get(url) as answer:
        assert answer.status == 404


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "*",
        "javascript:alert(1)",
        "https://",
        "https://a.example/path",
        "</script><script>alert(1)</script>",
        "",
    ],
)
async def test_the_outcome_is_posted_to_no_other_origin(shop: Page, origin: str) -> None:
    """Without an origin that began the sign-in, the target is the sandbox's own origin, never `*`."""
    popup = await shop.answer(await shop.begin(**({"Origin": origin} if origin else {})))
    assert popup.outcome["target"] is None
    assert "outcome.target || window.location.origin" in popup.text
    assert '"*"' not in popup.text
    assert "'*'" not in popup.text


async def test_values_in_the_script_are_escaped(shop: Page) -> None:
    url = await shop.begin(Origin="https://a.example")
    popup = await shop.answer(url, email="x@</script><script>alert(1)</script>")
    assert popup.text.count("<script") <= 1
    for evil in ("https://a.example'+alert(1)+'", "https://</script><b>"):
        popup = await shop.answer(await shop.begin(Origin=evil))
        assert popup.text.count("</script>") == 1
        assert "<b>" not in popup.text
        assert popup.outcome["target"] is None


async def test_only_its_own_script_runs(shop: Page) -> None:
    popups = [await shop.answer(await shop.begin()) for _ in range(2)]
    nonces = [re.findall(r"script-src 'nonce-([^']+)'", popup.policy) for popup in popups]
    assert nonces[0] != nonces[1]
    for popup, [nonce] in zip(popups, nonces, strict=True):
        assert f'<script nonce="{nonce}">' in popup.text
        assert "default-src 'none'" in popup.policy
        assert "frame-ancestors 'none'" in popup.policy
        assert "unsafe-inline' 'nonce" not in popup.policy
    form = await shop.answer(await shop.begin(), email="no address")
    assert (form.status, "script-src" in form.policy) == (400, False)


async def test_an_anonymous_user_gets_the_identity(shop: Page) -> None:
    session = await shop.post("anonymous/signin")
    assert session["user"]["is_anonymous"] is True
    bearer = {"Authorization": f"Bearer {session['access_token']}"}
    popup = await shop.answer(await shop.begin(**bearer))
    linked = await shop.exchange(popup.outcome["message"]["code"])
    assert linked["user"]["id"] == session["user"]["id"]
    assert (linked["user"]["email"], linked["user"]["is_anonymous"]) == ("bob@example.com", False)


async def test_an_identity_of_another_user_is_not_linked(shop: Page) -> None:
    """The anonymous user gets an error, and can sign in to the other account without the session."""
    other = await shop.exchange((await shop.answer(await shop.begin())).outcome["message"]["code"])
    session = await shop.post("anonymous/signin")
    bearer = {"Authorization": f"Bearer {session['access_token']}"}
    told = (await shop.answer(await shop.begin(**bearer))).outcome["message"]
    assert (told["status"], told["errorCode"]) == ("error", "identity_already_exists")
    again = await shop.exchange((await shop.answer(await shop.begin())).outcome["message"]["code"])
    assert again["user"]["id"] == other["user"]["id"]


async def test_a_sign_in_by_a_user_with_an_address_is_not_linked(shop: Page) -> None:
    session = await shop.post("email/signup", email="ada@example.com", password="correct horse")
    bearer = {"Authorization": f"Bearer {session['access_token']}"}
    popup = await shop.answer(await shop.begin(**bearer))
    assert (await shop.exchange(popup.outcome["message"]["code"]))["user"]["id"] != session["user"]["id"]


async def test_user_meta_is_accepted(shop: Page, sandbox: Sandbox) -> None:
    await shop.post("otp/send", email="bob@example.com", user_meta={"plan": "x"})
    token = sandbox.mails()[0]["token"]
    session = await shop.post("otp/verify", email="bob@example.com", token=token, type="email", user_meta={"plan": "x"})
    assert session["user"]["email"] == "bob@example.com"
