"""Files to upload: streamed from disk, and sent again from their beginning when a try fails."""

from __future__ import annotations

import asyncio
import hashlib
import io
import mimetypes
import os
from collections.abc import Callable
from typing import IO, Any, BinaryIO, TypeAlias, cast

import aiohttp
import attrs
from aiohttp import payload

from .errors import InvalidArgumentError

FileSource: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]"
"""A path, bytes, or an object open for binary reading."""

_FALLBACK_TYPE = "application/octet-stream"


@attrs.frozen(kw_only=True)
class Upload:
    """`payload` makes the body of one try; without `rewindable` there is only one."""

    payload: Callable[[], aiohttp.MultipartWriter]
    rewindable: bool


async def multipart(
    part_name: str, source: FileSource, name: str | None, content_type: str | None, *, boundary_seed: str
) -> Upload:
    """A multipart body with one file. The boundary follows from the seed, so that every try sends the same bytes.

    Raises:
        InvalidArgumentError: no such file, or nothing that can be read.
    """
    opened, guessed_name, rewindable = await _opener(part_name, source)
    filename = name or guessed_name or "file"
    kind = content_type or mimetypes.guess_type(filename)[0] or _FALLBACK_TYPE
    if any(c in "\r\n\0" for c in filename + kind):
        raise InvalidArgumentError("name" if name else part_name, "line breaks can't stand in a file name or type")
    boundary = hashlib.sha256(boundary_seed.encode()).hexdigest()[:32]

    def body() -> aiohttp.MultipartWriter:
        writer = aiohttp.MultipartWriter("form-data", boundary=boundary)
        part = opened(kind)
        part.headers["Content-Disposition"] = f'form-data; name="{part_name}"; filename="{_quoted(filename)}"'
        writer.append_payload(part)
        return writer

    return Upload(payload=body, rewindable=rewindable)


def _quoted(filename: str) -> str:
    """As browsers do it: UTF-8 as it is, only a quote escaped. aiohttp would escape every letter that is not ASCII."""
    return filename.replace('"', "%22")


async def _opener(part_name: str, source: FileSource) -> tuple[Callable[[str], payload.Payload], str | None, bool]:
    """How to make a part (given its content type), the file's own name, and whether that works more than once."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        content = bytes(source)
        return (lambda kind: payload.BytesIOPayload(io.BytesIO(content), content_type=kind)), None, True
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        if not isinstance(path, str):
            raise InvalidArgumentError(part_name, "a path is a str, not bytes")
        await asyncio.to_thread(_check_readable, part_name, path)
        # Opening is quick; reading, which is not, happens in a thread.
        return (
            (lambda kind: payload.BufferedReaderPayload(open(path, "rb"), content_type=kind)),
            os.path.basename(path),
            True,
        )
    return _from_object(part_name, source)


def _check_readable(part_name: str, path: str) -> None:
    try:
        with open(path, "rb"):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidArgumentError(part_name, f"can't read {path!r}: {reason}") from None


def _from_object(part_name: str, source: Any) -> tuple[Callable[[str], payload.Payload], str | None, bool]:
    if not callable(getattr(source, "read", None)):
        raise InvalidArgumentError(part_name, f"a path, bytes or an open binary file, not {type(source).__name__}")
    if isinstance(source, io.TextIOBase):
        raise InvalidArgumentError(part_name, "the file is open as text; open it with mode 'rb'")
    start = size = None
    try:
        start = source.tell()
        size = source.seek(0, os.SEEK_END) - start
        source.seek(start)
    except (AttributeError, OSError, ValueError):
        pass
    name = getattr(source, "name", None)

    def make(kind: str) -> payload.Payload:
        if start is not None:
            source.seek(start)
        return _Borrowed(cast(BinaryIO, source), size, kind)

    return make, os.path.basename(name) if isinstance(name, str) else None, start is not None


class _Borrowed(payload.Payload):
    """A caller's open file: read in a thread, a piece at a time, and left open."""

    _autoclose = True

    def __init__(self, source: BinaryIO, size: int | None, content_type: str) -> None:
        super().__init__(source, content_type=content_type)
        self._size = size

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("a file of the caller's is streamed, never read whole")

    async def write(self, writer: Any) -> None:
        while chunk := await asyncio.to_thread(self._value.read, 64 * 1024):
            if not isinstance(chunk, bytes):
                raise InvalidArgumentError("file", "its read() gave no bytes; open it in binary mode")
            await writer.write(chunk)
