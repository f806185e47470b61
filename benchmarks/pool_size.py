"""Calls per second to a service that takes its time, by `pool_size` and by the number of threads.

    python benchmarks/pool_size.py --milliseconds 50

Wall time, and no peers: this is how to choose a setting, not how quick we are.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from kit import options, report
from kit.neutral_server import running
from kit.pairs import Row, Table
from kit.request import KEY

import montra_async
import montra_sync

SIZES = (10, 50, 100, 200, 400)
THREADS = (1, 8, 32, 100)


async def by_pool(origin: str, size: int, calls: int) -> float:
    """Calls per second, when all of them come at once."""
    async with montra_async.Montra(KEY, origin, pool_size=size) as client:
        await asyncio.gather(*(client.get_customer("cust_1") for _ in range(size)))  # connections are opened before
        began = time.perf_counter()
        await asyncio.gather(*(client.get_customer("cust_1") for _ in range(calls)))
        return calls / (time.perf_counter() - began)


def by_threads(origin: str, threads: int, calls: int) -> float:
    """Calls per second, when every thread makes one after the other."""
    with montra_sync.Montra(KEY, origin) as client, ThreadPoolExecutor(threads) as pool:
        list(pool.map(client.get_customer, ["cust_1"] * threads))
        began = time.perf_counter()
        list(pool.map(client.get_customer, ["cust_1"] * calls))
        return calls / (time.perf_counter() - began)


def main() -> None:
    parser = options.parser(__doc__, pieces=2000)
    parser.add_argument("--milliseconds", type=float, default=50.0, help="what the service takes (default: 50)")
    given = options.parse(parser)
    where = f"to a service that takes {given.milliseconds:g} ms"
    with running(seconds=given.milliseconds / 1000) as origin:
        pools = [Row(f"pool_size={size}", asyncio.run(by_pool(origin, size, given.pieces))) for size in SIZES]
        threads = [
            Row(f"{count} thread{'s' * (count > 1)}", by_threads(origin, count, min(given.pieces, 40 * count)))
            for count in THREADS
        ]
    tables = [
        Table(f"montra_async, {given.pieces:,} calls at once {where}", "calls/s", pools, better="more"),
        Table(f"montra_sync, threads {where}", "calls/s", threads, better="more"),
    ]
    report.write("pool_size", tables, given.out)


if __name__ == "__main__":
    main()
