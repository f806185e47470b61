"""A service in a process of its own: counts usage once per idempotency key, as the contract says, and fails on purpose.

It outlives the processes that report to it. `python -m tests.usage.sink` prints its port; `GET /sums` tells what was
counted, `POST /faults` sets what goes wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).parents[2]
OK = b'{"success":true}'
METERS = ("api-tokens", "calls")


@attrs.define
class Faults:
    """Shares of requests, 0 to 1, that go wrong."""

    drop_before: float = 0.0
    drop_after: float = 0.0
    fail_before: float = 0.0
    fail_after: float = 0.0
    limit: float = 0.0
    refuse: float = 0.0
    seconds: float = 0.0
    retry_after: float = 0.0
    down: bool = False


class Counter:
    """What was counted."""

    def __init__(self) -> None:
        self.sums: defaultdict[str, Decimal] = defaultdict(Decimal)
        self.bodies: dict[str, bytes] = {}
        self.requests = 0
        self.replays = 0
        self.mismatches = 0
        self.at_once = 0
        self.under_way: set[str] = set()
        self.faults = Faults()
        self.random = random.Random(7)

    def happens(self, share: float) -> bool:
        return share > 0 and self.random.random() < share

    def count(self, key: str, body: bytes) -> int:
        known = self.bodies.get(key)
        if known is not None:
            self.replays += 1
            if known == body:
                return 200
            self.mismatches += 1
            return 409
        self.bodies[key] = body
        usage = json.loads(body, parse_float=Decimal)
        self.sums[f"{usage['customer_id']}/{usage['meter_slug']}"] += Decimal(usage["amount"])
        return 200

    def report(self) -> dict[str, Any]:
        return {
            "sums": {name: str(amount) for name, amount in self.sums.items()},
            "requests": self.requests,
            "counted": len(self.bodies),
            "replays": self.replays,
            "mismatches": self.mismatches,
            "at_once": self.at_once,
        }


class Connection(asyncio.Protocol):
    """A minimal HTTP/1.1 server: one request after the other on each connection."""

    counter: Counter

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.buffer = b""
        self.task: asyncio.Task[None] | None = None

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found or self.task is not None:
            return
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        method, path, _ = lines[0].split(" ")
        body = rest[:length]
        if path.endswith("/usage") and not self.counter.faults.seconds and not self.counter.faults.down:
            self.usage(headers["idempotency-key"], body)
            if self.buffer:
                self.data_received(b"")
            return
        self.task = asyncio.ensure_future(self.handle(method, path, headers, body))

    def usage(self, key: str, body: bytes) -> None:
        counter, faults = self.counter, self.counter.faults
        counter.requests += 1
        if counter.happens(faults.drop_before):
            return self.transport.abort()
        if counter.happens(faults.limit):
            extra = f"Retry-After: {faults.retry_after:g}\r\n" if faults.retry_after else ""
            return self.answer(429, b'{"success":false,"error":{"code":"rate_limited","message":"slow down"}}', extra)
        if counter.happens(faults.fail_before):
            return self.answer(503, b"")
        if counter.happens(faults.refuse):
            return self.answer(404, b'{"success":false,"error":{"code":"not_found","message":"no such customer"}}')
        status = counter.count(key, body)
        if counter.happens(faults.fail_after):
            return self.answer(500, b"")
        if counter.happens(faults.drop_after):
            return self.transport.abort()
        code = b'{"success":false,"error":{"code":"idempotency_mismatch","message":"another body"}}'
        return self.answer(status, OK if status == 200 else code)

    async def handle(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        counter = self.counter
        if path.endswith("/usage"):
            key = headers["idempotency-key"]
            counter.at_once += key in counter.under_way
            counter.under_way.add(key)
            if counter.faults.seconds:
                await asyncio.sleep(counter.faults.seconds * counter.random.random())
            counter.under_way.discard(key)
            if counter.faults.down:
                self.transport.abort()
            else:
                self.usage(key, body)
        elif path.endswith("/meters"):
            meters = [
                {"id": f"m{i}", "slug": slug, "aggregation": "sum", "name": slug} for i, slug in enumerate(METERS)
            ]
            self.answer(200, json.dumps({"success": True, "data": meters}).encode())
        elif path == "/faults":
            counter.faults = Faults(**json.loads(body))
            self.answer(200, OK)
        else:
            self.answer(200, json.dumps(counter.report()).encode())
        self.task = None
        if self.buffer and not self.transport.is_closing():
            self.data_received(b"")

    def answer(self, status: int, body: bytes, extra: str = "") -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)


async def serve(port: int) -> None:
    Connection.counter = Counter()
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(server.serve_forever(), 3600)


class Sink:
    """The service, seen from a test."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.base_url = f"http://127.0.0.1:{port}/api/v1"

    def report(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/sums", timeout=30) as response:
            return dict(json.load(response))

    def sums(self) -> dict[str, Decimal]:
        return {name: Decimal(amount) for name, amount in self.report()["sums"].items()}

    def total(self) -> Decimal:
        return sum(self.sums().values(), Decimal(0))

    def faults(self, **faults: Any) -> None:
        body = json.dumps(faults).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/faults", body, method="POST")
        urllib.request.urlopen(request, timeout=30).close()

    def await_requests(self, more: int, seconds: float = 60) -> None:
        """Wait until so many more requests have come."""
        begin, until = self.report()["requests"], time.monotonic() + seconds
        while self.report()["requests"] < begin + more:
            assert time.monotonic() < until, self.report()
            time.sleep(0.02)

    def await_total(self, amount: int | Decimal, seconds: float = 60) -> None:
        """Wait until so much was counted. Fails when it is not, or when more was."""
        until = time.monotonic() + seconds
        while (total := self.total()) < amount and time.monotonic() < until:
            time.sleep(0.02)
        assert total == amount, self.report()


@contextmanager
def running_sink(port: int = 0) -> Iterator[Sink]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.usage.sink", str(port)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    try:
        yield Sink(int(process.stdout.readline()))
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
