"""Access at memory speed: checks, holds, memory per answer, and holds that a fleet shares in Redis.

    python benchmarks/access.py
    python benchmarks/access.py --only memory         only the sections with this in their name

Sections: memory, size, redis. Everything is asked once before the clock starts, so that every check is a hit. Holds
are measured with a reporter that stores nothing (the hold itself), and with one that stores in SQLite by 64 tasks at
once. Targets are the project's own.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import inspect
import itertools
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path

from kit import options, redis_server, report
from kit.access_holders import METER, Unrecorded, answering, hold_for, run_holders
from kit.pairs import Row, Table
from kit.request import KEY

from montra_async import Montra
from montra_async.access import Access
from montra_async.usage import SqliteOutbox, UsageReporter

CUSTOMER = "cust_1"


class Run:
    """The options.

    Args:
        given: of the command line.
        base_url: of a server that says yes to everybody.
    """

    def __init__(self, given: argparse.Namespace, base_url: str) -> None:
        self.base_url = base_url
        self.pieces: int = 500 if given.quick else given.pieces
        self.rounds: int = 2 if given.quick else max(5, given.pairs)
        self.seconds: float = 0.3 if given.quick else given.seconds

    def client(self) -> Montra:
        return Montra(KEY, self.base_url)


async def _per_call(run: Run, some: Callable[[int], Awaitable[None]]) -> float:
    """Microseconds of the thread's CPU per call, the median of some rounds."""
    await some(100)
    found: list[float] = []
    for _ in range(run.rounds):
        began = time.thread_time()
        await some(run.pieces)
        found.append((time.thread_time() - began) / run.pieces * 1e6)
    return statistics.median(found)


async def _in_memory(run: Run) -> list[Row]:
    async with run.client() as montra, Access(montra, Unrecorded(), ttl=3600) as access:
        await access.check(CUSTOMER, meter=METER)

        async def nothing(count: int) -> None:
            for _ in range(count):
                pass

        async def peek(count: int) -> None:
            for _ in range(count):
                access.peek(CUSTOMER, meter=METER)

        async def check(count: int) -> None:
            for _ in range(count):
                await access.check(CUSTOMER, meter=METER)

        async def hold(count: int) -> None:
            for _ in range(count):
                async with access.hold(CUSTOMER, METER, estimate=2000) as held:
                    held.amount = 1200

        empty = await _per_call(run, nothing)
        return [
            Row("peek, hit", await _per_call(run, peek) - empty, target=0.5),
            Row("await check, hit", await _per_call(run, check) - empty, target=1.0),
            Row("async with hold, settled", await _per_call(run, hold) - empty, target=None),
            Row("reserve and settle a hold: the counter", await _per_call(run, _counter(access)) - empty, target=0.6),
        ]


def _counter(access: Access) -> Callable[[int], Awaitable[None]]:
    """Holds without the reporter and the checks of arguments: what a framework guard of one's own would pay."""

    async def some(count: int) -> None:
        ledger, clock = access._ledger, access._clock
        hold = access.hold(CUSTOMER, METER, estimate=2000)
        hold.expires_at = clock() + 3600
        for _ in range(count):
            ledger.reserve(hold, clock())
            ledger.settle(hold, 1200)

    return some


async def _recorded(run: Run, folder: str) -> Row:
    async with run.client() as montra:
        usage = UsageReporter(montra, SqliteOutbox(Path(folder) / "usage.db"), send=False, handle_sigterm=False)
        async with usage, Access(montra, usage, ttl=3600) as access:

            async def some(count: int) -> None:
                numbers = iter(range(count))
                await asyncio.gather(*(hold_for(access, numbers, [CUSTOMER]) for _ in range(64)))

            return Row("hold, settled and stored in SQLite, 64 tasks", await _per_call(run, some))


def memory(run: Run) -> list[Table]:
    rows = asyncio.run(_in_memory(run))
    with tempfile.TemporaryDirectory() as folder:
        rows.append(asyncio.run(_recorded(run, folder)))
    return [Table("Access in memory", "CPU us of the loop's thread", rows)]


def size(run: Run) -> list[Table]:
    async def measured(count: int) -> float:
        ids = [f"cust_{number}" for number in range(count)]
        async with run.client() as montra, Access(montra, max_entries=2 * count, ttl=3600) as access:
            await access.check(CUSTOMER, meter=METER)
            numbers = iter(ids)

            async def task() -> None:
                for customer_id in numbers:
                    await access.check(customer_id, meter=METER)

            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            await asyncio.gather(*(task() for _ in range(32)))
            gc.collect()
            used = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
            return used / count

    count = min(10_000, run.pieces)
    return [
        Table(f"Memory of an answer, {count:,} customers", "bytes", [Row("one answer", asyncio.run(measured(count)))])
    ]


def redis(run: Run) -> list[Table]:
    if "fleet" not in inspect.signature(Access).parameters:
        print("Access has no `fleet`, left out", file=sys.stderr)
        return []
    if not redis_server.is_there():
        return []
    rows: list[Row] = []
    for processes, customers in itertools.product((1, 4), (1, 100)):
        with redis_server.running() as url:
            rate = run_holders(processes, url=url, base_url=run.base_url, customers=customers, seconds=run.seconds)
        name = f"{processes} process{'es' * (processes > 1)}, {customers} customer{'s' * (customers > 1)}"
        rows.append(Row(name, rate, target=6_000 if processes == 1 else None))
    return [Table("hold + settle in Redis, 64 tasks per process", "holds/s", rows, better="more")]


SECTIONS: dict[str, Callable[[Run], list[Table]]] = {"memory": memory, "size": size, "redis": redis}


def main() -> None:
    parser = options.parser(__doc__, pieces=20_000)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a measurement with Redis (default: 5)")
    given = options.parse(parser)
    tables: list[Table] = []
    with answering() as base_url:
        run = Run(given, base_url)
        for name, section in SECTIONS.items():
            if given.only in name:
                tables += section(run)
    if tables:
        report.write("access", tables, given.out)


if __name__ == "__main__":
    main()
