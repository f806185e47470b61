"""What an import costs: CPU time and memory of a fresh interpreter that imports one thing and ends.

    python benchmarks/import_time.py

`dependencies` is what montra stands on: aiohttp, attrs, cattrs, anyio. anyio imports its parts when they are used;
`dependencies, as a sync call uses them` has the parts that any blocking use of it needs.
"""

from __future__ import annotations

import os
import subprocess
import sys

from kit import options, report
from kit.contenders import taking_part
from kit.pairs import Row, Table, compare

DEPENDENCIES = "import aiohttp, attrs, cattrs, anyio"
STATEMENTS: dict[str, tuple[str, str | None]] = {
    "montra_async": ("import montra_async", None),
    "montra_sync": ("import montra_sync", None),
    "montra_async, a client made": ("from montra_async import Montra; Montra('sk_test_x')", None),
    "dependencies, as a sync call uses them": (f"{DEPENDENCIES}, anyio.from_thread, anyio._backends._asyncio", None),
    "nothing": ("pass", None),
    "asyncio": ("import asyncio", None),
    "aiohttp": ("import aiohttp", None),
    "httpx": ("import httpx", "httpx"),
    "requests": ("import requests", "requests"),
    "stripe": ("import stripe", "stripe"),
    "openai": ("import openai", "openai"),
}


def resources(statement: str) -> tuple[float, float]:
    """Milliseconds of CPU, and megabytes of memory at the most, of an interpreter that runs `statement`."""
    process = subprocess.Popen([sys.executable, "-c", statement])
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"failed: {statement}")
    kilobytes = used.ru_maxrss if sys.platform != "darwin" else used.ru_maxrss / 1024
    return (used.ru_utime + used.ru_stime) * 1e3, kilobytes / 1024


def main() -> None:
    given = options.parse(options.parser(__doc__, pieces=1))
    if not hasattr(os, "wait4"):
        print("left out: this system does not tell what a process has used", file=sys.stderr)
        return
    statements = taking_part(STATEMENTS, given.only)
    rows = compare(
        ("dependencies", lambda: resources(DEPENDENCIES)[0]),
        {name: lambda one=one: resources(one)[0] for name, one in statements.items()},
        pairs=given.pairs,
    )
    memory = [Row(name, resources(one)[1]) for name, one in {"dependencies": DEPENDENCIES, **statements}.items()]
    tables = [Table("An import", "CPU ms", rows), Table("An import's memory", "MB", memory)]
    report.write("import_time", tables, given.out)


if __name__ == "__main__":
    main()
