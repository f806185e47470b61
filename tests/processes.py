"""Processes of their own: a running sandbox, and scripts that use it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def running_sandbox(*arguments: str, end: int = signal.SIGTERM) -> Iterator[str]:
    """The base URL of a `python -m montra_sandbox`, which is ended by a signal, whatever happens, and must end well."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "montra_sandbox", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield _base_url_of(process)
    finally:
        process.send_signal(end)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Stopped." in out


def _base_url_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"MONTRA_BASE_URL=(\S+)", line):
            return found[1]
    raise AssertionError(f"the sandbox did not start: exit {process.wait(10)}")


def run_program(program: str | Path, base_url: str) -> str:
    """Run code, or a file, with warnings as errors; what it printed. Nothing on stderr: no warning, no error log."""
    code = ["-c", program] if isinstance(program, str) else [str(program)]
    environment = {**os.environ, "MONTRA_BASE_URL": base_url, "MONTRA_API_KEY": "sk_test_sandbox"}
    run = subprocess.run(
        [sys.executable, "-W", "error", *code],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )
    assert not run.stderr, run.stderr
    assert run.returncode == 0
    return run.stdout.strip()
