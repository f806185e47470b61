"""Telemetry beside others: not used at all, aiohttp's own instrumentation, providers that fail, a collector."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from montra_async import Montra
from montra_async.telemetry import instrument
from montra_sandbox import Sandbox

from .conftest import Seen

UNUSED = """
import asyncio, sys
from montra_async import Montra
from montra_async.paywall import BillingClient
from montra_async.usage import UsageReporter
from montra_async.access import Access
from montra_async.webhooks import WebhookReceiver
import montra_sync

async def main():
    async with Montra() as montra:
        await montra.list_customers()
    async for _ in montra.iter_audit_logs():
        pass

asyncio.run(main())
tables = ("montra_endpoints", "paywall_endpoints", "telemetry")
ours = [name for name in sys.modules if name.startswith("montra_") and name.rpartition(".")[2] in tables]
print([name for name in sys.modules if name.startswith("opentelemetry")], ours)
"""


def run(code: str, base_url: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MONTRA_BASE_URL": base_url, "MONTRA_API_KEY": "sk_test_sandbox"}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60, env=environment
    )


def test_nothing_of_it_is_imported_when_it_is_not_used(served: str) -> None:
    assert run(UNUSED, served).stdout.strip() == "[] []"


@pytest.mark.parametrize("package", ["montra_async", "montra_sync"])
def test_without_its_extra_it_says_what_to_install(package: str) -> None:
    code = f"import sys; sys.modules['opentelemetry.trace'] = None\nimport {package}.telemetry"
    assert "pip install 'montra[otel]'" in run(code, "http://127.0.0.1:1").stderr


async def test_without_an_sdk_it_does_nothing(montra: Montra) -> None:
    instrument(montra)
    assert await montra.list_customers() == []


# The instrumentation of aiohttp


@pytest.fixture
def aiohttp_instrumented(seen: Seen) -> Iterator[None]:
    instrumentor = AioHttpClientInstrumentor()
    instrumentor.instrument(tracer_provider=seen.tracer_provider, meter_provider=seen.meter_provider)
    yield
    instrumentor.uninstrument()


async def test_requests_are_not_counted_twice(aiohttp_instrumented: None, sandbox: Sandbox, seen: Seen) -> None:
    async with Montra(sandbox.api_key, sandbox.base_url) as montra, Montra(sandbox.api_key, sandbox.base_url) as plain:
        seen.instrument(montra)
        await montra.list_customers()
        assert seen.tree() == {"montra.list_customers": {"GET /customers": {}}}
        assert seen.value("http.client.request.duration") == 1
        seen.clear()
        await plain.list_customers()
    assert list(seen.tree()) == ["GET"]  # a client without ours has theirs


# Providers that fail, or hang


class Broken(SpanProcessor):
    """Raises wherever it can."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        raise RuntimeError("broken at the start")

    def on_end(self, span: Any) -> None:
        raise RuntimeError("broken at the end")


class BrokenAtTheEnd(Broken):
    def on_start(self, span: Any, parent_context: Any = None) -> None: ...


@pytest.mark.parametrize("processor", [Broken, BrokenAtTheEnd])
async def test_a_provider_that_raises(
    montra: Montra, sandbox: Sandbox, processor: type[SpanProcessor], caplog: pytest.LogCaptureFixture
) -> None:
    provider = TracerProvider()
    provider.add_span_processor(processor())
    instrument(montra, tracer_provider=provider)
    for number in range(20):
        await montra.create_customer(name="A", email=f"{number}@example.com")
    assert [one async for one in montra.iter_audit_logs()]
    assert len(await montra.list_customers()) == 20
    assert 0 < sum("telemetry failed" in record.message for record in caplog.records) < 10
    assert not trace.get_current_span().get_span_context().is_valid
    provider.shutdown()


class Hanging(SpanExporter):
    """Hangs until the test ends."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.released = threading.Event()

    def export(self, spans: Any) -> SpanExportResult:
        self.reached.set()
        self.released.wait(60)
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self.released.set()


async def test_an_exporter_that_hangs(montra: Montra) -> None:
    exporter, provider = Hanging(), TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1, max_export_batch_size=1))
    instrument(montra, tracer_provider=provider)
    await montra.list_customers()
    assert await asyncio.to_thread(exporter.reached.wait, 30)
    for _ in range(20):
        await montra.list_customers()
    exporter.released.set()
    provider.shutdown()


# A collector: real HTTP, real protobuf


class Collector(ThreadingHTTPServer):
    """Receives what is exported by OTLP over HTTP."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receiving)
        self.spans: list[Any] = []
        self.metrics: list[Any] = []


class _Receiving(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.server.spans += [span for scope in resource.scope_spans for span in scope.spans]
        else:
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.server.metrics += [one for scope in resource.scope_metrics for one in scope.metrics]
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


async def test_what_a_collector_receives(montra: Montra, sandbox: Sandbox, collector: Collector) -> None:
    url = f"http://127.0.0.1:{collector.server_address[1]}"
    tracer_provider = TracerProvider()
    tracer_provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces")))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{url}/v1/metrics"), export_interval_millis=3_600_000)
    meter_provider = MeterProvider([reader])
    instrument(montra, tracer_provider=tracer_provider, meter_provider=meter_provider)
    sandbox.add_fault(kind="status", status=503, retry_after=0)
    await montra.create_customer(name="Ada", email="ada@example.com")
    await asyncio.to_thread(tracer_provider.shutdown)
    await asyncio.to_thread(meter_provider.shutdown)
    call = next(span for span in collector.spans if span.name == "montra.create_customer")
    requests = [span for span in collector.spans if span.name == "POST /customers"]
    assert [span.parent_span_id == call.span_id for span in requests] == [True, True]
    assert {span.kind for span in requests} == {3}  # client
    codes = [
        one.value.int_value for span in requests for one in span.attributes if one.key == "http.response.status_code"
    ]
    assert sorted(codes) == [200, 503]
    duration = next(one for one in collector.metrics if one.name == "http.client.request.duration")
    assert duration.unit == "s"
    assert sum(point.count for point in duration.histogram.data_points) == 2
    assert "ada" not in repr([*collector.spans, *collector.metrics]).lower().replace("data", "")
