"""The sandbox as a process: command line, restarts, ports, signals."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from montra_async import Montra
from montra_sandbox import Sandbox
from montra_sandbox.__main__ import main

from ..processes import running_sandbox


def test_state_survives_a_restart(tmp_path: Path) -> None:
    async def work(base_url: str, email: str) -> list[str]:
        async with Montra("sk_test_mine", base_url) as montra:
            await montra.create_customer(name="A", email=email)
            return [customer.email for customer in await montra.list_customers()]

    arguments = ("--db", str(tmp_path / "state.db"), "--api-key", "sk_test_mine", "--api-key", "other")
    found = []
    for email in ("a@example.com", "b@example.com"):
        with running_sandbox(*arguments) as base_url:
            found.append(asyncio.run(work(base_url, email)))
    assert found == [["a@example.com"], ["a@example.com", "b@example.com"]]


async def test_the_clock_survives_a_restart(tmp_path: Path) -> None:
    async with Sandbox(db=str(tmp_path / "state.db")) as sandbox:
        moment = sandbox.advance(days=100)
    async with Sandbox(db=str(tmp_path / "state.db")) as sandbox:
        assert sandbox.now() >= moment


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "--deliver-anywhere" in capsys.readouterr().out


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com"])
def test_a_remote_address_needs_allow_remote(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--host", host, "--port", "0"]) == 2
    assert "--allow-remote" in capsys.readouterr().err


async def test_a_remote_address_with_allow_remote() -> None:
    async with Sandbox(host="0.0.0.0", allow_remote=True) as sandbox:
        assert sandbox.url.startswith("http://0.0.0.0:")


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
async def test_ipv6() -> None:
    async with Sandbox(host="::1") as sandbox, Montra(sandbox.api_key, sandbox.base_url) as montra:
        assert await montra.list_meters() == []


async def test_invalid_settings_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On one line, without a traceback, with exit code 2."""
    text = tmp_path / "text.db"
    text.write_text("just words, and enough of them to be no database")
    async with Sandbox() as sandbox:
        port = sandbox.url.rpartition(":")[2]
        for arguments, word in (
            (["--port", port], "--port 0"),
            (["--port", "80000"], "65535"),
            (["--port=-1"], "65535"),
            (["--db", str(tmp_path / "no" / "such" / "folder")], "folder"),
            (["--db", str(tmp_path)], "directory"),
            (["--db", str(text)], "database"),
            (["--allow-host", "http://x/"], "host name"),
            (["--control-token", "short"], "control_token"),
            (["--control-token", "with\r\nline breaks"], "control_token"),
        ):
            assert await asyncio.to_thread(main, ["--port", "0", *arguments]) == 2
            said = capsys.readouterr().err
            assert word in said
            assert said.count("\n") == 1
    for keys in ((), ("",), (" a",)):
        with pytest.raises(ValueError, match="api_keys"):
            Sandbox(api_keys=keys)


def test_the_control_token_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other users of the machine can read a command line, but not the environment."""
    monkeypatch.setenv("MONTRA_SANDBOX_TOKEN", "correct-horse")
    with running_sandbox("--allow-host", "sandbox.test") as base_url:
        url = base_url.replace("/api/v1", "/_sandbox/")
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(url, timeout=30)
        caught.value.close()
        assert caught.value.code == 401
        headers = {"X-Sandbox-Token": "correct-horse", "Host": "sandbox.test"}
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
            assert answer.status == 200


async def test_it_can_be_stopped_twice_and_started_again() -> None:
    sandbox = Sandbox()
    await sandbox.stop()
    for _ in range(2):
        await sandbox.start()
        with pytest.raises(RuntimeError, match="running already"):
            await sandbox.start()
        assert sandbox.overview()["counts"]["customers"] == 0
        await sandbox.stop()
        await sandbox.stop()


def test_of_two_starts_at_once_one_is_refused() -> None:
    sandbox = Sandbox()
    both = threading.Barrier(2)

    def start() -> BaseException | None:
        both.wait(30)
        try:
            sandbox.start()
        except RuntimeError as error:
            return error
        return None

    with ThreadPoolExecutor(2) as threads:
        results = [future.result(30) for future in [threads.submit(start) for _ in range(2)]]
    assert sorted(type(one).__name__ for one in results) == ["NoneType", "RuntimeError"]
    sandbox.stop()


@pytest.mark.parametrize("was_started", [False, True])
async def test_controls_of_a_sandbox_that_is_not_running_say_so(was_started: bool) -> None:
    sandbox = Sandbox(api_keys=["a", "b"], port=0)
    if was_started:
        async with sandbox:
            url = sandbox.url
        assert sandbox.url == url
    for control in (
        sandbox.now,
        sandbox.reset,
        sandbox.overview,
        sandbox.deliveries,
        sandbox.mails,
        lambda: sandbox.add_fault(kind="status"),
        lambda: sandbox.set_paywall(sandbox.paywall_id, name="P"),
        lambda: sandbox.advance(days=1),
        lambda: sandbox.base_url if not was_started else sandbox.now(),
    ):
        with pytest.raises(RuntimeError, match="is not running: use `with Sandbox"):
            control()
    with pytest.raises(RuntimeError, match="is not running"):
        await sandbox.settle()
    assert (sandbox.api_key, sandbox.api_keys, sandbox.paywall_id) == ("a", ("a", "b"), "pw_sandbox")
    assert sandbox.control_token is None


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals(number: Any) -> None:
    with running_sandbox(end=number) as base_url:
        assert base_url.startswith("http://127.0.0.1:")
