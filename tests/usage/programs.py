"""Programs that report usage, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

PREAMBLE = """
import asyncio, os, signal, sys, threading, time
from montra_async import Montra
from montra_async.usage import MemoryOutbox, SqliteOutbox, UsageReporter
import montra_sync, montra_sync.usage
signal.signal(signal.SIGTERM, signal.SIG_DFL)  # coverage has a handler of its own; a program has none
BASE_URL, OUTBOX = sys.argv[1:3]
def reporter(exit_timeout=60, **settings):  # a busy machine
    return UsageReporter(Montra("sk_test_x", BASE_URL), SqliteOutbox(OUTBOX), exit_timeout=exit_timeout, **settings)
def sync_reporter(exit_timeout=60, **settings):
    montra = montra_sync.Montra("sk_test_x", BASE_URL)
    return montra_sync.usage.UsageReporter(montra, SqliteOutbox(OUTBOX), exit_timeout=exit_timeout, **settings)
"""


def start(program: str, base_url: str, outbox: Path, **options: Any) -> subprocess.Popen[str]:
    """Start a program; its first lines are in `PREAMBLE`."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PREAMBLE + program, base_url, str(outbox)],
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """Wait for its end; what it printed. Nothing on stderr."""
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (code, "")
    return out


def run(program: str, base_url: str, outbox: Path, code: int = 0) -> str:
    return finish(start(program, base_url, outbox), code)
