"""Servers of their own process, for as long as a test wants them."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@contextmanager
def running(command: list[str], ready: str, *, cwd: Path = EXAMPLES, **environment: str) -> Iterator[str]:
    """A server until the end of the block, which must end when it is told to; the line of it that fits `ready`."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
        cwd=cwd,
    )
    try:
        assert process.stdout is not None
        log = ""
        for line in process.stdout:
            log += line
            if found := re.search(ready, line):
                yield found[0]
                break
        else:
            raise AssertionError(log)
    finally:
        process.terminate()
        log, _ = process.communicate(timeout=30)
    assert "Traceback" not in log, log
