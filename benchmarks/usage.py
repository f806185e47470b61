"""Durable usage: what recording costs, how fast a backlog is sent, and what an event loop notices of it.

    python benchmarks/usage.py
    python benchmarks/usage.py --only threads         only the sections with this in their name
    python benchmarks/usage.py --folder /mnt/disk     where the outboxes are: a disk that you want to know about

Sections: awaited, nowait, threads, processes, redis, send, backlog, lag, goodput. Recording is measured with
`synchronous=FULL` and without a sender, sending with a loopback server that counts. Figures are of this machine, and
of its disk: an fsync takes 0.1 to 10 ms. Targets are the project's own, for two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kit import collector, options, redis_server, report
from kit.pairs import Measure, Row, Table, compare
from kit.usage_processes import KEY, METER, NOWHERE, customers, outbox_at, reporter_at, run_all

import montra_sync
import montra_sync.usage
from montra_async import Montra

IDS = customers(100)
BURST = 1000
REQUESTS, PER_REQUEST = 10_000, 5
"""Requests per second of the application whose event loop is watched, and events that each of them records."""


class Run:
    """The options, and new places for outboxes.

    Args:
        given: the options.
    """

    def __init__(self, given: argparse.Namespace) -> None:
        self.quick: bool = given.quick
        self.pieces: int = 600 if given.quick else given.pieces
        self.pairs: int = given.pairs
        self.seconds: float = 0.3 if given.quick else given.seconds
        self.backlog: int = 1000 if given.quick else given.backlog
        self.folder: Path | None = given.folder

    @contextmanager
    def place(self) -> Iterator[str]:
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            yield str(Path(folder) / "usage.db")

    def median(self, measure: Callable[[], tuple[float, ...]]) -> list[float]:
        """Of each figure in a few rounds."""
        rounds = [measure() for _ in range(1 if self.quick else 3)]
        return [statistics.median(figures) for figures in zip(*rounds, strict=True)]


async def record_with(usage: Any, tasks: int, events: int) -> tuple[float, float, float]:
    """Events per second of wall time, and microseconds of CPU per event: of the loop's thread, and of all threads."""

    async def task(numbers: Iterator[int]) -> None:
        for number in numbers:
            await usage.record(IDS[number % 100], METER, amount=7)

    await asyncio.gather(*(task(iter(range(2))) for _ in range(tasks)))  # the writer's thread runs before the clock
    numbers = iter(range(events))
    began, cpu, whole = time.perf_counter(), time.thread_time(), time.process_time()
    await asyncio.gather(*(task(numbers) for _ in range(tasks)))
    rate = events / (time.perf_counter() - began)
    return rate, (time.thread_time() - cpu) / events * 1e6, (time.process_time() - whole) / events * 1e6


class Floor:
    """In the place of a reporter: each event waits for a future, which is done in the loop's next turn."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def record(self, customer_id: str, meter_slug: str, *, amount: int = 1) -> None:
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._resolve)
        future = loop.create_future()
        self._waiting.append(future)
        await future

    def _resolve(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            future.set_result(None)


def awaited(run: Run) -> list[Table]:
    async def measured(place: str, tasks: int) -> tuple[float, float, float]:
        async with reporter_at(place, send=False) as usage:
            return await record_with(usage, tasks, run.pieces if tasks > 1 else max(100, run.pieces // 50))

    def once(tasks: int) -> tuple[float, float, float]:
        with run.place() as place:
            return asyncio.run(measured(place, tasks))

    rates = [
        Row(f"{tasks} task{'s' * (tasks > 1)}", run.median(lambda tasks=tasks: once(tasks))[0], target=target)
        for tasks, target in {1: None, 64: 80_000, 512: 150_000}.items()
    ]
    return [
        Table("await record, SQLite FULL", "events/s", rates, better="more"),
        *(_beside_floor(run, once, tasks) for tasks in (64, 512)),
    ]


def _beside_floor(run: Run, once: Callable[[int], tuple[float, float, float]], tasks: int) -> Table:
    floor = ("asyncio alone: a future per event", lambda: asyncio.run(record_with(Floor(), tasks, run.pieces))[1])
    others = {
        "montra, the loop's thread": lambda: once(tasks)[1],
        "montra, with the writer's thread": lambda: once(tasks)[2],
    }
    rows = compare(floor, others, pairs=run.pairs)
    rows[1].target = 5.0
    return Table(f"await record, SQLite FULL, {tasks} tasks", "CPU us per event", rows)


def nowait(run: Run) -> list[Table]:
    async def measured(place: str) -> tuple[float]:
        async with reporter_at(place, send=False) as usage:
            record, used = usage.record_nowait, 0.0
            bursts = max(1, run.pieces // BURST)
            for _ in range(bursts):
                await usage.record(IDS[0], METER)  # what was handed over before is stored
                began = time.thread_time()
                for number in range(BURST):
                    record(IDS[number % 100], METER, amount=7)
                used += time.thread_time() - began
            return (used / bursts / BURST * 1e6,)

    def once() -> tuple[float]:
        with run.place() as place:
            return asyncio.run(measured(place))

    return [
        Table("record_nowait", "CPU us per call", [Row(f"bursts of {BURST:,}", run.median(once)[0], target=2.5)]),
    ]


def threads(run: Run) -> list[Table]:
    def once(count: int) -> tuple[float]:
        with run.place() as place:
            client = montra_sync.Montra(KEY, NOWHERE)
            usage = montra_sync.usage.UsageReporter(client, outbox_at(place), send=False, handle_sigterm=False)
            each = max(20, run.pieces // 20 // count)
            with client, usage:
                usage.record(IDS[0], METER)

                def work() -> None:
                    for number in range(each):
                        usage.record(IDS[number % 100], METER, amount=7)

                workers = [threading.Thread(target=work) for _ in range(count)]
                began = time.perf_counter()
                for worker in workers:
                    worker.start()
                for worker in workers:
                    worker.join()
                return (each * count / (time.perf_counter() - began),)

    targets = {1: None, 8: 15_000, 32: None}
    rows = [
        Row(f"{count} thread{'s' * (count > 1)}", run.median(lambda count=count: once(count))[0], target=target)
        for count, target in targets.items()
    ]
    return [Table("montra_sync, record, SQLite FULL", "events/s", rows, better="more")]


def processes(run: Run) -> list[Table]:
    rates: list[Row] = []
    delays: list[Row] = []
    for name, target, claiming in (("alone", 90_000, False), ("while another process claims", None, True)):
        with run.place() as place:
            roles: list[tuple[str, dict[str, Any]]] = [
                ("record", {"place": place, "tasks": 64, "seconds": run.seconds}) for _ in range(4)
            ]
            if claiming:
                roles.append(("claim", {"place": place, "seconds": run.seconds}))
            found = run_all(*roles)
        rates.append(Row(f"{name}: recorded", sum(one["rate"] for one in found[:4]), target=target))
        rates += [Row(f"{name}: claimed and settled", one["rate"]) for one in found[4:]]
        delays.append(Row(f"{name}: p50", max(one["p50"] for one in found[:4])))
        delays.append(Row(f"{name}: p99", max(one["p99"] for one in found[:4]), target=None if claiming else 15))
        delays.append(Row(f"{name}: worst", max(one["worst"] for one in found[:4])))
    return [
        Table("Four processes, 64 tasks each, one SQLite file, FULL", "events/s", rates, better="more"),
        Table("The same: how long `await record` takes in the slowest process", "ms", delays),
    ]


def redis(run: Run) -> list[Table]:
    if not redis_server.is_there():
        return []

    async def measured(url: str, tasks: int, coalesce: bool) -> tuple[float, float, float]:
        async with reporter_at(url, send=False, coalesce=[METER] if coalesce else []) as usage:
            return await record_with(usage, tasks, run.pieces)

    def once(tasks: int, coalesce: bool) -> tuple[float, float, float]:
        with redis_server.running() as url:
            return asyncio.run(measured(url, tasks, coalesce))

    rows = [
        Row(
            f"{tasks} tasks, {'coalesced' if coalesce else 'each on its own'}",
            run.median(lambda tasks=tasks, coalesce=coalesce: once(tasks, coalesce))[0],
            target={64: 40_000, 512: 80_000}[tasks] if coalesce else None,
        )
        for tasks, coalesce in itertools.product((64, 512), (True, False))
    ]
    return [Table("await record, Redis, appendfsync everysec, 100 customers", "events/s", rows, better="more")]


async def _report_bare(base_url: str, events: int) -> float:
    """Microseconds of CPU per event."""
    async with Montra(KEY, base_url) as montra:
        await montra.report_usage(IDS[0], METER)
        numbers = iter(range(events))

        async def task() -> None:
            for number in numbers:
                await montra.report_usage(IDS[number % 100], METER, amount=7)

        began = time.process_time()
        await asyncio.gather(*(task() for _ in range(32)))
        return (time.process_time() - began) / events * 1e6


async def _report_through(base_url: str, place: str, events: int, *, recorded_before: bool) -> float:
    """Microseconds of CPU per event, of all threads."""
    if recorded_before:
        async with reporter_at(place, base_url, send=False) as usage:
            await record_with(usage, 64, events)
    async with reporter_at(place, base_url) as usage:
        began = time.process_time()
        if not recorded_before:
            await record_with(usage, 64, events)
        left = await usage.flush(120)
        used = time.process_time() - began
    if left:
        raise SystemExit(f"{left} events were not sent within 120 s")
    return used / (events + 2 * 64) * 1e6  # `record_with` records two per task before


def send(run: Run) -> list[Table]:
    events = max(200, run.pieces // 20)

    def through(base_url: str, recorded_before: bool) -> Measure:
        def once() -> float:
            with run.place() as place:
                return asyncio.run(_report_through(base_url, place, events, recorded_before=recorded_before))

        return once

    with collector.running() as server:
        base_url = f"{server.origin}/api/v1"
        bare = ("report_usage, 32 at a time", lambda: asyncio.run(_report_bare(base_url, events)))
        others = {
            "montra, recorded before, then sent": through(base_url, recorded_before=True),
            "montra, recorded and sent": through(base_url, recorded_before=False),
        }
        rows = compare(bare, others, pairs=run.pairs)
    rows[1].target_ratio = 1.3
    return [Table("Sending through the outbox, beside bare report_usage", "CPU us per event", rows)]


def backlog(run: Run) -> list[Table]:
    times: list[Row] = []
    memory: list[Row] = []
    kinds = (
        ("one by one", 1000, False, 200.0),
        ("1,000 customers, coalesced", 1000, True, 5.0),
        ("50,000 customers, coalesced", 50_000, True, 40.0),
    )
    for name, count, coalesce, target in kinds:
        with run.place() as place, collector.running() as server:
            where = {"place": place, "base_url": f"{server.origin}/api/v1", "coalesce": coalesce}
            run_all(("fill", {**where, "events": run.backlog, "customer_count": count}))
            (found,) = run_all(("drain", {**where, "seconds": 1800.0}))
            counts = server.settled_counts()
        if counts["units"] != 7 * run.backlog or found["left"]:
            raise SystemExit(f"{name}: {counts['units']} units arrived of {7 * run.backlog}")
        print(f"  {name}: {found['seconds']:.1f} s, {counts['requests']:,} requests", file=sys.stderr, flush=True)
        wanted = target * run.backlog / 1e6 if run.backlog >= 100_000 else None
        times.append(Row(f"{name}, {counts['requests']:,} requests", found["seconds"], target=wanted))
        memory.append(Row(name, found["most"] - found["before"], target=80))
    return [
        Table(f"Sending a backlog of {run.backlog:,} events", "s", times),
        Table("The same: memory of the process that sends, above what it has before", "MB", memory),
    ]


async def lags_of(use: Callable[[int], Any], seconds: float) -> tuple[float, float, float]:
    """An event loop that begins requests at a rate, each of which uses something several times.

    Returns how late it is, p99 and worst in milliseconds, and how often something was used per second.
    """
    loop = asyncio.get_running_loop()
    lags: list[float] = []
    done = 0

    async def measure_lag() -> None:
        while True:
            due = loop.time() + 0.001
            await asyncio.sleep(0.001)
            lags.append(loop.time() - due)

    async def request(number: int) -> None:
        nonlocal done
        for _ in range(PER_REQUEST):
            await use(number)
            done += 1

    watching = asyncio.ensure_future(measure_lag())
    began, begun = loop.time(), 0
    tasks: set[asyncio.Task[None]] = set()
    while (passed := loop.time() - began) < seconds:
        due = int(passed * REQUESTS)
        for number in range(max(begun, due - REQUESTS // 50), due):  # 20 ms at most are made up for
            task = loop.create_task(request(number))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        begun = due
        await asyncio.sleep(0.002)
    passed, finished = loop.time() - began, done
    await asyncio.gather(*tasks)
    watching.cancel()
    lags.sort()
    return lags[int(0.99 * (len(lags) - 1))] * 1000, lags[-1] * 1000, finished / passed


def lag(run: Run) -> list[Table]:
    async def idle() -> tuple[float, float, float]:
        return await lags_of(lambda _: asyncio.sleep(0), run.seconds)

    async def recording(place: str, base_url: str, **settings: Any) -> tuple[float, float, float]:
        async with reporter_at(place, base_url, **settings) as usage:
            return await lags_of(lambda number: usage.record(IDS[number % 100], METER, amount=7), run.seconds)

    def once(base_url: str, **settings: Any) -> tuple[float, float, float]:
        with run.place() as place:
            return asyncio.run(recording(place, base_url, **settings))

    with collector.running() as server:
        base_url = f"{server.origin}/api/v1"
        found = {
            "the same requests without recording": run.median(lambda: asyncio.run(idle())),
            "recording": run.median(lambda: once(base_url, send=False)),
            "recording, and sending coalesced": run.median(lambda: once(base_url, coalesce=[METER])),
            "recording, and sending one by one": run.median(lambda: once(base_url)),
        }
    targets = {"recording": 5.0, "recording, and sending coalesced": 5.0}
    rows = [Row(f"{name}: p99", figures[0], target=targets.get(name)) for name, figures in found.items()]
    rows += [Row(f"{name}: worst", figures[1]) for name, figures in found.items()]
    rates = [Row(name, figures[2]) for name, figures in found.items()]
    title = f"An application with {REQUESTS:,} requests/s, each of which records {PER_REQUEST} events"
    return [
        Table(f"{title}: how late its event loop is", "ms", rows),
        Table("The same: what it did", "events/s", rates, better="more"),
    ]


def goodput(run: Run) -> list[Table]:
    rate = 500.0
    seconds = run.seconds * 3  # the pace is found in the first ones

    async def measured(place: str, server: collector.Collector) -> tuple[float, float]:
        base_url = f"{server.origin}/api/v1"
        async with reporter_at(place, base_url, send=False) as usage:
            await record_with(usage, 64, int(rate * seconds * 1.5) + 100)
        async with reporter_at(place, base_url):
            await asyncio.sleep(seconds)
            counts = await asyncio.to_thread(server.counts)
        tried = counts["requests"] + counts["refused"]
        return counts["requests"] / (rate * seconds + rate / 10) * 100, counts["refused"] / max(1, tried) * 100

    shares: list[Row] = []
    refused: list[Row] = []
    for name, retry_after, target in (("none", 0.0, 90.0), ("0.2 s", 0.2, 90.0), ("1 s", 1.0, 75.0)):
        with run.place() as place, collector.running(rate, rate / 10, retry_after) as server:
            share, lost = asyncio.run(measured(place, server))
        shares.append(Row(f"Retry-After: {name}", share, target=target))
        refused.append(Row(f"Retry-After: {name}", lost))
    return [
        Table(f"Goodput below a limit of {rate:g} requests/s, the first {seconds:g} s", "%", shares, better="more"),
        Table("The same: requests that were refused", "%", refused),
    ]


SECTIONS: dict[str, Callable[[Run], list[Table]]] = {
    "awaited": awaited,
    "nowait": nowait,
    "threads": threads,
    "processes": processes,
    "redis": redis,
    "send": send,
    "backlog": backlog,
    "lag": lag,
    "goodput": goodput,
}


def main() -> None:
    parser = options.parser(__doc__, pieces=100_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a measurement by time (default: 10)")
    parser.add_argument("--backlog", type=int, default=1_000_000, help="events of a backlog (default: 1,000,000)")
    parser.add_argument("--folder", type=Path, help="where the outboxes are (default: the folder for temporary files)")
    given = options.parse(parser)
    run = Run(given)
    tables: list[Table] = []
    for name, section in SECTIONS.items():
        if given.only in name:
            print(f"  {name}", file=sys.stderr, flush=True)
            tables += section(run)
    if tables:
        report.write("usage", tables, given.out)


if __name__ == "__main__":
    main()
