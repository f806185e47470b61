"""What the sandbox answers per second on one core: entitlement checks and usage reports, 32 at a time.

    nox -s bench -- --seconds 5

The sandbox runs in a process of its own; `per CPU second` divides by the CPU time that this process used, so that the
load generator beside it doesn't count. Results are printed as a table and as one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from montra_async import Montra

IN_FLIGHT = 32


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks / 100


async def measure(pid: int, call: Callable[[], Awaitable[object]], seconds: float) -> dict[str, float]:
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
    return {"requests": count, "per_second": count / wall, "per_cpu_second": count / used}


async def run(pid: int, base_url: str, seconds: float) -> dict[str, dict[str, float]]:
    async with Montra("sk_test_sandbox", base_url) as montra:
        plan = await montra.create_pricing_model(name="P", is_default=True)
        await montra.create_meter(name="T", slug="tokens", pricing_model_id=plan.id)
        ada = await montra.create_customer(name="A", email="a@example.com")

        def report() -> Awaitable[object]:
            return montra.report_usage(customer_id=ada.id, meter_slug="tokens", amount=7, metadata={"model": "m-1"})

        def check() -> Awaitable[object]:
            return montra.check_entitlement(ada.id, "tokens")

        await measure(pid, report, 0.5)
        return {
            "usage report": await measure(pid, report, seconds),
            "entitlement check": await measure(pid, check, seconds),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement")
    seconds: float = parser.parse_args().seconds
    server = subprocess.Popen(
        [sys.executable, "-m", "montra_sandbox", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        base_url = next(found[1] for line in server.stdout if (found := re.search(r"BASE_URL=(\S+)", line)))
        results = asyncio.run(run(server.pid, base_url, seconds))
    finally:
        server.terminate()
        server.wait(30)
    print(f"{'':20}{'requests/s':>12}{'per CPU second':>18}")
    for name, one in results.items():
        print(f"{name:20}{one['per_second']:12,.0f}{one['per_cpu_second']:18,.0f}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
