"""Invalid requests of any kind get an error envelope, never a 500, and have no effect."""

from __future__ import annotations

import asyncio
import gc
import io
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

import aiohttp
import attrs
import pytest
from hypothesis import given, settings, strategies as st

from montra_async import Montra
from montra_sandbox import Sandbox
from montra_sandbox.world import World

from .raw import raw
from .server_side import in_server

Ask: TypeAlias = Callable[..., Any]
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def ask(sandbox: Sandbox) -> AsyncIterator[Ask]:
    """Send anything; get status and envelope."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {sandbox.api_key}"}) as http:

        async def send(method: str, path: str, **fields: Any) -> tuple[int, Any]:
            async with http.request(method, sandbox.base_url + path, **fields) as answer:
                payload = json.loads(await answer.read())
                assert answer.headers["x-request-id"]
                if answer.status >= 400:
                    assert payload["success"] is False
                    assert payload["error"]["code"]
                    assert payload["error"]["message"]
                return answer.status, payload

        yield send


async def test_missing_and_wrong_api_keys_are_refused(sandbox: Sandbox) -> None:
    async with aiohttp.ClientSession() as http:
        for value, code in (
            (None, "missing_api_key"),
            ("", "missing_api_key"),
            ("Bearer", "missing_api_key"),
            ("Basic abc", "missing_api_key"),
            ("Bearer sk_test_nobody", "invalid_api_key"),
            ("bearer x" + "y" * 5000, "invalid_api_key"),
        ):
            headers = {} if value is None else {"Authorization": value}
            async with http.get(f"{sandbox.base_url}/customers", headers=headers) as answer:
                assert (answer.status, (await answer.json())["error"]["code"]) == (401, code)


@pytest.mark.parametrize(
    "path", ["", "/", "/nothing", "/customers/a/b/c", "/CUSTOMERS", "/customers//", "/%00", "/customers/%ff/x"]
)
async def test_unknown_routes_are_404(ask: Ask, path: str) -> None:
    status, payload = await ask("GET", path)
    assert (status, payload["error"]["code"]) == (404, "unknown_route")


async def test_unknown_methods_are_405(sandbox: Sandbox, ask: Ask) -> None:
    for method in ("PUT", "DELETE", "OPTIONS"):
        status, payload = await ask(method, "/customers")
        assert (status, payload["error"]["message"]) == (405, "allowed here: GET, POST")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"5", b'"x"', b"\xff\xfe", b"NaN", b"[" * 100_000, b'{"a":' * 5000]
)
async def test_bodies_that_are_not_json_objects_are_refused(ask: Ask, body: bytes) -> None:
    status, _ = await ask("POST", "/customers", data=body, headers=JSON)
    assert status == 400


async def test_other_content_types(ask: Ask) -> None:
    status, payload = await ask("POST", "/customers", data={"name": "A", "email": "a@x"})
    assert (status, payload["error"]["code"]) == (415, "unsupported_media_type")
    status, _ = await ask("POST", "/files", data=b"x", headers=JSON)
    assert status == 415


async def test_huge_bodies(ask: Ask) -> None:
    status, payload = await ask("POST", "/customers", data=io.BytesIO(b" " * (2 * 1024 * 1024)), headers=JSON)
    assert (status, payload["error"]["code"]) == (413, "too_large")

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 64 * 1024

    status, payload = await ask("POST", "/customers", data=endless(), headers=JSON)
    assert (status, payload["error"]["code"]) == (413, "too_large")


async def test_ten_thousand_line_items(ask: Ask) -> None:
    items = [{"product_id": f"prod_{i}"} for i in range(10_000)]
    status, payload = await ask(
        "POST", "/checkout-links", json={"link_name": "l", "payment_name": "p", "line_items": items}
    )
    assert status == 400
    assert "line_items" in payload["error"]["message"]
    assert len(payload["error"]["message"]) < 500


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("/customers", {"name": "A"}, "email"),
        ("/customers", {"name": "A", "email": 5}, "email"),
        ("/customers", {"name": "A", "email": "a@x.fi", "surprise": 1}, "surprise"),
        ("/customers", {"name": "A", "email": "a@x.fi", "address": "x"}, "address"),
        ("/customers", {"name": "A", "email": "a@x.fi", "metadata": [1]}, "metadata"),
        ("/customers", {"name": "A", "email": "a@x.fi", "invoicing_emails": ["b@x.fi", 5]}, "invoicing_emails[1]"),
        ("/discounts", {"name": "n", "code": "c", "duration": "once"}, "percent_off or amount_off"),
        (
            "/discounts",
            {"name": "n", "code": "c", "duration": "once", "percent_off": 5, "amount_off": 5},
            "percent_off or amount_off",
        ),
        ("/discounts", {"name": "n", "code": "c", "duration": "repeating", "percent_off": 5}, "duration_in_months"),
        ("/discounts", {"name": "n", "code": "c", "duration": "once", "percent_off": 100.5}, "percent_off"),
        ("/checkout-links", {"link_name": "l", "payment_name": "p"}, "amount or line_items"),
        ("/checkout-links", {"link_name": "l", "payment_name": "p", "amount": 0}, "amount"),
        ("/products", {"pricing_model_id": "p", "name": "n", "price_type": "usage"}, "meter_slug"),
        ("/webhooks", {"url": "ftp://x"}, "url"),
        ("/webhooks", {"url": "http://x", "events": []}, "events"),
        ("/invoices", {"customer_id": "c", "amount_due": "1"}, "amount_due"),
        ("/invoices", {"customer_id": "c", "amount_due": 1, "due_date": "soon"}, "due_date"),
        (
            "/subscriptions/s/scheduled-changes",
            {"new_pricing_model_id": "p", "scheduled_for": "2026-01-01T00:00:00"},
            "scheduled_for",
        ),
        ("/subscriptions/s/pause", {"pause_behavior": "nap"}, "pause_behavior"),
    ],
)
async def test_wrong_fields_are_named(ask: Ask, path: str, body: Any, where: str) -> None:
    status, payload = await ask("POST", path, json=body)
    assert (status, payload["error"]["code"]) == (400, "validation_error")
    assert where in payload["error"]["message"]
    assert payload["error"]["details"]


@pytest.mark.parametrize(
    "query",
    [
        "/audit-logs?limit=x",
        "/audit-logs?limit=1.5",
        "/audit-logs?limit=-1",
        "/audit-logs?limit=1&limit=2",
        "/audit-logs?offset=99999999999999999999",
        "/audit-logs?event_type=",
        "/analytics/series",
        "/analytics/series?interval=daily",
        "/analytics/series?interval=daily&points=1&end=yesterday",
        "/entitlements",
        "/entitlements?customer_id=",
        "/products?pricing_model_id=",
    ],
)
async def test_wrong_queries(ask: Ask, query: str) -> None:
    status, _ = await ask("GET", query)
    assert status == 400


async def test_neither_meter_nor_feature_and_both(ask: Ask, montra: Montra) -> None:
    ada = await montra.create_customer(name="A", email="a@example.com")
    for query in ("", "&meter=tokens&feature=sso"):
        status, payload = await ask("GET", f"/entitlements?customer_id={ada.id}{query}")
        assert (status, payload["error"]["message"]) == (400, "give exactly one of meter and feature")


async def test_invalid_amounts_are_refused(ask: Ask, montra: Montra) -> None:
    model = await montra.create_pricing_model(name="P", is_default=True)
    await montra.create_meter(name="T", slug="tokens", pricing_model_id=model.id)
    ada = await montra.create_customer(name="A", email="a@example.com")
    for amount in ("-1", "1e400", '"5"', "null", "true", "1000000000000000001"):
        body = f'{{"customer_id":"{ada.id}","meter_slug":"tokens","amount":{amount}}}'
        status, _ = await ask("POST", "/usage", data=body, headers=JSON)
        assert status == 400
    assert (await montra.check_entitlement(ada.id, "tokens")).usage == 0


async def test_dates_at_the_ends_of_the_calendar(ask: Ask) -> None:
    for end in ("0001-01-01", "9999-12-31", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"):
        for interval in ("daily", "weekly", "monthly"):
            status, _ = await ask("GET", f"/analytics/series?interval={interval}&points=1000&end={end}")
            assert status == 200


async def test_wrong_idempotency_keys(ask: Ask) -> None:
    for key in ("", "a b", "k" * 256, "\udcff"):
        status, payload = await ask("POST", "/pricing-models", json={"name": "P"}, headers={"Idempotency-Key": key})
        assert status == 400
        assert "Idempotency-Key" in payload["error"]["message"]


async def test_multipart_without_a_file(ask: Ask) -> None:
    for part in (
        aiohttp.FormData({"file": "words"}, default_to_multipart=True),
        aiohttp.FormData({"other": "x"}, default_to_multipart=True),
        b"garbage",
    ):
        headers = {"Content-Type": "multipart/form-data; boundary=x"} if isinstance(part, bytes) else {}
        status, _ = await ask("POST", "/files", data=part, headers=headers)
        assert status == 400


async def test_lone_surrogates_are_refused(ask: Ask) -> None:
    body = b'{"name":"\\ud800","email":"a@x.fi"}'
    status, payload = await ask("POST", "/customers", data=body, headers=JSON)
    assert (status, payload["error"]["code"]) == (400, "invalid_json")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["name", "email", "amount", "customer_id", "slug", "pricing_model_id", "metadata", "line_items", "status"]
PATHS = ["/customers", "/usage", "/meters", "/products", "/checkout-links", "/invoices", "/webhooks", "/discounts"]


@settings(max_examples=10)
@given(
    requests=st.lists(
        st.tuples(st.sampled_from(PATHS), st.dictionaries(st.sampled_from(FIELDS), json_values)), min_size=20
    )
)
async def test_random_json_never_causes_a_500(requests: list[tuple[str, Any]]) -> None:
    async with Sandbox() as sandbox, aiohttp.ClientSession() as http:
        headers = {"Authorization": f"Bearer {sandbox.api_key}"}
        for path, body in requests:
            async with http.post(sandbox.base_url + path, json=body, headers=headers) as answer:
                assert answer.status < 500, await answer.text()
                await answer.json()


async def test_a_failed_handler_is_rolled_back(
    montra: Montra, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row, no audit log entry, no webhook and no idempotency key is left."""
    from montra_sandbox.montra import OPERATIONS

    before = sandbox.overview()["counts"]
    handler = OPERATIONS["create_pricing_model"]

    def fails(context: Any) -> Any:
        handler(context)
        raise KeyError("a bug")

    monkeypatch.setitem(OPERATIONS, "create_pricing_model", fails)
    with pytest.raises(Exception, match="500 internal_error"):
        await montra.with_options(max_attempts=1).create_pricing_model(name="P", idempotency_key="k")
    monkeypatch.undo()
    assert sandbox.overview()["counts"] == before
    assert (await montra.list_audit_logs()).meta.total == 0
    await montra.create_pricing_model(name="Q", idempotency_key="k")


@pytest.mark.parametrize(
    ("operation_id", "table", "fields"),
    [
        ("update_customer", "customers", {"name": "Eve"}),
        ("update_feature", "features", {"name": "Eve"}),
        ("update_pricing_model", "pricing_models", {"name": "Eve"}),
        ("update_webhook", "webhook_endpoints", {"description": "Eve"}),
        ("create_customer", "customers", {"name": "Eve", "email": "eve@example.com"}),
    ],
)
async def test_an_unexpected_field_reaches_no_column(
    sandbox: Sandbox, montra: Montra, operation_id: str, table: str, fields: dict[str, Any]
) -> None:
    """Handlers choose the columns themselves. They are called directly, because the contract refuses such bodies."""
    from montra_sandbox.montra import OPERATIONS

    model = await montra.create_pricing_model(name="P")
    customer = await montra.create_customer(name="A", email="a@example.com")
    feature = await montra.create_feature(name="F", slug="f", pricing_model_id=model.id)
    webhook = await montra.create_webhook(url="http://127.0.0.1:9/")
    unexpected = {
        "merchant_id": "another",
        "secret": "known",
        "created_at": "1970",
        "name = 'x' --": 1,
        "times_redeemed": 99,
        "pricing_model_id": "another",
    }

    def handle(world: World) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]], str]:
        before = {row["id"]: dict(row) for row in world.db.all(f"SELECT * FROM {table}")}
        merchant_id = str(world.db.value("SELECT id FROM merchants ORDER BY rowid LIMIT 1"))
        context = attrs.evolve(
            world.merchant_context(merchant_id, world.clock.now()),
            path={"customer_id": customer.id, "feature_id": feature.id, "webhook_id": webhook.id},
            body={**unexpected, **fields, **({"id": model.id} if operation_id == "update_pricing_model" else {})},
        )
        with world.db.transaction():
            OPERATIONS[operation_id](context)
        return before, [dict(row) for row in world.db.all(f"SELECT * FROM {table}")], merchant_id

    before, after, merchant_id = in_server(sandbox, handle)
    [changed] = [row for row in after if row != before.get(row["id"])]
    assert {name: changed[name] for name in fields} == fields
    assert changed["merchant_id"] == merchant_id
    kept = before.get(changed["id"], {})
    assert {name: changed[name] for name in kept if name not in fields} == {
        name: value for name, value in kept.items() if name not in fields
    }


async def test_clients_that_disconnect_early(sandbox: Sandbox, montra: Montra) -> None:
    host = sandbox.url.removeprefix("http://").split(":")
    for sent in (b"", b"GET", b"POST /api/v1/customers HTTP/1.1\r\nContent-Length: 500\r\n\r\n{", b"\0" * 100):
        _, writer = await asyncio.open_connection(host[0], int(host[1]))
        writer.write(sent)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    assert await montra.list_meters() == []


@pytest.mark.parametrize("path", ["/api/v1/files", "/pay/x"])
async def test_an_aborted_upload_leaves_no_file_open(sandbox: Sandbox, montra: Montra, path: str) -> None:
    """An unclosed temporary file would cause a ResourceWarning, which fails this test."""
    host, port = sandbox.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {sandbox.api_key}\r\n"
    part = '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    size = 8 * 1024 * 1024
    writer.write(f"{head}Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {2 * size}\r\n\r\n".encode())
    writer.write(part.encode() + b"x" * size)
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert await montra.list_meters() == []
    await asyncio.sleep(0.1)
    gc.collect()


async def test_a_form_with_too_many_parts_is_refused(ask: Ask) -> None:
    form = aiohttp.FormData({"file": "words"}, default_to_multipart=True)
    for number in range(2000):
        form.add_field(f"f{number}", "x")
    assert (await ask("POST", "/files", data=form))[0] == 400


async def test_pages_refuse_multipart_forms(sandbox: Sandbox) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{sandbox.url}/pay/x", data=aiohttp.FormData({"a": "b"}, default_to_multipart=True)) as answer,
    ):
        assert answer.status == 415


@pytest.mark.parametrize(
    ("method", "path", "header"),
    [
        ("GET", "/api/v1/customers/\xff", "X: y"),
        ("GET", "/api/v1/audit-logs?event_type=\xff", "X: y"),
        ("GET", "/api/v1/customers", "Authorization: Bearer \xff"),
        ("GET", "/api/v1/customers", "Origin: \xff"),
        ("POST", "/api/v1/customers", "Idempotency-Key: \xff"),
        ("GET", "/api/v1/paywall/pw_sandbox/user-state", "X-User-Email: \xff@x"),
        ("GET", "/api/v1/paywall/\xff/user-state", "X: y"),
        ("GET", "/api/v1/paywall/pw_sandbox/user?email=\xff@x", "X-Api-Key: sk_test_sandbox"),
        ("GET", "/api/v1/paywall/pw_sandbox/user-state", "Authorization: Bearer \xff"),
        ("GET", "/api/v1/paywall/pw_sandbox/user-state", "X-Api-Key: \xff"),
        ("POST", "/api/v1/api-gateway/echo/\xff?paywall_id=pw_sandbox", "X-User-ID: \xff"),
        ("POST", "/api/v1/api-gateway/\xff?paywall_id=\xff", "X-User-ID: x"),
        ("GET", "/_sandbox/paywalls/\xff", "X: y"),
        ("POST", "/_sandbox/deliveries/\xff/replay", "X: y"),
        ("GET", "/pay/\xff", "X: y"),
        ("GET", "/oauth/pw_sandbox?state=\xff", "X: y"),
        ("GET", "/portal/%ff", "X: y"),
        ("GET", "/files/%ED%A0%80", "X: y"),
        ("GET", "/\xff", "Sec-Fetch-Site: \xff"),
    ],
)
async def test_paths_and_headers_that_are_not_utf8_are_refused(
    sandbox: Sandbox, method: str, path: str, header: str
) -> None:
    host = "Host: " + sandbox.url.removeprefix("http://")
    key = "X: y" if header.startswith("Authorization") else f"Authorization: Bearer {sandbox.api_key}"
    if "/paywall/" in path or "gateway" in path:
        key = "X: y"
    body = b'{"name":"A","email":"a@x.fi"}' if method == "POST" else b""
    answer = await raw(sandbox.url, method, path, host, key, header, "Content-Type: application/json", body=body)
    assert 400 <= answer.status < 500
