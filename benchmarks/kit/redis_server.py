"""A real `redis-server` in a process of its own."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .contenders import is_installed


def is_there() -> bool:
    """Whether Redis can be measured here. Says so when it can't."""
    if shutil.which("redis-server") is not None and is_installed("redis"):
        return True
    print("Redis: redis-server or the package redis is not installed, left out", file=sys.stderr)
    return False


@contextmanager
def running(appendfsync: str = "everysec") -> Iterator[str]:
    """Its URL, while it runs with an append-only file."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        taken.close()
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""]
        command += ["--appendonly", "yes", "--appendfsync", appendfsync]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            _wait_for(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.kill()
            process.wait(10)


def _wait_for(port: int) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"PING\r\n")
            if connection.recv(5) == b"+PONG":
                return
        time.sleep(0.01)
    raise SystemExit("redis-server does not answer")
