"""A loopback server that counts what arrives, whichever SDK sends it.

python benchmarks/kit/collector.py [--rate N --burst N --retry-after SECONDS]     prints its port, serves until EOF

`POST` of any path is counted; `GET /counts` tells the counts. Usage with an idempotency key counts once per key, as the
service's contract says. Events of other SDKs are found by their markers: `mk-WHO-NUMBER`, anywhere in a body. With a
rate, requests beyond a token bucket are answered with 429.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import time
import urllib.request
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_KEY = re.compile(rb"\r\nidempotency-key: *([!-~]+)", re.IGNORECASE)
_COMPRESSED = re.compile(rb"\r\ncontent-encoding: *(?:gzip|deflate)", re.IGNORECASE)
_PROTOBUF = re.compile(rb"\r\ncontent-type: *application/x-protobuf", re.IGNORECASE)
_AMOUNT = re.compile(rb'"amount": *(\d+)')
_MARKER = re.compile(rb"mk-([a-z]+)-\d+")


def _response(status: str, body: bytes = b'{"success":true}', more: str = "", kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{more}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


_OK = _response("200 OK")
_OK_PROTOBUF = _response("200 OK", b"", kind="application/x-protobuf")


class Counts:
    """What has arrived, and the limit of what is accepted.

    Args:
        rate: requests per second; 0 for no limit.
        burst: size of the token bucket.
        retry_after: seconds that a refusal asks to wait; 0 for none.
    """

    def __init__(self, rate: float, burst: float, retry_after: float) -> None:
        self.requests = self.refused = self.units = self.repeated = 0
        self.keys: set[bytes] = set()
        self.markers: Counter[bytes] = Counter()
        self._rate, self._burst, self._tokens = rate, burst, burst
        self._at = time.monotonic()
        more = f"Retry-After: {retry_after:g}\r\n" if retry_after else ""
        body = b'{"success":false,"error":{"code":"rate_limited","message":"slow down"}}'
        self._slow_down = _response("429 Too Many Requests", body, more)

    def answer(self, head: bytes, body: bytes) -> bytes:
        if head.startswith(b"GET"):
            return _response("200 OK", json.dumps(self.report()).encode())
        if self._rate and not self._take():
            self.refused += 1
            return self._slow_down
        self.requests += 1
        key = _KEY.search(head)
        if key is None:
            if _COMPRESSED.search(head):
                body = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body)
            self._mark(body)
            return _OK_PROTOBUF if _PROTOBUF.search(head) else _OK
        if key[1] in self.keys:
            self.repeated += 1
            return _OK
        self.keys.add(key[1])
        self._mark(body)
        if amount := _AMOUNT.search(body):
            self.units += int(amount[1])
        return _OK

    def _take(self) -> bool:
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _mark(self, body: bytes) -> None:
        if b"mk-" in body:
            self.markers.update({found[0]: 1 for found in _MARKER.finditer(body)})

    def report(self) -> dict[str, Any]:
        senders = Counter(marker.split(b"-")[1].decode() for marker in self.markers)
        return {
            "requests": self.requests,
            "refused": self.refused,
            "units": self.units,
            "repeated": self.repeated,
            "arrived": len(self.markers),
            "doubled": sum(count - 1 for count in self.markers.values()),
            "arrived_from": dict(senders),
        }


class Connection(asyncio.Protocol):
    """One request after the other, as they come."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._pending = b""

    def data_received(self, data: bytes) -> None:
        self._pending += data
        while (end := self._pending.find(b"\r\n\r\n")) >= 0:
            found = _LENGTH.search(self._pending, 0, end)
            whole = end + 4 + (int(found[1]) if found else 0)
            if len(self._pending) < whole:
                return
            head, body = self._pending[:end], self._pending[end + 4 : whole]
            self._pending = self._pending[whole:]
            self._transport.write(self._counts.answer(head, body))


async def serve(counts: Counts) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(counts), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


class Collector:
    """A running collector, seen from a benchmark."""

    def __init__(self, port: int) -> None:
        self.origin = f"http://127.0.0.1:{port}"
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def counts(self) -> dict[str, Any]:
        with self._open(f"{self.origin}/counts", timeout=30) as response:
            return dict(json.load(response))

    def settled_counts(self, pause: float = 0.2) -> dict[str, Any]:
        """The counts, when nothing more arrives."""
        before = self.counts()
        while True:
            time.sleep(pause)
            now = self.counts()
            if now == before:
                return now
            before = now


@contextmanager
def running(rate: float = 0.0, burst: float = 0.0, retry_after: float = 0.0) -> Iterator[Collector]:
    """A collector in a process of its own."""
    command = [sys.executable, __file__, f"--rate={rate}", f"--burst={burst}", f"--retry-after={retry_after}"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Collector(int(process.stdout.readline()))
    finally:
        process.kill()
        process.communicate(timeout=10)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--rate", "--burst", "--retry-after"):
        parser.add_argument(name, type=float, default=0.0)
    given = parser.parse_args()
    asyncio.run(serve(Counts(given.rate, given.burst, given.retry_after)))


if __name__ == "__main__":
    main()
