"""The example applications under their real servers, with what they write to their logs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import attrs
import pytest

from ..servers import EXAMPLES, free_port

SERVERS: dict[str, list[str]] = {
    "fastapi": ["-m", "uvicorn", "--port", "PORT", "fastapi_app:app"],
    "starlette": ["-m", "uvicorn", "--port", "PORT", "starlette_app:app"],
    "django-async": ["-m", "uvicorn", "--lifespan", "off", "--port", "PORT", "django_async_app:application"],
    "aiohttp": ["-u", "aiohttp_app.py"],
    "flask": ["-m", "gunicorn", "--preload", "-w", "2", "-b", "127.0.0.1:PORT", "flask_app:app"],
    "django": ["-m", "gunicorn", "-w", "2", "-b", "127.0.0.1:PORT", "django_app:application"],
}
READY = r"Uvicorn running on|Running on http|Booting worker"
gunicorn_runs = pytest.mark.skipif(not hasattr(os, "fork"), reason="gunicorn forks")
EVERY = [pytest.param(one, marks=gunicorn_runs) if "gunicorn" in SERVERS[one] else one for one in SERVERS]


@attrs.define
class Server:
    """A server of its own process. Its log goes to a file, so that nothing stops when nobody reads it."""

    port: int
    process: subprocess.Popen[bytes]
    log_file: Path
    framework: str = ""
    """Key of `SERVERS`."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def crashes(self) -> list[str]:
        """Lines of its log that tell of an exception which nobody has caught.

        aiohttp.web logs requests that are no HTTP with a traceback, before any of our code has seen them.
        """
        by_aiohttp = "======== Running on" in self.log
        return re.findall(r'File ".*/montra_(?:async|sync)/.*' if by_aiohttp else "Traceback", self.log)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        finally:
            self.process.kill()

    def peak_memory(self) -> int:
        """Bytes that its largest process has ever held."""
        pids = [self.process.pid, *_children(self.process.pid)]
        return max(int(_status(pid, "VmHWM")) * 1024 for pid in pids)


def start(command: list[str], *, cwd: Path = EXAMPLES, **environment: str) -> Server:
    port = free_port()
    handle, name = tempfile.mkstemp(suffix=".log")
    with os.fdopen(handle, "wb") as log:
        process = subprocess.Popen(
            [sys.executable, *(part.replace("PORT", str(port)) for part in command)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PORT": str(port), "PYTHONUNBUFFERED": "1", **environment},
            cwd=cwd,
        )
    server = Server(port, process, Path(name))
    for _ in range(600):
        if re.search(READY, server.log):
            return server
        if process.poll() is not None:
            break
        time.sleep(0.05)
    process.kill()
    raise AssertionError(server.log)


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(one) for one in path.read_text().split()] if path.exists() else []


def _status(pid: int, field: str) -> str:
    found = re.search(rf"{field}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return found[1]
