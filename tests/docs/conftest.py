"""Fixtures that run what the documentation shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ADDRESS = "http://127.0.0.1:4242"
"""Where the pages say that the sandbox is."""


@dataclass(frozen=True)
class Ran:
    """What became of a program.

    Attributes:
        status: its exit status.
        out: its output.
        err: what it wrote to stderr.
    """

    status: int
    out: str
    err: str


class Snippets:
    """Runs programs with warnings as errors, each in a process of its own, against an empty sandbox.

    Args:
        process: runs `snippet_process.py`.
        base_url: of the sandbox's API.
    """

    def __init__(self, process: subprocess.Popen[str], base_url: str) -> None:
        self._process = process
        self._sandbox = base_url.removesuffix("/api/v1")

    def run(
        self, *argv: str, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 60, reset: bool = True
    ) -> Ran:
        """Run `python -W error ...`.

        Args:
            argv: `-c` and code, or `-m` and a module with its arguments.
            cwd: the working directory, also for the outbox of usage.
            env: additions to the environment.
            timeout: seconds. Default: 60.
            reset: empty the sandbox first. Default: True.
        """
        if reset:
            self._reset()
        given = [one.replace(ADDRESS, self._sandbox) for one in argv]
        environment = {**os.environ, "MONTRA_OUTBOX": str(cwd / "usage.db"), **(env or {})}
        job = {"argv": given, "cwd": str(cwd), "env": environment, "timeout": timeout}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return Ran(answer["status"], answer["out"].replace(self._sandbox, ADDRESS), answer["err"])

    def _reset(self) -> None:
        request = urllib.request.Request(
            f"{self._sandbox}/_sandbox/reset", data=b"{}", headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30):
            pass


@pytest.fixture(scope="session")
def snippets(served: str) -> Iterator[Snippets]:
    """Runs programs against a sandbox that is empty at the start of each."""
    program = Path(__file__).parent / "snippet_process.py"
    process = subprocess.Popen(
        [sys.executable, "-W", "error", str(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Snippets(process, served)
    finally:
        process.communicate(timeout=30)
    assert process.returncode == 0
