"""How many of 1,000 recorded events arrive, by how the process ends: ours beside SDKs that report events.

    python benchmarks/losses.py
    python benchmarks/losses.py --only montra

Each figure is of a process of its own, with the SDK's defaults, and a loopback server that accepts everything at once.
`plain exit`: the program ends without a flush. SIGTERM and SIGKILL come right after the last call. `burst`: 50,000
events at once, then what the SDK calls flush. `fork`: the parent records 500 and forks, the child records 500, both
flush. The cost is the CPU time of the calling thread.

Ours keeps in its outbox what could not be sent; where a figure needed the next start of a process with the same
outbox, it says how many had arrived before that. `await record` has returned for every event that counts; of
`record_nowait`, a SIGKILL may lose the last few milliseconds.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from kit import collector, options, report
from kit.contenders import taking_part
from kit.pairs import Row, Table
from kit.usage_sdks import SDKS

PROGRAM = Path(__file__).parent / "kit" / "loss_program.py"
CASES = ("plain exit", "SIGTERM", "SIGKILL", "burst", "fork")


@dataclass
class Result:
    """What became of the events of one process."""

    recorded: int
    arrived: int
    doubled: int = 0
    arrived_from: dict[str, int] = field(default_factory=dict)
    before_next_start: int | None = None
    timed_out: bool = False

    def __str__(self) -> str:
        notes = [f"{self.doubled:,} doubled"] if self.doubled else []
        if self.before_next_start is not None and self.before_next_start < self.arrived:
            notes.append(f"{self.before_next_start:,} before the next start")
        if self.timed_out:
            notes.append("did not end")
        return f"{self.arrived:,}" + (f" ({', '.join(notes)})" if notes else "")


def environment() -> dict[str, str]:
    """Without proxies: the server is on this machine."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    root = str(PROGRAM.parents[2])
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, [root, kept.get("PYTHONPATH")]))}


def run(arguments: Sequence[str], seconds: float) -> tuple[str, bool]:
    """Run the program and its children. Returns what it printed, and whether it ended in time."""
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    try:
        out, _ = process.communicate(timeout=seconds)
        return out, True
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, _ = process.communicate()
        return out, False


def lose(name: str, case: str, events: int, seconds: float) -> Result:
    with tempfile.TemporaryDirectory() as folder, collector.running() as server:

        def once(case: str) -> bool:
            return run([name, case, server.origin, folder, str(events), str(seconds)], 2 * seconds)[1]

        in_time = once(case)
        counts = server.settled_counts()
        before = None
        if name.startswith("montra") and counts["arrived"] < events:
            before = counts["arrived"]
            once("next start")
            counts = server.settled_counts()
        return Result(
            events,
            counts["arrived"],
            counts["doubled"],
            counts["arrived_from"],
            before_next_start=before,
            timed_out=not in_time,
        )


def cost(name: str, events: int, rounds: int, seconds: float) -> float:
    """Microseconds of the caller's CPU per call."""
    found: list[float] = []
    with collector.running() as server:
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                out, _ = run([name, "cost", server.origin, folder, str(events), str(seconds)], seconds)
                found.append(float(out))
    return statistics.median(found)


def matrix(costs: dict[str, float], results: dict[tuple[str, str], Result], events: int, burst: int) -> str:
    """One line per SDK."""
    titles = [f"burst of {burst:,} + flush" if case == "burst" else case for case in CASES]
    titles[-1] = "after fork"
    lines = [
        f"### {events:,} events each: how many arrived",
        "",
        f"| | CPU us per call | {' | '.join(titles)} |",
        "|---|---:|" + "---:|" * len(CASES),
    ]
    for name, figure in costs.items():
        cells: list[str] = []
        for case in CASES:
            result = results[name, case]
            text = str(result)
            if case == "fork" and result.arrived < result.recorded:
                half = events - events // 2
                text += f", child {result.arrived_from.get('c', 0):,} of {half:,}"
            cells.append(text)
        lines.append(f"| {name} | {figure:,.1f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = options.parser(__doc__, pieces=1000)
    parser.add_argument("--burst", type=int, default=50_000, help="events of the burst (default: 50,000)")
    parser.add_argument("--seconds", type=float, default=60.0, help="time limit of a flush (default: 60)")
    given = options.parse(parser)
    events, burst, seconds = given.pieces, given.burst, given.seconds
    if given.quick:
        events, burst, seconds = 200, 1000, 10.0
    names = list(taking_part(SDKS, given.only))
    costs = {name: cost(name, events, 1 if given.quick else 5, seconds) for name in names}
    wanted = [(name, case) for name in names for case in CASES]
    with ThreadPoolExecutor(4 if given.quick else 1) as pool:
        found = pool.map(lambda one: lose(one[0], one[1], burst if one[1] == "burst" else events, seconds), wanted)
        results: dict[tuple[str, str], Result] = {}
        for one, result in zip(wanted, found, strict=True):
            results[one] = result
            print(f"  {one[0]}, {one[1]}: {result}", file=sys.stderr, flush=True)
    tables = [Table("Recording an event", "caller's CPU us", [Row(name, figure) for name, figure in costs.items()])]
    for case in CASES:
        rows = [Row(name, results[name, case].arrived) for name in names]
        count = burst if case == "burst" else events
        tables.append(Table(f"{case}: arrived of {count:,}", "events", rows, better="more"))
        doubled = [Row(name, results[name, case].doubled) for name in names]
        if any(row.cost for row in doubled):
            tables.append(Table(f"{case}: counted twice", "events", doubled))
    report.write("losses", tables, given.out, text=matrix(costs, results, events, burst))


if __name__ == "__main__":
    main()
