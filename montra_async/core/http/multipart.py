"""Files to upload: streamed from disk, and sent again from their beginning when a try fails."""

from __future__ import annotations

import io
import mimetypes
import os
from collections.abc import Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import IO, Any, BinaryIO, TypeAlias, cast

import aiohttp
import attrs
from aiohttp import payload

from ..errors import InvalidArgumentError
from .files import in_a_thread, open_regular, pieces

FileSource: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]
"""A path, bytes, or an object open for binary reading."""

_FALLBACK_TYPE = "application/octet-stream"


@attrs.frozen
class Attachment:
    """A file to upload, with its name and content type.

    Attributes:
        file: a path, bytes, or an object open for binary reading.
        name: file name. Default: the name of the file, or else `file`.
        content_type: media type, e.g. `image/png`. Default: guessed from the name, or else `application/octet-stream`.
    """

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
    within: float | None,
) -> Upload:
    """A multipart body: text fields, then files, each in a part called `part_name`.

    The keys of `files` name them in errors. The boundary is random, so that no content can hold it by intent, and the
    same for every try.

    Args:
        part_name: of the parts with files.
        files: what to send.
        fields: text to send.
        within: seconds that looking at a file may take.

    Raises:
        InvalidArgumentError: no such file, or nothing that can be read.
    """
    parts = [await _part(name, file, within) for name, file in files.items()]
    boundary = os.urandom(16).hex()

    def body() -> aiohttp.MultipartWriter:
        writer = aiohttp.MultipartWriter("form-data", boundary=boundary)
        for name, text in fields.items():
            _append(writer, payload.StringPayload(text, content_type="text/plain; charset=utf-8"), f'name="{name}"')
        for part in parts:
            named = f'name="{part_name}"; filename="{_quoted(part.filename)}"'
            _append(writer, part.make(part.content_type), named)
        return writer

    return Upload(payload=body, rewindable=all(part.rewindable for part in parts))


async def _part(parameter: str, file: FileSource | Attachment, within: float | None) -> _Part:
    given = file if isinstance(file, Attachment) else Attachment(file)
    make, guessed_name, rewindable = await _opener(parameter, given.file, within)
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


Opener: TypeAlias = "tuple[Callable[[str], payload.Payload], str | None, bool]"
"""How to make a part (given its content type), the file's own name, and whether that works more than once."""


async def _opener(parameter: str, source: FileSource, within: float | None) -> Opener:
    if isinstance(source, (bytes, bytearray, memoryview)):
        content = bytes(source)
        return (lambda kind: payload.BytesIOPayload(io.BytesIO(content), content_type=kind)), None, True
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        if not isinstance(path, str):
            raise InvalidArgumentError(parameter, "a path is a str, not bytes")
        opened = partial(open_regular, parameter, path)
        size = await in_a_thread(parameter, lambda: _size_of(opened), within)
        return (
            lambda kind: _File(parameter, opened, size=size, close=True, content_type=kind),
            os.path.basename(path),
            True,
        )
    return await in_a_thread(parameter, lambda: from_object(parameter, source), within)


def _size_of(opened: Callable[[], BinaryIO]) -> int:
    with opened() as file:
        return os.fstat(file.fileno()).st_size


def from_object(parameter: str, source: Any) -> Opener:
    """As `_opener`, for a caller's open file. It is left open."""
    if not callable(getattr(source, "read", None)):
        raise InvalidArgumentError(parameter, f"a path, bytes or an open binary file, not {type(source).__name__}")
    if isinstance(source, io.TextIOBase):
        raise InvalidArgumentError(parameter, "the file is open as text; open it with mode 'rb'")
    start = size = None
    try:
        start = source.tell()
        size = source.seek(0, os.SEEK_END) - start
        source.seek(start)
    except Exception:  # an object of anybody's
        start = size = None
    name = getattr(source, "name", None)

    def opened() -> BinaryIO:
        if start is not None:
            source.seek(start)
        return cast(BinaryIO, source)

    def make(kind: str) -> payload.Payload:
        return _File(parameter, opened, size=size, close=False, content_type=kind)

    return make, os.path.basename(name) if isinstance(name, str) else None, start is not None


class _File(payload.Payload):
    """A file, read in a thread, a piece at a time."""

    _autoclose = True

    def __init__(
        self, parameter: str, opened: Callable[[], BinaryIO], *, size: int | None, close: bool, content_type: str
    ) -> None:
        super().__init__(opened, content_type=content_type)
        self._size = size
        self._pieces = partial(pieces, parameter, opened, size=size, close=close)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("a file is streamed, never read whole")

    async def write(self, writer: Any) -> None:
        async with aclosing(self._pieces()) as content:
            async for piece in content:
                await writer.write(piece)
