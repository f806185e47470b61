"""The command as a person uses it, piped and on a pseudo-terminal, against a real sandbox in a process of its own."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from montra_cli import main
from montra_cli.failures import Debug

COMMAND = [sys.executable, "-W", "error", "-m", "montra_cli"]
TIMEOUT = 60


class Ran:
    """A command that has ended: its exit code and what it printed."""

    def __init__(self, code: int, out: bytes, err: bytes) -> None:
        self.code = code
        self.raw = out
        self.out = out.decode()
        self.err = err.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


class Cli:
    """Runs commands with the settings of a test."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.environment = {
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_STATE_HOME": str(folder / "state"),
            "MONTRA_BASE_URL": f"{url}/api/v1",
            "COLUMNS": "100",
            "TERM": "xterm-256color",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }

    def run(self, *arguments: str, stdin: bytes = b"", **environment: str | None) -> Ran:
        """Run a command with its output piped, in this process: that is ten times as fast as `piped`."""
        out, err = io.BytesIO(), io.BytesIO()
        before = sys.stdin, sys.stdout, sys.stderr, dict(os.environ), os.getcwd(), Debug.enabled
        sys.stdin = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8", errors="surrogateescape")
        sys.stdout, sys.stderr = io.TextIOWrapper(out, encoding="utf-8"), io.TextIOWrapper(err, encoding="utf-8")
        streams = sys.stdin, sys.stdout, sys.stderr
        os.environ.clear()
        os.environ.update(self.settings(**environment))
        os.chdir(self.folder)
        try:
            code: Any = main(list(arguments))
        except SystemExit as ended:
            code = ended.code
        finally:
            sys.stdin, sys.stdout, sys.stderr = before[:3]
            os.environ.clear()
            os.environ.update(before[3])
            os.chdir(before[4])
            Debug.enabled = before[5]
            for stream in streams[1:]:
                stream.flush()
            result = out.getvalue(), err.getvalue()
            for stream in streams:
                stream.close()
        return Ran(code or 0, *result)

    def piped(self, *arguments: str, stdin: bytes = b"", **environment: str | None) -> Ran:
        """The same in a process of its own."""
        run = subprocess.run(
            [*COMMAND, *arguments],
            input=stdin,
            capture_output=True,
            timeout=TIMEOUT,
            cwd=self.folder,
            env=self.settings(**environment),
            check=False,
        )
        return Ran(run.returncode, run.stdout, run.stderr)

    def ok(self, *arguments: str, **options: Any) -> Ran:
        """Run a command that must succeed."""
        ran = self.run(*arguments, **options)
        assert ran.code == 0, ran.err
        return ran

    def terminal(self, *arguments: str, columns: int = 100, **environment: str | None) -> pexpect.spawn[str]:
        """Start a command on a pseudo-terminal."""
        settings = self.settings(**environment)
        settings.pop("COLUMNS", None)
        return pexpect.spawn(
            COMMAND[0],
            [*COMMAND[1:], *arguments],
            timeout=TIMEOUT,
            encoding="utf-8",
            dimensions=(40, columns),
            cwd=str(self.folder),
            env=settings,
        )

    def start(self, *arguments: str, **environment: str | None) -> subprocess.Popen[str]:
        """Start a command, and go on."""
        return subprocess.Popen(
            [*COMMAND, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env=self.settings(PYTHONUNBUFFERED="1", **environment),
        )

    def settings(self, **environment: str | None) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MONTRA_", "PAYWALL_"))}
        merged: dict[str, str | None] = {**kept, **self.environment, **environment}
        return {name: value for name, value in merged.items() if value is not None}

    def customer(self, email: str = "ada@example.com", name: str = "Ada") -> str:
        """Create a customer; its id."""
        created: str = self.ok("customers", "create", "--name", name, "--email", email, "--json").json["id"]
        return created

    def plan(self) -> dict[str, str]:
        """Create a plan with a meter and a customer who has it; their ids."""
        plan = self.ok("pricing-models", "create", "--name", "Pro", "--json").json["id"]
        self.ok("meters", "create", plan, "--name", "Tokens", "--slug", "api-tokens")
        both = self.ok(
            *("customers", "create-with-subscription", plan, "--name", "Ada", "--email", "ada@example.com", "--json")
        ).json
        return {"plan": plan, "customer": both["customer"]["id"], "subscription": both["subscription"]["id"]}

    def used(self, customer: str) -> int:
        """The usage of a customer's meter."""
        found: int = self.ok("entitlements", "check", customer, "api-tokens", "--json").json["usage"]
        return found


def control(url: str, method: str, path: str, body: Any = None) -> Any:
    """Call a control of the sandbox."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/_sandbox{path}", data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)["data"]


@pytest.fixture(scope="session")
def sandbox_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a sandbox that `montra sandbox` runs for all tests."""
    process = subprocess.Popen(
        [*COMMAND, "sandbox", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path_factory.mktemp("sandbox"),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    try:
        found = None
        for line in process.stdout:
            if found := re.search(r"dashboard, at (http://\S+)", line):
                break
        assert found, process.wait(10)
        yield found[1]
    finally:
        process.terminate()
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Stopped." in out


@pytest.fixture
def cli(sandbox_url: str, tmp_path: Path) -> Cli:
    """Runs commands against an empty sandbox."""
    control(sandbox_url, "POST", "/reset", {})
    control(sandbox_url, "DELETE", "/requests")
    return Cli(tmp_path, sandbox_url)


@pytest.fixture
def alone(tmp_path: Path) -> Cli:
    """Runs commands that need no service; nothing listens at its address."""
    return Cli(tmp_path, "http://127.0.0.1:9")
