"""What the sandbox answers per second on one core: usage reports and entitlement checks, 32 at a time.

    python benchmarks/sandbox_capacity.py --seconds 10

The sandbox runs in a process of its own. `per second of its CPU` divides by the CPU time that this process used: the
load generator beside it doesn't count. Only Linux tells the CPU time of another process: elsewhere that table is
left out.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from kit import options, report
from kit.pairs import Row, Table

from montra_async import Montra

IN_FLIGHT = 32


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far; NaN where the system doesn't tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except FileNotFoundError:
        return math.nan
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def rates(pid: int, call: Callable[[], Awaitable[object]], seconds: float) -> tuple[float, float]:
    """Requests per second, and per second of the sandbox's CPU."""
    end = time.perf_counter() + seconds
    count = 0

    async def worker() -> None:
        nonlocal count
        while time.perf_counter() < end:
            await call()
            count += 1

    began, cpu = time.perf_counter(), cpu_seconds(pid)
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    wall, used = time.perf_counter() - began, cpu_seconds(pid) - cpu
    return count / wall, count / max(used, 0.01)  # the clock of /proc ticks every 10 ms


async def measured(pid: int, base_url: str, seconds: float) -> list[Table]:
    async with Montra("sk_test_sandbox", base_url) as montra:
        plan = await montra.create_pricing_model(name="P", is_default=True)
        await montra.create_meter(name="T", slug="tokens", pricing_model_id=plan.id)
        ada = await montra.create_customer(name="A", email="a@example.com")

        def usage_report() -> Awaitable[object]:
            return montra.report_usage(customer_id=ada.id, meter_slug="tokens", amount=7, metadata={"model": "m-1"})

        def entitlement_check() -> Awaitable[object]:
            return montra.check_entitlement(ada.id, "tokens")

        await rates(pid, usage_report, min(0.5, seconds))
        calls = {"usage reports": usage_report, "entitlement checks": entitlement_check}
        found = {name: await rates(pid, call, seconds) for name, call in calls.items()}
    by_wall = [Row(name, wall) for name, (wall, _) in found.items()]
    by_cpu = [Row(name, cpu) for name, (_, cpu) in found.items() if not math.isnan(cpu)]
    tables = [
        Table("The sandbox beside its load, on this machine", "requests/s", by_wall, better="more"),
        Table("The sandbox alone", "requests per second of its CPU", by_cpu, better="more"),
    ]
    return [table for table in tables if table.rows]


def main() -> None:
    parser = options.parser(__doc__, pieces=1)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement (default: 5)")
    given = options.parse(parser)
    command = [sys.executable, "-m", "montra_sandbox", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        base_url = next(found[1] for line in server.stdout if (found := re.search(r"BASE_URL=(\S+)", line)))
        seconds = 0.2 if given.quick else given.seconds
        tables = asyncio.run(measured(server.pid, base_url, seconds))
    finally:
        server.terminate()
        server.wait(30)
    report.write("sandbox_capacity", tables, given.out)


if __name__ == "__main__":
    main()
