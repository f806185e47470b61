"""Requests byte by byte, with the headers of a browser or of nobody."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import attrs


@attrs.frozen
class RawAnswer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The code of an error, where both services have it."""
        payload = json.loads(self.body)
        code: str = payload["error"]["code"] if isinstance(payload.get("error"), dict) else payload["code"]
        return code


async def raw(url: str, method: str, path: str, *headers: str, body: bytes = b"") -> RawAnswer:
    """Send exactly these header lines, and `Content-Length`."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    try:
        lines = [f"{method} {path} HTTP/1.1", *headers, f"Content-Length: {len(body)}", "Connection: close", "", ""]
        writer.write("\r\n".join(lines).encode("latin-1") + body)
        await writer.drain()
        answer = await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()
        await writer.wait_closed()
    head, _, content = answer.partition(b"\r\n\r\n")
    status, *rest = head.decode("latin-1").split("\r\n")
    return RawAnswer(int(status.split(" ")[1]), _headers(rest), content)


def _headers(lines: list[str]) -> dict[str, Any]:
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
