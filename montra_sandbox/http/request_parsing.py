"""Read and validate a request: query, JSON body, form, uploaded files."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import BodyPartReader, web
from aiohttp.http import HttpProcessingError
from jsonschema.protocols import Validator

from ..contract import ContractOperation, describe
from ..json import loads_untrusted
from ..operations import UploadedPart
from ..problems import Problem, invalid
from .json_response import MAX_UPLOAD_SIZE
from .request_recording import BODY_KEY

MAX_JSON_SIZE: int = 1024 * 1024
"""Largest JSON body, in bytes."""
_MAX_PARTS = 1000
_CHUNK_SIZE = 1024 * 1024  # above what aiohttp buffers: a smaller size makes it call its own deprecated unread_data
_MAX_SHOWN = 200
_UNREADABLE = (
    ValueError,
    LookupError,
    AssertionError,
    RuntimeError,
    HttpProcessingError,
    web.RequestPayloadError,
)
"""Raised by aiohttp for a form that it can't read; LookupError for an unknown charset."""
_INTEGER = re.compile(r"-?[0-9]{1,15}", re.ASCII)


def check(validator: Validator | None, values: Any, where: str) -> None:
    """Validate a part of a request.

    Args:
        validator: the schema; None accepts everything.
        values: the part.
        where: its name, for messages.

    Raises:
        Problem: 400, with all errors in its details.
    """
    errors = describe(validator, values)
    if errors:
        name = errors[0]["path"] or where
        raise invalid(f"{name[:_MAX_SHOWN]}: {errors[0]['message']}", errors)


def read_query(request: web.Request, operation: ContractOperation) -> dict[str, Any]:
    """The query parameters of the operation; integers are converted.

    Args:
        request: the request.
        operation: the operation.

    Raises:
        Problem: 400, a parameter is repeated.
    """
    found: dict[str, Any] = {}
    for name, kind in operation.query_types.items():
        values = request.query.getall(name, [])
        if len(values) > 1:
            raise invalid(f"{name}: given {len(values)} times")
        if values:
            is_integer = kind == "integer" and _INTEGER.fullmatch(values[0])
            found[name] = int(values[0]) if is_integer else values[0]
    return found


async def read_json(request: web.Request, operation: ContractOperation) -> Any:
    """The validated JSON body; None when it is optional and empty.

    Args:
        request: the request.
        operation: the operation.

    Raises:
        Problem: 400 invalid, 413 too large, 415 not JSON.
    """
    raw = await read_limited(request, MAX_JSON_SIZE)
    if not raw:
        if operation.body_required:
            raise invalid("a JSON body is required")
        return None
    body = parse_json(request, raw)
    check(operation.body, body, "body")
    return body


def parse_json(request: web.Request, raw: bytes) -> Any:
    """Parse the JSON of a request.

    Args:
        request: the request, whose content type is checked.
        raw: its body.

    Raises:
        Problem: 415 another content type; 400 invalid JSON, or a number or nesting beyond the limits.
    """
    if request.content_type != "application/json":
        raise Problem(415, "unsupported_media_type", "send Content-Type: application/json (curl: --json '{...}')")
    try:
        return loads_untrusted(raw)
    except ValueError as error:
        raise Problem(400, "invalid_json", f"the body is not JSON: {error}"[:300]) from None


async def read_limited(request: web.Request, max_size: int) -> bytes:
    """The request's body.

    Args:
        request: the request.
        max_size: the largest size, in bytes.

    Raises:
        Problem: 413 too large; 400 it can't be decompressed.
    """
    if (request.content_length or 0) > max_size:
        raise Problem(413, "too_large", f"at most {max_size} bytes")
    try:
        raw = await request.read()
    except web.RequestPayloadError:
        raise invalid("the body is not compressed or framed as its headers say") from None
    if len(raw) > max_size:
        raise Problem(413, "too_large", f"at most {max_size} bytes")
    request[BODY_KEY] = raw
    return raw


async def read_form(request: web.Request) -> None:
    """Read the form of a page. aiohttp keeps its fields for `request.post()`.

    Args:
        request: the request.

    Raises:
        Problem: 415 multipart, which no page sends; 400 it can't be read.
    """
    if request.content_type.startswith("multipart/"):
        raise Problem(415, "unsupported_media_type", "send Content-Type: application/x-www-form-urlencoded")
    try:
        await request.post()
    except _UNREADABLE:
        raise invalid("the form can't be read") from None


async def read_multipart(
    request: web.Request, operation: ContractOperation
) -> tuple[dict[str, str], tuple[UploadedPart, ...]]:
    """The validated text fields and the files of a multipart request.

    Args:
        request: the request.
        operation: the operation.

    Raises:
        Problem: 400 invalid, 413 too large, 415 another content type.
    """
    if request.content_type != "multipart/form-data":
        raise Problem(415, "unsupported_media_type", "send Content-Type: multipart/form-data")
    try:
        texts, files = await _read_parts(request)
    except _UNREADABLE:
        raise invalid("the form can't be read") from None
    if operation.body is None:
        if texts or [name for name, _ in files] != ["file"]:
            raise invalid("send one part, named `file`, with a file name")
    else:
        check(operation.body, dict(texts), "body")
        if any(name != "files" for name, _ in files) or len(dict(texts)) != len(texts):
            raise invalid("files: parts with a file name, named `files`")
    return dict(texts), tuple(file for _, file in files)


async def _read_parts(request: web.Request) -> tuple[list[tuple[str, str]], list[tuple[str, UploadedPart]]]:
    """Read all parts into memory. `request.post()` leaves temporary files open when the connection is lost."""
    texts: list[tuple[str, str]] = []
    files: list[tuple[str, UploadedPart]] = []
    size = 0
    parts = await request.multipart()
    while (part := await parts.next()) is not None:
        if not isinstance(part, BodyPartReader) or part.name is None:
            raise ValueError("a nested part, or a part without a name")
        content = bytearray()
        while chunk := await part.read_chunk(_CHUNK_SIZE):
            size += len(chunk)
            if size > MAX_UPLOAD_SIZE:
                raise Problem(413, "too_large", f"at most {MAX_UPLOAD_SIZE} bytes")
            content += chunk
        if part.filename:
            kind = part.headers.get("Content-Type", "application/octet-stream")
            files.append((part.name, UploadedPart(name=part.filename, type=kind, content=bytes(content))))
        else:
            texts.append((part.name, content.decode(part.get_charset(default="utf-8"))))
        if len(texts) + len(files) > _MAX_PARTS:
            raise invalid(f"at most {_MAX_PARTS} parts")
    return texts, files
