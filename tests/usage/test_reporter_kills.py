"""Processes that are killed at random: the service's sum is the sum that was acknowledged, to the unit.

A recorder writes each amount down after `record` has returned. What was recorded and not written down when it was
killed may be counted: at most one call of each task.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from .programs import finish, run, start
from .sink import Sink, running_sink

TASKS = 8
CUSTOMERS = 5

RECORD = """
import random
usage = reporter({settings})
async def record(task):
    while True:
        customer = f"cust_{{random.randrange(%d)}}"
        units = random.randrange(1, 1000)
        print(f"{{customer}} {{task}} {{units}} begun", flush=True)
        await usage.record(customer, "api-tokens", amount=units / 8)
        print(f"{{customer}} {{task}} {{units}} done", flush=True)
async def main():
    await asyncio.gather(*(record(task) for task in range(%d)))
asyncio.run(main())
""" % (CUSTOMERS, TASKS)  # noqa: UP031 - the program has braces of its own

SEND = """
usage = sync_reporter({settings})
usage.start()
print("started", flush=True)
time.sleep(600)
"""
SEND_THE_REST = """
usage = sync_reporter({settings})
with usage:
    print(usage.flush(100), usage.stats().parked)
"""
FAULTS = {"drop_before": 0.05, "drop_after": 0.05, "fail_before": 0.03, "fail_after": 0.05, "limit": 0.02}


@pytest.fixture
def sink() -> Iterator[Sink]:
    with running_sink() as running:
        yield running


class Ledger:
    """What the recorders acknowledged, and what was under way when they were killed."""

    def __init__(self) -> None:
        self.least: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    def read(self, output: str) -> None:
        open_calls: dict[str, tuple[str, int]] = {}
        for line in output.splitlines():
            customer, task, units, state = line.split(" ") if line.count(" ") == 3 else ("", "", "0", "")
            if state == "begun":
                open_calls[task] = customer, int(units)
            elif state == "done":
                del open_calls[task]
                self.least[customer] += int(units)
                self.most[customer] += int(units)
        for customer, number in open_calls.values():
            self.most[customer] += number

    def check(self, sink: Sink) -> None:
        sums = {name.partition("/")[0]: amount * 8 for name, amount in sink.sums().items()}
        for customer in self.most:
            assert self.least[customer] <= sums.get(customer, 0) <= self.most[customer], customer


def kill_at_random(
    sink: Sink, outbox: Path, *, kills: int, recorders: int, settings: str, seed: int, pauses: bool = False
) -> Ledger:
    """Recorders record and send, a sender sends; one of them is killed, again and again, and started anew."""
    chance = random.Random(seed)
    ledger = Ledger()
    logs = outbox.parent
    files: dict[subprocess.Popen[str], Path] = {}

    def begin(number: int) -> subprocess.Popen[str]:
        program = (RECORD if number < recorders else SEND).format(settings=settings)
        path = logs / f"out-{len(files)}"
        with path.open("w") as out:
            process = start(program, sink.base_url, outbox, stdout=out, stderr=subprocess.DEVNULL)
        files[process] = path
        wait = chance.random() < 0.8  # the others are killed while they start
        while wait and not path.stat().st_size:
            assert process.poll() is None
            time.sleep(0.01)
        return process

    processes = [begin(number) for number in range(recorders + 1)]
    for _ in range(kills):
        time.sleep(chance.uniform(0.02, 0.25))
        victim = chance.randrange(len(processes))
        if pauses and chance.random() < 0.5:
            processes[victim].send_signal(signal.SIGSTOP)
            time.sleep(chance.uniform(0.1, 0.5))
            processes[victim].send_signal(signal.SIGCONT)
            continue
        processes[victim].kill()
        processes[victim].communicate()
        processes[victim] = begin(victim)
    for process in processes:
        process.kill()
        process.communicate()
    for path in files.values():
        ledger.read(path.read_text())
    return ledger


def start_quietly(program: str, sink: Sink, outbox: Path) -> str:
    return run("import logging; logging.disable()\n" + program, sink.base_url, outbox)


@pytest.mark.parametrize(
    "settings",
    ["", "coalesce=['api-tokens'], coalesce_window=0.05, verify_meters=False"],
    ids=["single", "coalesced"],
)
def test_kills_at_random_lose_and_double_nothing(sink: Sink, tmp_path: Path, settings: str) -> None:
    outbox = tmp_path / "usage.db"
    sink.faults(**FAULTS)
    ledger = kill_at_random(sink, outbox, kills=12, recorders=3, settings=settings, seed=1)
    sink.faults()
    assert start_quietly(SEND_THE_REST.format(settings=settings), sink, outbox) == "0 0\n"
    assert sum(ledger.least.values()) > 0
    ledger.check(sink)
    assert sink.report()["mismatches"] == 0, "what was sent under a key never changes"


def test_paused_processes_keep_what_they_claimed(sink: Sink, tmp_path: Path) -> None:
    """While a process is suspended for longer than others look for dead ones, nobody else sends its requests."""
    outbox = tmp_path / "usage.db"
    run(
        "usage = sync_reporter(send=False)\nfor _ in range(400): usage.record('cust_1', 'api-tokens')",
        *at(sink, outbox),
    )
    sink.faults(seconds=0.2)
    paused, other = (start(SEND.format(settings="concurrency=4"), *at(sink, outbox)) for _ in range(2))
    for process in (paused, other):
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
    for _ in range(2):
        sink.await_requests(20)
        paused.send_signal(signal.SIGSTOP)
        time.sleep(2.5)
        paused.send_signal(signal.SIGCONT)
    sink.faults()
    sink.await_total(400)
    for process in (paused, other):
        process.terminate()
        finish(process, -signal.SIGTERM)
    report = sink.report()
    assert (report["replays"], report["at_once"]) == (0, 0)


def at(sink: Sink, outbox: Path) -> tuple[str, Path]:
    return sink.base_url, outbox


@pytest.mark.soak
@pytest.mark.parametrize("settings", ["", "coalesce=['api-tokens'], coalesce_window=0.05, verify_meters=False"])
@pytest.mark.parametrize("seed", range(4))
def test_a_thousand_kills(sink: Sink, tmp_path: Path, settings: str, seed: int) -> None:
    outbox = tmp_path / "usage.db"
    sink.faults(**FAULTS)
    ledger = kill_at_random(
        sink,
        outbox,
        kills=int(os.environ.get("MONTRA_KILLS", "125")),
        recorders=3,
        settings=settings,
        seed=seed,
        pauses=True,
    )
    sink.faults()
    assert start_quietly(SEND_THE_REST.format(settings=settings), sink, outbox) == "0 0\n"
    ledger.check(sink)
    assert sink.report()["mismatches"] == 0
