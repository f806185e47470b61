"""Processes of `usage.py` that record, claim, fill or send.

python benchmarks/kit/usage_processes.py ROLE SETTINGS     SETTINGS: a JSON object, the keyword arguments of the role

A role prints `ready`, waits for a line, and prints its result as JSON.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from montra_async import Montra
from montra_async.usage import Outbox, OutboxSettings, Outcome, RedisOutbox, Settlement, SqliteOutbox, UsageReporter

KEY = "sk_test_benchmark"
NOWHERE = "http://127.0.0.1:9/api/v1"
METER = "api-tokens"


def outbox_at(place: str) -> Outbox:
    """An outbox in a file, or at a Redis URL."""
    return RedisOutbox(place) if place.startswith("redis://") else SqliteOutbox(place)


def reporter_at(place: str, base_url: str = NOWHERE, **settings: Any) -> UsageReporter:
    settings = {"verify_meters": False, "handle_sigterm": False, "exit_timeout": 0.01, **settings}
    return UsageReporter(Montra(KEY, base_url), outbox_at(place), **settings)


def customers(count: int) -> list[str]:
    return [f"cust_{number:08}" for number in range(count)]


def _ready() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def _memory(name: str) -> float:
    """`VmRSS` or `VmHWM` in megabytes; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return 0.0
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


async def record(place: str, tasks: int, seconds: float) -> dict[str, float]:
    """Record for some seconds. Returns the number of events, and quantiles of `record` in milliseconds."""
    usage = reporter_at(place, send=False)
    ids = customers(100)
    times: list[float] = []
    async with usage:
        _ready()
        end = time.perf_counter() + seconds

        async def task() -> None:
            number = 0
            now = time.perf_counter()
            while now < end:
                number += 1
                await usage.record(ids[number % 100], METER, amount=7)
                before, now = now, time.perf_counter()
                times.append(now - before)

        began = time.perf_counter()
        await asyncio.gather(*(task() for _ in range(tasks)))
        passed = time.perf_counter() - began
    times.sort()
    at = {name: times[int(share * (len(times) - 1))] * 1000 for name, share in (("p50", 0.5), ("p99", 0.99))}
    return {"rate": len(times) / passed, "worst": times[-1] * 1000, **at}


async def claim(place: str, seconds: float, base_url: str = NOWHERE) -> dict[str, float]:
    """Claim whatever is there, and settle it as delivered at once: the most that a sender can ask of an outbox."""
    outbox = outbox_at(place)
    outbox.open(OutboxSettings(base_url=base_url))
    _ready()
    began, count = time.perf_counter(), 0
    settlements: list[Settlement] = []
    while time.perf_counter() < began + seconds:
        exchange = outbox.exchange(settlements, 256)
        settlements = [Settlement(one, Outcome.DELIVERED) for one in exchange.requests]
        count += len(settlements)
        if not settlements:
            await asyncio.sleep(0.01)
    outbox.exchange(settlements, 0)
    passed = time.perf_counter() - began
    outbox.close()
    return {"rate": count / passed}


async def fill(place: str, base_url: str, events: int, customer_count: int, coalesce: bool) -> dict[str, float]:
    """Record a backlog."""
    usage = reporter_at(place, base_url, send=False, coalesce=[METER] if coalesce else [])
    ids = customers(customer_count)
    async with usage:
        _ready()
        numbers = iter(range(events))

        async def task() -> None:
            for number in numbers:
                await usage.record(ids[number % customer_count], METER, amount=7)

        await asyncio.gather(*(task() for _ in range(1000)))
    return {"events": events}


async def drain(place: str, base_url: str, coalesce: bool, seconds: float) -> dict[str, float]:
    """Send a backlog. Returns the seconds, what is left, and the memory before and at most."""
    usage = reporter_at(place, base_url, coalesce=[METER] if coalesce else [])
    _ready()
    before = _memory("VmRSS")
    began, cpu = time.perf_counter(), time.process_time()
    await usage.start()
    left = await usage.flush(seconds)
    found = {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "left": left,
        "before": before,
        "most": _memory("VmHWM"),
    }
    await usage.aclose()
    return found


class Process:
    """A process with a role. It starts its work at `go`."""

    def __init__(self, stack: ExitStack, role: str, **settings: Any) -> None:
        command = [sys.executable, __file__, role, json.dumps(settings)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        stack.callback(self._end)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise SystemExit(f"the process that should {role} has failed")

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def result(self) -> dict[str, float]:
        assert self._process.stdout is not None
        return dict(json.loads(self._process.stdout.readline()))

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()


def run_all(*roles: tuple[str, dict[str, Any]]) -> Sequence[dict[str, float]]:
    """Run processes that begin at the same time. Returns their results."""
    with ExitStack() as stack:
        processes = [Process(stack, role, **settings) for role, settings in roles]
        for process in processes:
            process.go()
        return [process.result() for process in processes]


def main() -> None:
    roles = {"record": record, "claim": claim, "fill": fill, "drain": drain}
    result = asyncio.run(roles[sys.argv[1]](**json.loads(sys.argv[2])))
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
