"""Multipart bodies: files are streamed from disk, and sent from their beginning in each attempt."""

from __future__ import annotations

import io
import mimetypes
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import IO, Any, BinaryIO, TypeAlias, cast

import aiohttp
import attrs
from aiohttp import payload

from ..errors import InvalidArgumentError
from .aiohttp_compat import StreamedPayload
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
    """A multipart body.

    Attributes:
        payload: makes the body of one attempt.
        rewindable: whether it can be made more than once.
    """

    payload: Callable[[], aiohttp.MultipartWriter]
    rewindable: bool


@attrs.frozen(kw_only=True)
class _Part:
    """A part with a file. `make` makes its content for a content type; without `rewindable`, only once."""

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

    The boundary is random, so that no content can contain it on purpose, and the same for every attempt.

    Args:
        part_name: name of the parts with files.
        files: the files, by the name that errors give them.
        fields: text fields.
        within: seconds that opening a file may take; None for no limit.

    Raises:
        InvalidArgumentError: a file does not exist or can't be read.
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
    """A file name as browsers send it: UTF-8, only quotes escaped. aiohttp escapes every letter that is not ASCII."""
    return filename.replace('"', "%22")


Opener: TypeAlias = "tuple[Callable[[str], payload.Payload], str | None, bool]"
"""Makes a part's content for a content type; the file's own name; whether the content can be made more than once."""


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
            lambda kind: _streamed(parameter, opened, size=size, close=True, content_type=kind),
            os.path.basename(path),
            True,
        )
    return await in_a_thread(parameter, lambda: from_object(parameter, source), within)


def _size_of(opened: Callable[[], BinaryIO]) -> int:
    with opened() as file:
        return os.fstat(file.fileno()).st_size


def from_object(parameter: str, source: Any) -> Opener:
    """The opener of a caller's open file, which is left open.

    Args:
        parameter: name of the argument, for errors.
        source: the file.

    Raises:
        InvalidArgumentError: not an open binary file.
    """
    if not callable(getattr(source, "read", None)):
        raise InvalidArgumentError(parameter, f"a path, bytes or an open binary file, not {type(source).__name__}")
    if isinstance(source, io.TextIOBase):
        raise InvalidArgumentError(parameter, "the file is open as text; open it with mode 'rb'")
    start = size = None
    try:
        start = source.tell()
        size = source.seek(0, os.SEEK_END) - start
        source.seek(start)
    except Exception:  # it can't seek, or is not a file of Python's own
        start = size = None
    name = getattr(source, "name", None)

    def opened() -> BinaryIO:
        if start is not None:
            source.seek(start)
        return cast(BinaryIO, source)

    def make(kind: str) -> payload.Payload:
        return _streamed(parameter, opened, size=size, close=False, content_type=kind)

    return make, os.path.basename(name) if isinstance(name, str) else None, start is not None


def _streamed(
    parameter: str, opened: Callable[[], BinaryIO], *, size: int | None, close: bool, content_type: str
) -> payload.Payload:
    content = partial(pieces, parameter, opened, size=size, close=close)
    return StreamedPayload(content, size=size, content_type=content_type)
