"""Expected failures: a message, an exit code, no traceback, no secret."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import COMMAND, Cli, control

KEY = "sk_live_5ecret5ecret5ecret"


def test_each_failure_has_its_code(cli: Cli) -> None:
    assert cli.piped("customers", "get", "cust_x").code == 5
    ran = cli.piped("customers", "list", MONTRA_API_KEY=KEY)
    assert (ran.code, KEY in ran.err) == (4, False)
    assert cli.piped("customers", "list", MONTRA_BASE_URL="http://127.0.0.1:9/api/v1").code == 6
    assert cli.piped("customers", "list", MONTRA_BASE_URL="nonsense").code == 2
    ran = cli.piped("customers", "list", MONTRA_BASE_URL=None)
    assert (ran.code, "montra config login" in ran.err) == (2, True)
    cli.customer()
    ran = cli.piped("customers", "create", "--name", "A", "--email", "ada@example.com")
    assert (ran.code, "409" in ran.err, "Traceback" in ran.err) == (1, True, False)
    ran = cli.piped("customers", "create", "--name", " ", "--email", "b@example.com")
    assert (ran.code, ran.err) == (2, "Error: name: must not be empty\n")


def test_an_unclear_end_names_the_key(cli: Cli) -> None:
    control(cli.url, "POST", "/faults", {"kind": "drop_after", "times": 3, "method": "POST"})
    ran = cli.run("customers", "create", "--name", "A", "--email", "a@example.com")
    assert ran.code == 6
    key = ran.err.split("--idempotency-key ")[1].split()[0]
    cli.ok("customers", "create", "--name", "A", "--email", "a@example.com", "--idempotency-key", key)
    assert len(cli.ok("customers", "list", "--jsonl").lines) == 1


def test_debug_shows_the_traceback_without_secrets(cli: Cli) -> None:
    ran = cli.run("customers", "get", "cust_x", "--debug", MONTRA_API_KEY=KEY)
    assert "Traceback" in ran.err
    assert KEY not in ran.err
    assert "Traceback" in cli.run("customers", "get", "cust_x", MONTRA_DEBUG="1").err


@contextmanager
def silent_server() -> Iterator[tuple[str, threading.Event]]:
    """A server that accepts and never answers; the event is set when somebody has connected."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        connected = threading.Event()
        kept: list[socket.socket] = []

        def accept() -> None:
            try:
                while True:
                    kept.append(server.accept()[0])
                    kept[-1].recv(100)
                    connected.set()
            except OSError:
                pass

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", connected
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for one in kept:
                one.close()


def test_ctrl_c_ends_with_130(cli: Cli) -> None:
    with silent_server() as (url, connected):
        child = cli.terminal("customers", "list", MONTRA_BASE_URL=f"{url}/api/v1")
        assert connected.wait(30)
        child.sendintr()
        text = str(child.read())
        child.wait()
    assert child.exitstatus == 130
    assert "Traceback" not in text
    assert "Stopped." in text


def test_a_question_is_asked_on_a_terminal(cli: Cli) -> None:
    made = cli.ok("webhooks", "create", "--url", "http://127.0.0.1:1/x", "--json").json
    child = cli.terminal("webhooks", "delete", made["id"])
    child.expect("Delete the webhook endpoint .*this machine.*:")
    child.sendline("n")
    child.read()
    child.wait()
    assert child.exitstatus == 7
    child = cli.terminal("webhooks", "delete", made["id"])
    child.expect("Delete the webhook")
    child.sendintr()
    child.read()
    child.wait()
    assert child.exitstatus == 130
    child = cli.terminal("webhooks", "delete", made["id"], MONTRA_API_KEY="sk_live_x")
    child.expect("LIVE")
    child.sendeof()
    child.read()
    child.wait()
    assert child.exitstatus == 130
    child = cli.terminal("webhooks", "delete", made["id"])
    child.expect("Delete the webhook")
    child.sendline("y")
    assert "Done." in str(child.read())
    child.wait()
    assert child.exitstatus == 0


def test_secrets_of_a_list_are_masked_on_a_terminal(cli: Cli) -> None:
    made = cli.ok("webhooks", "create", "--url", "http://127.0.0.1:1/x", "--json").json
    assert made["secret"] not in str(cli.terminal("webhooks", "list", columns=200).read())


def test_what_nobody_expects_ends_with_1_and_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    from montra_cli.failures import guarded
    from montra_cli.secrets import remember

    remember("s3cret-s3cret")

    def fail() -> None:
        raise RuntimeError("with s3cret-s3cret and \x1b[31m")

    with pytest.raises(SystemExit) as ended:
        guarded(fail)
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert "s3cret-s3cret" not in error
    assert "\x1b" not in error

    def missing() -> None:
        open("/nonexistent/file").close()

    with pytest.raises(SystemExit) as ended:
        guarded(missing)
    assert ended.value.code == 1
    assert capsys.readouterr().err == "Error: /nonexistent/file: No such file or directory\n"


def test_sigint_before_anything_is_130(cli: Cli) -> None:
    process = cli.start("listen")
    try:
        assert process.stdout is not None
        process.stdout.readline()
    finally:
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        "customers list",
        "customers list --json",
        "export customers",
        "export customers -o /dev/full",
        "plans pull -o /dev/full",
        "customers --help",
        "--help",
        "--version",
    ],
)
def test_a_full_disk_is_one_line(cli: Cli, arguments: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    cli.customer()
    with open("/dev/full", "wb") as full:
        ran = subprocess.run(
            [*COMMAND, *arguments.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=cli.settings(),
            cwd=cli.folder,
            timeout=60,
        )
    assert ran.returncode == 1
    assert ran.stderr.endswith("Error: what the command writes has no room: No space left on device\n")
    assert "Traceback" not in ran.stderr
