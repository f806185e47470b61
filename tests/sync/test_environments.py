"""The facade in threads, notebooks and forks, after the process was suspended, with Ctrl-C and at the end."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import sys
import threading
import traceback
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aiohttp import web

from montra_sandbox import Sandbox
from montra_sync import CallEvent, Montra, NotFoundError, portal

from ..conftest import struck
from ..processes import run_program

PRELUDE = """
import os, sys, threading, time
from montra_sync import Montra
client = Montra()
"""

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def test_thirty_two_threads_on_one_client(served: str) -> None:
    client = Montra("sk_test_sandbox", served, pool_size=8)
    with ThreadPoolExecutor(32) as threads:
        made = list(threads.map(lambda n: client.create_pricing_model(name=f"plan {n}"), range(128)))
    assert len({model.id for model in made}) == 128
    assert {model.name for model in made} == {f"plan {n}" for n in range(128)}
    client.close()


async def test_inside_a_running_loop(served: str) -> None:
    """As in a notebook: the call blocks the running loop, and succeeds."""
    with Montra("sk_test_sandbox", served) as client:
        assert isinstance(client.list_meters(), list)
        assert isinstance(await asyncio.to_thread(client.list_meters), list)


def test_a_call_runs_with_the_callers_context_variables(served: str) -> None:
    request_id = contextvars.ContextVar("request_id", default="none")
    seen: list[str] = []

    def note(_: CallEvent) -> None:
        seen.append(request_id.get())

    client = Montra("sk_test_sandbox", served, on_request=note)

    def work(name: str) -> None:
        request_id.set(name)
        client.list_meters()

    names = [f"request {n}" for n in range(8)]
    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(seen) == names
    client.close()


def test_a_traceback_goes_from_the_users_line_to_the_sdks_method(served: str) -> None:
    with Montra("sk_test_sandbox", served) as client, pytest.raises(NotFoundError) as caught:
        client.get_customer("cust_none")
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert [(Path(frame.filename).name, frame.name) for frame in frames] == [
        (Path(__file__).name, "test_a_traceback_goes_from_the_users_line_to_the_sdks_method"),
        ("client.py", "get_customer"),
        ("portal.py", "run"),
    ]


def test_a_bad_argument_too(served: str) -> None:
    client = Montra("sk_test_sandbox", served)
    with pytest.raises(ValueError, match="customer_id") as caught:
        client.get_customer("")
    assert len(traceback.extract_tb(caught.value.__traceback__)) == 3


def test_a_call_inside_a_hook_is_refused_instead_of_waiting_for_itself(
    served: str, caplog: pytest.LogCaptureFixture
) -> None:
    clients: list[Montra] = []
    client = Montra("sk_test_sandbox", served, on_request=lambda _: clients[0].list_meters())
    clients.append(client)
    assert isinstance(client.list_meters(), list)
    assert "hooks must not make calls" in caplog.text
    client.close()


def test_a_generator_that_is_collected_on_the_background_thread(served: str) -> None:
    """Garbage collection may run on the background thread, where a call would wait for itself."""
    with Montra("sk_test_sandbox", served) as client:
        for n in range(2):
            client.create_pricing_model(name=f"P{n}")
        kept = [client.iter_audit_logs(page_size=1)]
        next(kept[0])

        async def collect() -> None:
            kept.clear()

        portal.run(collect)
        assert isinstance(client.list_meters(), list)


def test_an_iterator_that_is_left_early_or_forgotten(served: str) -> None:
    with Montra("sk_test_sandbox", served) as client:
        for n in range(3):
            client.create_pricing_model(name=f"P{n}")
        for _ in client.iter_audit_logs(page_size=1):
            break
        entries = client.iter_audit_logs(page_size=1)
        assert next(entries).event_type is not None
        del entries
        assert len([entry for _, entry in zip(range(3), client.iter_audit_logs(page_size=1), strict=False)]) == 3


# Forks


@forks
def test_after_a_fork_parent_and_child_both_work(served: str) -> None:
    code = (
        PRELUDE
        + """
client.list_meters()
import warnings; warnings.simplefilter('ignore', DeprecationWarning)  # Python 3.12 on: a fork beside a thread
pids = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            client.list_meters()
            Montra().list_meters()
            status = 0 if [t.name for t in threading.enumerate()].count('montra-sync') == 1 else 2
        finally:
            os._exit(status)
    pids.append(pid)
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids])
client.list_meters()
"""
    )
    assert run_program(code, served) == "[0, 0, 0]"


@forks
def test_a_child_that_ends_properly(served: str) -> None:
    code = (
        PRELUDE
        + """
import warnings; warnings.simplefilter('ignore', DeprecationWarning)
client.list_meters()
pid = os.fork()
if pid:
    print('child', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
else:
    client.list_meters()
    sys.exit(0)
"""
    )
    assert run_program(code, served) == "child 0"


@forks
def test_a_fork_while_other_threads_are_calling(served: str) -> None:
    code = (
        PRELUDE
        + """
import warnings; warnings.simplefilter('ignore', DeprecationWarning)
stop = threading.Event()
def busy():
    while not stop.is_set():
        client.list_meters()
threads = [threading.Thread(target=busy) for _ in range(4)]
for thread in threads: thread.start()
time.sleep(0.1)
results = []
for _ in range(5):
    pid = os.fork()
    if pid == 0:
        try:
            client.list_meters()
            os._exit(0)
        except BaseException:
            os._exit(1)
    results.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
stop.set()
for thread in threads: thread.join()
client.list_meters()
print(results)
"""
    )
    assert run_program(code, served) == "[0, 0, 0, 0, 0]"


def test_the_first_call_imports_nothing(served: str) -> None:
    """A child that is forked while another thread imports would wait for the lock of the import."""
    code = (
        PRELUDE
        + """
before = set(sys.modules)
client.list_meters()
print(sorted(set(sys.modules) - before))
"""
    )
    assert run_program(code, served) == "[]"


POOL = """
import multiprocessing, warnings
from montra_sync import Montra
client = Montra()
def work(n):
    return client.create_pricing_model(name=f'p{n}').name
if __name__ == '__main__':
    warnings.simplefilter('ignore', DeprecationWarning)
    client.list_meters()
    with multiprocessing.get_context('METHOD').Pool(3) as pool:
        print(sorted(pool.map(work, range(6))))
        pool.close()
        pool.join()
    client.list_meters()
"""


@pytest.mark.parametrize("method", [pytest.param("fork", marks=forks), "spawn"])
def test_multiprocessing(served: str, tmp_path: Path, method: str) -> None:
    program = tmp_path / "pooled.py"
    program.write_text(POOL.replace("METHOD", method))
    assert run_program(program, served) == str([f"p{n}" for n in range(6)])


# Frozen processes


@pytest.fixture
async def impatient() -> AsyncIterator[str]:
    """A server that closes idle connections after a moment."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"success": True, "data": []})

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app, keepalive_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/api/v1"
    await runner.cleanup()


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs SIGSTOP")
async def test_a_process_that_is_frozen_between_two_calls(impatient: str) -> None:
    """As on Lambda: the server closes the idle connection of a suspended process, and the next call succeeds."""
    code = (
        PRELUDE
        + """
retries = []
client = Montra(on_retry=retries.append)
for line in sys.stdin:
    client.create_meter(name='n', slug='s', pricing_model_id='p') if line == 'post\\n' else client.list_meters()
    print('done', flush=True)
"""
    )
    environment = {**os.environ, "MONTRA_BASE_URL": impatient, "MONTRA_API_KEY": "sk_test_x"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", code),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for _ in range(3):
        process.stdin.write(b"get\n")
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"done\n"
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGCONT)
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 30) == 0


# Ctrl-C and the end


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
async def test_ctrl_c_cancels_the_call_and_the_client_stays_usable(sandbox: Sandbox) -> None:
    code = (
        PRELUDE
        + """
client.list_meters()
print('ready', flush=True)
try:
    client.create_pricing_model(name='slow')
except KeyboardInterrupt:
    print('interrupted', len(client.list_pricing_models()), flush=True)
import asyncio
async def others_have_ended():
    while len(asyncio.all_tasks()) > 1: await asyncio.sleep(0.001)
__import__('montra_sync').portal.run(others_have_ended)
print('no task left')
"""
    )
    environment = {**os.environ, "MONTRA_BASE_URL": sandbox.base_url, "MONTRA_API_KEY": sandbox.api_key}
    sandbox.add_fault(kind="latency", seconds=20, path="/pricing-models", method="POST")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", code), stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 30) == b"ready\n"
    await asyncio.wait_for(struck(sandbox), 30)
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.stdout.readline(), 30) == b"interrupted 0\n"
    assert await asyncio.wait_for(process.stdout.readline(), 30) == b"no task left\n"
    assert await asyncio.wait_for(process.wait(), 30) == 0


ENDINGS = {
    "at once": "client.list_meters()",
    "closed": "client.list_meters(); client.close()",
    "sys.exit": "client.list_meters(); sys.exit(0)",
    "sys.exit in a thread": """
t = threading.Thread(target=lambda: (client.list_meters(), sys.exit())); t.start(); t.join()""",
    "daemon": "t = threading.Thread(target=client.list_meters, daemon=True); t.start(); t.join()",
    "daemon in the middle of it": """
def busy():
    while True: client.list_meters()
threading.Thread(target=busy, daemon=True).start(); time.sleep(0.2)""",
    "iterator in the middle of it": "entries = client.iter_audit_logs(); next(entries, None)",
    "exit handler": "import atexit; atexit.register(client.list_meters); client.list_meters()",
    "never used": "del client",
}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_every_end_of_a_process_is_quiet(served: str, ending: str) -> None:
    assert run_program(f"{PRELUDE}\nprint('begin', flush=True)\n{ending}", served) == "begin"


def test_a_call_after_the_end_works(served: str) -> None:
    """An exit handler that was registered before the import of the SDK runs after the end of the background thread."""
    code = """
import atexit, threading
def late():
    print(client.list_meters(), list(client.iter_audit_logs())[:0], threading.active_count())
atexit.register(late)
from montra_sync import Montra
client = Montra()
client.list_meters()
"""
    assert run_program(code, served) == "[] [] 1"
