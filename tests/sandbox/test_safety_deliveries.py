"""Receivers of webhooks can neither block the sandbox nor redirect it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

import pytest

from montra_async import Montra
from montra_sandbox import Sandbox

Answer: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_HEAD = b"HTTP/1.1 200 OK\r\n"


class Receiver:
    """Answers with whatever bytes, and counts the ones that were taken."""

    def __init__(self) -> None:
        self.answer: Answer = _fine
        self.requests: list[bytes] = []
        self.sent = 0
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            await self.answer(reader, writer)
        writer.close()

    async def flood(self, writer: asyncio.StreamWriter, head: bytes, chunk: bytes) -> None:
        """An answer that never ends, while somebody takes it; at most 64 MiB."""
        writer.write(head)
        while self.sent < 64 * 1024 * 1024:
            writer.write(chunk)
            await writer.drain()
            self.sent += len(chunk)


async def _fine(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_HEAD + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
    await writer.drain()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.handle, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    yield receiver
    server.close()
    await server.wait_closed()


async def _delivered(sandbox: Sandbox, montra: Montra, url: str) -> tuple[str, int | None, str | None]:
    await montra.create_webhook(url=url, events=["customer.created"])
    await montra.create_customer(name="A", email="a@example.com")
    await asyncio.wait_for(sandbox.settle(), 30)
    [delivery] = sandbox.deliveries()
    return delivery["status"], delivery["last_status"], delivery["last_error"]


async def test_an_endless_response_is_not_read(sandbox: Sandbox, montra: Montra, receiver: Receiver) -> None:
    head = _HEAD + b"Content-Type: text/plain\r\n\r\n"
    receiver.answer = lambda _, writer: receiver.flood(writer, head, b"x" * 65536)
    assert (await _delivered(sandbox, montra, receiver.url))[:2] == ("succeeded", 200)
    assert receiver.sent < 16 * 1024 * 1024  # what the sockets between them take


async def test_a_compressed_response_is_not_decompressed(sandbox: Sandbox, montra: Montra, receiver: Receiver) -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_HEAD + f"Content-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n".encode() + bomb)
        await writer.drain()

    receiver.answer = answer
    assert (await _delivered(sandbox, montra, receiver.url))[:2] == ("succeeded", 200)
    assert b"accept-encoding: identity" in receiver.requests[0].lower()


async def test_endless_headers_are_not_read(sandbox: Sandbox, montra: Montra, receiver: Receiver) -> None:
    receiver.answer = lambda _, writer: receiver.flood(writer, _HEAD, b"X-A: " + b"b" * 1000 + b"\r\n")
    status, _, error = await _delivered(sandbox, montra, receiver.url)
    assert status == "pending"
    assert error is not None
    assert len(error) <= 300
    assert receiver.sent < 16 * 1024 * 1024


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(sandbox: Sandbox, montra: Montra, receiver: Receiver, status: int) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = f"{sandbox.url}/_sandbox/reset"
        head = f"HTTP/1.1 {status} Elsewhere\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n"
        writer.write(head.encode())
        await writer.drain()

    receiver.answer = answer
    assert await _delivered(sandbox, montra, receiver.url) == ("pending", status, f"answered {status}")
    assert len(receiver.requests) == 1
    assert len(await montra.list_customers()) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "http://10.0.0.1/hook",
        "http://169.254.169.254/latest",
        "http://0.0.0.0:9/",
        "http://localhost.example.com/",
        "http://127.0.0.1.example.com/",
        "http://2130706433.example/",
    ],
)
async def test_webhooks_to_other_machines_are_blocked(sandbox: Sandbox, montra: Montra, url: str) -> None:
    status, _, error = await _delivered(sandbox, montra, url)
    assert status == "blocked"
    assert "--deliver-anywhere" in str(error)
