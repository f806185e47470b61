"""Instructions of one typed POST, counted by callgrind, against naive aiohttp and a hand-written typed call.

    python benchmarks/instructions.py --in-flight 32

Counts hardly vary between runs (within 1 %), so small differences show. Needs valgrind; without it nothing is measured.
The count of one call is the difference of a long and a short run, divided by their difference in calls.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import subprocess
import sys
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

import aiohttp
import attrs
import cattrs
from async_call import Call, Make, montra, naive
from kit import options, report
from kit.neutral_server import running
from kit.pairs import Row, Table
from kit.request import BODY, headers

_COLLECTED = re.compile(r"Collected : (\d+)")
_SHORT = 64


@attrs.frozen
class _Customer:
    id: str
    name: str
    email: str
    status: str
    created_at: datetime
    phone: str | None
    metadata: dict[str, Any]


async def hand_written(origin: str, stack: AsyncExitStack) -> Call:
    """Naive aiohttp, and cattrs for the model."""
    session = await stack.enter_async_context(aiohttp.ClientSession())
    converter = cattrs.Converter()
    converter.register_structure_hook(datetime, lambda text, _: datetime.fromisoformat(text.replace("Z", "+00:00")))

    async def call() -> object:
        async with session.post(f"{origin}/customers", json=BODY, headers=headers()) as response:
            response.raise_for_status()
            return converter.structure((await response.json())["data"], _Customer)

    return call


MAKERS: dict[str, Make] = {"naive aiohttp": naive, "hand-written, typed": hand_written, "montra (typed)": montra}


async def _work(make: Make, origin: str, calls: int, in_flight: int) -> None:
    async with AsyncExitStack() as stack:
        call = await make(origin, stack)
        left = calls

        async def worker() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await call()

        await asyncio.gather(*(worker() for _ in range(in_flight)))


def count(name: str, origin: str, calls: int, in_flight: int) -> int:
    """Instructions of a whole process that makes so many calls."""
    work = [sys.executable, __file__, "--work", name, "--origin", origin, "--in-flight", str(in_flight)]
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    done = subprocess.run(
        [*valgrind, *work, "--pieces", str(calls)],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    found = _COLLECTED.search(done.stderr)
    assert found is not None, done.stderr[-2000:]
    return int(found[1])


def measure(name: str, origin: str, calls: int, in_flight: int) -> float:
    """Thousands of instructions of one call."""
    long, short = count(name, origin, _SHORT + calls, in_flight), count(name, origin, _SHORT, in_flight)
    print(f"  {name}: counted", file=sys.stderr, flush=True)
    return (long - short) / calls / 1000


def main() -> None:
    parser = options.parser(__doc__, pieces=256)
    parser.add_argument("--in-flight", type=int, default=32, help="calls at the same time (default: 32)")
    parser.add_argument("--work", choices=MAKERS, help=argparse.SUPPRESS)
    parser.add_argument("--origin", default="", help=argparse.SUPPRESS)
    given = options.parse(parser)
    if given.work:
        asyncio.run(_work(MAKERS[given.work], given.origin, given.pieces, given.in_flight))
        return
    if shutil.which("valgrind") is None:
        print("instructions: nothing was measured, valgrind is not installed")
        return
    with running() as origin:
        costs = {name: measure(name, origin, given.pieces, given.in_flight) for name in MAKERS}
    base = costs["naive aiohttp"]
    rows = [Row(name, cost, cost / base) for name, cost in costs.items()]
    table = Table(f"One async call, {given.in_flight} in flight", "thousand instructions", rows)
    report.write("instructions", [table], given.out)


if __name__ == "__main__":
    main()
