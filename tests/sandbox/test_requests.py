"""`sandbox.requests`: what both APIs received, for assertions and for people."""

from __future__ import annotations

import json
from functools import partial

import aiohttp
import pytest
from hypothesis import given, strategies as st

from montra_async import Montra, MontraError
from montra_async.paywall import AuthClient
from montra_sandbox import Problem, Sandbox
from montra_sandbox.request_log import MAX_BODY, RecordedRequest, RequestLog, shown_body, shown_path


async def test_a_call_is_recorded_with_its_response(sandbox: Sandbox, montra: Montra) -> None:
    ada = await montra.create_customer(name="Ada", email="ada@example.com", idempotency_key="signup-ada")
    await montra.create_customer(name="Ada", email="ada@example.com", idempotency_key="signup-ada")
    with pytest.raises(MontraError):
        await montra.get_customer("cust_unknown")
    first, again, missing = sandbox.requests
    assert (first.service, first.method, first.path) == ("montra", "POST", "/api/v1/customers")
    assert (first.operation, first.status, first.idempotency_key) == ("create_customer", 200, "signup-ada")
    assert first.json == {"name": "Ada", "email": "ada@example.com"}
    assert first.response_json["data"]["id"] == ada.id
    assert (first.replayed, again.replayed) == (False, True)
    assert (missing.operation, missing.status, missing.error_code, missing.failed) == (
        "get_customer",
        404,
        "not_found",
        True,
    )
    assert (first.sequence, again.sequence, missing.sequence) == (1, 2, 3)
    json.dumps([one.to_dict() for one in sandbox.requests])


async def test_requests_are_found(sandbox: Sandbox, montra: Montra) -> None:
    await montra.create_customer(name="Ada", email="ada@example.com")
    await montra.list_customers()
    with pytest.raises(MontraError):
        await montra.get_invoice("in_unknown")
    requests = sandbox.requests
    assert [one.operation for one in requests.find(method="get")] == ["list_customers", "get_invoice"]
    assert [one.operation for one in requests.find(path="/customers")] == ["create_customer", "list_customers"]
    assert [one.operation for one in requests.find(failed=True)] == ["get_invoice"]
    assert [one.operation for one in requests.find(operation="list_customers")] == ["list_customers"]
    assert [one.sequence for one in requests.find(after=1)] == [2, 3]
    assert [one.sequence for one in requests.find(limit=1)] == [3]
    assert requests.find(limit=0) == []
    assert (len(requests), requests[-1].operation, [one.sequence for one in requests[:2]]) == (3, "get_invoice", [1, 2])
    requests.clear()
    assert list(requests) == []
    with pytest.raises(Problem, match="path: a string"):
        requests.find(path=5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "path", ["/api/v1/customers", "/api/v1/paywall/pw_sandbox/bootstrap", "/api/paywall/cancel-subscription"]
)
async def test_the_path_of_a_request_is_one_for_a_fault(sandbox: Sandbox, path: str) -> None:
    async with aiohttp.ClientSession() as session:
        await session.get(sandbox.url + path)
        sandbox.add_fault(kind="status", status=418, path=sandbox.requests[-1].path)
        async with session.get(f"{sandbox.url}/api/v1/meters") as other, session.get(sandbox.url + path) as response:
            assert (other.status == 418, response.status) == (False, 418)


async def test_faults_are_told(sandbox: Sandbox, montra: Montra) -> None:
    sandbox.add_fault(kind="drop_after", method="POST")
    await montra.create_customer(name="Ada", email="ada@example.com")
    sandbox.add_fault(kind="rate_limit", retry_after=0)
    await montra.list_customers()
    dropped, repeated, limited, listed = sandbox.requests
    assert (dropped.fault, dropped.status, dropped.response_body, dropped.failed) == ("drop_after", None, None, True)
    assert (repeated.fault, repeated.replayed) == (None, True)
    assert dropped.idempotency_key == repeated.idempotency_key
    assert (limited.fault, limited.status, limited.error_code) == ("rate_limit", 429, "rate_limited")
    assert not listed.failed


async def test_a_response_has_its_id(sandbox: Sandbox) -> None:
    headers = {"Authorization": f"Bearer {sandbox.api_key}"}
    async with aiohttp.ClientSession(headers=headers) as http, http.get(f"{sandbox.base_url}/customers") as response:
        assert response.headers["X-Request-Id"] == sandbox.requests[-1].id


async def test_paths_that_there_are_not_and_bodies_that_are_no_json(sandbox: Sandbox) -> None:
    sandbox.watch.answers = False  # type: ignore[attr-defined]
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {sandbox.api_key}"}) as http:
        await http.post(f"{sandbox.base_url}/nothing", data=b"\xff\x00", headers={"Content-Type": "image/png"})
        await http.post(f"{sandbox.base_url}/customers", data=b"{", headers={"Content-Type": "application/json"})
    unknown, broken = sandbox.requests
    assert (unknown.operation, unknown.status, unknown.error_code) == (None, 404, "unknown_route")
    assert (broken.request_body, broken.json, broken.error_code) == ("{", None, "invalid_json")


async def test_secrets_are_hidden(sandbox: Sandbox) -> None:
    sandbox.set_paywall(sandbox.paywall_id, require_confirmation=True)
    async with AuthClient(sandbox.paywall_id, sandbox.url) as auth:
        await auth.sign_up("ada@example.com", "correct horse battery")
        [mail] = sandbox.mails()
        await auth.verify_otp("ada@example.com", mail["token"], type="signup")
    async with Montra(sandbox.api_key, sandbox.base_url) as montra:
        secret = (await montra.create_webhook(url="http://127.0.0.1:9/")).secret
    shown = json.dumps([one.to_dict() for one in sandbox.requests])
    for hidden in ("correct horse battery", mail["token"], secret, sandbox.api_key):
        assert str(hidden) not in shown
    assert "ada@example.com" in shown
    assert shown.count("[hidden]") >= 5


@given(
    name=st.sampled_from(
        ["password", "new_password", "access_token", "refreshToken", "secret", "api_key", "auth_code"]
    ),
    value=st.text(min_size=1),
    cut=st.integers(0, 60),
)
def test_no_part_of_a_secret_is_shown_wherever_a_body_is_cut(name: str, value: str, cut: int) -> None:
    marked = f"SECRET{value}SECRET"
    text = json.dumps({"email": "a@example.com", name: marked, "rest": [1]}).encode()
    start = text.index(b"SECRET")
    shown = shown_body(text[: start + cut], "application/json")
    assert shown is not None
    assert "SECRET" not in shown
    assert "a@example.com" in shown


@pytest.mark.parametrize(
    "body",
    [
        rb'{"pass\u0077ord": "SECRET", "email": "a"}',
        b'{"password": ["SECRET"], "email": "a"}',
        b'{"a": [{"access_token": {"x": "SECRET"}}], "email": "a"}',
        b'{"password": 5123, "email": "a"}',
        rb'{"email": "a", "pass\u0077ord": "SECRET',
    ],
)
def test_secrets_are_hidden_however_they_are_written(body: bytes) -> None:
    shown = shown_body(body, "application/json") or ""
    assert "SECRET" not in shown
    assert "5123" not in shown
    assert '"a"' in shown
    assert "[hidden]" in shown


def test_bodies_and_paths_are_bounded() -> None:
    assert len(shown_body(b"x" * 10**6, "text/plain") or "") == MAX_BODY
    assert shown_body(b"\x89PNG" * 1000, "image/png") == "[4,000 bytes of image/png]"
    assert shown_body(b"", "text/plain") is None
    assert len(shown_path("/a" * 10_000)) == 2_000
    assert shown_path("/oauth?state=abc&code=def&plan=1") == "/oauth?state=[hidden]&code=[hidden]&plan=1"
    assert shown_path("/x?%74oken=abc&plan") == "/x?%74oken=[hidden]&plan"


def test_the_newest_thousand_are_kept() -> None:
    log = RequestLog()
    for _ in range(1_500):
        log.add(partial(_recorded, log.next_sequence()))
    kept = [one.sequence for one in log]
    assert (len(kept), kept[0], kept[-1]) == (1_000, 501, 1_500)
    log.clear()
    assert log.next_sequence() == 1_501


def _recorded(sequence: int) -> RecordedRequest:
    return RecordedRequest(
        sequence=sequence,
        id="req_1",
        at="2026-01-01T00:00:00.000000Z",
        service="montra",
        method="GET",
        path="/",
        operation=None,
        status=200,
        duration_ms=1.0,
        idempotency_key=None,
        replayed=False,
        fault=None,
        error_code=None,
        request_body=None,
        response_body=None,
    )
