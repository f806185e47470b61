"""A Redis server of the tests' own."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


class Redis:
    """A Redis of our own, which can be stopped."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        import redis

        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""]
        self.process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
        with redis.Redis.from_url(self.url) as client:
            for _ in range(400):
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    time.sleep(0.02)
        raise AssertionError("redis-server does not answer")

    def stop(self, *, save: bool = False) -> None:
        import redis

        assert self.process is not None
        if save:
            with redis.Redis.from_url(self.url) as client:
                client.save()
        self.process.terminate()
        self.process.wait(20)

    def flush(self) -> None:
        import redis

        with redis.Redis.from_url(self.url) as client:
            client.flushall()
            client.script_flush()

    def ends_of_holds(self) -> dict[str, float]:
        """When the leases of all holds end, in milliseconds since 1970."""
        import redis

        with redis.Redis.from_url(self.url, decode_responses=True) as client:
            keys = client.scan_iter(_type="zset")
            return {hold: end for key in keys for hold, end in client.zrange(key, 0, -1, withscores=True)}

    def wait_for_renewals(self) -> None:
        """Wait until each hold has been renewed, or has ended."""
        first = self.ends_of_holds()
        assert first
        until = time.monotonic() + 60
        while any(end <= first[hold] for hold, end in self.ends_of_holds().items()):
            assert time.monotonic() < until
            time.sleep(0.05)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    redis = Redis(tmp_path_factory.mktemp("redis"))
    redis.start()
    yield redis
    redis.stop()
