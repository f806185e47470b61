"""The real SDK of OpenTelemetry, with exporters that keep everything in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from montra_async.telemetry import Telemetry


@attrs.define
class Seen:
    """What was exported.

    Attributes:
        tracer_provider: of the SDK.
        meter_provider: of the SDK.
        telemetry: with these providers.
    """

    tracer_provider: TracerProvider
    meter_provider: MeterProvider
    telemetry: Telemetry
    _exporter: InMemorySpanExporter
    _reader: InMemoryMetricReader

    def instrument(self, *things: object) -> None:
        self.telemetry.instrument(*things)

    def spans(self) -> list[ReadableSpan]:
        """All spans that have ended, in the order in which they began."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        found = self.named(name)
        assert len(found) == 1, [span.name for span in self.spans()]
        return found[0]

    def tree(self) -> dict[str, Any]:
        """Names below names. Spans with the same place and name are one."""
        children: dict[int | None, list[ReadableSpan]] = defaultdict(list)
        for span in self.spans():
            children[None if span.parent is None else span.parent.span_id].append(span)

        def below(parent: int | None) -> dict[str, Any]:
            return {span.name: below(span.context.span_id) for span in children[parent]}

        return below(None)

    def points(self, metric: str) -> list[Any]:
        """The data points of a metric."""
        data = self._reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for one in scope.metrics
            if one.name == metric
            for point in one.data.data_points
        ]

    def metrics(self) -> dict[str, list[Any]]:
        """The data points of all metrics."""
        found: dict[str, list[Any]] = {}
        data = self._reader.get_metrics_data()
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for one in scope.metrics:
                    found[one.name] = list(one.data.data_points)
        return found

    def value(self, metric: str, **labels: object) -> float:
        """The sum of the points of a metric that have these attributes; `_` stands for `.` in their names."""
        wanted = {name.replace("__", "."): value for name, value in labels.items()}
        fitting = [one for one in self.points(metric) if wanted.items() <= dict(one.attributes).items()]
        return sum(one.count if hasattr(one, "count") else one.value for one in fitting)

    def clear(self) -> None:
        self._exporter.clear()


def facts(span: ReadableSpan) -> dict[str, Any]:
    """The attributes of a span."""
    return dict(span.attributes or {})


@contextmanager
def _exporting() -> Generator[Seen, None, None]:
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracer_provider, meter_provider = TracerProvider(), MeterProvider([reader])
    tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry = Telemetry(tracer_provider=tracer_provider, meter_provider=meter_provider)
    yield Seen(tracer_provider, meter_provider, telemetry, exporter, reader)
    tracer_provider.shutdown()
    meter_provider.shutdown()


@pytest.fixture
def seen() -> Iterator[Seen]:
    with _exporting() as found:
        yield found


@pytest.fixture
def another() -> Iterator[Seen]:
    """Another application's, or the same with other providers."""
    with _exporting() as found:
        yield found
