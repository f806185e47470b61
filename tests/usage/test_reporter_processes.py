"""However a process ends, what it recorded is counted once: by itself, by another one, or after the next start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .programs import ROOT, finish, run, start
from .sink import Sink, running_sink

SEND_THE_REST = "with sync_reporter() as usage: print(usage.flush(60))"

RECORD_ASYNC = """
async def main():
    usage = reporter({settings})
    await asyncio.gather(*(usage.record("cust_1", "api-tokens") for _ in range(900)))
    for _ in range(100):
        usage.record_nowait("cust_1", "api-tokens")
asyncio.run(main())
"""
RECORD_SYNC = """
usage = sync_reporter({settings})
for _ in range(100):
    usage.record("cust_1", "api-tokens", amount=9)
for _ in range(100):
    usage.record_nowait("cust_1", "api-tokens")
"""
programs = pytest.mark.parametrize("program", [RECORD_ASYNC, RECORD_SYNC], ids=["async", "sync"])


@pytest.fixture
def sink() -> Iterator[Sink]:
    with running_sink() as running:
        yield running


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    return tmp_path / "usage.db"


@programs
@pytest.mark.parametrize("settings", ["", "coalesce=['api-tokens'], coalesce_window=60"], ids=["single", "coalesced"])
def test_a_plain_end_sends_what_is_left(sink: Sink, outbox: Path, program: str, settings: str) -> None:
    run(program.format(settings=settings), sink.base_url, outbox)
    assert sink.total() == 1000


@programs
def test_sigterm_sends_what_is_left(sink: Sink, outbox: Path, program: str) -> None:
    """Nobody handles the signal: the process dies of it, after it has sent."""
    die = "\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(60)\n"
    run(program.format(settings="") + die, sink.base_url, outbox, code=-signal.SIGTERM)
    assert sink.total() == 1000


def test_sigterm_in_the_middle_of_recording_loses_nothing(sink: Sink, outbox: Path) -> None:
    """The program goes on while what is left is sent: what is recorded meanwhile is in the file."""
    program = """
import logging; logging.disable()  # it warns when it goes on recording for longer than the time limit
usage = sync_reporter()
count = 0
while True:
    usage.record("cust_1", "api-tokens")
    count += 1
    print(count, flush=True)
"""
    process = start(program, sink.base_url, outbox)
    assert process.stdout is not None
    for _ in range(50):
        process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    acknowledged = int(finish(process, -signal.SIGTERM).split()[-1])
    run(SEND_THE_REST, sink.base_url, outbox)
    assert acknowledged <= sink.total() <= acknowledged + 1


def test_a_handler_of_the_application_is_left_alone(sink: Sink, outbox: Path) -> None:
    program = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
usage = sync_reporter()
usage.record("cust_1", "api-tokens")
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(60)
"""
    run(program, sink.base_url, outbox, code=7)
    assert sink.total() == 1


def test_sigterm_is_not_handled_when_that_is_turned_off(sink: Sink, outbox: Path) -> None:
    program = """
usage = sync_reporter(handle_sigterm=False)
usage.start()
print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
"""
    assert run(program, sink.base_url, outbox) == "True\n"


@pytest.mark.parametrize("record", ["record", "record_nowait"])
def test_sigkill_loses_nothing_that_is_stored(sink: Sink, outbox: Path, record: str) -> None:
    program = f"""
usage = sync_reporter(send=False)
for _ in range(1000):
    usage.{record}("cust_1", "api-tokens")
while usage.stats().pending:
    pass
os.kill(os.getpid(), signal.SIGKILL)
"""
    run(program, sink.base_url, outbox, code=-signal.SIGKILL)
    assert run(SEND_THE_REST, sink.base_url, outbox) == "0\n"
    assert sink.total() == 1000


def test_the_end_does_not_wait_for_a_service_that_is_down(sink: Sink, outbox: Path) -> None:
    sink.faults(down=True)
    quiet = "import logging; logging.disable()\n"  # it warns of the service
    run(quiet + RECORD_SYNC.format(settings="exit_timeout=0.5"), sink.base_url, outbox)
    assert sink.total() == 0
    sink.faults()
    assert run(SEND_THE_REST, sink.base_url, outbox) == "0\n"
    assert sink.total() == 1000


FORKS = """
usage = {kind}(coalesce=['calls'])
{before}
pids = []
for _ in range({children}):
    pid = os.fork()
    if not pid:
        {child}
        sys.exit(0)  # runs the exit handlers of the child
    pids.append(pid)
usage.record_nowait("cust_1", "api-tokens")
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
print(codes)
{after}
"""
RECORD_IN_CHILD = """
        for _ in range(100):
            usage.record("cust_1", "api-tokens")
            usage.record_nowait("cust_2", "calls")
"""


@pytest.mark.parametrize("before", ["", "usage.start()", "usage.record_nowait('cust_1', 'api-tokens', amount=0)"])
def test_forked_children_send_for_themselves(sink: Sink, outbox: Path, before: str) -> None:
    """As prefork servers with a preloaded application, and Celery, do."""
    program = FORKS.format(kind="sync_reporter", before=before, children=4, child=RECORD_IN_CHILD, after="")
    assert run(program, sink.base_url, outbox) == "[0, 0, 0, 0]\n"
    report = sink.report()
    assert report["sums"]["cust_1/api-tokens"] == "401"
    assert report["sums"]["cust_2/calls"] == "400"
    assert report["replays"] == 0


def test_forks_under_load(sink: Sink, outbox: Path) -> None:
    """Threads record and the sender sends while the process is forked again and again."""
    before = """
stop = threading.Event()
counts = []
def load():
    count = 0
    while not stop.is_set():
        usage.record("cust_3", "calls")
        count += 1
    counts.append(count)
threads = [threading.Thread(target=load) for _ in range(3)]
for thread in threads:
    thread.start()
"""
    after = """
stop.set()
for thread in threads:
    thread.join()
print(sum(counts))
"""
    child = "usage.record('cust_1', 'api-tokens'); usage.record('cust_3', 'calls', amount=0)"
    program = FORKS.format(kind="sync_reporter", before=before, children=30, child=child, after=after)
    codes, counted = run(program, sink.base_url, outbox).splitlines()
    assert codes == str([0] * 30)
    assert sink.sums() == {"cust_1/api-tokens": 31, "cust_3/calls": int(counted)}


IMPORTS = """
imports = set()
class Finder:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is not threading.main_thread():
            imports.add(name)
sys.meta_path.insert(0, Finder())
"""
RECORD_AND_SEND = {
    "sync_reporter": """
usage = sync_reporter(coalesce=["calls"])
usage.record("cust_1", "api-tokens")
usage.record_nowait("cust_2", "calls")
usage.close()
""",
    "reporter": """
async def main():
    async with reporter(coalesce=["calls"]) as usage:
        await usage.record("cust_1", "api-tokens")
        usage.record_nowait("cust_2", "calls")
asyncio.run(main())
""",
}


@pytest.mark.parametrize("kind", RECORD_AND_SEND)
def test_threads_import_nothing_that_a_fork_could_interrupt(sink: Sink, outbox: Path, kind: str) -> None:
    """A child would wait for the lock of the module, without end. A fork waits for these: see `core.concurrency`."""
    program = f"{IMPORTS}{RECORD_AND_SEND[kind]}print(*sorted(imports))"
    named = sink.base_url.replace("127.0.0.1", "localhost")
    imports = set(run(program, named, outbox).split())
    assert "encodings.idna" in imports  # the finder sees them
    assert imports <= {"encodings.idna", "stringprep", "unicodedata", "encodings.ascii"}
    assert sink.sums() == {"cust_1/api-tokens": 1, "cust_2/calls": 1}


def test_a_child_of_a_running_loop_records_for_itself(sink: Sink, outbox: Path) -> None:
    """What the parent's tasks were about to record when it forked is recorded by the parent only."""
    program = """
usage = reporter()
async def main():
    waiting = [asyncio.ensure_future(usage.record("cust_1", "api-tokens")) for _ in range(50)]
    await asyncio.sleep(0)
    pid = os.fork()
    if not pid:
        usage.record_nowait("cust_2", "api-tokens")
        usage._engine.close(20)
        os._exit(0)
    await asyncio.gather(*waiting)
    os.waitpid(pid, 0)
asyncio.run(main())
"""
    run(program, sink.base_url, outbox)
    assert sink.sums() == {"cust_1/api-tokens": 50, "cust_2/api-tokens": 1}


def test_the_command_sends_what_web_workers_record(sink: Sink, outbox: Path) -> None:
    environment = {**os.environ, "MONTRA_API_KEY": "sk_test_x", "MONTRA_BASE_URL": sink.base_url}
    command = [sys.executable, "-W", "error", "-m", "montra_async.usage.worker", "--outbox", str(outbox)]
    worker = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT)
    try:
        record = "usage = sync_reporter(send=False)\nfor _ in range(200): usage.record('cust_1', 'api-tokens')"
        for one in [start(record, sink.base_url, outbox) for _ in range(3)]:
            finish(one)
        sink.await_total(600)
    finally:
        worker.send_signal(signal.SIGTERM)
        _, err = worker.communicate(timeout=60)
    assert worker.returncode == 0
    assert "WARNING" not in err
    assert "ERROR" not in err


def command(sink: Sink, outbox: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MONTRA_API_KEY": "sk_test_x", "MONTRA_BASE_URL": sink.base_url}
    line = [sys.executable, "-W", "error", "-m", "montra_async.usage.worker", "--outbox", str(outbox), *arguments]
    return subprocess.run(line, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=120, check=False)


def test_the_command_shows_and_decides(sink: Sink, outbox: Path) -> None:
    run("usage = sync_reporter(send=False)\nusage.record('cust_1', 'api-tokens', amount=3)", sink.base_url, outbox)
    status = command(sink, outbox, "status")
    assert '"waiting": 1' in status.stdout
    sink.faults(refuse=1.0)
    assert command(sink, outbox, "send", "--once").returncode == 0
    listed = command(sink, outbox, "parked")
    assert '"reason": "refused"' in listed.stdout
    assert '"code": "not_found"' in listed.stdout
    sink.faults()
    assert command(sink, outbox, "parked", "--retry", "all").stdout == '{"retried": 1}\n'
    assert command(sink, outbox, "send", "--once").returncode == 0
    assert sink.total() == 3
    assert command(sink, outbox, "parked", "--drop", "all").returncode == 3, "there was none"


def test_the_command_needs_a_key_for_sending_only(sink: Sink, outbox: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "MONTRA_API_KEY"}
    line = [sys.executable, "-W", "error", "-m", "montra_async.usage.worker", "--outbox", str(outbox)]
    run("usage = sync_reporter(send=False)\nusage.record('cust_1', 'api-tokens')", sink.base_url, outbox)
    for arguments, code in (
        (["status"], 0),
        (["parked"], 0),
        (["send", "--once"], 1),
        (["send", "--concurrency", "0"], 2),
    ):
        ended = subprocess.run(
            [*line, *arguments],
            env={**environment, "MONTRA_BASE_URL": sink.base_url},
            cwd=ROOT,
            timeout=60,
            check=False,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == code, ended.stderr
        assert "Traceback" not in ended.stderr


def test_the_command_tells_what_is_left(sink: Sink, outbox: Path) -> None:
    run("usage = sync_reporter(send=False)\nusage.record('cust_1', 'api-tokens')", sink.base_url, outbox)
    sink.faults(down=True)
    assert command(sink, outbox, "send", "--once", "--timeout", "0.2").returncode == 3


def test_the_command_explains_errors_in_one_line(sink: Sink, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    failed = command(sink, tmp_path / "file" / "usage.db", "status")
    assert failed.returncode == 1
    assert len(failed.stderr.splitlines()) == 1
    assert failed.stderr.startswith("montra-usage: ")


@pytest.mark.parametrize("kind", ["reporter", "sync_reporter"])
def test_a_process_that_ends_right_after_its_first_event(sink: Sink, outbox: Path, kind: str) -> None:
    """From Python 3.12 on, no thread can be started when the interpreter ends: those that are needed run already."""
    run(f"usage = {kind}()\nusage.record_nowait('cust_1', 'api-tokens')", sink.base_url, outbox)
    assert sink.total() == 1


def test_the_end_does_not_wait_for_what_was_recorded_after_closing(sink: Sink, outbox: Path) -> None:
    """Nothing sends it any more, so there is nothing to wait for."""
    program = """
usage = sync_reporter(exit_timeout=1000)
usage.record("cust_1", "api-tokens")
usage.close()
import logging; logging.disable()  # it warns
usage.record("cust_1", "api-tokens")
"""
    run(program, sink.base_url, outbox)
    assert sink.total() == 1
    assert run(SEND_THE_REST, sink.base_url, outbox) == "0\n"
    assert sink.total() == 2


@pytest.mark.parametrize("before", ["", "usage.record('cust_1', 'api-tokens', amount=0)"])
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_forks_without_the_hooks_of_python(
    sink: Sink, outbox: Path, request: pytest.FixtureRequest, kind: str, before: str
) -> None:
    """As a server written in C forks: the children make keys of their own, and start threads of their own."""
    redis = f"RedisOutbox({request.getfixturevalue('redis').url!r})" if kind == "redis" else "SqliteOutbox(OUTBOX)"
    program = f"""
import ctypes
from montra_async.usage import RedisOutbox
montra = montra_sync.Montra("sk_test_x", BASE_URL)
usage = montra_sync.usage.UsageReporter(montra, {redis}, send=False)
{before}
for _ in range(3):
    pid = ctypes.CDLL(None).fork()
    if not pid:
        for _ in range(3):
            usage.record("cust_1", "api-tokens")
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
usage.record("cust_1", "api-tokens")
usage.close()
with montra_sync.usage.UsageReporter(montra, {redis}) as usage:
    print(usage.flush(60))
"""
    assert run(program, sink.base_url, outbox) == "0\n"
    assert sink.total() == 10
    assert sink.report()["replays"] == 0


def test_a_signal_handler_may_record(sink: Sink, outbox: Path) -> None:
    """Also while the very first event starts the threads."""
    program = """
usage = sync_reporter()
count = 0
def tick(*_):
    global count
    count += 1
    usage.record_nowait("cust_1", "api-tokens")
signal.signal(signal.SIGALRM, tick)
signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0005)
for _ in range(200):
    usage.record("cust_2", "api-tokens")
signal.setitimer(signal.ITIMER_REAL, 0)
usage.close()
print(count)
"""
    count = int(run(program, sink.base_url, outbox))
    assert sink.sums() == {"cust_1/api-tokens": count, "cust_2/api-tokens": 200}


def test_an_exception_of_a_signal_handler_during_a_fork_blocks_nobody(sink: Sink, outbox: Path) -> None:
    program = """
import logging; logging.disable()
usage = sync_reporter()
usage.record("cust_1", "api-tokens")
closing = usage._engine._outbox.before_fork
def interrupted():
    closing()
    raise KeyboardInterrupt
usage._engine._outbox.before_fork = interrupted
pid = os.fork()
if not pid:
    os._exit(0)
os.waitpid(pid, 0)
usage.record("cust_1", "api-tokens")
"""
    run(program, sink.base_url, outbox)
    assert sink.total() == 2
