"""Behaviour that the public paywall client expects: `spec/paywall-api.md`, sections 7 and 9."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from hypothesis import given, strategies as st

from montra_sandbox import Sandbox
from montra_sandbox.paywall.hosted_checkout import applicable_offer, price_in_currency

from .plain import DECLINED, Plain, plain

TICKET = {"subject": "Help", "content": "It is broken."}
SHOP = "https://shop.example.com"


@pytest.fixture
async def http(sandbox: Sandbox) -> AsyncIterator[Plain]:
    async with plain(sandbox) as client:
        yield client


def _multipart(**fields: str) -> aiohttp.FormData:
    form = aiohttp.FormData(fields)
    form.add_field("files", b"x", filename="x.txt")
    return form


# Who is acting


@pytest.mark.parametrize("shape", ["json", "multipart"])
async def test_a_ticket_without_an_address(http: Plain, sandbox: Sandbox, shape: str) -> None:
    def body(**more: str) -> dict[str, Any]:
        return {"json": {**TICKET, **more}} if shape == "json" else {"data": _multipart(**TICKET, **more)}

    for token in (None, await http.anonymous()):
        status, answer = await http.at("POST", "/support/ticket", token=token, **body())
        assert (status, answer["code"]) == (400, "email_required")
        status, _ = await http.at("POST", "/support/ticket", token=token, **body(customer_email="Eve@example.com"))
        assert status == 200
    by_nobody, by_visitor = sandbox.tickets()[::-1]
    assert [one["email"] for one in sandbox.tickets()] == ["eve@example.com"] * 2
    assert (by_nobody["user_id"], by_visitor["user_id"]) == (None, http.user(None)["id"])


@pytest.mark.parametrize("shape", ["json", "multipart"])
async def test_a_ticket_belongs_to_the_sessions_user(http: Plain, sandbox: Sandbox, shape: str) -> None:
    said = {**TICKET, "customer_email": "victim@example.com"}
    body: dict[str, Any] = {"json": said} if shape == "json" else {"data": _multipart(**said)}
    await http.at("POST", "/support/ticket", token=await http.sign_in("eve@example.com"), **body)
    [ticket] = sandbox.tickets()
    assert (ticket["email"], ticket["user_id"]) == ("eve@example.com", http.user("eve@example.com")["id"])


async def test_a_checkout_belongs_to_the_sessions_user(http: Plain, sandbox: Sandbox) -> None:
    await http.buy("victim@example.com")
    for token, email in ((await http.sign_in("eve@example.com"), "eve@example.com"), (await http.anonymous(), None)):
        body = {"email": "victim@example.com", "priceId": 101, "userMeta": {"userId": f"own-{email}"}}
        status, answer = await http.at("POST", "/start-checkout", token=token, json=body)
        assert (status, answer["userId"]) == (200, http.user(email)["id"]), "the victim's purchase is not theirs"
        await http.submit(answer["checkoutUrl"])
        assert [one["unit_amount"] for one in http.user(email)["purchases"]] == [999]
        assert http.user(email)["external_id"] == f"own-{email}"
    assert len(http.user("victim@example.com")["purchases"]) == 1


async def test_a_checkout_needs_a_session_or_an_address(http: Plain) -> None:
    status, answer = await http.at("POST", "/start-checkout", json={"priceId": 101})
    assert (status, answer["code"]) == (400, "email_required")
    token = await http.sign_in("eve@example.com")
    status, answer = await http.at("POST", "/start-checkout", json={"priceId": 101}, token=token)
    assert (status, answer["userId"]) == (200, http.user("eve@example.com")["id"])


async def test_the_sessions_user_wins_in_every_call(http: Plain, sandbox: Sandbox) -> None:
    """Also with the owner's key, which alone could name any user."""
    await http.buy("victim@example.com", userMeta={"userId": "victim"})
    token = await http.sign_in("eve@example.com")
    key = {"X-Api-Key": sandbox.api_key, "X-User-Email": "victim@example.com", "X-User-ID": "victim"}
    _, body = await http.at("GET", "/user", params={"email": "victim@example.com"}, headers=key, token=token)
    assert body["purchases"] == []
    for path in ("/user-state", "/bootstrap"):
        _, body = await http.at("GET", path, headers=key, token=token)
        assert body.get("user", body)["has_active_subscription"] is False
    change = {"email": "victim@example.com", "user_id": "victim", "type": "gpt-4", "amount": 1, "op": "credit"}
    _, body = await http.at("POST", "/balances", json=change, headers=key, token=token)
    assert body["user_id"] == http.user("eve@example.com")["id"]
    taken = {"paywall_id": sandbox.paywall_id, "user_id": "victim", "type": "gpt-4", "amount": 1}
    url, signed = f"{sandbox.url}/api/v1/withdraw-tokens", {**key, "Authorization": f"Bearer {token}"}
    _, body = await http.ask("POST", url, json=taken, headers=signed)
    assert body["user_id"] == http.user("eve@example.com")["id"]
    gateway = f"{sandbox.url}/api/v1/api-gateway/echo?paywall_id={sandbox.paywall_id}"
    await http.ask("POST", gateway, json={}, headers=signed)
    status, body = await http.at("POST", "/get-customer-portal", json={}, headers=key, token=token)
    assert (status, body["code"]) == (403, "forbidden")
    assert http.user("victim@example.com")["balances"] == [{"type": "gpt-4", "count": 100}]
    assert http.user("eve@example.com")["balances"] == [{"type": "gpt-4", "count": 2}]


# What is charged


@pytest.mark.parametrize(
    ("currency", "charge"),
    [("EUR", (949, "EUR")), ("eur", (949, "EUR")), ("GBP", (999, "USD")), (None, (999, "USD"))],
)
async def test_the_local_currency_is_charged(http: Plain, currency: str | None, charge: tuple[int, str]) -> None:
    fields = {} if currency is None else {"localCurrency": currency}
    bought = await http.buy(**fields)
    assert (bought["unit_amount"], bought["currency"]) == charge


async def test_a_price_without_a_local_amount(http: Plain) -> None:
    bought = await http.buy(priceId=102, localCurrency="EUR")
    assert (bought["unit_amount"], bought["currency"]) == (9900, "USD")


async def test_the_local_price_is_on_the_page_and_renews(http: Plain, sandbox: Sandbox) -> None:
    url = await http.begin(localCurrency="EUR")
    async with http.pages.get(url) as page:
        assert "9.49 EUR" in await page.text()
    await http.submit(url)
    http.set(webhook_url="http://127.0.0.1:9/")
    sandbox.advance(days=32)
    renewed = [one["body"]["data"] for one in sandbox.deliveries() if one["event_type"] == "payment.completed"]
    assert [one["price"]["unit_amount"] for one in renewed] == [949]


async def test_an_offer_with_an_expiry_applies_until_it_expires(http: Plain, sandbox: Sandbox) -> None:
    ends = (sandbox.now() + timedelta(days=2)).isoformat()
    http.set(
        offers=[
            {"id": 1, "discount_percent": 10, "expires_at": ends},
            {"id": 2, "discount_percent": 30, "price_id": 101, "expires_at": ends},
            {"id": 3, "discount_percent": 50, "price_id": 101},
            {"id": 4, "discount_percent": 0, "price_id": 102, "expires_at": ends},
        ]
    )
    assert (await http.buy("a@example.com"))["unit_amount"] == 699  # the price's own offer before one on all
    assert (await http.buy("b@example.com", priceId=102))["unit_amount"] == 8910
    assert (await http.buy("c@example.com", offerId=3))["unit_amount"] == 500  # what is asked for comes first
    assert (await http.buy("d@example.com", offerId=99))["unit_amount"] == 699
    sandbox.advance(days=3)
    assert (await http.buy("e@example.com"))["unit_amount"] == 999


NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
offers = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.sampled_from(["1", "2", "3"]),
            "price_id": st.sampled_from([None, "101", "102"]),
            "discount_percent": st.integers(0, 100),
            "expires_at": st.sampled_from([None, "2025-12-31T00:00:00Z", "2026-01-02T00:00:00Z"]),
        }
    ),
    max_size=6,
)


@given(offers=offers, wanted=st.sampled_from([None, "1", 1, Decimal("1.0"), "9", 9]))
def test_only_an_applicable_offer_is_chosen(offers: list[dict[str, Any]], wanted: Any) -> None:
    chosen = applicable_offer(offers, {"id": "101"}, wanted, NOW)
    fitting = [
        one
        for one in offers
        if one["price_id"] in (None, "101")
        and one["discount_percent"]
        and one["expires_at"] != "2025-12-31T00:00:00Z"
        and (one["expires_at"] is not None or (wanted not in (None, "9", 9) and one["id"] == "1"))
    ]
    assert (chosen is None) == (not fitting)
    assert chosen is None or chosen in fitting
    if chosen is not None and wanted not in (None, "9", 9) and "1" in [one["id"] for one in fitting]:
        assert chosen["id"] == "1"


@given(currency=st.text(max_size=4), local=st.sampled_from([None, {"currency": "EUR", "amount": 2}]))
def test_the_charged_price_is_the_regular_or_the_local_one(currency: str, local: Any) -> None:
    price = {"id": "1", "currency": "USD", "amount": 1, "local": local}
    expected = ("EUR", 2) if local and currency.upper() == "EUR" else ("USD", 1)
    charge = price_in_currency(price, currency)
    assert (charge["currency"], charge["amount"]) == expected
    assert price["currency"] == "USD"


# Subscriptions that are replaced, trials


async def test_the_old_subscription_ends_once_the_new_one_is_paid(http: Plain, sandbox: Sandbox) -> None:
    old = await http.buy()
    status, body = await http.at("POST", "/start-checkout", json={"email": "ada@example.com", "priceId": 102})
    assert (status, body["code"], body["hasActivePurchase"]) == (409, "already_purchased", True)
    url = await http.begin(priceId=102, ignoreActivePurchase=True)
    assert (await http.bought("ada@example.com"))[0]["status"] == "active", "nothing ends before it is paid"
    await http.submit(url, DECLINED)
    assert [one["status"] for one in await http.bought("ada@example.com")] == ["active"]
    http.set(webhook_url="http://127.0.0.1:9/")
    await http.submit(url)
    new, ended = await http.bought("ada@example.com")
    assert (new["status"], ended["id"], ended["status"]) == ("active", old["id"], "canceled")
    assert ended["ended_at"] is not None
    assert ended["canceled_at"] is not None
    told = [(one["event_type"], one["body"]["data"]["subscription"]["id"]) for one in sandbox.deliveries()]
    assert ("subscription.cancelled", old["id"]) in told
    sandbox.advance(days=40)
    assert [one["status"] for one in await http.bought("ada@example.com")] == ["active", "canceled"]
    assert http.user("ada@example.com")["balances"] == [{"type": "gpt-4", "count": 100}], "the old one does not renew"


async def test_purchases_without_renewal_are_kept(http: Plain) -> None:
    await http.buy(priceId=103)
    await http.buy(priceId=101, ignoreActivePurchase=True)
    assert [one["status"] for one in await http.bought("ada@example.com")] == ["active", "active"]


async def test_there_is_one_trial_with_a_card(http: Plain, sandbox: Sandbox) -> None:
    trial = await http.buy(trial_days=7)
    state = await http.state("ada@example.com")
    assert (trial["status"], state["had_previous_trial"], state["has_active_subscription"]) == ("trialing", True, True)
    second = await http.begin(priceId=102, trial_days=7, ignoreActivePurchase=True)
    async with http.pages.get(second) as page:
        assert "free" not in await page.text()
    await http.submit(second)
    assert [one["status"] for one in await http.bought("ada@example.com")] == ["active", "canceled"]


async def test_two_checkouts_that_are_open_make_one_trial(http: Plain) -> None:
    urls = [await http.begin(trial_days=7), await http.begin(trial_days=7)]
    for url in urls:
        await http.submit(url)
    assert sorted(one["status"] for one in await http.bought("ada@example.com")) == ["active", "trialing"]


async def test_the_trial_of_an_account_counts_as_one(http: Plain, sandbox: Sandbox) -> None:
    http.set(trial_days=3)
    token = await http.sign_in("ada@example.com")
    state = await http.state("ada@example.com")
    assert (state["has_active_subscription"], state["had_previous_trial"], state["purchases"]) == (True, True, [])
    assert state["trial"]["expires_at"] > state["trial"]["started_at"]
    _, body = await http.at("GET", "/bootstrap", token=token)
    assert body["user"]["has_active_subscription"] is True
    bought = await http.buy(trial_days=7)  # a running trial is no purchase, so it does not forbid one
    assert bought["status"] == "active"
    await http.sign_in("bob@example.com")
    sandbox.advance(days=4)
    state = await http.state("bob@example.com")
    assert (state["has_active_subscription"], state["had_previous_trial"], state["trial"]) == (False, True, None)


async def test_a_single_payment_has_no_trial(http: Plain) -> None:
    await http.buy(priceId=104, trial_days=7)
    state = await http.state("ada@example.com")
    assert (state["had_previous_trial"], state["purchases"][0]["status"]) == (False, "completed")


# Guests


async def test_what_a_guest_bought_moves_to_the_user_who_signs_in(http: Plain) -> None:
    bought = await http.buy("guest@example.com", visitorId="v-1", trial_days=7)
    await http.buy("other@example.com", visitorId="v-2")
    token = await http.sign_in("ada@example.com", visitor_id="v-1")
    _, body = await http.at("GET", "/user", token=token)
    assert [one["id"] for one in body["purchases"]] == [bought["id"]]
    assert await http.bought("guest@example.com") == []
    assert (await http.state("ada@example.com"))["had_previous_trial"] is True
    assert len(await http.bought("other@example.com")) == 1


async def test_the_tokens_of_a_guest_move_along(http: Plain) -> None:
    await http.buy("guest@example.com", visitorId="v-1")
    body = {"email": "ada@example.com", "password": "secret-1234", "visitor_id": "v-1"}
    _, signed_up = await http.at("POST", "/auth/email/signup", json=body)
    _, balances = await http.at("GET", "/balances", token=signed_up["access_token"])
    assert balances["balances"] == [{"type": "gpt-4", "count": 100}]
    assert http.user("guest@example.com")["balances"] == []


async def test_what_belongs_to_a_user_is_not_a_guests(http: Plain) -> None:
    """Who proved their address keeps what they bought, whoever else uses their browser; so does a session's user."""
    await http.buy("ada@example.com", visitorId="v-1")
    await http.sign_in("ada@example.com")
    mine = {"priceId": 101, "visitorId": "v-1"}
    _, answer = await http.at("POST", "/start-checkout", json=mine, token=await http.sign_in("bob@example.com"))
    await http.submit(answer["checkoutUrl"])
    await http.sign_in("eve@example.com", visitor_id="v-1")
    assert [len(await http.bought(f"{who}@example.com")) for who in ("ada", "bob", "eve")] == [1, 1, 0]


async def test_an_anonymous_visitor_takes_nothing_along(http: Plain) -> None:
    await http.buy("guest@example.com", visitorId="v-1")
    await http.at("POST", "/auth/anonymous/signin", json={"visitor_id": "v-1"})
    assert len(await http.bought("guest@example.com")) == 1


async def test_a_checkout_that_was_not_paid_moves_nothing(http: Plain) -> None:
    await http.begin("guest@example.com", visitorId="v-1")
    await http.sign_in("ada@example.com", visitor_id="v-1")
    assert await http.bought("ada@example.com") == []


# The way back


@pytest.mark.parametrize(
    ("address", "leads_to"),
    [
        ("/done", "/done#paywall_status={}&paywall_price_id=101"),
        ("/done?s=__SESSION__&x=1", "/done?s={id}&x=1#paywall_status={}&paywall_price_id=101"),
        ("/__SESSION__#/route", "/{id}#/route&paywall_status={}&paywall_price_id=101"),
    ],
)
async def test_the_page_leads_back_to_the_shop(http: Plain, address: str, leads_to: str) -> None:
    url = await http.begin(successUrl=SHOP + address, errorUrl=SHOP + address)
    expected = SHOP + leads_to.replace("{id}", url.rpartition("/")[2])
    assert (await http.submit(url, DECLINED))[:2] == (303, expected.format("failed"))
    assert await http.bought("ada@example.com") == []
    for _ in range(2):  # sent twice: paid once, and led on again
        assert (await http.submit(url))[:2] == (303, expected.format("paid"))
    assert len(await http.bought("ada@example.com")) == 1
    async with http.pages.get(url) as receipt:
        assert expected.format("paid").replace("&", "&amp;") in await receipt.text()


async def test_without_a_way_back_the_page_stays(http: Plain) -> None:
    url = await http.begin()
    status, where, _ = await http.submit(url, DECLINED)
    assert status == 303  # a redirect, so that "back" and "reload" don't send the form again
    assert where is not None
    async with http.pages.get(http.sandbox.url + where) as answer:
        assert (answer.status, "was declined" in await answer.text()) == (402, True)
    status, where, _ = await http.submit(url)
    assert (status, where) == (303, f"{url.removeprefix(http.sandbox.url)}/receipt")


async def test_a_browser_lets_the_form_lead_to_the_shop_and_nowhere_else(http: Plain) -> None:
    """Browsers hold the answer to a form against the page's policy, redirects included."""
    urls = {"successUrl": f"{SHOP}/a;b?c", "errorUrl": "http://localhost:3000/sorry"}
    for fields, allowed in ((urls, "'self' http://localhost:3000 https://shop.example.com"), ({}, "'self'")):
        async with http.pages.get(await http.begin(**fields)) as page:
            policy = page.headers["Content-Security-Policy"]
            assert re.search(r"form-action ([^;]*)", policy)[1] == allowed  # type: ignore[index]


async def test_leaving_without_paying(http: Plain) -> None:
    url = await http.begin(errorUrl=f"{SHOP}/sorry", shopUrl=f"{SHOP}/shop")
    async with http.pages.get(url) as page:
        html = await page.text()
    assert f'href="{SHOP}/sorry#paywall_status=cancelled&amp;paywall_price_id=101"' in html
    assert f'href="{SHOP}/shop"' in html
