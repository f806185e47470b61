"""Requests as curl and as Python: they send the same request, and hold nothing that is run by accident."""

from __future__ import annotations

import ast
import asyncio
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from montra_async import Montra
from montra_async.paywall import ApiGatewayClient, AuthClient, BillingClient
from montra_sandbox import Sandbox
from montra_sandbox.contract import read_contract
from montra_sandbox.dashboard.python_calls import literal, montra_call, paywall_call
from montra_sandbox.dashboard.snippets import as_curl, as_python
from montra_sandbox.json import dumps
from montra_sandbox.request_log import RecordedRequest

from .dashboard_http import DashboardHttp

ORIGIN = "http://127.0.0.1:4242"
CLIENTS = {"montra": Montra, "billing": BillingClient, "auth": AuthClient, "gateway": ApiGatewayClient}
HOSTILE = "'; touch /tmp/pwned; $(id) `id` \\ \" \n --output x #{7}\u2028"


def _request(**fields: Any) -> RecordedRequest:
    values: dict[str, Any] = {
        "sequence": 1,
        "id": "req_1",
        "at": "2026-01-01T00:00:00.000000Z",
        "service": "montra",
        "method": "POST",
        "path": "/api/v1/customers",
        "operation": "create_customer",
        "status": 200,
        "duration_ms": 1.0,
        "idempotency_key": None,
        "replayed": False,
        "fault": None,
        "error_code": None,
        "request_body": None,
        "response_body": None,
    }
    return RecordedRequest(**{**values, **fields})


def _words_of_shell(command: str) -> list[str]:
    """The words that a shell passes to curl."""
    script = 'curl() { printf "%s\\0" "$@"; }\n' + command
    run = subprocess.run(
        ["sh", "-c", script], capture_output=True, check=True, env={"MONTRA_API_KEY": "KEY"}, timeout=30
    )
    assert run.stderr == b""
    return [word.decode() for word in run.stdout.split(b"\0")[:-1]]


@pytest.mark.parametrize("text", [HOSTILE, "@/etc/passwd", "-", "", "a b"])
def test_curl_sends_what_was_sent(text: str) -> None:
    body = dumps({"name": text})
    request = _request(path=f"/api/v1/customers?q={text.replace(chr(10), '')}", request_body=body)
    words = _words_of_shell(as_curl(request, ORIGIN))
    assert words[:4] == ["--globoff", "-X", "POST", ORIGIN + request.path]
    assert words[4:6] == ["-H", "Authorization: Bearer KEY"]
    assert words[-2:] == ["--data-raw", body]


def test_curl_of_the_paywall_and_of_hidden_and_cut_bodies() -> None:
    words = _words_of_shell(as_curl(_request(service="paywall", method="GET"), ORIGIN))
    assert words[-1] == "X-Api-Key: KEY"
    hidden = as_curl(_request(request_body='{"password":"[hidden]"}'), ORIGIN)
    assert hidden.startswith("# [hidden]")
    assert as_curl(_request(request_body="x" * 16 * 1024), ORIGIN).startswith("# The body was cut off")
    assert "--data-raw" not in as_curl(_request(request_body="[12 bytes of image/png]"), ORIGIN)


def _example(name: str, schema: dict[str, Any]) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", schema.get("anyOf", [{}])[0].get("type", "string"))
    kind = kind[0] if isinstance(kind, list) else kind
    if schema.get("format") == "date-time" or ("anyOf" in schema and name in ("due_date", "end")):
        return "2027-01-31T00:00:00Z"
    return {"integer": 5, "number": 5, "boolean": True, "array": [], "object": {}}.get(kind, "text")


def _operations(service: str) -> list[Any]:
    return [pytest.param(service, operation, id=operation.id) for operation in read_contract(service).operations]


@pytest.mark.parametrize(("service", "operation"), [*_operations("montra"), *_operations("paywall")])
def test_every_operation_is_a_call_of_the_sdk(service: str, operation: Any) -> None:
    document = read_contract(service).document

    def resolve(node: Any) -> Any:
        while isinstance(node, dict) and "$ref" in node:
            target: Any = document
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            node = target
        return node

    described = document["paths"][operation.template][operation.method.lower()]
    shared = document["paths"][operation.template].get("parameters", [])
    parameters = [resolve(one) for one in [*shared, *described.get("parameters", [])]]
    path, query = (
        {one["name"]: _example(one["name"], resolve(one["schema"])) for one in parameters if one["in"] == place}
        for place in ("path", "query")
    )
    content = resolve(described.get("requestBody", {})).get("content", {})
    schema = resolve(next(iter(content.values()), {}).get("schema", {}))
    fields = {name: _example(name, resolve(one)) for name, one in schema.get("properties", {}).items()}
    path.pop("paywall_id", None)
    if operation.id == "check_entitlement":
        query.pop("feature")
    if service == "montra":
        call = montra_call(operation.id, path, {name: str(value) for name, value in query.items()}, fields)
    else:
        found = paywall_call(operation.id, path, fields)
        if operation.id == "track_events":  # the public client's own
            assert found is None
            return
        assert found is not None
        call = found
    method = getattr(CLIENTS[call.client], call.method)
    inspect.signature(method).bind(None, **call.arguments)
    if call.user:
        inspect.signature(CLIENTS[call.client].for_user).bind(None, **call.user)  # type: ignore[attr-defined]


def test_a_check_of_a_feature_is_another_method() -> None:
    call = montra_call("check_entitlement", {}, {"customer_id": "c", "feature": "sso"}, {})
    assert (call.method, call.arguments) == ("check_feature_access", {"customer_id": "c", "feature_slug": "sso"})
    assert paywall_call("unknown", {}, {}) is None
    debit = paywall_call("change_balance", {}, {"op": "debit", "type": "t", "amount": 1, "email": "a@b.c"})
    assert debit is not None
    assert (debit.method, debit.user) == ("debit_tokens", {"email": "a@b.c"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=200),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=30), inner, max_size=4),
    max_leaves=12,
)


@given(value=JSON)
def test_literals_have_their_value(value: Any) -> None:
    assert ast.literal_eval(literal(value)) == value


@given(body=st.dictionaries(st.text(max_size=30), JSON, max_size=5))
def test_no_body_becomes_code(body: dict[str, Any]) -> None:
    """Whatever a body holds: the program is one call with constants."""
    code = as_python(_request(request_body=dumps(body)), ORIGIN, "pw_sandbox")
    assert code is not None
    tree = ast.parse(code)
    [main] = [node for node in tree.body if isinstance(node, ast.AsyncFunctionDef)]
    calls = [ast.unparse(node.func) for node in ast.walk(main) if isinstance(node, ast.Call)]
    assert sorted(set(calls)) in (["Montra", "montra.create_customer", "print"],)
    assert not [node for node in ast.walk(main) if isinstance(node, ast.Import | ast.JoinedStr | ast.Lambda)]


def test_unknown_paths_have_no_python() -> None:
    assert as_python(_request(operation=None, path="/api/v1/nothing"), ORIGIN, "pw") is None
    assert as_python(_request(operation="create_customer", path="/api/v1/nothing"), ORIGIN, "pw") is None


async def test_the_programs_run(dashboard: DashboardHttp, montra: Montra, sandbox: Sandbox, tmp_path: Path) -> None:
    """The code of the page, run as it stands, makes the same call."""
    plan = await montra.create_pricing_model(name="P")
    ada = await montra.create_customer(name=HOSTILE, email="ada@example.com", metadata={"a": ["b", 1.5]})
    await montra.create_product(plan.id, name="P", price_type="recurring", amount=5)
    await montra.check_feature_access(ada.id, "sso")
    async with BillingClient(sandbox.paywall_id, sandbox.url, sandbox.api_key) as billing:
        await billing.for_user(email="eve@example.com", user_id="e1").create_checkout(
            101, success_url="http://x.example/"
        )
    made = list(sandbox.requests)
    for number, request in enumerate(made):
        shown = await dashboard.get(f"/dashboard/requests/{request.id}")
        assert shown.status == 200
        code = as_python(request, sandbox.url, sandbox.paywall_id)
        assert code is not None
        if request.operation == "create_customer":  # the address is taken
            code = code.replace("ada@example.com", "bob@example.com")
        program = tmp_path / f"program{number}.py"
        program.write_text(code)
        run = await asyncio.create_subprocess_exec(
            sys.executable, str(program), env={"MONTRA_API_KEY": sandbox.api_key, "PYTHONPATH": ":".join(sys.path)}
        )
        assert await asyncio.wait_for(run.wait(), 60) == 0, code
        again = sandbox.requests[-1]
        assert (again.operation, again.status) == (request.operation, 200)
        assert (
            again.json is None
            or again.json == {**request.json, "email": again.json.get("email", "")}
            or (again.json == request.json)
        )


async def test_the_list_of_requests(dashboard: DashboardHttp, montra: Montra, sandbox: Sandbox) -> None:
    page = "/dashboard/requests"
    assert "No requests yet" in (await dashboard.get(page)).text
    sandbox.add_fault(kind="drop_after", method="POST", path="/customers")
    await montra.create_customer(name="A", email="a@example.com", idempotency_key="key-1")
    await montra.list_customers()
    for query, count in (
        ("", 3),
        ("?method=post", 2),
        ("?path=/customers&failed=1", 1),
        ("?service=paywall", 0),
        ("?method=DELETE", 0),
        ("?page=2", 0),
    ):
        shown = await dashboard.get(page + query)
        assert len({link for link in shown.links if link.startswith(f"{page}/req_")}) == count, query
    shown = await dashboard.get(page)
    assert all(words in shown.text for words in ("no answer", "drop_after", "replayed", "create_customer"))
    dropped, replayed, _ = sandbox.requests
    one = await dashboard.get(f"{page}/{dropped.id}")
    assert "A fault closed the connection." in one.text or "drop_after" in one.text
    one = await dashboard.get(f"{page}/{replayed.id}")
    assert all(words in one.text for words in ("key-1", "the stored response was sent again", "$MONTRA_API_KEY"))
    assert sandbox.api_key not in one.text
    assert (await dashboard.get(f"{page}/req_none")).status == 404
    await dashboard.done(f"{page}/clear", page)
    assert "No requests yet" in (await dashboard.get(page)).text
