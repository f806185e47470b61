"""What happens, as it happens: `montra listen` and `montra logs tail`."""

from __future__ import annotations

import http.server
import json
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from montra_cli.sandbox.lines import clock_text, delivery_line, request_line, status_text
from montra_cli.sandbox.live_events import _after_restart, _event

from .conftest import Cli, control


@contextmanager
def receiver(status: int = 200) -> Iterator[tuple[str, queue.Queue[dict[str, Any]]]]:
    """An application that gets webhooks."""
    got: queue.Queue[dict[str, Any]] = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/webhooks", got
        finally:
            server.shutdown()
            thread.join()


class Followed:
    """A command that goes on, and the lines that it prints."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    def wait_for(self, is_it: Callable[[str], object], seconds: float = 30) -> str:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for line in list(self.lines):
                if is_it(line):
                    return line
            time.sleep(0.05)
        raise AssertionError(self.lines)

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        code = self.process.wait(30)
        self._thread.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        assert "Traceback" not in "".join(self.lines)
        return code


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_listen_forwards_and_tidies_up(cli: Cli, end: int) -> None:
    with receiver() as (url, got):
        listening = Followed(
            cli.start("listen", "--forward-to", url.removeprefix("http://"), "--events", "customer.created")
        )
        assert "whsec_" in listening.wait_for(lambda line: line.startswith("Secret: "))
        cli.customer()
        line = listening.wait_for(lambda line: "customer.created" in line)
        assert "  200  " in line
        assert "ms" in line
        assert got.get(timeout=10)["type"] == "customer.created"
        assert listening.stop(end) == 0
    assert control(cli.url, "GET", "/webhooks") == []


def test_listen_tidies_up_when_it_is_told_twice_to_end(cli: Cli) -> None:
    with receiver() as (url, _):
        listening = Followed(cli.start("listen", "--forward-to", url))
        listening.wait_for(lambda line: line.startswith("Secret: "))
        listening.process.send_signal(signal.SIGHUP)
        listening.process.send_signal(signal.SIGTERM)
        assert listening.stop(signal.SIGTERM) == 0
    assert control(cli.url, "GET", "/webhooks") == []


def test_a_listen_that_ignores_the_end_of_its_terminal_goes_on(cli: Cli) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does: the new process inherits it
    try:
        listening = Followed(cli.start("listen"))
    finally:
        signal.signal(signal.SIGHUP, before)
    listening.wait_for(lambda line: "Showing events" in line)
    listening.process.send_signal(signal.SIGHUP)
    cli.customer()
    listening.wait_for(lambda line: "customer.created" in line)
    assert listening.stop() == 0


def test_listen_leaves_an_endpoint_that_was_there_before(cli: Cli) -> None:
    url = "http://127.0.0.1:9/hooks"
    before = control(cli.url, "POST", "/webhooks", {"url": url})["id"]
    listening = Followed(cli.start("listen", "--forward-to", url, "--service", "montra"))
    listening.wait_for(lambda line: line.startswith("Secret: "))
    assert listening.stop() == 0
    assert [one["id"] for one in control(cli.url, "GET", "/webhooks")] == [before]


def test_listen_shows_what_the_application_refuses(cli: Cli) -> None:
    with receiver(500) as (url, _):
        listening = Followed(
            cli.start("listen", *("--forward-to", url), *("--service", "montra", "--secret", "whsec_own", "--jsonl"))
        )
        assert "whsec_own" in listening.wait_for(lambda line: line.startswith("Secret: "))
        cli.customer()
        line = listening.wait_for(lambda line: line.startswith("{") and '"last_status": 500' in line)
        assert json.loads(line)["event_type"] == "customer.created"
        listening.stop()


def test_listen_makes_its_endpoint_anew_after_a_reset(cli: Cli) -> None:
    with receiver() as (url, _):
        listening = Followed(cli.start("listen", "--forward-to", url))
        listening.wait_for(lambda line: line.startswith("Secret: "))
        control(cli.url, "POST", "/reset", {})
        listening.wait_for(lambda _: sum(one.startswith("Secret: ") for one in listening.lines) == 2)
        cli.customer()
        listening.wait_for(lambda line: "customer.created" in line)
        listening.stop()


def test_listen_without_an_application_shows_events(cli: Cli) -> None:
    listening = Followed(cli.start("listen"))
    listening.wait_for(lambda line: "Showing events" in line)
    cli.customer()
    assert "evt_" in listening.wait_for(lambda line: "customer.created" in line)
    listening.stop()
    assert cli.run("listen", "--events", ",").code == 2
    for more in ([], ["--forward-to", ":9"]):
        ran = cli.run("listen", "--events", "invoice.created,invoice.craeted", *more)
        assert (ran.code, "no event 'invoice.craeted'; there are: *, " in ran.err) == (2, True)
    assert cli.run("listen", "--service", "other").code == 2
    assert cli.run("listen", MONTRA_BASE_URL="http://127.0.0.1:9").code == 6


def test_logs_are_followed(cli: Cli) -> None:
    control(cli.url, "DELETE", "/requests")
    cli.customer()
    everything = Followed(cli.start("logs", "tail"))
    failed = Followed(cli.start("logs", "tail", "--failed", "--path", "/customers", "--method", "get", "--jsonl"))
    everything.wait_for(lambda line: "POST" in line)  # it was there before
    cli.run("customers", "get", "cust_unknown")
    line = everything.wait_for(lambda line: "cust_unknown" in line)
    assert "  404  GET " in line
    assert "error=not_found" in line
    assert "req_" in line
    found = json.loads(failed.wait_for(lambda line: "cust_unknown" in line))
    assert found["status"] == 404
    assert everything.stop() == 0
    assert failed.stop(signal.SIGTERM) == 0
    assert len(failed.lines) == 1
    assert len(everything.lines) == 2
    assert cli.ok("logs", "list", "--failed", "--json").json[0]["status"] == 404
    assert len(cli.ok("logs", "list", "--method", "POST", "--jsonl").lines) == 1


def test_the_sandbox_may_be_restarted(cli: Cli) -> None:
    port = cli.url.rpartition(":")[2]
    started = Followed(cli.start("sandbox", "--port", "0"))
    own = started.wait_for(lambda line: "MONTRA_BASE_URL=" in line).strip().partition("=")[2]
    assert own.split(":")[2] != port
    with receiver() as (url, _):
        settings = {"MONTRA_BASE_URL": own}
        listening = Followed(cli.start("listen", "--forward-to", url, **settings))
        logs = Followed(cli.start("logs", "tail", **settings))
        listening.wait_for(lambda line: line.startswith("Secret: "))
        cli.ok("customers", "create", "--name", "A", "--email", "a@example.com", **settings)
        logs.wait_for(lambda line: "POST" in line)
        listening.wait_for(lambda line: "customer.created" in line)
        started.stop()
        listening.wait_for(lambda line: "waiting for the sandbox" in line)
        started = Followed(cli.start("sandbox", "--port", own.split(":")[2].split("/")[0]))
        listening.wait_for(lambda line: sum(one.startswith("Secret: ") for one in listening.lines) == 2)
        cli.ok("customers", "create", "--name", "A", "--email", "b@example.com", **settings)
        listening.wait_for(lambda line: sum("customer.created" in one for one in listening.lines) == 2)
        logs.wait_for(lambda line: sum("POST" in one for one in logs.lines) == 2)
        listening.stop()
        logs.stop()
        started.stop()


def test_lines_are_clean_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    evil = "\x1b[31m\r\n"
    request = {"at": "x" * 99, "method": evil, "path": evil, "status": None, "duration_ms": 1, "fault": evil}
    line = request_line({**request, "replayed": True})
    assert "\x1b" not in line
    assert "\n" not in line
    assert "dropped" in line
    assert "attempt 3" in delivery_line({"attempts": 3, "last_status": 200, "event_type": evil})
    assert clock_text("2030-01-31T12:00:00Z") == "2030-01-31 12:00:00"
    monkeypatch.setattr("montra_cli.sandbox.lines.uses_colour", lambda: True)
    assert [status_text(one)[2:4] for one in (200, 302, 404, None)] == ["32", "33", "31", "31"]


def test_messages_of_the_feed() -> None:
    assert _event({"data": '{"a": 1}', "id": "3-2", "event": "request"}) == ("request", "3-2", {"a": 1})
    assert _event({"": " still there"}) is None
    assert _event({"data": "["}) is None
    assert _event({"data": "1"}) is None
    assert (_after_restart(None), _after_restart("9-4")) == (None, "0-4")
