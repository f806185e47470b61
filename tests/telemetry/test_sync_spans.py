"""The synchronous clients: the caller's thread has the parent, the background loop makes the spans."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import montra_sync
import montra_sync.paywall
import montra_sync.telemetry
from montra_sandbox import Sandbox

from .conftest import Seen, facts


@pytest.fixture
def sync(sandbox: Sandbox, seen: Seen) -> Any:
    client = montra_sync.Montra(sandbox.api_key, sandbox.base_url)
    seen.instrument(client)
    yield client
    client.close()


async def test_many_threads_each_with_a_span_of_its_own(sync: Any, seen: Seen) -> None:
    tracer = seen.tracer_provider.get_tracer("application")

    def work(number: int) -> None:
        with tracer.start_as_current_span(f"job {number}"):
            sync.create_customer(name="A", email=f"{number}@example.com")
            sync.with_options(timeout=5).list_meters()

    def run() -> None:
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(work, range(40)))

    await asyncio.to_thread(run)
    below = {"montra.create_customer": {"POST /customers": {}}, "montra.list_meters": {"GET /meters": {}}}
    assert seen.tree() == {f"job {number}": below for number in range(40)}
    traces = {span.context.trace_id for span in seen.spans()}
    assert len(traces) == 40


async def test_an_iteration(sync: Any, seen: Seen) -> None:
    def run() -> int:
        for number in range(3):
            sync.create_pricing_model(name=f"Plan {number}")
        seen.clear()
        tracer = seen.tracer_provider.get_tracer("application")
        with tracer.start_as_current_span("export"):
            return sum(1 for _ in sync.iter_audit_logs(page_size=2))

    assert await asyncio.to_thread(run) >= 3
    assert seen.tree() == {"export": {"montra.iter_audit_logs": {"GET /audit-logs": {}}}}


async def test_a_stream(sandbox: Sandbox, seen: Seen) -> None:
    sandbox.set_provider(sandbox.paywall_id, "openai", events=["a"])

    def run() -> None:
        auth = montra_sync.paywall.AuthClient(sandbox.paywall_id, sandbox.url)
        auth.sign_in_anonymously()
        gateway = montra_sync.paywall.ApiGatewayClient(sandbox.paywall_id, sandbox.url, auth=auth)
        seen.instrument(gateway)
        with gateway.call("openai", body={}) as response:
            assert list(response.iter_sse())
        gateway.close()
        auth.close()

    await asyncio.to_thread(run)
    assert facts(seen.one("paywall.call"))["montra.attempts"] == 1


async def test_it_can_be_taken_off(sync: Any, seen: Seen) -> None:
    montra_sync.telemetry.uninstrument(sync)
    await asyncio.to_thread(sync.list_customers)
    assert seen.spans() == []
    montra_sync.telemetry.instrument(sync)
    seen.instrument(sync)
    await asyncio.to_thread(sync.list_customers)
    assert len(seen.spans()) == 2


PROGRAM = """
import os, sys
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from montra_sync import Montra
from montra_sync.telemetry import instrument

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
montra = Montra()
instrument(montra, tracer_provider=provider)
montra.list_customers()
exporter.clear()
child = os.fork()
montra.list_meters()
names = [span.name for span in exporter.get_finished_spans()]
assert names == ["GET /meters", "montra.list_meters"], names
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print("both")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_both_sides_of_a_fork(served: str) -> None:
    environment = {**os.environ, "MONTRA_BASE_URL": served, "MONTRA_API_KEY": "sk_test_sandbox"}
    code = [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c", PROGRAM]
    run = subprocess.run(code, capture_output=True, text=True, timeout=60, env=environment)
    assert run.stdout.strip() == "both", run.stderr


def test_a_client_on_one_loop_after_the_other(served: str, seen: Seen) -> None:
    from montra_async import Montra

    montra = Montra("sk_test_sandbox", served)
    seen.instrument(montra)
    for _ in range(2):
        asyncio.run(montra.list_customers())
    assert len(seen.named("montra.list_customers")) == 2
    assert seen.value("montra.client.pool.in_use") == 0
