"""What telemetry costs one asynchronous POST: not used, without an SDK, and with an SDK that keeps spans in memory.

    python benchmarks/telemetry.py --pairs 15 --in-flight 32

CPU time of this process per call, in interleaved pairs with a client without telemetry.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from async_call import Call, Make, cost, montra
from kit import options, report
from kit.contenders import is_installed
from kit.neutral_server import running
from kit.pairs import Measure, Table, compare
from kit.request import KEY

from montra_async import Montra


def _call(client: Montra) -> Call:
    return lambda: client.create_customer(
        name="Ada Lovelace", email="ada@example.com", metadata={"team": "engines", "seats": 12}
    )


async def without_sdk(origin: str, stack: AsyncExitStack) -> Call:
    """The global providers, which record nothing."""
    from montra_async.telemetry import instrument

    client = await stack.enter_async_context(Montra(KEY, origin, pool_size=512))
    instrument(client)
    return _call(client)


async def with_sdk(origin: str, stack: AsyncExitStack) -> Call:
    """Spans go to an exporter in memory, behind a batch; metrics are read at the end."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from montra_async.telemetry import instrument

    tracers, meters = TracerProvider(), MeterProvider([InMemoryMetricReader()])
    tracers.add_span_processor(BatchSpanProcessor(InMemorySpanExporter()))
    stack.callback(tracers.shutdown)
    client = await stack.enter_async_context(Montra(KEY, origin, pool_size=512))
    instrument(client, tracer_provider=tracers, meter_provider=meters)
    return _call(client)


MAKERS: dict[str, tuple[Make, str]] = {
    "telemetry, no SDK": (without_sdk, "opentelemetry"),
    "telemetry, SDK in memory": (with_sdk, "opentelemetry.sdk"),
}


def main() -> None:
    parser = options.parser(__doc__, pieces=2000)
    parser.add_argument("--in-flight", type=int, default=32, help="calls at the same time (default: 32)")
    given = options.parse(parser)
    makers = {name: make for name, (make, package) in MAKERS.items() if is_installed(package)}
    with running() as origin:

        def measure(make: Make) -> Measure:
            return lambda: asyncio.run(cost(make, origin, given.pieces, given.in_flight))

        others = {"not used, again": measure(montra), **{name: measure(make) for name, make in makers.items()}}
        rows = compare(("not used", measure(montra)), others, pairs=given.pairs)
    report.write("telemetry", [Table(f"One async call, {given.in_flight} in flight", "CPU us", rows)], given.out)


if __name__ == "__main__":
    main()
