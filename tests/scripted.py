"""A server that sends scripted bytes and pauses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs

Step = bytes | float
"""Bytes to send, or seconds to wait."""


@attrs.define
class Scripted:
    """Answers each request with the next script, and all further requests with the last one.

    Attributes:
        url: of the server.
        scripts: what is sent.
        reads_after: seconds between a request's headers and reading its body.
        connections: accepted so far.
        got: bytes of bodies received so far.
        heads: request lines and headers received so far.
    """

    url: str = ""
    scripts: list[list[Step]] = attrs.field(factory=list)
    reads_after: float = 0.0
    connections: int = 0
    got: int = 0
    heads: list[bytes] = attrs.field(factory=list)

    def says(self, *scripts: list[Step]) -> None:
        self.scripts = list(scripts)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                await self._read(reader)
                await self._answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        for step in self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            else:
                await asyncio.sleep(step)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        head = self.heads[-1].lower()
        await asyncio.sleep(self.reads_after)
        if b"transfer-encoding: chunked" in head:
            while size := int(await reader.readline(), 16):
                self.got += len(await reader.readexactly(size + 2)) - 2
            await reader.readline()
        elif b"content-length: " in head:
            self.got += len(await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0])))


@asynccontextmanager
async def scripted_server() -> AsyncIterator[Scripted]:
    made = Scripted()
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(made.serve(reader, writer))
        tasks.add(task)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, limit=2**20)
    made.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    yield made
    listener.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
