"""`MONTRA_LOG`: one line per attempt on standard error, without ids, names and secrets."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, strategies

from montra_async import Montra, NotFoundError, RequestTimeoutError
from montra_async.core.log_setup import as_line, as_value, log_from_environment
from montra_sandbox import Sandbox

log = logging.getLogger("montra")
Lines = Callable[[], list[str]]

LINE = re.compile(r'(?:[a-z_]+=(?:[^\s"=]+|"(?:[^"\\]|\\.)*")(?: |$))+')


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    handlers, level, propagates = list(log.handlers), log.level, log.propagate
    yield
    log.handlers[:] = handlers
    log.setLevel(level)
    log.propagate = propagates


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    def read() -> list[str]:
        return capsys.readouterr().err.splitlines()

    return read


async def test_a_line_for_each_attempt(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, lines: Lines) -> None:
    monkeypatch.setenv("MONTRA_LOG", "info")
    async with Montra("sk_test_sandbox", sandbox.base_url) as montra:
        sandbox.add_fault(kind="status", status=503, retry_after=0)
        with pytest.raises(NotFoundError):
            await montra.get_customer("cust_secretid")
    first, retry, second = lines()
    assert re.fullmatch(
        r"time=\S+Z level=info logger=montra event=attempt service=montra op=get_customer method=GET "
        r"path=/customers/\{id\} status=503 attempt=1 ms=\d+\.\d request_id=req_\w+",
        first,
    )
    assert " event=retry " in retry
    assert "pause_ms=0.0" in retry
    assert " status=404 attempt=2 " in second
    assert "secretid" not in first + retry + second


async def test_debug_tells_of_beginnings_too(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, lines: Lines) -> None:
    monkeypatch.setenv("MONTRA_LOG", " DEBUG ")
    async with Montra("sk_test_sandbox", sandbox.base_url) as montra:
        await montra.list_customers()
    found = [line for line in lines() if "event=" in line]
    assert [re.findall(r"level=(\w+).* event=(\w+)", line)[0] for line in found] == [
        ("debug", "attempt_started"),
        ("info", "attempt"),
    ]


async def test_attempts_without_a_response(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, lines: Lines) -> None:
    monkeypatch.setenv("MONTRA_LOG", "info")
    async with Montra("sk_test_sandbox", "http://127.0.0.1:1", max_attempts=1) as montra:
        with pytest.raises(Exception, match="127"):
            await montra.list_customers()
    async with Montra("sk_test_sandbox", sandbox.base_url) as montra:
        sandbox.add_fault(kind="latency", seconds=60)
        with pytest.raises(RequestTimeoutError):
            await montra.with_options(timeout=0.05).list_customers()
    refused, timed_out = lines()
    assert " error=NetworkError attempt=1 ms=" in refused
    assert " error=RequestTimeoutError" in timed_out


async def test_without_the_variable_nothing_is_changed(sandbox: Sandbox, lines: Lines) -> None:
    before = (list(log.handlers), log.level)
    async with Montra("sk_test_sandbox", sandbox.base_url) as montra:
        await montra.list_customers()
    assert (log.handlers, log.level) == before
    assert lines() == []


def test_another_value_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONTRA_LOG", "loud")
    with pytest.warns(UserWarning, match="MONTRA_LOG: `info` or `debug`"):
        assert not log_from_environment()
    assert not any("MONTRA_LOG" in repr(one) for one in log.handlers)


def test_it_is_set_up_once_and_keeps_a_lower_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONTRA_LOG", "info")
    log.setLevel(logging.DEBUG)
    for _ in range(3):
        assert log_from_environment()
    assert log.level == logging.DEBUG
    assert sum("MONTRA_LOG" in repr(one) for one in log.handlers) == 1
    log.setLevel(logging.ERROR)
    log_from_environment()
    assert log.level == logging.INFO


@pytest.mark.parametrize("name", ["", "montra"])
def test_no_line_comes_twice(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The application shows its log on the terminal itself: its handler does, and ours is silent."""
    monkeypatch.setenv("MONTRA_LOG", "info")
    log_from_environment()
    theirs = logging.StreamHandler(sys.stderr)
    target = logging.getLogger(name or None)
    target.addHandler(theirs)
    try:
        log.info("once")
    finally:
        target.removeHandler(theirs)
    assert capsys.readouterr().err.count("once") == 1
    log.info("again")
    assert capsys.readouterr().err.count("again") == 1


def test_a_handler_that_writes_elsewhere_does_not_silence_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("MONTRA_LOG", "info")
    log_from_environment()
    others = [logging.FileHandler(tmp_path / "log"), logging.StreamHandler(io.StringIO())]
    for one in others:
        logging.getLogger().addHandler(one)
    try:
        log.info("to both")
    finally:
        for one in others:
            logging.getLogger().removeHandler(one)
            one.close()
    assert "to both" in capsys.readouterr().err
    assert "to both" in (tmp_path / "log").read_text()


def test_an_exception_is_below_its_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MONTRA_LOG", "info")
    log_from_environment()
    try:
        raise KeyError("mine")
    except KeyError:
        log.exception("a hook failed")
    said = capsys.readouterr().err
    assert 'level=error logger=montra msg="a hook failed"\nTraceback' in said


def test_a_process_without_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONTRA_LOG", "info")
    log_from_environment()
    monkeypatch.setattr(sys, "stderr", None)
    log.info("nowhere")


@given(strategies.dictionaries(strategies.from_regex(r"[a-z_]{1,8}", fullmatch=True), strategies.text(), min_size=1))
def test_a_line_is_one_line_whose_values_end_where_they_end(fields: dict[str, str]) -> None:
    line = as_line(fields)
    assert len(line.splitlines()) == 1
    assert LINE.fullmatch(line)
    assert len(re.findall(r'[a-z_]+=(?:[^\s"=]+|"(?:[^"\\]|\\.)*")', line)) == len(fields)


@pytest.mark.parametrize(("value", "shown"), [("a", "a"), ("", '""'), ('a "b"', '"a \\"b\\""'), (1.25, "1.2")])
def test_values(value: object, shown: str) -> None:
    assert as_value(value) == shown


PROGRAMS = {
    "async": "import asyncio\nfrom montra_async import Montra\n"
    "async def main():\n    async with Montra() as montra:\n        await montra.list_customers()\n"
    "asyncio.run(main())",
    "sync": "from montra_sync import Montra\nwith Montra() as montra:\n    montra.list_customers()",
    "command": "import sys\nsys.argv = ['montra', 'customers', 'list']\nfrom montra_cli import main\nsys.exit(main())",
}


@pytest.mark.parametrize("kind", PROGRAMS)
def test_everywhere(kind: str, served: str) -> None:
    environment = {"MONTRA_BASE_URL": served, "MONTRA_API_KEY": "sk_test_sandbox", "MONTRA_LOG": "info"}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAMS[kind]],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )
    assert run.returncode == 0, run.stderr
    attempts = [line for line in run.stderr.splitlines() if "event=attempt" in line]
    assert len(attempts) == 1
    assert "op=list_customers" in attempts[0]
