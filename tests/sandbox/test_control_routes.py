"""The controls over HTTP, and the front page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

import aiohttp
import pytest

from montra_async import Montra
from montra_sandbox import Sandbox

Control: TypeAlias = Callable[..., Any]


@pytest.fixture
async def control(sandbox: Sandbox) -> AsyncIterator[Control]:
    async with aiohttp.ClientSession() as http:

        async def send(method: str, path: str, body: Any = None, **fields: Any) -> tuple[int, Any]:
            async with http.request(method, f"{sandbox.url}/_sandbox{path}", json=body, **fields) as answer:
                payload = await answer.json()
                return answer.status, payload["data"] if answer.status == 200 else payload["error"]["message"]

        yield send


async def test_clock(control: Control, sandbox: Sandbox) -> None:
    before = sandbox.now()
    assert (await control("POST", "/clock/advance", {"days": 2, "hours": 1.5}))[0] == 200
    assert (sandbox.now() - before).total_seconds() >= 2 * 86400 + 5400
    to = f"{sandbox.now().year + 5}-01-01T00:00:00Z"
    assert (await control("POST", "/clock/advance", {"to": to}))[1]["now"].startswith(to[:10])
    for wrong in ({"to": "soon"}, {"to": 5}, {"weeks": "x"}, {"years": 1}, {"days": -1}, [1]):
        assert (await control("POST", "/clock/advance", wrong))[0] == 400
    assert (await control("GET", "/"))[1]["now"].startswith(to[:4])


async def test_limits_tiers_and_subscriptions(control: Control, montra: Montra) -> None:
    model = await montra.create_pricing_model(name="P", is_default=True)
    await montra.create_meter(name="T", slug="t", pricing_model_id=model.id)
    product = await montra.create_product(
        pricing_model_id=model.id, name="T", price_type="usage", meter_slug="t", pricing_structure="tiered"
    )
    ada = await montra.create_customer(name="A", email="a@example.com")
    limit = {"pricing_model_id": model.id, "meter_slug": "t", "max_amount": 2.5}
    assert (await control("POST", "/limits", limit))[0] == 200
    assert (await montra.check_entitlement(ada.id, "t")).limit == 2.5
    for wrong in ({}, {**limit, "odd": 1}, {**limit, "period": "x"}):
        assert (await control("POST", "/limits", wrong))[0] == 400
    for slug in ("tokens", ""):
        refused = await control("POST", "/limits", {**limit, "meter_slug": slug})
        assert refused == (404, f"no meter has the slug {slug!r}; there are: t")
    assert len((await control("GET", "/limits"))[1]) == 1
    tiers = {"tiers": [{"up_to": None, "unit_amount": 0.5}]}
    assert (await control("POST", f"/products/{product.id}/tiers", tiers))[0] == 200
    assert (await control("POST", "/products/none/tiers", tiers))[0] == 404
    subscription = await montra.create_subscription(ada.id, model.id)
    status, shown = await control("POST", f"/subscriptions/{subscription.id}", {"status": "past_due"})
    assert (status, shown["status"]) == (200, "past_due")
    assert (await control("POST", f"/subscriptions/{subscription.id}", {"mood": "x"}))[0] == 400


async def test_faults(control: Control, montra: Montra) -> None:
    assert (await control("POST", "/faults", {"kind": "status", "status": 503, "times": 2}))[0] == 200
    assert [one["kind"] for one in (await control("GET", "/faults"))[1]] == ["status"]
    assert await montra.list_meters() == []
    assert (await control("GET", "/faults"))[1] == []
    await control("POST", "/faults", {"kind": "latency", "share": 0.5})
    assert (await control("DELETE", "/faults"))[1] is None
    assert (await control("GET", "/faults"))[1] == []
    assert (await control("POST", "/faults", {"kind": "x"}))[0] == 400


async def test_deliveries_and_payments(control: Control, montra: Montra, sandbox: Sandbox) -> None:
    sandbox.freeze()  # it is not tried again
    await montra.create_webhook(url="http://127.0.0.1:9/")
    await montra.create_customer(name="A", email="a@example.com")
    await sandbox.settle()
    [delivery] = (await control("GET", "/deliveries"))[1]
    assert (delivery["event_type"], delivery["attempts"]) == ("customer.created", 1)
    assert (await control("POST", f"/deliveries/{delivery['id']}/replay"))[1]["attempts"] == 0
    assert (await control("POST", "/deliveries/none/replay"))[0] == 404
    assert (await control("GET", "/transactions"))[1] == []


async def test_reset(control: Control, montra: Montra, sandbox: Sandbox) -> None:
    before = sandbox.now()
    model = await montra.create_pricing_model(name="P")
    ada = await montra.create_customer(name="A", email="a@example.com")
    await montra.create_subscription(ada.id, model.id)
    sandbox.advance(days=400)
    sandbox.add_fault(kind="status", share=1)
    assert (await control("POST", "/reset"))[0] == 200
    assert await montra.list_customers() == []
    assert (await montra.list_audit_logs()).meta.total == 0
    assert (sandbox.now() - before).days == 0


async def test_fields_of_a_control_are_its_keyword_arguments(control: Control, sandbox: Sandbox) -> None:
    paywall = f"/paywalls/{sandbox.paywall_id}"
    for path, body, message in (
        ("/limits", {"period": "day"}, "required: pricing_model_id, meter_slug, max_amount"),
        ("/faults", {}, "required: kind"),
        ("/faults", {"kind": "latency", "self": 1}, "unknown: self; the fields are: kind, times, share"),
        ("/clock/advance", {"years": 1, "fortnights": 2}, "unknown: fortnights, years; the fields are: to, seconds"),
        ("/clock/advance", {"days": True}, "days: a number"),
        ("/reset", {"all": True}, "unknown: all; the fields are: none"),
        (paywall, {"paywall_id": "another"}, "unknown: paywall_id"),
        (paywall, {"webhook_url": 5, "webhook_secret": []}, "webhook_url and webhook_secret: a string or null"),
        (f"{paywall}/providers/openai", {"provider_id": "another"}, "unknown: provider_id"),
        ("/paywalls", {"id": {}, "owner": None}, "id: a string or null"),
        ("/products/none/tiers", {}, "required: tiers"),
    ):
        status, given = await control("POST", path, body)
        assert (status, given[: len(message)]) == (400, message)


async def test_null_clears_a_part_of_a_paywall(control: Control, sandbox: Sandbox) -> None:
    path = f"/paywalls/{sandbox.paywall_id}"
    await control("POST", path, {"webhook_url": "http://127.0.0.1:9/", "layout": {"a": 1}, "name": "P"})
    status, paywall = await control("POST", path, {"webhook_url": None, "layout": None})
    assert (status, paywall["webhook_url"], paywall["layout"], paywall["name"]) == (200, None, None, "P")


async def test_unknown_routes_and_invalid_bodies_are_refused(control: Control, sandbox: Sandbox) -> None:
    assert (await control("GET", "/nothing"))[0] == 404
    assert (await control("PUT", "/reset"))[0] == 405
    async with aiohttp.ClientSession() as http:
        for body, kind, status in (
            (b"{", "application/json", 400),
            (b"{}", "text/plain", 415),
            (b"", "text/plain", 415),
        ):
            headers = {"Content-Type": kind}
            async with http.post(f"{sandbox.url}/_sandbox/limits", data=body, headers=headers) as answer:
                assert answer.status == status


async def test_the_front_page(sandbox: Sandbox, montra: Montra) -> None:
    async with aiohttp.ClientSession() as http:
        for _ in range(2):
            async with http.get(f"{sandbox.url}/") as answer:
                page = await answer.text()
                assert answer.status == 200
            await montra.create_webhook(url="http://127.0.0.1:9/<b>")
            await montra.create_customer(name="A", email=f"{len(page)}@example.com")
            await sandbox.settle()
        assert sandbox.base_url in page
        assert "customer.created" in page
        assert "<b>" not in page
        async with http.get(f"{sandbox.url}/nothing", headers={"Accept": "text/html"}) as answer:
            assert (answer.status, answer.content_type) == (404, "text/html")
        async with http.get(f"{sandbox.url}/nothing") as answer:
            assert "/api" in (await answer.json())["error"]["message"]
