"""OpenTelemetry: spans, metrics and trace context of clients, webhook receivers, usage reporters and access.

    from montra_async.telemetry import instrument

    montra = Montra()
    instrument(montra)

Needs `pip install 'montra[otel]'`. Nothing of it is imported before this package is.
"""

from importlib import import_module

try:
    import_module("opentelemetry.trace")
except ImportError as error:
    raise ImportError("montra_async.telemetry needs OpenTelemetry: pip install 'montra[otel]'") from error

from .instrumenting import Telemetry, instrument, uninstrument

__all__ = ["Telemetry", "instrument", "uninstrument"]
