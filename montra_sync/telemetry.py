"""OpenTelemetry for synchronous code: spans have the current span of the calling thread as their parent.

    from montra_sync.telemetry import instrument

    montra = Montra()
    instrument(montra)

By hand: the same as `montra_async.telemetry`, which takes objects of both packages.
"""

from montra_async.telemetry import Telemetry, instrument, uninstrument

__all__ = ["Telemetry", "instrument", "uninstrument"]
