"""No call is forgotten: each public call of every client is an operation, and each of its requests has a template."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import montra_sandbox
from montra_async import Montra
from montra_async.core.http.endpoints import EndpointTable
from montra_async.paywall import ApiGatewayClient, AuthClient, BillingClient
from montra_async.paywall.paywall_endpoints import ENDPOINTS as PAYWALL
from montra_async.resources.montra_endpoints import ENDPOINTS as MONTRA

from ..sandbox.test_leaks import Malicious, Watch, calls_of, clients, ended, made, server, signed_in, watch
from .conftest import Seen, facts

__all__ = ["server", "watch"]

ROOT = Path(__file__).parents[2]
CLIENTS = [(Montra, MONTRA), (BillingClient, PAYWALL), (AuthClient, PAYWALL), (ApiGatewayClient, PAYWALL)]
NO_OPERATIONS = {"aclose", "get_session", "get_prices", "with_raw_response"}
"""They send nothing themselves; `get_prices` is `list_prices`, and `with_raw_response` makes another call."""


@pytest.mark.parametrize(("client", "table"), CLIENTS)
def test_every_public_coroutine_is_an_operation(client: type, table: EndpointTable) -> None:
    public = {
        name
        for name, method in inspect.getmembers(client, inspect.isfunction)
        if not name.startswith("_") and (inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method))
    }
    assert public - set(table.calls()) == NO_OPERATIONS & public


def test_every_name_in_the_tables_is_a_call() -> None:
    for table, kinds in ((MONTRA, [Montra]), (PAYWALL, [BillingClient, AuthClient, ApiGatewayClient])):
        assert {name for name in table.calls() if not any(hasattr(kind, name) for kind in kinds)} == set()


def test_the_tables_are_fresh() -> None:
    run = subprocess.run(
        [sys.executable, "tools/generate_endpoints.py", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(("service", "table", "prefix"), [("montra", MONTRA, ""), ("paywall", PAYWALL, "/api")])
def test_every_endpoint_of_the_contract_has_a_template(service: str, table: EndpointTable, prefix: str) -> None:
    text = (Path(montra_sandbox.__file__).parent / "contract" / f"{service}.yaml").read_text()
    for path, methods in yaml.safe_load(text)["paths"].items():
        for method in methods:
            if method in ("get", "post", "patch", "delete", "put") and not path.endswith("/events"):
                filled = prefix + path.replace("{", "x").replace("}", "")
                endpoint = table.find(method.upper(), filled)
                assert endpoint is not None, filled
                shape = [part if part[:1] != "{" else "{}" for part in endpoint.template.split("/")]
                wanted = [part if part[:1] != "{" else "{}" for part in (prefix + path).split("/")]
                assert shape[: len(wanted)] == wanted
    assert table.find("GET", "/nothing") is None
    assert table.find("DELETE", f"{prefix}/customers") is None


async def test_every_call_has_its_span(seen: Seen, server: Malicious, watch: Watch) -> None:
    """Names and attributes are of a small set, whatever is asked and answered."""
    server.way = "echo 400"
    names: set[str] = set()
    for client in clients(server, watch, timeout=5, max_attempts=1):
        seen.instrument(client)
        table = MONTRA if isinstance(client, Montra) else PAYWALL
        for name in calls_of(type(client)):
            await signed_in(client)
            await ended(watch, made(client, name))
            roots = [span for span in seen.spans() if span.parent is None]
            requests = [span for span in seen.spans() if "montra.operation" not in facts(span)]
            expected = {"get_prices": "list_prices"}.get(name, name)
            if expected in table.calls():
                assert [span.name for span in roots] == [f"{table.service}.{expected}"]
            for span in requests:
                assert facts(span)["url.template"] in {
                    one for endpoints in table.calls().values() for _, one in endpoints
                }
                assert span.name == f"{facts(span)['http.request.method']} {facts(span)['url.template']}"
            names |= {span.name for span in seen.spans()}
            seen.clear()
        await client.aclose()
    assert len(names) > 80


SECRETS = ("canary", "x1", "a@example.com", "u1", "user_1", "example.com")


@pytest.mark.parametrize("way", ["echo 200", "echo 401", "echo 409", "echo 503", "garbage", "cut 200", "drop"])
async def test_nothing_that_names_somebody_is_exported(seen: Seen, server: Malicious, watch: Watch, way: str) -> None:
    server.way = way
    for client in clients(server, watch, timeout=5, max_attempts=2):
        seen.instrument(client)
        transport: Any = client._transport
        transport._jitter = lambda: 0.0
        for name in calls_of(type(client)):
            await signed_in(client)
            await ended(watch, made(client, name))
        await client.aclose()
    told: list[Any] = [point.attributes for points in seen.metrics().values() for point in points]
    for span in seen.spans():
        told += [span.name, facts(span), span.status.description]
        told += [(event.name, dict(event.attributes or {})) for event in span.events]
        told += [dict(link.attributes or {}) for link in span.links]
    said = [text for text in map(repr, told) if any(secret in text for secret in SECRETS)]
    assert said == []
    assert len(told) > 100
