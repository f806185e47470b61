"""`Recorder`: the tracer, the instruments, and the rule that no error of theirs reaches a call."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from opentelemetry import metrics, trace

from .._version import __version__
from ..core.concurrency import ProcessLock
from ..usage.logs import OccasionalLog
from .pool_metrics import PoolMetrics
from .usage_metrics import UsageMetrics

P = ParamSpec("P")
T = TypeVar("T")

SCHEMA = "https://opentelemetry.io/schemas/1.27.0"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Boundaries of the buckets that the semantic conventions give for the duration of HTTP requests."""

_COUNTS = (0.0, 1.0, 2.0, 3.0, 5.0, 10.0)

_log = OccasionalLog(time.monotonic)


def guarded(method: Callable[P, T]) -> Callable[P, T | None]:
    """Have a method return None instead of raising: telemetry that fails must not disturb a call."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return method(*args, **kwargs)
        except Exception as error:
            _log.write(logging.WARNING, method.__qualname__, "telemetry failed, the call goes on", exc_info=error)
            return None

    return call


class Recorder:
    """Makes spans and records metrics.

    Args:
        tracer_provider: of OpenTelemetry; None for the global one.
        meter_provider: of OpenTelemetry; None for the global one.

    Attributes:
        tracer: makes the spans.
        request_duration: seconds of an attempt.
        operation_duration: seconds of an operation.
        operation_attempts: attempts of an operation.
        webhook_events: webhooks by what became of them.
        webhook_duration: seconds that the handling of a webhook took.
        access_decisions: decisions about access.
        access_holds: holds that were asked for.
        pools: the connections of clients.
        usage: the queues of reporters.
    """

    def __init__(
        self, tracer_provider: trace.TracerProvider | None, meter_provider: metrics.MeterProvider | None
    ) -> None:
        self.tracer: trace.Tracer = trace.get_tracer("montra", __version__, tracer_provider, schema_url=SCHEMA)
        meter = metrics.get_meter("montra", __version__, meter_provider, schema_url=SCHEMA)
        histogram: Any = meter.create_histogram
        self.request_duration: metrics.Histogram = histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.operation_duration: metrics.Histogram = histogram(
            "montra.client.operation.duration",
            unit="s",
            description="Duration of calls with all their attempts and pauses.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.operation_attempts: metrics.Histogram = histogram(
            "montra.client.operation.attempts",
            unit="{attempt}",
            description="Requests that a call needed; none for one that was answered from a cache.",
            explicit_bucket_boundaries_advisory=_COUNTS,
        )
        self.webhook_events: metrics.Counter = meter.create_counter(
            "montra.webhook.events", "{event}", "Webhooks by what became of them."
        )
        self.webhook_duration: metrics.Histogram = histogram(
            "montra.webhook.duration",
            unit="s",
            description="Duration of the handling of a webhook.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.access_decisions: metrics.Counter = meter.create_counter(
            "montra.access.decisions", "{decision}", "Decisions about access, by where they come from."
        )
        self.access_holds: metrics.Counter = meter.create_counter(
            "montra.access.holds", "{hold}", "Holds that were asked for."
        )
        pools, usage = _observers(meter_provider, meter)
        self.pools: PoolMetrics = pools
        self.usage: UsageMetrics = usage


_Observers = tuple[PoolMetrics, UsageMetrics]

_observers_of: weakref.WeakKeyDictionary[metrics.MeterProvider, _Observers] = weakref.WeakKeyDictionary()
_guarding = ProcessLock()


def _observers(provider: metrics.MeterProvider | None, meter: metrics.Meter) -> _Observers:
    """Those of a provider, which all recorders share: an SDK leaves out callbacks of an instrument that it has."""
    given = metrics.get_meter_provider() if provider is None else provider
    with _guarding:
        found = _observers_of.get(given)
        if found is None:
            found = _moved(given) or (PoolMetrics(meter), UsageMetrics(meter))
            _observers_of[given] = found
        return found


def _moved(provider: metrics.MeterProvider) -> _Observers | None:
    """Those made before there was a global provider, when this is the first: it has got their instruments."""
    if provider is not metrics.get_meter_provider():
        return None
    for one in [one for one in _observers_of if type(one).__name__ == "_ProxyMeterProvider"]:
        return _observers_of.pop(one)
    return None
