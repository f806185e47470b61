"""Files to upload: streamed from disk, and sent again from their beginning when a try fails."""

from __future__ import annotations

import asyncio
import hashlib
import io
import mimetypes
import os
from collections.abc import Callable, Mapping
from typing import IO, Any, BinaryIO, TypeAlias, cast

import aiohttp
import attrs
from aiohttp import payload

from .errors import InvalidArgumentError

FileSource: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]"
"""A path, bytes, or an object open for binary reading."""

_FALLBACK_TYPE = "application/octet-stream"


@attrs.frozen
class Attachment:
    """A file with what it is to be called. `name` and `content_type` are guessed when not given."""

    file: FileSource = attrs.field(repr=False)
    name: str | None = attrs.field(default=None, kw_only=True)
    content_type: str | None = attrs.field(default=None, kw_only=True)


@attrs.frozen(kw_only=True)
class Upload:
    """`payload` makes the body of one try; without `rewindable` there is only one."""

    payload: Callable[[], aiohttp.MultipartWriter]
    rewindable: bool


@attrs.frozen(kw_only=True)
class _Part:
    """`make` gives the content; without `rewindable` it does so once."""

    make: Callable[[str], payload.Payload]
    rewindable: bool
    filename: str
    content_type: str


async def multipart(
    part_name: str,
    files: Mapping[str, FileSource | Attachment],
    fields: Mapping[str, str],
    *,
    boundary_seed: str,
) -> Upload:
    """A multipart body: text fields, then files, each in a part called `part_name`.

    The keys of `files` name them in errors. The boundary follows from the seed, so that every try sends the same bytes.

    Raises:
        InvalidArgumentError: no such file, or nothing that can be read.
    """
    parts = [await _part(name, file) for name, file in files.items()]
    boundary = hashlib.sha256(boundary_seed.encode()).hexdigest()[:32]

    def body() -> aiohttp.MultipartWriter:
        writer = aiohttp.MultipartWriter("form-data", boundary=boundary)
        for name, text in fields.items():
            _append(writer, payload.StringPayload(text, content_type="text/plain; charset=utf-8"), f'name="{name}"')
        for part in parts:
            named = f'name="{part_name}"; filename="{_quoted(part.filename)}"'
            _append(writer, part.make(part.content_type), named)
        return writer

    return Upload(payload=body, rewindable=all(part.rewindable for part in parts))


async def _part(parameter: str, file: FileSource | Attachment) -> _Part:
    given = file if isinstance(file, Attachment) else Attachment(file)
    make, guessed_name, rewindable = await _opener(parameter, given.file)
    filename = given.name or guessed_name or "file"
    kind = given.content_type or mimetypes.guess_type(filename)[0] or _FALLBACK_TYPE
    if any(c in "\r\n\0" for c in filename + kind):
        where = "name" if given.name else parameter
        raise InvalidArgumentError(where, "line breaks can't stand in a file name or type")
    return _Part(make=make, rewindable=rewindable, filename=filename, content_type=kind)


def _append(writer: aiohttp.MultipartWriter, part: payload.Payload, disposition: str) -> None:
    part.headers["Content-Disposition"] = f"form-data; {disposition}"
    writer.append_payload(part)


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
    return from_object(part_name, source)


def _check_readable(part_name: str, path: str) -> None:
    try:
        with open(path, "rb"):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidArgumentError(part_name, f"can't read {path!r}: {reason}") from None


def from_object(part_name: str, source: Any) -> tuple[Callable[[str], payload.Payload], str | None, bool]:
    """As `_opener`, for a caller's open file."""
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
