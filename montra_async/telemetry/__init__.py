"""OpenTelemetry: spans, metrics and trace context of clients, webhook receivers, usage reporters and access.

    from montra_async.telemetry import instrument

    montra = Montra()
    instrument(montra)

Needs `pip install 'montra[otel]'`. Nothing of it is imported before this package is.
"""

from importlib import import_module

from ..core.hints import missing_extra

try:
    import_module("opentelemetry.trace")
except ImportError as _error:
    raise missing_extra("montra_async.telemetry", "otel", _error) from None

from .instrumenting import Telemetry, instrument, uninstrument

__all__ = ["Telemetry", "instrument", "uninstrument"]
