"""Processes that hold and settle units of the same customers, for `access.py`.

python benchmarks/kit/access_holders.py SETTINGS     a JSON object, the arguments of `hold`; begins at a line of input
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from kit import neutral_server
from montra_async import Montra
from montra_async.access import Access

METER = "api-tokens"
YES = b'{"success":true,"data":{"has_access":true,"type":"meter","usage":1000,"limit":9000000000000}}'


@contextmanager
def answering() -> Iterator[str]:
    """The base URL of a server that says yes."""
    with neutral_server.running(YES) as origin:
        yield f"{origin}/api/v1"


class Unrecorded:
    """A reporter that tells of usage, and stores nothing."""

    def add_observer(self, observer: Any) -> None:
        self._observer = observer

    def remove_observer(self, observer: Any) -> None:
        pass

    async def record(self, customer_id: str, meter_slug: str, *, amount: Any = 1, **_: Any) -> None:
        self._observer.recorded(customer_id, meter_slug, amount)


async def hold_for(access: Access, numbers: Iterator[int], customers: Sequence[str]) -> None:
    """Hold and settle once per number."""
    for number in numbers:
        async with access.hold(customers[number % len(customers)], METER, estimate=2000) as held:
            held.amount = 1200


async def hold(url: str, base_url: str, customers: int, seconds: float) -> float:
    """Hold and settle in Redis with 64 tasks. Returns how often per second."""
    from montra_async.access import RedisHolds

    ids = [f"cust_{number}" for number in range(customers)]
    count = 0
    async with (
        Montra("sk_test_benchmark", base_url) as montra,
        Access(montra, Unrecorded(), ttl=3600, fleet=RedisHolds(url)) as access,
    ):
        await hold_for(access, iter(range(customers)), ids)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        end = time.perf_counter() + seconds

        def numbers() -> Iterator[int]:
            nonlocal count
            while time.perf_counter() < end:
                count += 1
                yield count

        began = time.perf_counter()
        await asyncio.gather(*(hold_for(access, numbers(), ids) for _ in range(64)))
        return count / (time.perf_counter() - began)


def run_holders(processes: int, **settings: Any) -> float:
    """Run some processes at once. Returns holds per second of all together."""
    command = [sys.executable, __file__, json.dumps(settings)]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    try:
        for process in running:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise SystemExit("a process that should hold has failed")
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return sum(float(process.communicate(timeout=300)[0]) for process in running)
    finally:
        for process in running:
            process.kill()
            process.wait()


if __name__ == "__main__":
    print(asyncio.run(hold(**json.loads(sys.argv[1]))), flush=True)
