"""One body for every framework: the same application under its own server; the sandbox delivers for real."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest

from montra_async import Montra
from montra_async.webhooks.signature import sign
from montra_sandbox import Sandbox

from ..both.browser import Browser
from ..servers import free_port, running
from .serving import EVERY, READY, SERVERS
from .session_cookies import SESSION_SECRET, session_headers


@attrs.frozen
class App:
    """A running application, and who is behind it."""

    framework: str
    url: str
    http: aiohttp.ClientSession
    montra: Montra
    sandbox: Sandbox
    secret: str
    plan: str
    product: str
    ada: str

    async def ask(self, method: str, path: str, **fields: Any) -> tuple[int, str, Any]:
        headers = {**session_headers(self.framework, self.ada), **fields.pop("headers", {})}
        async with self.http.request(method, self.url + path, headers=headers, **fields) as answer:
            return answer.status, answer.content_type, await answer.json(content_type=None)


@pytest.fixture(params=EVERY)
async def app(request: pytest.FixtureRequest, tmp_path: Path, sandbox: Sandbox) -> AsyncIterator[App]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with Montra(sandbox.api_key, sandbox.base_url) as montra, aiohttp.ClientSession() as http:
        endpoint = await montra.create_webhook(url=f"{url}/webhooks/montra", events=["checkout.completed"])
        free = await montra.create_pricing_model(name="Free", is_default=True)
        pro = await montra.create_pricing_model(name="Pro")
        for plan, limit in ((free, 8), (pro, 1000)):
            await montra.create_meter(name="Tokens", slug="api-tokens", pricing_model_id=plan.id)
            sandbox.set_limit(pricing_model_id=plan.id, meter_slug="api-tokens", max_amount=limit)
        await montra.create_feature(name="Single sign-on", slug="sso", pricing_model_id=pro.id)
        product = await montra.create_product(pricing_model_id=pro.id, name="Pro", price_type="recurring", amount=20)
        ada = await montra.create_customer(name="Ada", email="ada@example.com")
        environment = {
            "MONTRA_BASE_URL": sandbox.base_url,
            "MONTRA_API_KEY": sandbox.api_key,
            "MONTRA_WEBHOOK_SECRET": endpoint.secret or "",
            "SESSION_SECRET": SESSION_SECRET,
            "EVENTS_DB": str(tmp_path / "events.db"),
            "BUYERS_FILE": str(tmp_path / "buyers.txt"),
            "PORT": str(port),
        }
        command = [sys.executable, *(part.replace("PORT", str(port)) for part in SERVERS[request.param])]
        server = running(command, READY, **environment)
        await asyncio.to_thread(server.__enter__)
        try:
            made = App(request.param, url, http, montra, sandbox, endpoint.secret or "", pro.id, product.id, ada.id)
            await _answers(made)
            yield made
        finally:
            await asyncio.to_thread(server.__exit__, None, None, None)


async def _answers(app: App) -> None:
    """Some servers say that they are running a moment before they answer."""
    for _ in range(100):
        try:
            await app.ask("GET", "/buyers")
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.1)
        else:
            return
    raise AssertionError("the server does not answer")


async def test_buy_receive_the_webhook_and_watch_access_appear(app: App) -> None:
    status, kind, body = await app.ask("GET", "/reports")
    assert (status, kind, body["status"]) == (403, "application/problem+json", 403)
    assert body["code"] == "feature_not_included"
    assert (await app.ask("POST", "/answers"))[0] == 200
    assert (await app.ask("POST", "/answers"))[0] == 200
    status, kind, body = await app.ask("POST", "/answers")
    assert (status, kind, body["code"]) == (402, "application/problem+json", "quota_exceeded")
    assert (body["usage"], body["limit"]) == (10, 8)
    assert (await app.ask("GET", "/buyers"))[2] == []

    link = await app.montra.create_checkout_link(
        link_name="pro", payment_name="Pro", line_items=[{"product_id": app.product, "quantity": 1}]
    )
    page = await Browser(app.http).pay(link.url)
    assert "Payment complete" in page.words
    await app.sandbox.settle()
    [delivery] = app.sandbox.deliveries()
    assert (delivery["status"], delivery["last_status"], delivery["last_error"]) == ("succeeded", 200, None)
    assert (await app.ask("GET", "/buyers"))[2] == ["ada@example.com"]
    assert (await app.ask("GET", "/reports"))[::2] == (200, {"report": "for those who have single sign-on"})
    assert (await app.ask("POST", "/answers"))[0] == 200

    app.sandbox.replay(delivery["id"])
    await app.sandbox.settle()
    assert app.sandbox.deliveries()[0]["last_status"] == 200
    assert (await app.ask("GET", "/buyers"))[2] == ["ada@example.com"]  # once, however often it is told


async def test_what_is_refused(app: App) -> None:
    hook = "/webhooks/montra"
    body = b'{"id":"evt_1","type":"checkout.completed","data":{}}'
    assert (await app.ask("POST", hook, data=body))[0] == 401
    assert (await app.ask("POST", hook, data=body, headers={"Montra-Signature": "0" * 64}))[0] == 401
    assert (await app.ask("POST", hook, data=b"[]", headers={"Montra-Signature": sign(b"[]", app.secret)}))[0] == 400
    large = b"x" * (1024 * 1024 + 1)
    assert (await app.ask("POST", hook, data=io.BytesIO(large), headers={"Montra-Signature": sign(large, app.secret)}))[
        0
    ] == 413
    async with app.http.get(app.url + hook) as answer:
        assert answer.status == 405
    assert (await app.ask("GET", "/buyers"))[2] == []
    status, _, problem = await app.ask("GET", "/reports", headers=session_headers(app.framework, "cust_nobody"))
    assert (status, problem["code"]) == (403, "unknown_customer")


async def test_the_session_says_who_asks_and_nothing_else(app: App) -> None:
    forged = session_headers(app.framework, app.ada, "another secret")
    for headers in ({}, {"X-Customer-Id": app.ada}, {"Cookie": f"session={app.ada}; sessionid={app.ada}"}, forged):
        async with app.http.get(f"{app.url}/reports", headers=headers) as answer:
            assert answer.status == 401

    form = {"name": "Eve", "email": "eve@example.com"}
    async with app.http.post(f"{app.url}/sign-up", json=form) as answer:
        assert answer.status == 201
        cookies = "; ".join(f"{one.key}={one.value}" for one in answer.cookies.values())
    for status in (200, 200, 402):  # her own eight tokens
        async with app.http.post(f"{app.url}/answers", headers={"Cookie": cookies}) as answer:
            assert answer.status == status
    async with app.http.post(f"{app.url}/sign-up", json=form) as answer:
        assert (answer.status, answer.cookies) == (409, {})  # nobody gets another's session with an address
    for typo in ({**form, "email": "eve@"}, {**form, "name": ""}):
        async with app.http.post(f"{app.url}/sign-up", json=typo) as answer:
            assert (answer.status, answer.cookies) == (422, {})


async def test_when_montra_can_not_say_nobody_passes(app: App) -> None:
    app.sandbox.add_fault(kind="status", status=503, retry_after=120, share=1, path="/entitlements")
    for method, path in (("GET", "/reports"), ("POST", "/answers")):
        status, kind, body = await app.ask(method, path)
        assert (status, kind, body["code"]) == (503, "application/problem+json", "billing_unavailable")


EVE = '{"name": "Eve", "email": "eve@example.com"}'
TYPES_OF_FORMS = [
    "text/plain",
    "text/plain; application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
]


async def test_a_page_of_another_site_signs_nobody_up(app: App) -> None:
    """A form of any site may post these types of content, and its visitors would be in the session it has chosen."""
    for kind in [*TYPES_OF_FORMS, "application/jsonx", None]:
        headers = {"Origin": "https://elsewhere.example", **({"Content-Type": kind} if kind else {})}
        post = app.http.post(f"{app.url}/sign-up", data=EVE, headers=headers, skip_auto_headers=["Content-Type"])
        async with post as answer:
            assert (answer.status, answer.cookies) == (415, {})
    assert [one.id for one in await app.montra.list_customers()] == [app.ada]
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    async with app.http.post(f"{app.url}/sign-up", data=EVE, headers=headers) as answer:
        assert answer.status == 201


async def test_a_sign_up_that_can_not_be_read_is_the_callers_mistake(app: App) -> None:
    unreadable = [b"", b"{", b"\xff", b"null", b"7", b"[]", b'["name", "email"]', b"{}", b"[" * 100_000]
    incomplete = [b'{"name": "Eve"}', b'{"email": "eve@example.com"}']
    for body in [*unreadable, *incomplete]:
        post = app.http.post(f"{app.url}/sign-up", data=body, headers={"Content-Type": "application/json"})
        async with post as answer:  # FastAPI has a status of its own for what it checks
            assert (answer.status, answer.cookies) in [(400, {}), (422 if app.framework == "fastapi" else 400, {})]
    strange: list[object] = [None, 7, ["Eve"], {"a": "b"}, "\ud800", "\x00"]
    for value in strange:
        for form in ({"name": value, "email": "eve@example.com"}, {"name": "Eve", "email": value}):
            async with app.http.post(f"{app.url}/sign-up", json=form) as answer:
                assert answer.status in (400, 422), (form, await answer.text())
                assert not answer.cookies
    assert [one.id for one in await app.montra.list_customers()] == [app.ada]
