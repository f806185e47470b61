"""A loopback server that costs next to nothing and favours nobody: every request gets the same prebuilt answer.

python benchmarks/kit/neutral_server.py FILE SECONDS     prints its port, serves until its standard input ends

The answer's body is the file's content; it is sent after so many seconds.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CUSTOMER = (
    b'{"success":true,"data":{"id":"cust_0123456789","name":"Ada Lovelace","email":"ada@example.com",'
    b'"status":"active","created_at":"2026-01-01T00:00:00Z","phone":null,"metadata":{"team":"engines"}}}'
)
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)


class Neutral(asyncio.Protocol):
    """Knows where a request ends, and nothing else of it."""

    def __init__(self, answer: bytes, seconds: float) -> None:
        self._answer = answer
        self._seconds = seconds

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
            self._pending = self._pending[whole:]
            if self._seconds:
                asyncio.get_running_loop().call_later(self._seconds, self._transport.write, self._answer)
            else:
                self._transport.write(self._answer)


async def serve(body: bytes, seconds: float) -> None:
    answer = _HEAD % len(body) + body
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Neutral(answer, seconds), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


@contextmanager
def running(body: bytes = CUSTOMER, seconds: float = 0.0) -> Iterator[str]:
    """Its origin, while it runs in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer"
        answer.write_bytes(body)
        command = [sys.executable, __file__, str(answer), str(seconds)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.communicate(timeout=10)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]).read_bytes(), float(sys.argv[2])))
