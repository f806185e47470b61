"""Real Redis servers for tests, and a proxy in front of one that loses answers."""

from __future__ import annotations

import contextlib
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from ..servers import free_port

needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None or find_spec("redis") is None, reason="needs redis and redis-server"
)


class RedisServer:
    """A `redis-server` process on a port and in a folder of its own.

    Args:
        folder: where it keeps its files.
        options: its options, e.g. `appendonly="yes"`.
    """

    def __init__(self, folder: Path, **options: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder, self._options = folder, {"save": "", **options}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        import redis

        options = [part for name, value in self._options.items() for part in (f"--{name.replace('_', '-')}", value)]
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        self._process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 20
        with self.client() as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.AuthenticationError:
                    return
                except (redis.ConnectionError, redis.TimeoutError):
                    assert time.monotonic() < until, "redis-server does not answer"
                    assert self._process.poll() is None, "redis-server has ended"
                    time.sleep(0.01)

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(20)
            self._process = None

    def client(self, **settings: Any) -> Any:
        """A client with short time-outs, which does not repeat."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        retry = Retry(NoBackoff(), 0)
        return redis.Redis(port=self.port, socket_timeout=5, socket_connect_timeout=5, retry=retry, **settings)

    def forget_writers(self) -> None:
        """What Redis does a week after the last group of each."""
        with self.client() as client:
            for key in client.keys("montra:usage:*:writer:*"):
                client.delete(key)


@contextlib.contextmanager
def redis_server(folder: Path, **options: str) -> Iterator[RedisServer]:
    """A running server, until the end of the block."""
    server = RedisServer(folder, **options)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextlib.contextmanager
def redis_cluster(folder: Path) -> Iterator[RedisServer]:
    """A running cluster of one server, until the end of the block."""
    with redis_server(folder, cluster_enabled="yes", cluster_port=str(free_port())) as server:
        with server.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            until = time.monotonic() + 30
            while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
                assert time.monotonic() < until, "the cluster does not begin"
                time.sleep(0.01)
        yield server


class LosingProxy:
    """Forwards connections to a server, and loses answers when it is told to.

    Args:
        port: the server's port.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._lock = threading.Lock()
        self._to_lose = 0
        self._skipped = 0
        self.lost = 0
        """Number of answers that were lost."""
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def lose(self, answers: int = 1, *, after: int = 0) -> None:
        """Close the connection instead of forwarding an answer, for the next ones.

        Args:
            answers: how many.
            after: number of answers that are forwarded before.
        """
        with self._lock:
            self._to_lose, self._skipped = answers, after

    def _is_lost(self) -> bool:
        with self._lock:
            if self._skipped > 0:
                self._skipped -= 1
                return False
            if self._to_lose == 0:
                return False
            self._to_lose -= 1
            self.lost += 1
            return True

    def _accept(self) -> None:
        while not self._ended.is_set():
            if select.select([self._listener], [], [], 0.05)[0]:
                thread = threading.Thread(target=self._forward, args=(self._listener.accept()[0],), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _forward(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port)) as server:
            while not self._ended.is_set():
                for ready in select.select([client, server], [], [], 0.05)[0]:
                    data = ready.recv(1024 * 1024)
                    if not data or (ready is server and self._is_command_answer(data) and self._is_lost()):
                        return
                    (server if ready is client else client).sendall(data)

    @staticmethod
    def _is_command_answer(data: bytes) -> bool:
        """Not an answer to what a client says when it connects, nor "no such script"."""
        return not data.startswith((b"+", b"-", b"%"))

    def close(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()


@contextlib.contextmanager
def losing_proxy(server: RedisServer) -> Iterator[LosingProxy]:
    """A proxy until the end of the block."""
    proxy = LosingProxy(server.port)
    try:
        yield proxy
    finally:
        proxy.close()
