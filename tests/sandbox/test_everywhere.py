"""A sandbox in synchronous code, in coroutines and in threads; side by side, after a fork, and at exit."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import montra_sync
from montra_async import Montra
from montra_sandbox import Problem, Sandbox


def test_with_serves_synchronous_code() -> None:
    with Sandbox() as sandbox, montra_sync.Montra(sandbox.api_key, sandbox.base_url) as montra:
        ada = montra.create_customer(name="Ada", email="ada@example.com")
        assert sandbox.overview()["counts"]["customers"] == 1
        assert montra.get_customer(ada.id) == ada
    with pytest.raises(RuntimeError, match="not running"):
        sandbox.overview()


def test_start_and_stop_serve_synchronous_code() -> None:
    sandbox = Sandbox()
    sandbox.stop()
    for _ in range(2):
        sandbox.start()
        with pytest.raises(RuntimeError, match="running already"):
            sandbox.start()
        assert sandbox.overview()["counts"]["customers"] == 0
        sandbox.stop()
        sandbox.stop()


async def test_a_synchronous_client_inside_a_coroutine_does_not_hang() -> None:
    async with Sandbox() as sandbox:
        with montra_sync.Montra(sandbox.api_key, sandbox.base_url) as blocking:
            ada = blocking.create_customer(name="Ada", email="ada@example.com")
        async with Montra(sandbox.api_key, sandbox.base_url) as montra:
            assert await montra.get_customer(ada.id) == ada


async def test_with_works_in_a_coroutine_too() -> None:
    with Sandbox() as sandbox:
        async with Montra(sandbox.api_key, sandbox.base_url) as montra:
            assert await montra.list_customers() == []


def test_controls_can_be_called_from_any_thread() -> None:
    with Sandbox() as sandbox, ThreadPoolExecutor(8) as threads:
        futures = [threads.submit(sandbox.advance, hours=1) for _ in range(40)]
        times = sorted(future.result(30) for future in futures)
        assert len(set(times)) == 40
        assert sandbox.now() >= times[-1]


async def test_controls_can_be_called_while_the_loop_runs_other_things() -> None:
    async with Sandbox() as sandbox, Montra(sandbox.api_key, sandbox.base_url) as montra:
        sandbox.add_fault(kind="latency", seconds=0.2, method="POST")
        creating = asyncio.create_task(montra.create_customer(name="Ada", email="ada@example.com"))
        while sandbox.faults():  # noqa: ASYNC110 - the sandbox has no event for it
            await asyncio.sleep(0.005)
        assert sandbox.overview()["counts"]["customers"] == 0
        await creating
        assert sandbox.overview()["counts"]["customers"] == 1


async def test_a_control_raises_in_the_callers_thread() -> None:
    with Sandbox() as sandbox, pytest.raises(Exception, match="only moves forward") as caught:
        sandbox.advance(days=-1)
    assert type(caught.value).__name__ == "Problem"


def test_two_sandboxes_side_by_side_know_nothing_of_each_other() -> None:
    with Sandbox(id_seed=1) as one, Sandbox(id_seed=1) as two:
        with montra_sync.Montra(one.api_key, one.base_url) as montra:
            ada = montra.create_customer(name="Ada", email="ada@example.com")
        assert (one.overview()["counts"]["customers"], two.overview()["counts"]["customers"]) == (1, 0)
        one.advance(days=3)
        assert two.now() < one.now()
        with montra_sync.Montra(two.api_key, two.base_url) as montra:
            assert montra.create_customer(name="Ada", email="ada@example.com").id == ada.id


def test_what_can_not_start_raises_in_the_callers_thread(tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("just words, and enough of them to be no database")
    sandbox = Sandbox(db=str(text))
    with pytest.raises(Exception, match="not a database"):
        sandbox.start()
    with Sandbox() as running:
        port = int(running.url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            Sandbox(port=port).start()
    assert [one.name for one in threading.enumerate() if one.name == "montra-sandbox"] == []


def test_a_database_has_one_sandbox(tmp_path: Path) -> None:
    """A second one would have another clock, and send webhooks again."""
    file = str(tmp_path / "state.db")
    with Sandbox(db=file):
        (tmp_path / "other.db").symlink_to(file)
        for name in (file, str(tmp_path / "other.db")):
            with pytest.raises(OSError, match="another running sandbox uses this database"):
                Sandbox(db=name).start()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["other.db", "state.db"]
    for _ in range(3):
        with Sandbox(db=file) as again:
            assert again.now().year > 2000


def test_a_database_of_a_killed_sandbox_is_free(tmp_path: Path) -> None:
    file = str(tmp_path / "state.db")
    program = "import os, sys; from montra_sandbox import Sandbox\nSandbox(db=sys.argv[1]).start()\nos._exit(9)"
    assert run(program, file).returncode == 9
    with Sandbox(db=file) as again:
        assert again.now().year > 2000


@pytest.mark.parametrize("span", [{}, {"days": 0}, {"days": -1}])
def test_an_advance_says_how_far(span: dict[str, float]) -> None:
    with Sandbox() as sandbox, pytest.raises(Problem, match="only moves forward: say by how much"):
        sandbox.advance(**span)


def test_a_request_that_can_not_be_parsed_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with Sandbox() as sandbox:
        address = urlsplit(sandbox.url)
        for request, status in (
            (b"GET /" + b"a" * 60_000, b"404"),
            (b"GET /" + b"a" * 70_000, b"400"),
            (b"\x16\x03\x1b[31m", b"400"),
        ):
            with socket.create_connection((address.hostname, address.port), timeout=60) as client:
                client.sendall(request + b" HTTP/1.1\r\nHost: %s\r\n\r\n" % address.netloc.encode())
                assert client.recv(12)[9:] == status
    assert 1 <= len(caplog.records) <= 2
    for record in caplog.records:
        assert (record.levelname, record.exc_info, record.getMessage().isprintable()) == ("WARNING", None, True)


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments], capture_output=True, text=True, timeout=60
    )


def test_a_sandbox_that_nobody_stops_keeps_no_process_alive(tmp_path: Path) -> None:
    """Its database is closed: the write-ahead log is gone."""
    file = tmp_path / "state.db"
    program = "import sys; from montra_sandbox import Sandbox\nsandbox = Sandbox(db=sys.argv[1])\nsandbox.start()"
    ended = run(program, str(file))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert file.exists()
    assert not Path(f"{file}-wal").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python 3.12 warns of every fork of a process with threads")
def test_a_forked_child_is_told_and_can_exit() -> None:
    program = """
import os
import socket
from montra_sandbox import Problem, Sandbox
with Sandbox() as sandbox:
    child = os.fork()
    if child == 0:
        try:
            sandbox.now()
        except RuntimeError as error:
            print(error, flush=True)
        sandbox.stop()
        os._exit(0)
    os.waitpid(child, 0)
    print(sandbox.now().year > 2000)
"""
    ended = run(program)
    assert "not running" in ended.stdout, ended.stderr
    assert ended.stdout.endswith("True\n")


def test_stopping_ends_a_request_that_waits_in_the_server() -> None:
    with ThreadPoolExecutor(1) as threads:
        with Sandbox() as sandbox:
            sandbox.add_fault(kind="latency", seconds=300)
            asking = threads.submit(_status_of, f"{sandbox.base_url}/customers")
            deadline = time.monotonic() + 30
            while sandbox.faults() and time.monotonic() < deadline:
                time.sleep(0.005)
            assert not sandbox.faults()
        assert asking.result(30) in (None, 500, 503)


def _status_of(url: str) -> int | None:
    """The status of a response; None when the connection was closed."""
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return None


async def test_the_environment_leads_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Sandbox() as sandbox:
        for name, value in sandbox.environment.items():
            monkeypatch.setenv(name, value)
        async with Montra() as montra:
            assert await montra.list_customers() == []
