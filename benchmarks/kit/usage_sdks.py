"""SDKs that report events, with one face: how each is used by its documentation, with its defaults.

Each event carries its marker, by which the collector finds it. Only the program of `losses.py` imports this.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .request import KEY


class Sdk(ABC):
    """An SDK in use."""

    @abstractmethod
    def record(self, marker: str) -> None:
        """Record one event."""

    def record_all(self, markers: Sequence[str]) -> None:
        """Record events as an application does that records each of them on its own."""
        for marker in markers:
            self.record(marker)

    @abstractmethod
    def flush(self, seconds: float) -> None:
        """What its documentation calls flush."""


class MontraNowait(Sdk):
    """`record_nowait` of the synchronous package."""

    def __init__(self, origin: str, folder: Path) -> None:
        import montra_sync
        from montra_sync.usage import SqliteOutbox, UsageReporter

        self._usage = UsageReporter(montra_sync.Montra(KEY, origin), SqliteOutbox(folder / "usage.db"))
        self._usage.start()

    def record(self, marker: str) -> None:
        self._usage.record_nowait("cust_1", "api-tokens", amount=7, metadata={"id": marker})

    def flush(self, seconds: float) -> None:
        self._usage.flush(seconds)


class MontraAwaited(Sdk):
    """`await record`, by 64 tasks."""

    def __init__(self, origin: str, folder: Path) -> None:
        from montra_async import Montra
        from montra_async.usage import SqliteOutbox, UsageReporter

        self._usage = UsageReporter(Montra(KEY, origin), SqliteOutbox(folder / "usage.db"))
        asyncio.run(self._usage.start())

    def record(self, marker: str) -> None:
        self.record_all([marker])

    def record_all(self, markers: Sequence[str]) -> None:
        asyncio.run(self._record_all(iter(markers)))

    async def _record_all(self, markers: Any) -> None:
        record = self._usage.record

        async def task() -> None:
            for marker in markers:  # all tasks take from one iterator
                await record("cust_1", "api-tokens", amount=7, metadata={"id": marker})

        await asyncio.gather(*(task() for _ in range(64)))

    def flush(self, seconds: float) -> None:
        asyncio.run(self._usage.flush(seconds))  # type: ignore[arg-type]


class Segment(Sdk):
    def __init__(self, origin: str, folder: Path) -> None:
        from segment.analytics.client import Client

        self._client = Client(KEY, host=origin)

    def record(self, marker: str) -> None:
        self._client.track("cust_1", "api-tokens", {"amount": 7, "id": marker})

    def flush(self, seconds: float) -> None:
        self._client.flush()


class PostHog(Sdk):
    def __init__(self, origin: str, folder: Path) -> None:
        from posthog import Posthog

        self._client = Posthog(KEY, host=origin)

    def record(self, marker: str) -> None:
        self._client.capture("api-tokens", distinct_id="cust_1", properties={"amount": 7, "id": marker})

    def flush(self, seconds: float) -> None:
        self._client.flush()


class OpenTelemetry(Sdk):
    """Spans through the batch processor, exported with OTLP over HTTP."""

    def __init__(self, origin: str, folder: Path) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._provider = TracerProvider()
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{origin}/v1/traces")))
        self._tracer = self._provider.get_tracer("benchmark")

    def record(self, marker: str) -> None:
        self._tracer.start_span("api-tokens", attributes={"amount": 7, "id": marker}).end()

    def flush(self, seconds: float) -> None:
        self._provider.force_flush(int(seconds * 1000))


class Snowplow(Sdk):
    def __init__(self, origin: str, folder: Path) -> None:
        from snowplow_tracker import AsyncEmitter, StructuredEvent, Tracker

        self._event: Callable[..., Any] = StructuredEvent
        self._tracker = Tracker(namespace="benchmark", emitters=AsyncEmitter(origin, batch_size=100))

    def record(self, marker: str) -> None:
        self._tracker.track(self._event(category="usage", action="api-tokens", label=marker, value=7))

    def flush(self, seconds: float) -> None:
        self._tracker.flush()


class Schematic(Sdk):
    def __init__(self, origin: str, folder: Path) -> None:
        from schematic.client import Schematic as Client, SchematicConfig

        self._client = Client(KEY, SchematicConfig(base_url=origin, event_capture_url=origin))

    def record(self, marker: str) -> None:
        self._client.track("api-tokens", company={"id": "cust_1"}, traits={"id": marker}, quantity=7)

    def flush(self, seconds: float) -> None:
        self._client.event_buffer.flush()


SDKS: dict[str, tuple[type[Sdk], str | None]] = {
    "montra, await record": (MontraAwaited, None),
    "montra, record_nowait": (MontraNowait, None),
    "segment-analytics-python": (Segment, "segment"),
    "posthog": (PostHog, "posthog"),
    "opentelemetry-sdk, batch processor": (OpenTelemetry, "opentelemetry.exporter.otlp"),
    "snowplow-tracker": (Snowplow, "snowplow_tracker"),
    "schematichq": (Schematic, "schematic"),
}
"""By name: the face, and the package that it needs."""


def make(name: str, origin: str, folder: Path) -> Sdk:
    logging.disable(logging.CRITICAL)
    with contextlib.suppress(KeyError):
        return SDKS[name][0](origin, folder)
    raise SystemExit(f"no SDK {name!r}")
