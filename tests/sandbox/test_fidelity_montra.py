"""Responses as the public Montra client expects them: `spec/montra-api.md`, section 7."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import aiohttp
import pytest

from montra_sandbox import Sandbox

from .plain import Plain, plain

_KEYS = count()


@pytest.fixture
async def http(sandbox: Sandbox) -> AsyncIterator[Plain]:
    async with plain(sandbox) as client:
        yield client


async def _post(http: Plain, path: str, **body: Any) -> Any:
    url, key = f"{http.sandbox.base_url}{path}", f"key-{next(_KEYS)}"
    headers = {"Authorization": f"Bearer {http.sandbox.api_key}", "Idempotency-Key": key}
    status, answer = await http.ask("POST", url, json=body, headers=headers)
    assert status == 200, answer
    return answer.get("data")


def _nulls(value: Any, path: str = "") -> set[str]:
    """Where there is a null."""
    if isinstance(value, dict):
        return {found for name, one in value.items() for found in _nulls(one, f"{path}.{name}")}
    if isinstance(value, list):
        return {found for one in value for found in _nulls(one, path)}
    return {path} if value is None else set()


async def _one_of_everything(http: Plain) -> dict[str, str]:
    """Resources of every kind with nothing in their optional fields; their ids."""
    customer = (await _post(http, "/customers", name="Ada", email="ada@example.com"))["id"]
    model = (await _post(http, "/pricing-models", name="Pro", is_default=True))["id"]
    await _post(http, "/meters", name="Tokens", slug="tokens", pricing_model_id=model)
    await _post(http, "/products", name="Seat", price_type="recurring", pricing_model_id=model)
    await _post(http, "/features", name="SSO", slug="sso", pricing_model_id=model)
    subscription = (await _post(http, "/subscriptions", customer_id=customer, pricing_model_id=model))["id"]
    invoice = (await _post(http, "/invoices", customer_id=customer, amount_due=10))["id"]
    await _post(http, "/discounts", name="Ten", code="TEN", percent_off=10, duration="once")
    await _post(http, "/webhooks", url="http://127.0.0.1:9/")
    await _post(http, "/usage", customer_id=customer, meter_slug="tokens")
    link = await _post(http, "/checkout-links", link_name="l", payment_name="p", amount=5)
    form = {"name": "Ada", "email": "ada@example.com", "card": "4242424242424242", "action": "pay"}
    async with http.pages.post(link["url"], data=form) as page:
        assert page.status == 200
    transaction = http.sandbox.transactions()[0]["id"]
    refund = await _post(http, "/refunds", transaction_id=transaction, amount=1)
    assert _nulls(refund) == set()
    return {"customer": customer, "subscription": subscription, "invoice": invoice}


async def test_empty_optional_fields_are_left_out_of_every_response(http: Plain) -> None:
    ids = await _one_of_everything(http)
    paths = [
        "/customers",
        f"/customers/{ids['customer']}",
        "/pricing-models",
        "/products",
        "/features",
        "/subscriptions",
        f"/subscriptions/{ids['subscription']}",
        "/invoices",
        f"/invoices/{ids['invoice']}",
        "/webhooks",
        "/audit-logs?limit=1000",
        "/analytics/series?interval=daily&points=2",
    ]
    found = {path: _nulls(await http.montra("GET", path)) for path in paths}
    assert {path: nulls for path, nulls in found.items() if nulls} == {}
    # null says something here: no price per unit, and no limit
    assert _nulls(await http.montra("GET", "/meters")) == {".amount"}
    query = f"/entitlements?customer_id={ids['customer']}&meter=tokens"
    assert _nulls(await http.montra("GET", query)) == {".limit"}


async def test_given_optional_fields_are_in_the_response(http: Plain) -> None:
    full = {"phone": "1", "address": {"a": None}, "invoicing_emails": ["b@example.com"], "metadata": {"k": None}}
    made = await _post(http, "/customers", name="Ada", email="ada@example.com", **full)
    assert {name: made[name] for name in full} == full  # a null of the caller's own is theirs
    empty = await _post(http, "/customers", name="B", email="b@example.com", metadata={}, invoicing_emails=[])
    assert (empty["metadata"], empty["invoicing_emails"]) == ({}, [])


async def test_webhooks_have_no_nulls(http: Plain, sandbox: Sandbox) -> None:
    await _post(http, "/webhooks", url="http://127.0.0.1:9/")
    await _one_of_everything(http)
    await sandbox.settle()
    bodies = [one["body"] for one in sandbox.deliveries()]
    assert {one["type"] for one in bodies} > {"customer.created", "invoice.created", "checkout.completed"}
    assert {(one["type"], *_nulls(one)) for one in bodies if _nulls(one)} == set()


async def test_every_invoice_has_a_title(http: Plain, sandbox: Sandbox) -> None:
    customer = (await _post(http, "/customers", name="Ada", email="ada@example.com"))["id"]
    made = await _post(http, "/invoices", customer_id=customer, amount_due=10)
    assert made["title"] == "Invoice"
    model = (await _post(http, "/pricing-models", name="Pro"))["id"]
    await _post(http, "/products", name="Seat", price_type="recurring", pricing_model_id=model, amount=5)
    await _post(http, "/subscriptions", customer_id=customer, pricing_model_id=model)
    sandbox.advance(days=35)
    invoices = await http.montra("GET", "/invoices")
    assert len(invoices) == 3
    assert all(isinstance(one["title"], str) and one["title"] for one in invoices)


async def test_a_series_names_the_requested_product(http: Plain) -> None:
    query = "/analytics/series?interval=daily&points=1"
    assert "product" not in await http.montra("GET", query)
    assert (await http.montra("GET", f"{query}&product=prod_1"))["product"] == "prod_1"


async def test_a_link_with_an_amount_needs_no_items(http: Plain, sandbox: Sandbox) -> None:
    link = await _post(http, "/checkout-links", link_name="l", payment_name="p", amount=5, line_items=[])
    async with http.pages.get(link["url"]) as page:
        assert "$5.00" in await page.text()
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {sandbox.api_key}"}) as session:
        for items in ({}, {"line_items": []}):
            body = {"link_name": "l", "payment_name": "p", **items}
            async with session.post(f"{sandbox.base_url}/checkout-links", json=body) as answer:
                told = (await answer.json())["error"]["message"]
                assert (answer.status, "at least one of amount or line_items" in told) == (400, True)


async def test_an_empty_description_is_accepted(http: Plain) -> None:
    customer = (await _post(http, "/customers", name="Ada", email="ada@example.com"))["id"]
    model = (await _post(http, "/pricing-models", name="Pro"))["id"]
    made = [
        await _post(http, "/features", name="SSO", slug="sso", pricing_model_id=model, description=""),
        await _post(http, "/invoices", customer_id=customer, amount_due=10, description=""),
        await _post(http, "/webhooks", url="http://127.0.0.1:9/", description=""),
    ]
    assert [one["description"] for one in made] == ["", "", ""]
    await _post(http, "/checkout-links", link_name="l", payment_name="p", amount=5, description="")


@pytest.mark.parametrize(
    "number", ["1e1000000", "1e-1000000", "-1e1000000", "0e1000000", "NaN", "Infinity", '"NaN"', '"1"', "9" * 5000]
)
async def test_invalid_numbers_are_refused(sandbox: Sandbox, number: str) -> None:
    bodies = {
        "/usage": f'{{"customer_id":"c","meter_slug":"m","amount":{number}}}',
        "/invoices": f'{{"customer_id":"c","amount_due":{number}}}',
        "/refunds": f'{{"transaction_id":"t","amount":{number}}}',
        "/checkout-links": f'{{"link_name":"l","payment_name":"p","amount":{number}}}',
        "/discounts": f'{{"name":"n","code":"c","duration":"once","percent_off":{number}}}',
        "/meters": f'{{"name":"n","slug":"s","pricing_model_id":"p","events_per_unit":{number}}}',
        "/products": f'{{"name":"n","price_type":"recurring","pricing_model_id":"p","amount":{number}}}',
    }
    headers = {"Authorization": f"Bearer {sandbox.api_key}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for path, body in bodies.items():
            async with session.post(sandbox.base_url + path, data=body) as answer:
                assert (path, answer.status) == (path, 400)


async def test_the_largest_amounts_work_on_pages_and_invoices(http: Plain, sandbox: Sandbox) -> None:
    most = 10**18
    model = (await _post(http, "/pricing-models", name="Pro"))["id"]
    product = {"name": "Seat", "price_type": "recurring", "pricing_model_id": model, "amount": most}
    made = [(await _post(http, "/products", **product))["id"] for _ in range(3)]
    items = [{"product_id": made[0], "quantity": 10**6}] * 100
    link = await _post(http, "/checkout-links", link_name="l", payment_name="p", line_items=items)
    async with http.pages.get(link["url"]) as page:
        assert (page.status, f"${most * 10**8:,}.00" in await page.text()) == (200, True)
    customer = (await _post(http, "/customers", name="Ada", email="ada@example.com"))["id"]
    await _post(http, "/meters", name="Tokens", slug="tokens", pricing_model_id=model, amount=most)
    await _post(http, "/subscriptions", customer_id=customer, pricing_model_id=model)
    await _post(http, "/usage", customer_id=customer, meter_slug="tokens", amount=most)
    sandbox.advance(days=35)
    amounts = [int(one["amount_due"]) for one in await http.montra("GET", "/invoices")]
    assert amounts == [3 * most, 3 * most + most * most]
