"""What the public paywall client expects of answers and sends in requests: `spec/paywall-api.md`, section 9."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from montra_sandbox import Problem, Sandbox
from montra_sandbox.contract import describe, read_contract
from montra_sandbox.paywall.tracking import MAX_KEPT

from .plain import Plain, plain

OFFER = {"id": 201, "discount_percent": 20, "price_id": 102}
PRICE = {"id": 7, "amount": Decimal("5.00"), "currency": "USD", "interval": "month"}


@pytest.fixture
async def http(sandbox: Sandbox) -> AsyncIterator[Plain]:
    async with plain(sandbox) as client:
        yield client


# Shapes


async def test_a_purchases_discount_is_a_number(http: Plain) -> None:
    purchase = await http.buy(priceId=102, offerId=201)
    assert (purchase["discount"], purchase["unit_amount"]) == (20, 7920)
    plainly = await http.buy("bob@example.com", priceId=102)
    assert ("discount" in plainly, plainly["unit_amount"]) == (False, 9900)


async def test_the_balance_that_was_not_enough_is_a_balance(http: Plain, sandbox: Sandbox) -> None:
    token = await http.anonymous()
    sandbox.set_provider(sandbox.paywall_id, "painter", query_type="pictures")
    for provider, expected in (("painter", None), ("echo", {"type": "gpt-4", "count": 0})):
        for _ in range(4):
            url = f"{sandbox.url}/api/v1/api-gateway/{provider}?paywall_id={sandbox.paywall_id}"
            status, body = await http.ask("POST", url, json={}, headers={"Authorization": f"Bearer {token}"})
        assert (status, body["details"]["currentBalance"]) == (402, expected)
        assert body["details"]["queryType"] in ("pictures", "gpt-4")


async def test_settings_have_the_declared_shapes(http: Plain) -> None:
    _, body = await http.at("GET", "/bootstrap")
    settings = body["settings"]
    assert (settings["checkout_mode"], settings["trial"]) == ("guest", None)
    assert settings["visibility"] == {"visible": True, "reason": None, "country": None, "tier": None}
    http.set(trial_days=2, settings={"checkout_mode": "preauth"})
    _, body = await http.at("GET", "/bootstrap")
    assert body["settings"]["trial"] == {"mode": "time", "payload": 48, "storage": "server"}
    assert body["settings"]["checkout_mode"] == "preauth"
    opens = {"mode": "opens", "payload": 3, "storage": "client"}
    hidden = {"visible": False, "reason": "disabled", "country": "AT", "tier": 1}
    http.set(settings={"trial": opens, "visibility": hidden})
    _, body = await http.at("GET", "/bootstrap")
    assert (body["settings"]["trial"], body["settings"]["visibility"]) == (opens, hidden)


async def test_ids_of_prices_and_offers_are_text(http: Plain) -> None:
    for prices, offers in (([{**PRICE, "id": 101}], [{**OFFER, "price_id": 101}]), (None, None)):
        if prices is not None:
            http.set(prices=prices, offers=offers)
        _, body = await http.at("GET", "/bootstrap")
        ids = [one["id"] for one in body["prices"] + body["offers"]] + [one["price_id"] for one in body["offers"]]
        assert ids == ["101", "201", "101"]
    for price_id in (101, "101"):
        assert await http.begin(f"{type(price_id).__name__}@example.com", priceId=price_id)
    http.set(prices=[{**PRICE, "id": "pr_x"}], offers=[])
    assert await http.begin(priceId="pr_x")


async def test_a_webhook_names_the_price_as_answers_do(http: Plain, sandbox: Sandbox) -> None:
    http.set(webhook_url="http://127.0.0.1:9/")
    await http.buy()
    assert {one["body"]["data"]["price"]["id"] for one in sandbox.deliveries()} == {"101"}


async def test_tokenization_is_yes_or_no(http: Plain) -> None:
    token = await http.anonymous()
    _, body = await http.at("GET", "/balances", token=token)
    assert (body["tokenization"], body["balances"]) == (True, [{"type": "gpt-4", "count": 3}])
    http.set(tokenization={})
    _, body = await http.at("GET", "/balances", token=token)
    assert body["tokenization"] is False


async def test_somebody_without_purchases(http: Plain) -> None:
    status, body = await http.at("GET", "/user", token=await http.anonymous())
    assert (status, body.get("purchases", [])) == (200, [])
    [operation] = [one for one in read_contract("paywall").operations if one.id == "list_purchases"]
    assert describe(operation.responses["200"], {}) == [], "without `purchases` there are none"


async def test_layout_experiment_and_offers_on_every_price(http: Plain) -> None:
    _, body = await http.at("GET", "/bootstrap")
    assert body.keys().isdisjoint({"layout", "experiment"})
    layout = {"type": "modal", "blocks": [{"type": "heading", "text": "Hi"}]}
    dearer = {"id": 901, "replaces": 101, "amount": 19, "tokens": {"gpt-4": 7}}
    experiment = {"id": 5, "variants": [{"key": "control", "weight": 1}, {"key": "b", "prices": [dearer]}]}
    http.set(layout=layout, experiment=experiment, offers=[{"id": 1, "discount_percent": 10}])
    _, body = await http.at("GET", "/bootstrap")
    assert (body["layout"], body["offers"][0]["price_id"]) == (layout, None)
    told = body["experiment"]
    assert (told["id"], told["kind"], [one["key"] for one in told["variants"]]) == ("5", "prices", ["control", "b"])
    [price] = told["variants"][1]["prices"]
    assert (price["id"], price["replaces"], price["amount"], "tokens" in price) == ("901", "101", 19, False)
    sold = await http.buy(priceId=901, offerId=1, experimentId="5", variantKey="b", visitorId="v")
    assert (sold["unit_amount"], sold["discount"]) == (1710, 10)
    http.set(layout=None, experiment=None)
    _, body = await http.at("GET", "/bootstrap")
    assert body.keys().isdisjoint({"layout", "experiment"})


# Requests that must be accepted


async def test_the_key_decides_and_not_the_body(http: Plain) -> None:
    key = {"Idempotency-Key": "order-1"}
    first = await http.begin(headers=key)
    assert await http.begin(headers=key, visitorId="v-1") == first
    assert await http.begin(headers=key, priceId=102, successUrl="http://127.0.0.1:9/") == first
    assert await http.begin(headers={"Idempotency-Key": "order-2"}) != first
    assert await http.begin("bob@example.com", headers=key) != first, "somebody else's key is another one"
    await http.submit(first)
    assert await http.begin(headers=key) == first, "also when it is paid by now"


async def test_an_offer_for_another_price_is_ignored(http: Plain) -> None:
    http.set(
        offers=[
            {"id": 1, "discount_percent": 50, "price_id": 101, "expires_at": "2020-01-01T00:00:00Z"},
            {"id": 2, "discount_percent": 50, "price_id": 102},
            {"id": 3, "discount_percent": 50, "price_id": 101},
        ]
    )
    for n, offer in enumerate((1, 2, 99, "none", 3)):
        bought = await http.buy(f"u{n}@example.com", priceId=101, offerId=offer)
        expected = (500, 50) if offer == 3 else (999, None)
        assert (bought["unit_amount"], bought.get("discount")) == expected, offer


EVENTS = [{"type": "paywall_viewed", "ts": 1_700_000_000_000}, {"type": "clicked", "ts": 1, "props": {"a": [1.5]}}]


async def test_tracked_events_are_stored(http: Plain, sandbox: Sandbox) -> None:
    said = {"X-Visitor-Id": "v-1", "X-User-Id": "u-1"}
    status, _ = await http.at("POST", "/events", json={"events": EVENTS}, headers=said)
    assert status == 200
    beacon = {"events": EVENTS[:1], "visitor_id": "v-2", "user_id": None, "sdk_version": "3.5.0", "capabilities": ""}
    status, _ = await http.at("POST", "/events", data=json.dumps(beacon), headers={"Content-Type": "text/plain"})
    assert status == 200
    token = await http.anonymous()
    status, _ = await http.at("POST", "/events", json={"events": EVENTS[:1], "user_id": "u-1"}, token=token)
    assert status == 200
    latest, left, clicked, viewed = sandbox.tracked_events(sandbox.paywall_id)
    assert (clicked["type"], clicked["props"], clicked["ts"]) == ("clicked", {"a": [Decimal("1.5")]}, 1)
    assert [(one["visitor_id"], one["user_id"]) for one in (viewed, left)] == [("v-1", "u-1"), ("v-2", None)]
    assert latest["user_id"] == http.user(None)["id"], "whose session it is, is known better"
    async with http.pages.get(f"{sandbox.url}/_sandbox/paywalls/{sandbox.paywall_id}/events") as answer:
        assert len((await answer.json())["data"]) == 4


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ([], 400),
        ({"events": {}}, 400),
        ({"events": [{"ts": 1}]}, 400),
        ({"events": [{"type": "", "ts": 1}]}, 400),
        ({"events": [{"type": "x", "ts": -1}]}, 400),
        ({"events": [{"type": "x", "ts": 1}] * 201}, 400),
        ({"events": [{"type": "x", "ts": 1, "props": {"a": "b" * 20_000}}]}, 413),
        ({"events": []}, 200),
    ],
)
async def test_oversized_events_are_refused(http: Plain, sandbox: Sandbox, body: Any, status: int) -> None:
    async with http.pages.post(f"{http.paywall}/events", json=body) as answer:
        assert answer.status == status
    assert sandbox.tracked_events(sandbox.paywall_id) == []


async def test_only_the_latest_events_are_kept(http: Plain, sandbox: Sandbox) -> None:
    batch = [{"type": "x", "ts": n} for n in range(200)]
    for _ in range(MAX_KEPT // 200):
        await http.at("POST", "/events", json={"events": batch})
    await http.at("POST", "/events", json={"events": [{"type": "last", "ts": 1}]})
    kept = sandbox.tracked_events(sandbox.paywall_id)
    assert (len(kept), kept[0]["type"], kept[-1]["ts"]) == (MAX_KEPT, "last", 1)
    with pytest.raises(Problem):
        sandbox.tracked_events("none")


# Browsers

FOREIGN = {"Origin": "https://shop.example.com"}
PREFLIGHT = {
    **FOREIGN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-user-email,x-custom-1",
}
PATHS = ("start-checkout", "bootstrap", "events", "user", "support/ticket", "auth/otp/send", "no/such/route")


async def test_pages_of_any_origin_may_call_the_paywall_api(http: Plain, sandbox: Sandbox) -> None:
    urls = [f"{http.paywall}/{path}" for path in PATHS]
    urls += [f"{sandbox.url}/api/paywall/cancel-subscription", f"{sandbox.url}/api/v1/api-gateway/echo/v1/x"]
    for url in urls:
        async with http.pages.options(url, headers=PREFLIGHT) as answer:
            assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (204, "*")
            assert "POST" in answer.headers["Access-Control-Allow-Methods"]
            allowed = answer.headers["Access-Control-Allow-Headers"].split(", ")
            assert allowed == ["authorization", "content-type", "x-user-email", "x-custom-1"]
        async with http.pages.post(url, json={}, headers=FOREIGN) as answer:  # also when it is refused
            assert answer.headers["Access-Control-Allow-Origin"] == "*", url
            assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("mode", ["echo", "stream"])
async def test_a_page_may_read_a_providers_response(http: Plain, sandbox: Sandbox, mode: str) -> None:
    sandbox.set_provider(sandbox.paywall_id, "p", mode=mode, query_type="gpt-4")
    headers = {**FOREIGN, "Authorization": f"Bearer {await http.anonymous()}"}
    url = f"{sandbox.url}/api/v1/api-gateway/p?paywall_id={sandbox.paywall_id}"
    async with http.pages.post(url, json={}, headers=headers) as answer:
        await answer.read()
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, "*")
        assert "X-Query-Type" in answer.headers["Access-Control-Expose-Headers"]


async def test_a_faults_response_has_cors_headers(http: Plain, sandbox: Sandbox) -> None:
    sandbox.add_fault(kind="status", status=503)
    async with http.pages.options(f"{http.paywall}/bootstrap", headers=PREFLIGHT) as answer:
        assert answer.status == 204, "what a browser asks first is no request of the page's"
    async with http.pages.get(f"{http.paywall}/bootstrap", headers=FOREIGN) as answer:
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (503, "*")


async def test_the_owners_key_is_refused_from_pages(http: Plain) -> None:
    asked = {**PREFLIGHT, "Access-Control-Request-Headers": "X-Api-Key, Content-Type"}
    async with http.pages.options(f"{http.paywall}/balances", headers=asked) as answer:
        assert answer.headers["Access-Control-Allow-Headers"] == "Content-Type"


async def test_other_routes_have_no_cors_headers(http: Plain, sandbox: Sandbox) -> None:
    for path in ("/_sandbox/", "/_sandbox/reset", "/_sandbox/mails", "/api/v1/customers", "/", "/checkout/none"):
        for method in ("OPTIONS", "GET", "POST"):
            async with http.pages.request(method, sandbox.url + path, headers=PREFLIGHT) as answer:
                assert not [name for name in answer.headers if name.startswith("Access-Control-")], path


# Numbers and text that are none


@pytest.mark.parametrize("number", ["1e1000000", "1e-1000000", "0e1000000", "-1", "NaN", '"NaN"', "1.5", "null", "[]"])
async def test_invalid_counts_are_refused(http: Plain, sandbox: Sandbox, number: str) -> None:
    token = {"X-Api-Key": sandbox.api_key, "Content-Type": "application/json"}
    bodies = {
        "/start-checkout": f'{{"email":"a@example.com","priceId":101,"trial_days":{number}}}',
        "/balances": f'{{"email":"a@example.com","type":"t","op":"credit","amount":{number}}}',
        "/events": f'{{"events":[{{"type":"x","ts":{"-1" if number == "1.5" else number}}}]}}',
    }
    await http.begin("a@example.com")
    for path, body in bodies.items():
        async with http.pages.post(http.paywall + path, data=body, headers=token) as answer:
            assert (path, answer.status) == (path, 400)


@pytest.mark.parametrize("price", ["1e1000000", "1e400", "-1", "NaN", "null", "[]", "1.5", "99999999999999999999"])
async def test_invalid_ids_are_refused(http: Plain, price: str) -> None:
    for field, rest in (("priceId", ""), ("offerId", ',"priceId":101')):
        body = f'{{"email":"a@example.com","{field}":{price}{rest}}}'
        async with http.pages.post(f"{http.paywall}/start-checkout", data=body, headers=JSON) as answer:
            assert answer.status == 400


JSON = {"Content-Type": "application/json"}


async def test_a_whole_number_with_a_point_is_the_same_id(http: Plain) -> None:
    body = '{"email":"a@example.com","priceId":101.0}'
    async with http.pages.post(f"{http.paywall}/start-checkout", data=body, headers=JSON) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("name", ["X-User-Email", "X-User-ID", "X-Visitor-Id", "Idempotency-Key"])
async def test_headers_that_are_not_utf8_are_refused(http: Plain, sandbox: Sandbox, name: str) -> None:
    below, checkout = f"/api/v1/paywall/{sandbox.paywall_id}", '{"email":"a@example.com","priceId":101}'
    requests = [
        ("GET", f"{below}/user-state", ""),
        ("GET", f"{below}/bootstrap", ""),
        ("POST", f"{below}/events", json.dumps({"events": EVENTS})),
        ("POST", f"{below}/start-checkout", checkout),
        ("POST", f"/api/v1/api-gateway/echo?paywall_id={sandbox.paywall_id}", "x"),
    ]
    host, port = sandbox.url.removeprefix("http://").split(":")
    for method, path, body in requests:
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(body)}\r\n{name}: "
        end = f"\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{body}"
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head.encode() + b"\xff" + end.encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert b" 400 " in answer.partition(b"\r\n")[0], (path, answer)


NAN, SIGNALING, HUGE = Decimal("NaN"), Decimal("sNaN"), Decimal("1e1000000")


@pytest.mark.parametrize(
    "fields",
    [
        *({"prices": [{**PRICE, "amount": one}]} for one in (NAN, SIGNALING, HUGE, 10**400, Decimal("1e-99"), True)),
        {"prices": [{**PRICE, "trial_days": 10**9}]},
        {"prices": [{**PRICE, "interval_count": 10**9}]},
        {"prices": [{**PRICE, "id": 10**400}]},
        {"prices": [{**PRICE, "id": ""}]},
        {"prices": [{**PRICE, "currency": "EURO"}]},
        {"prices": [{**PRICE, "currency": None}]},
        {"prices": [{**PRICE, "tokens": {"t": NAN}}]},
        {"prices": [{**PRICE, "tokens": {"t": 10**30}}]},
        {"prices": [{**PRICE, "tokens": 5}]},
        {"prices": [{**PRICE, "local": 5}]},
        {"prices": [{**PRICE, "local": {"currency": "EUR", "amount": HUGE}}]},
        {"prices": [{**PRICE, "local": {"currency": "E", "amount": 1}}]},
        {"offers": [{**OFFER, "discount_percent": SIGNALING}]},
        {"offers": [{**OFFER, "discount_percent": 100.5}]},
        {"offers": [{**OFFER, "expires_at": "soon"}]},
        {"offers": [{**OFFER, "expires_at": 5}]},
        {"offers": [{**OFFER, "duration_minutes": -1}]},
        {"trial_days": 10**9},
        {"tokenization": {"t": {"daily_trial": HUGE}}},
        {"providers": {"p": {"pause": NAN}}},
        {"providers": {"p": {"pause": "NaN"}}},
        {"providers": {"p": {"pause": 10**400}}},
        {"providers": {"p": {"pause": float("inf")}}},
        {"providers": {"p": {"break_after": "x"}}},
        {"providers": {"p": {"events": 5}}},
        {"providers": {"p": {"query_type": "a\r\nb"}}},
        {"layout": []},
        {"experiment": []},
        {"experiment": {"variants": []}},
        {"experiment": {"id": "e", "variants": [{"weight": 1}]}},
        {"experiment": {"id": "e", "variants": [{"key": "a", "weight": HUGE}]}},
        {"experiment": {"id": "e", "variants": [{"key": "a", "prices": [{"id": 1}]}]}},
        {"settings": {"trial": {"days": 3}}},
        {"settings": {"trial": {"mode": "days", "payload": 3, "storage": "client"}}},
        {"settings": {"trial": {"mode": "time", "payload": NAN, "storage": "client"}}},
        {"settings": {"visibility": "public"}},
        {"settings": {"checkout_mode": 5}},
    ],
)
def test_invalid_configurations_are_refused(sandbox: Sandbox, fields: dict[str, Any]) -> None:
    with pytest.raises(Problem) as caught:
        sandbox.set_paywall(sandbox.paywall_id, **fields)
    assert (caught.value.status, len(caught.value.message) < 500) == (400, True)
    assert sandbox.paywall(sandbox.paywall_id)["version"] == 1


async def test_the_highest_price_and_the_longest_period(http: Plain, sandbox: Sandbox) -> None:
    dear = {"id": 1, "amount": 10**12, "interval": "year", "interval_count": 100, "tokens": {"t": 10**9}}
    http.set(prices=[dear])
    bought = await http.buy(priceId=1)
    assert bought["unit_amount"] == 10**14
    for _ in range(11):  # ten years each
        sandbox.advance(days=3652)
    assert (await http.bought("ada@example.com"))[0]["status"] == "active"
