"""Several processes on one file: killed, paused, forked."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from montra_async.usage.events import UsageRequest
from montra_async.usage.sqlite.sqlite_outbox import SqliteOutbox

from .outbox_helpers import delivered, drain, event, settings

ROOT = Path(__file__).parents[2]

Worker = subprocess.Popen[bytes]
Start = Callable[..., Worker]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage.db"


@pytest.fixture
def start(path: Path) -> Iterator[Start]:
    started: list[Worker] = []

    def worker(task: str, number: int) -> Worker:
        command = [sys.executable, "-m", "tests.usage.outbox_worker", task, str(path), str(number)]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        return process

    yield worker
    for process in started:
        with process:
            process.kill()


def opened(path: Path) -> SqliteOutbox:
    outbox = SqliteOutbox(path, timeout=30.0)
    outbox.open(settings(coalesce_window=0.01))
    return outbox


def answer(process: Worker) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def rest(process: Worker) -> bytes:
    """What is left to be read; `communicate` would leave out what `answer` has read in advance."""
    assert process.stdout is not None
    return process.stdout.read()


def lines(output: bytes) -> list[dict[str, Any]]:
    """What was said; a last line that was cut off by a kill is left out."""
    return [json.loads(line) for line in output.splitlines(keepends=True) if line.endswith(b"\n")]


def collect(said: list[dict[str, Any]], what: str) -> list[Any]:
    return [one for line in said for one in line.get(what, [])]


def check(said: list[dict[str, Any]], left: list[UsageRequest]) -> None:
    """Each event was delivered once: by itself, or in one sum."""
    recorded = collect(said, "recorded")
    done = collect(said, "delivered") + [[request.key, request.units, request.events] for request in left]
    keys = [key for key, _, _ in done]
    assert len(keys) == len(set(keys)), "one request was claimed by two"
    assert set(keys) <= {key for key, _ in recorded}
    assert sum(events for _, _, events in done) == len(recorded)
    assert sum(units for _, units, _ in done) == sum(units for _, units in recorded)


def test_requests_of_a_killed_owner_are_sent_by_another(path: Path, start: Start) -> None:
    outbox = opened(path)
    outbox.append([event() for _ in range(6)])
    worker = start("claim", 4)
    claimed = answer(worker)
    worker.kill()
    worker.wait()
    other = opened(path)
    got = {request.key: request for request in other.exchange([], 10).requests}
    assert len(got) == 6
    assert {key for key, request in got.items() if request.ambiguous} == set(claimed)
    assert {request.attempts for request in got.values() if request.ambiguous} == {2}
    other.exchange(delivered(*got.values()), 0)
    other.close()
    outbox.close()


def test_a_paused_owner_keeps_its_requests(path: Path, start: Start) -> None:
    outbox = opened(path)
    outbox.append([event() for _ in range(6)])
    worker = start("claim", 4)
    claimed = answer(worker)
    worker.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, worker.pid, os.WSTOPPED | os.WNOWAIT)
    for _ in range(3):
        other = opened(path)  # each looks for dead owners
        requests = other.exchange([], 10).requests
        assert not {request.key for request in requests} & set(claimed)
        other.close()
    assert outbox.counts().claimed == 4
    worker.send_signal(signal.SIGCONT)
    worker.communicate(b"", timeout=30)
    assert worker.returncode == 0
    assert {request.key for request in drain(outbox)} >= set(claimed), "handed back at its end"
    outbox.close()


def test_four_processes_on_one_file(path: Path, start: Start) -> None:
    workers = [start("record_and_send", 400) for _ in range(4)]
    outputs = [worker.communicate(b"", timeout=60)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4
    said = [line for output in outputs for line in lines(output)]
    outbox = opened(path)
    check(said, drain(outbox))
    assert len(collect(said, "recorded")) == 1600
    outbox.close()


def _kill_some(path: Path, start: Start, kills: int) -> None:
    """Kill senders at any moment: what was acknowledged is not lost, and a request never changes."""
    chance = random.Random(kills)
    said: list[dict[str, Any]] = []
    for _ in range(kills):
        workers = [start("record_for_ever", 5) for _ in range(2)]
        rows = [answer(worker) for worker in workers for _ in range(chance.randrange(1, 30))]
        for worker in workers:
            worker.kill()
        said += rows + [line for worker in workers for line in lines(rest(worker))]
    outbox = opened(path)
    left = drain(outbox)
    acknowledged = {key for key, _ in collect(said, "recorded")}
    requests: dict[str, tuple[int, int]] = {}
    for key, units, events in collect(said, "sent") + [[one.key, one.units, one.events] for one in left]:
        assert requests.setdefault(key, (units, events)) == (units, events), "a request changed after it was sent"
    assert sum(events for _, events in requests.values()) >= len(acknowledged)
    unsaid = kills * 2 * 5  # recorded, and killed before it could say so
    assert sum(events for _, events in requests.values()) <= len(acknowledged) + unsaid
    assert outbox.counts()[:4] == (0, 0, 0, 0)
    outbox.close()


def test_kills_at_any_moment_lose_nothing(path: Path, start: Start) -> None:
    _kill_some(path, start, 5)


@pytest.mark.soak
def test_many_kills_at_any_moment_lose_nothing(path: Path, start: Start) -> None:
    _kill_some(path, start, 150)


def _fork(path: Path, start: Start, task: str, forks: int) -> None:
    worker = start(task, forks)
    output, _ = worker.communicate(b"", timeout=300)
    assert worker.returncode == 0
    said = lines(output)
    assert collect(said, "children") == [0] * forks
    outbox = opened(path)
    check(said, drain(outbox))
    outbox.close()


def test_forks_while_a_thread_writes(path: Path, start: Start) -> None:
    _fork(path, start, "fork_while_writing", 40)


@pytest.mark.soak
def test_many_forks_while_a_thread_writes(path: Path, start: Start) -> None:
    _fork(path, start, "fork_while_writing", 1300)


def test_forks_without_hooks(path: Path, start: Start) -> None:
    _fork(path, start, "fork_without_hooks", 5)
