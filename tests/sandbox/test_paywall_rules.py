"""Rules of the paywall service, tested by plain HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import attrs
import pytest
from aiohttp import web

from montra_sandbox import Problem, Sandbox

ADA = {"email": "ada@example.com", "userMeta": {"userId": "ada"}}


@attrs.frozen
class Http:
    """Requests as anybody could make them."""

    sandbox: Sandbox
    session: aiohttp.ClientSession

    async def ask(self, method: str, path: str, *, key: str | None = None, **fields: Any) -> tuple[int, Any]:
        headers = {**({"X-Api-Key": key} if key else {}), **fields.pop("headers", {})}
        url = f"{self.sandbox.url}/api{path}"
        async with self.session.request(method, url, headers=headers, **fields) as answer:
            return answer.status, await answer.json()

    async def at(self, method: str, path: str, **fields: Any) -> tuple[int, Any]:
        """At the first paywall."""
        return await self.ask(method, f"/v1/paywall/{self.sandbox.paywall_id}{path}", **fields)

    async def change(self, op: str, amount: int, *, kind: str = "gpt-4", **fields: Any) -> tuple[int, Any]:
        body = {"email": "ada@example.com", "type": kind, "amount": amount, "op": op}
        return await self.at("POST", "/balances", json=body, **{"key": self.sandbox.api_key, **fields})

    async def buy(self, **fields: Any) -> None:
        status, checkout = await self.at("POST", "/start-checkout", json={**ADA, "priceId": 101, **fields})
        assert status == 200
        async with self.session.post(checkout["checkoutUrl"], data={"card": "4242424242424242"}) as page:
            assert page.status == 200


@pytest.fixture
async def http(sandbox: Sandbox) -> AsyncIterator[Http]:
    async with aiohttp.ClientSession() as session:
        yield Http(sandbox, session)


async def test_a_key_of_another_owner_is_refused(http: Http, sandbox: Sandbox) -> None:
    await http.buy()
    for key, status, code in (
        ("sk_test_other", 403, "not_your_paywall"),
        ("sk_test_nobody", 401, "invalid_api_key"),
        (None, 401, "missing_api_key"),
    ):
        got, body = await http.change("credit", 5, key=key)
        assert (got, body["code"], body["error"]) == (status, code, code)
        got, body = await http.at("GET", "/user?email=ada@example.com", key=key)
        assert (got, body["code"]) == (status, code)
        got, body = await http.ask(
            "POST",
            "/v1/withdraw-tokens",
            key=key,
            json={"paywall_id": sandbox.paywall_id, "user_id": "ada", "type": "gpt-4", "amount": 1},
        )
        assert (got, body["code"]) == (status, code)
    assert sandbox.paywall_users(sandbox.paywall_id)[0]["balances"] == [{"type": "gpt-4", "count": 100}]


async def test_every_merchant_has_a_demo_paywall(http: Http, sandbox: Sandbox) -> None:
    path = f"/v1/paywall/{sandbox.paywall_id}_2/start-checkout"
    status, _ = await http.ask("POST", path, key="sk_test_other", json={**ADA, "priceId": 101})
    assert status == 200
    assert sandbox.paywall_users(sandbox.paywall_id) == []
    status, body = await http.ask("GET", "/v1/paywall/none/bootstrap")
    assert (status, body["code"]) == (404, "paywall_not_found")


async def test_an_idempotency_key_belongs_to_its_user(http: Http, sandbox: Sandbox) -> None:
    """The owner's stored response is not replayed to others."""
    await http.buy()
    again = {"headers": {"Idempotency-Key": "k"}}
    assert (await http.change("credit", 5, **again))[1]["count"] == 105
    assert (await http.change("credit", 5, **again))[1]["count"] == 105
    status, body = await http.change("credit", 5, key=None, **again)
    assert (status, body["code"]) == (401, "missing_api_key")
    assert (await http.change("credit", 6, **again))[0] == 409


async def test_concurrent_debits_never_overdraw(http: Http) -> None:
    await http.buy()
    answers = await asyncio.gather(*(http.change("debit", 3) for _ in range(50)))
    assert sorted(status for status, _ in answers) == [200] * 33 + [409] * 17
    assert (await http.change("debit", 1))[1]["count"] == 0
    status, body = await http.change("debit", 1)
    assert (status, body["code"], body["count"]) == (409, "insufficient", 0)


async def test_a_refused_debit_changes_no_balance(http: Http) -> None:
    await http.buy()
    assert (await http.change("debit", 101))[0] == 409
    assert (await http.change("debit", 1, kind="never seen"))[0] == 409
    status, body = await http.change("credit", 2, kind="never seen")
    assert (status, body["count"], len(body["balances"])) == (200, 2, 2)


@pytest.mark.parametrize(("have", "after"), [(0, 3), (2, 3), (3, 3), (7, 7)])
async def test_the_daily_trial_never_lowers_a_balance(http: Http, sandbox: Sandbox, have: int, after: int) -> None:
    await http.at("POST", "/start-checkout", json={**ADA, "priceId": 101})
    assert (await http.change("debit", 3))[1]["count"] == 0  # today's
    if have:
        await http.change("credit", have)
    sandbox.advance(days=1)
    assert (await http.change("credit", 1))[1]["count"] == after + 1
    assert (await http.change("credit", 1))[1]["count"] == after + 2  # once a day


async def test_a_session_acts_for_its_own_user_only(http: Http, sandbox: Sandbox) -> None:
    await http.buy()
    _, eve = await http.at("POST", "/auth/email/signup", json={"email": "eve@example.com", "password": "secret-1"})
    bearer = {"Authorization": f"Bearer {eve['access_token']}"}
    [purchase] = sandbox.paywall_users(sandbox.paywall_id)[0]["purchases"]
    status, body = await http.at("GET", "/user?email=ada@example.com", headers=bearer)
    assert (status, body) == (200, {"purchases": []})
    status, body = await http.at("GET", "/user-state", headers={**bearer, "X-User-Email": "ada@example.com"})
    assert body["has_active_subscription"] is False
    status, body = await http.at("POST", "/get-customer-portal", headers=bearer, json={"email": "ada@example.com"})
    assert (status, body["code"]) == (403, "forbidden")
    cancel = {
        "subscriptionId": purchase["id"],
        "paywallId": sandbox.paywall_id,
        "cancellationReason": "x",
        "email": "ada@example.com",
    }
    status, body = await http.ask("POST", "/paywall/cancel-subscription", headers=bearer, json=cancel)
    assert (status, body["code"]) == (400, "subscription_not_found")
    del cancel["cancellationReason"]
    status, body = await http.ask("POST", "/paywall/cancel-subscription", key=sandbox.api_key, json=cancel)
    assert (status, body["code"]) == (400, "validation_error")


async def test_refresh_tokens_work_once(http: Http) -> None:
    _, first = await http.at("POST", "/auth/anonymous/signin")
    status, second = await http.at("POST", "/auth/refresh", json={"refresh_token": first["refresh_token"]})
    assert (status, second["access_token"] != first["access_token"]) == (200, True)
    status, _ = await http.at("POST", "/auth/refresh", json={"refresh_token": first["refresh_token"]})
    assert status == 401
    for token, wanted in ((first["access_token"], 401), (second["access_token"], 200)):
        status, _ = await http.at("GET", "/balances", headers={"Authorization": f"Bearer {token}"})
        assert status == wanted


async def test_an_unchanged_bootstrap_is_not_sent_again(http: Http, sandbox: Sandbox) -> None:
    _, whole = await http.at("GET", "/bootstrap")
    status, body = await http.at("GET", f"/bootstrap?if_version={whole['version']}")
    assert (status, body) == (200, {"unchanged": True, "version": "1"})
    sandbox.set_paywall(sandbox.paywall_id, name="Renamed")
    _, body = await http.at("GET", f"/bootstrap?if_version={whole['version']}")
    assert (body["settings"]["name"], body["version"]) == ("Renamed", "2")


async def test_trials_of_a_paywall(http: Http, sandbox: Sandbox) -> None:
    sandbox.set_paywall(sandbox.paywall_id, trial_days=3)
    await http.at("POST", "/start-checkout", json={**ADA, "priceId": 101})
    said = {"X-User-Email": "ADA@example.com"}
    _, body = await http.at("GET", "/user-state", headers=said)
    assert body["trial"]["expires_at"] > body["trial"]["started_at"]
    assert (body["has_active_subscription"], body["had_previous_trial"]) == (True, True)
    sandbox.advance(days=4)
    _, body = await http.at("GET", "/user-state", headers=said)
    assert (body["trial"], body["has_active_subscription"], body["had_previous_trial"]) == (None, False, True)


async def test_webhooks_are_signed_in_both_headers(http: Http, sandbox: Sandbox) -> None:
    received: list[tuple[Any, bytes]] = []
    answers = iter([500])

    async def hook(request: web.BaseRequest) -> web.Response:
        received.append((request.headers, await request.read()))
        return web.Response(status=next(answers, 204))

    runner = web.ServerRunner(web.Server(hook))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    sandbox.set_paywall(sandbox.paywall_id, webhook_url=url, webhook_secret="whsec_1")
    await http.buy()
    await sandbox.settle()
    sandbox.advance(seconds=5)
    await sandbox.settle()
    [user] = sandbox.paywall_users(sandbox.paywall_id)
    sandbox.refund_purchase(user["purchases"][0]["id"])
    cancel = {
        "subscriptionId": user["purchases"][0]["id"],
        "paywallId": sandbox.paywall_id,
        "cancellationReason": "x",
        "email": "ada@example.com",
    }
    await http.ask("POST", "/paywall/cancel-subscription", key=sandbox.api_key, json=cancel)
    sandbox.advance(days=40)
    await sandbox.settle()
    bodies = [json.loads(body) for _, body in received]
    assert [one["type"] for one in bodies] == [
        "subscription.created",
        "payment.completed",
        "subscription.created",
        "refund.created",
        "subscription.updated",
        "subscription.cancelled",
    ]
    assert bodies[0] == bodies[2]  # tried again after the 500, with the same id
    for headers, body in received:
        signed = hmac.new(b"whsec_1", body, hashlib.sha256).hexdigest()
        assert (headers["X-Signature"], headers["X-Monetize-Signature"]) == (signed, f"sha256={signed}")
    data = bodies[1]["data"]
    assert data["price"] == {"id": "101", "unit_amount": 999, "interval": "month"}
    assert data["user"] == {"id": user["id"], "email": "ada@example.com", "metadata": {"userId": "ada"}}
    assert (data["paywall"], data["acquiring"]["provider"]) == ({"id": sandbox.paywall_id}, "stripe")
    assert data["payment"]["status"] == "completed"
    assert data["subscription"]["status"] == "active"
    assert bodies[3]["data"]["refund"]["unit_amount"] == 999

    [*_, first] = sandbox.deliveries()
    assert (first["event_type"], first["status"], first["attempts"]) == ("subscription.created", "succeeded", 2)
    sandbox.replay(first["id"])
    await sandbox.settle()
    assert json.loads(received[-1][1]) == bodies[0]
    sandbox.set_paywall(sandbox.paywall_id, webhook_secret=None)
    sandbox.replay(first["id"])
    await sandbox.settle()
    assert "X-Signature" not in received[-1][0]
    await runner.cleanup()


async def test_paywall_controls_over_http(http: Http, sandbox: Sandbox) -> None:
    async def control(method: str, path: str, **body: Any) -> tuple[int, Any]:
        async with http.session.request(method, f"{sandbox.url}/_sandbox{path}", json=body or None) as answer:
            return answer.status, await answer.json()

    price = {"id": 1, "amount": 5, "currency": "JPY", "interval": "week", "interval_count": 2}
    status, made = await control("POST", "/paywalls", id="pw_new", name="New", prices=[price], owner="sk_test_other")
    assert (status, made["data"]["prices"][0]["trial_days"]) == (200, 0)
    status, body = await control("POST", "/paywalls/pw_new", acquiring="paddle", webhook_url="http://127.0.0.1:9/x")
    assert (body["data"]["acquiring"], body["data"]["version"], body["data"]["webhook_url"][-2:]) == ("paddle", 2, "/x")
    status, body = await control("POST", "/paywalls/pw_new/providers/openai", mode="stream", query_type="images")
    assert body["data"]["providers"]["openai"]["enabled"] is True
    assert (await control("GET", "/paywalls/pw_new"))[1]["data"]["version"] == 3
    assert (await control("GET", "/paywalls/pw_new/users"))[1]["data"] == []
    for path in ("/mails", "/tickets", "/streams"):
        assert (await control("GET", path))[1]["data"] == []
    assert (await control("POST", "/purchases/none/refund"))[0] == 404
    assert (await control("GET", "/paywalls/none"))[0] == 404
    assert (await control("POST", "/paywalls", id="pw_new"))[0] == 409
    assert (await control("POST", "/paywalls/pw_new", nonsense=1))[0] == 400
    await control("POST", "/reset")
    assert (await control("GET", "/paywalls/pw_new"))[0] == 404
    assert (await control("GET", f"/paywalls/{sandbox.paywall_id}"))[1]["data"]["version"] == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"acquiring": "bank"},
        {"prices": {}},
        {"prices": [{"id": "a b", "amount": 1}]},
        {"prices": [{"id": True, "amount": 1}]},
        {"prices": [{"id": 1, "amount": -1}]},
        {"prices": [{"id": 1, "amount": 1, "interval": "decade"}]},
        {"prices": [{"id": 1, "amount": 1, "interval_count": 0}]},
        {"prices": [{"id": 1, "amount": 1, "trial_days": True}]},
        {"offers": [{"id": 1, "discount_percent": 101, "price_id": 1}]},
        {"offers": [{"id": 1, "price_id": 1}]},
        {"offers": [{"id": 1, "discount_percent": 10, "price_id": []}]},
        {"locales": []},
        {"tokenization": {"a": {"daily_trial": -1}}},
        {"providers": {"a b": {}}},
        {"providers": {"a": {"mode": "x"}}},
        {"settings": 1},
        {"trial_days": 0.5},
        {"webhook_url": 5},
    ],
)
def test_invalid_paywall_settings_are_refused(sandbox: Sandbox, fields: dict[str, Any]) -> None:
    with pytest.raises(Problem):
        sandbox.set_paywall(sandbox.paywall_id, **fields)
    assert sandbox.paywall(sandbox.paywall_id)["version"] == 1


async def test_unknown_pages_are_404(http: Http, sandbox: Sandbox) -> None:
    for path in ("/checkout/none", "/portal/none", f"/oauth/{sandbox.paywall_id}?state=none"):
        async with http.session.get(sandbox.url + path) as answer:
            assert answer.status == 404
    await http.buy()
    _, portal = await http.at("POST", "/get-customer-portal", json={"email": "ada@example.com"})
    async with http.session.post(portal["url"], data={"purchase": "sub_of_somebody_else"}) as answer:
        assert answer.status == 400
    sandbox.advance(hours=2)
    async with http.session.get(portal["url"]) as answer:
        assert answer.status == 404


async def test_other_currencies_and_intervals(http: Http, sandbox: Sandbox) -> None:
    price = {"id": 1, "amount": 500, "currency": "JPY", "interval": "week", "interval_count": 2}
    sandbox.set_paywall(sandbox.paywall_id, prices=[price])
    await http.buy(priceId=1)
    [purchase] = sandbox.paywall_users(sandbox.paywall_id)[0]["purchases"]
    assert (purchase["unit_amount"], purchase["currency"]) == (500, "JPY")
    sandbox.advance(days=15)
    [later] = sandbox.paywall_users(sandbox.paywall_id)[0]["purchases"]
    assert later["current_period_start"] == purchase["current_period_end"]


async def test_offers_end(http: Http, sandbox: Sandbox) -> None:
    offer = {"id": 9, "discount_percent": 50, "price_id": 101, "expires_at": "2020-01-01T00:00:00Z"}
    sandbox.set_paywall(sandbox.paywall_id, offers=[offer])
    await http.buy(offerId=9)
    [purchase] = sandbox.paywall_users(sandbox.paywall_id)[0]["purchases"]
    assert (purchase["unit_amount"], "discount" in purchase) == (999, False)


async def test_invalid_gateway_requests_are_refused(http: Http, sandbox: Sandbox) -> None:
    status, body = await http.ask("POST", "/v1/api-gateway/echo")
    assert (status, body["code"]) == (400, "validation_error")
    status, body = await http.ask("PURGE", f"/v1/api-gateway/echo?paywall_id={sandbox.paywall_id}")
    assert (status, body["code"]) == (405, "method_not_allowed")


async def test_tickets_without_the_sdk(http: Http, sandbox: Sandbox) -> None:
    form = aiohttp.FormData({"subject": "s", "content": "c", "customer_email": "a@example.com"})
    form.add_field("other", b"x", filename="x")
    assert (await http.at("POST", "/support/ticket", data=form))[0] == 400
    form = aiohttp.FormData({"subject": "s", "content": "c"})
    form.add_field("files", b"x", filename="x")
    assert (await http.at("POST", "/support/ticket", data=form))[0] == 400
    assert sandbox.tickets() == []


async def test_state_survives_a_restart(tmp_path: Any) -> None:
    path = str(tmp_path / "state.db")
    for turn in range(2):
        async with Sandbox(db=path) as sandbox, aiohttp.ClientSession() as session:
            http = Http(sandbox, session)
            if turn == 0:
                await http.buy()
            assert (await http.change("credit", 1))[1]["count"] == 101 + turn
