"""`RedisOutbox` in several processes, which are killed and paused, and a Redis that is killed while they record."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from montra_async.usage.redis.redis_outbox import RedisOutbox
from montra_async.usage.spilling_outbox import SpillingOutbox

from .outbox_helpers import BASE_URL, delivered, drain, event, settings
from .redis_servers import RedisServer, needs_redis, redis_server

pytestmark = needs_redis

PRELUDE = f"""
import sys, time
from montra_async.usage.events import Event, KeySource, Outcome, Settlement
from montra_async.usage.outbox import OutboxSettings
from montra_async.usage.redis.redis_outbox import RedisOutbox

BASE_URL = {BASE_URL!r}

def opened(url, **arguments):
    outbox = RedisOutbox(url, patience=30, **arguments)
    outbox.open(OutboxSettings(base_url=BASE_URL, coalesce_window=0.02))
    return outbox

def tell(*words):
    print(*words, flush=True)

url, *arguments = sys.argv[1:]
"""

RECORDER = """
outbox, keys, number = opened(url), KeySource(), 0
me = arguments[0]
while True:
    number += 1
    now = time.time()
    outbox.append([
        Event(keys.new(), me, "tokens", number, 0, None, now, True),
        Event(keys.new(), me, "tokens", 1000, 0, None, now, False),
    ])
    tell("recorded", number)
"""

SENDER = """
outbox = opened(url, claim_ttl=float(arguments[0]))
settlements = []
while True:
    found = outbox.exchange(settlements, 5)
    for each in found.requests:
        tell("sent", each.key, each.customer_id, each.units, each.attempts, int(each.ambiguous))
    settlements = [Settlement(each, Outcome.DELIVERED) for each in found.requests]
    if not settlements:
        tell("idle")
        time.sleep(0.002)
"""

SPILLER = """
from montra_async.usage.spilling_outbox import SpillingOutbox
from montra_async.usage.sqlite.sqlite_outbox import SqliteOutbox
me, path = arguments
outbox = SpillingOutbox(RedisOutbox(url, patience=0.01), SqliteOutbox(path))
outbox.open(OutboxSettings(base_url=BASE_URL, coalesce_window=0.02))
keys, number = KeySource(), 0
while True:
    number += 1
    now = time.time()
    outbox.append([
        Event(keys.new(), me, "tokens", number, 0, None, now, True),
        Event(keys.new(), me, "tokens", 1000, 0, None, now, False),
    ])
    tell("recorded", number)
    tell("spilled" if outbox.spilling else "stored")
"""

HOLDER = """
outbox = opened(url, claim_ttl=float(arguments[0]))
(request,) = outbox.exchange([], 1).requests
tell("holds", request.key)
sys.stdin.readline()
tell("keeps", *(each.key for each in outbox.renew([request])))
"""


class Process:
    """A Python process, and the lines that it prints."""

    def __init__(self, program: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PRELUDE + program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        self.lines: list[list[str]] = []
        self._told = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._told:
                if line.endswith("\n"):  # a killed process may leave half a line
                    self.lines.append(line.split())
                self._told.notify_all()

    def wait_for(self, word: str, number: int = 1) -> list[str]:
        """Wait until so many lines that begin with a word were printed; the last one of them."""
        with self._told:
            assert self._told.wait_for(lambda: len(self.all(word)) >= number, 30), self.lines[-3:]
            return self.all(word)[number - 1]

    def all(self, word: str) -> list[list[str]]:
        return [line for line in list(self.lines) if line[0] == word]

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """End it, and read what it has printed."""
        self.process.kill()
        self.process.wait(20)
        self._reader.join(20)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()


@contextmanager
def processes(*programs: tuple[str, ...]) -> Iterator[list[Process]]:
    running = [Process(*program) for program in programs]
    try:
        yield running
    finally:
        for process in running:
            process.kill()


def test_what_a_killed_process_has_claimed_is_sent_by_another_under_its_key(redis: RedisServer) -> None:
    outbox = RedisOutbox(redis.url, claim_ttl=2)
    outbox.open(settings())
    outbox.append([event()])
    with processes((HOLDER, redis.url, "2")) as (holder,):
        key = holder.wait_for("holds")[1]
        assert outbox.exchange([], 1).requests == []
        holder.kill()
        while not (requests := outbox.exchange([], 1).requests):
            time.sleep(0.01)
    assert [(each.key, each.attempts, each.ambiguous) for each in requests] == [(key, 2, True)]
    outbox.close()


def test_a_paused_process_drops_what_it_has_lost(redis: RedisServer) -> None:
    outbox = RedisOutbox(redis.url, claim_ttl=2)
    outbox.open(settings())
    outbox.append([event()])
    with processes((HOLDER, redis.url, "2")) as (holder,):
        holder.wait_for("holds")
        holder.signal(signal.SIGSTOP)
        while not (requests := outbox.exchange([], 1).requests):
            time.sleep(0.01)
        holder.signal(signal.SIGCONT)
        assert holder.process.stdin is not None
        holder.process.stdin.write("\n")
        holder.process.stdin.flush()
        assert holder.wait_for("keeps") == ["keeps"]
    outbox.exchange(delivered(*requests), 0)
    outbox.close()


def test_two_processes_never_hold_the_same(redis: RedisServer) -> None:
    sender = (SENDER, redis.url, "60")
    outbox = RedisOutbox(redis.url)
    outbox.open(settings())
    with processes(sender, sender, sender) as senders:
        for each in senders:
            each.wait_for("idle")
        keys: set[str] = set()
        for _ in range(40):
            events = [event() for _ in range(50)]
            keys |= {each.key for each in events}
            outbox.append(events)
        while outbox.counts().events:
            time.sleep(0.01)
        assert sum(bool(each.all("sent")) for each in senders) >= 2
    sent = Counter(line[1] for each in senders for line in each.all("sent"))
    assert sent == Counter(dict.fromkeys(keys, 1))
    outbox.close()


def kills(server: RedisServer, rounds: int, *, kill_redis: bool, seed: int) -> None:
    """Record in two processes and send in two, kill them, or Redis, again and again, and compare the sums."""
    chance = random.Random(seed)
    all_recorders: list[tuple[str, Process]] = []
    all_senders: list[Process] = []

    def start(kind: str) -> Process:
        if kind == "sender":
            all_senders.append(Process(SENDER, server.url, "0.5"))
            return all_senders[-1]
        name = f"cust_{len(all_recorders)}"
        all_recorders.append((name, Process(RECORDER, server.url, name)))
        return all_recorders[-1][1]

    running = [("recorder", start("recorder")) for _ in range(2)] + [("sender", start("sender")) for _ in range(2)]
    try:
        for _ in range(rounds):
            recorder = next(each for kind, each in running if kind == "recorder")
            recorder.wait_for("recorded", len(recorder.all("recorded")) + chance.randint(1, 40))
            if kill_redis:
                server.kill()
                server.start()
            else:
                at = chance.randrange(len(running))
                kind, victim = running[at]
                victim.kill()
                running[at] = kind, start(kind)
    finally:
        for _, process in running:
            process.kill()
    compare(server, all_recorders, all_senders)


def compare(server: RedisServer, recorders: list[tuple[str, Process]], senders: list[Process]) -> None:
    """Each key counts once. The sum of a killed process may contain the one group that it was not told of."""
    bodies: dict[str, tuple[str, int]] = {}
    for sender in senders:
        for _, key, customer, units, attempts, ambiguous in sender.all("sent"):
            assert (int(attempts) > 1) == (ambiguous == "1")
            assert bodies.setdefault(key, (customer, int(units))) == (customer, int(units)), "it has changed"
    outbox = RedisOutbox(server.url, claim_ttl=0.5)
    outbox.open(settings())
    while outbox.counts().events:
        for each in drain(outbox):
            assert bodies.setdefault(each.key, (each.customer_id, int(each.units)))[1] == each.units
        time.sleep(0.01)
    outbox.close()
    counted: Counter[str] = Counter()
    for customer, units in bodies.values():
        counted[customer] += units
    for name, recorder in recorders:
        told = len(recorder.all("recorded"))
        assert counted[name] in [sum(range(1, n + 1)) + 1000 * n for n in (told, told + 1)]


def test_killed_processes_lose_and_double_nothing(redis: RedisServer) -> None:
    kills(redis, 12, kill_redis=False, seed=1)


def test_a_killed_redis_loses_and_doubles_nothing(tmp_path: Path) -> None:
    with redis_server(tmp_path, appendonly="yes", appendfsync="always") as server:
        kills(server, 6, kill_redis=True, seed=2)


def kills_with_a_spill(folder: Path, rounds: int, seed: int) -> None:
    """Kill Redis, and what records, again and again: what was spilled is poured back, and no key has two bodies."""
    chance, path = random.Random(seed), str(folder / "spill.db")
    spillers: list[tuple[str, Process]] = []

    def spiller() -> Process:
        name = f"cust_{len(spillers)}"
        spillers.append((name, Process(SPILLER, server.url, name, path)))
        return spillers[-1][1]

    with redis_server(folder, appendonly="yes", appendfsync="always") as server:
        try:
            for _ in range(rounds):
                spiller().wait_for("stored", chance.randint(1, 30))
                server.kill()
                running = spillers[-1][1]
                running.wait_for("spilled", len(running.all("spilled")) + chance.randint(1, 30))
                if chance.random() < 0.5:
                    running.kill()
                    running = spiller()
                    running.wait_for("spilled", chance.randint(1, 30))
                server.start()
                running.wait_for("stored", len(running.all("stored")) + chance.randint(1, 200))
                running.kill()
        finally:
            for _, each in spillers:
                each.kill()
        pour(server, path)
        compare(server, spillers, [])


def pour(server: RedisServer, path: str) -> None:
    """Pour back what is left."""
    spill = pytest.importorskip("montra_async.usage.sqlite.sqlite_outbox").SqliteOutbox(path)
    outbox = SpillingOutbox(RedisOutbox(server.url), spill)
    outbox.open(settings())
    while spill.counts().events:
        outbox.append([event("cust_of_nobody")])  # claims nothing
    outbox.close()


def test_kills_between_spilling_and_pouring(tmp_path: Path) -> None:
    pytest.importorskip("montra_async.usage.sqlite.sqlite_outbox")
    kills_with_a_spill(tmp_path, 3, seed=3)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_many_kills_between_spilling_and_pouring(tmp_path: Path, seed: int) -> None:
    kills_with_a_spill(tmp_path, 20, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_many_kills(tmp_path: Path, seed: int) -> None:
    with redis_server(tmp_path, appendonly="yes", appendfsync="always") as server:
        kills(server, 50, kill_redis=bool(seed % 2), seed=seed)
