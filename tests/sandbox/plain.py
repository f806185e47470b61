"""Plain HTTP at the sandbox, without the SDK: what is sent and answered must be as the contract says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import attrs
import simplejson

from montra_sandbox import Sandbox

CARD = {"card": "4242424242424242", "action": "pay"}
DECLINED = {"card": "4000000000000002", "action": "pay"}


@attrs.frozen
class Plain:
    """Requests as any client could make them: `api` is watched, `pages` is a browser that follows no redirect."""

    sandbox: Sandbox
    api: aiohttp.ClientSession
    pages: aiohttp.ClientSession

    @property
    def paywall(self) -> str:
        return f"{self.sandbox.url}/api/v1/paywall/{self.sandbox.paywall_id}"

    async def ask(self, method: str, url: str, **fields: Any) -> tuple[int, Any]:
        async with self.api.request(method, url, **fields) as answer:
            return answer.status, simplejson.loads(await answer.read(), use_decimal=True)

    async def at(self, method: str, path: str, *, token: str | None = None, **fields: Any) -> tuple[int, Any]:
        """At the first paywall, signed in when there is a token."""
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **fields.pop("headers", {})}
        return await self.ask(method, f"{self.paywall}{path}", headers=headers, **fields)

    async def montra(self, method: str, path: str, **fields: Any) -> Any:
        """`data` of an answer of the other service."""
        headers = {"Authorization": f"Bearer {self.sandbox.api_key}"}
        status, body = await self.ask(method, f"{self.sandbox.base_url}{path}", headers=headers, **fields)
        assert status == 200, body
        return body.get("data", body)

    async def begin(self, email: str = "ada@example.com", **fields: Any) -> str:
        """Start a checkout; its address."""
        headers = fields.pop("headers", {})
        body = {"email": email, "priceId": 101, **fields}
        status, answer = await self.at("POST", "/start-checkout", json=body, headers=headers)
        assert status == 200, answer
        return str(answer["checkoutUrl"])

    async def submit(self, url: str, card: dict[str, str] = CARD) -> tuple[int, str | None, str]:
        """Send the form of a checkout's page: status, where it leads to, the page."""
        async with self.pages.post(url, data=card, allow_redirects=False) as answer:
            return answer.status, answer.headers.get("Location"), await answer.text()

    async def buy(self, email: str = "ada@example.com", **fields: Any) -> dict[str, Any]:
        """Start a checkout and pay it; what the user has bought."""
        status, _, page = await self.submit(await self.begin(email, **fields))
        assert status == 303, page
        return (await self.bought(email))[0]

    async def bought(self, email: str) -> list[dict[str, Any]]:
        """What the owner sees of a user's purchases, newest first."""
        headers = {"X-Api-Key": self.sandbox.api_key}
        status, body = await self.at("GET", "/user", params={"email": email}, headers=headers)
        assert status == 200, body
        return list(body.get("purchases", []))

    async def state(self, email: str) -> dict[str, Any]:
        status, body = await self.at("GET", "/user-state", headers={"X-User-Email": email})
        assert status == 200
        return dict(body)

    async def sign_in(self, email: str, **fields: Any) -> str:
        """By a code that was mailed; the access token."""
        await self.at("POST", "/auth/otp/send", json={"email": email})
        code = next(one["token"] for one in self.sandbox.mails() if one["email"] == email)
        proof = {"email": email, "token": code, "type": "email", **fields}
        status, body = await self.at("POST", "/auth/otp/verify", json=proof)
        assert status == 200, body
        return str(body["access_token"])

    async def anonymous(self) -> str:
        status, body = await self.at("POST", "/auth/anonymous/signin", json={})
        assert status == 200, body
        return str(body["access_token"])

    def user(self, email: str | None) -> dict[str, Any]:
        users = self.sandbox.paywall_users(self.sandbox.paywall_id)
        return next(one for one in users if one["email"] == email)

    def set(self, **fields: Any) -> None:
        self.sandbox.set_paywall(self.sandbox.paywall_id, **fields)


@asynccontextmanager
async def plain(sandbox: Sandbox) -> AsyncIterator[Plain]:
    said = {"X-SDK-Version": "test", "X-Paywall-Id": sandbox.paywall_id, "Accept": "*/*", "User-Agent": "test"}
    async with (
        aiohttp.ClientSession(headers=said) as api,
        aiohttp.ClientSession() as pages,
    ):
        yield Plain(sandbox, api, pages)
