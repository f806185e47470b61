"""Read and check what a request brings: query, JSON body, uploaded file."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import BodyPartReader, web
from aiohttp.http import HttpProcessingError
from jsonschema.protocols import Validator

from ..context import UploadedPart
from ..contract import Operation, describe
from ..problems import Problem, invalid
from ..wire import loads_untrusted
from .answers import MOST_UPLOAD

MOST_JSON = 1024 * 1024
_MOST_PARTS = 1000
_CHUNK = 64 * 1024
_MOST_SHOWN = 200
_UNREADABLE = (
    ValueError,
    LookupError,
    AssertionError,
    RuntimeError,
    HttpProcessingError,
    web.RequestPayloadError,
)
"""What aiohttp raises for a form that it can't read; LookupError is a charset that Python doesn't know."""
_WHOLE = re.compile(r"-?[0-9]{1,15}", re.ASCII)


def check(validator: Validator | None, values: Any, where: str) -> None:
    problems = describe(validator, values)
    if problems:
        first = problems[0]
        name = first["path"] or where
        raise invalid(f"{name[:_MOST_SHOWN]}: {first['message']}", problems)


def read_query(request: web.Request, operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, kind in operation.query_types.items():
        values = request.query.getall(name, [])
        if len(values) > 1:
            raise invalid(f"{name}: given {len(values)} times")
        if values:
            whole = kind == "integer" and _WHOLE.fullmatch(values[0])
            found[name] = int(values[0]) if whole else values[0]
    return found


async def read_json(request: web.Request, operation: Operation) -> Any:
    raw = await read_limited(request, MOST_JSON)
    if not raw:
        if operation.body_required:
            raise invalid("a JSON body is required")
        return None
    body = parse_json(request, raw)
    check(operation.body, body, "body")
    return body


def parse_json(request: web.Request, raw: bytes) -> Any:
    """The one place where JSON from outside becomes values.

    Raises:
        Problem: 415 by its content type; 400 it is not JSON, or a number or its nesting is beyond what is read here.
    """
    if request.content_type != "application/json":
        raise Problem(415, "unsupported_media_type", "send Content-Type: application/json (curl: --json '{...}')")
    try:
        return loads_untrusted(raw)
    except ValueError as error:
        raise Problem(400, "invalid_json", f"the body is not JSON: {error}"[:300]) from None


async def read_limited(request: web.Request, most: int) -> bytes:
    if (request.content_length or 0) > most:
        raise Problem(413, "too_large", f"at most {most} bytes")
    try:
        raw = await request.read()
    except web.RequestPayloadError:
        raise invalid("the body is not compressed or framed as its headers say") from None
    if len(raw) > most:
        raise Problem(413, "too_large", f"at most {most} bytes")
    return raw


async def read_form(request: web.Request) -> None:
    """Read a page's form and check that it can be read. aiohttp keeps its fields for `request.post()`.

    Raises:
        Problem: 415 it is not urlencoded, which all our forms are; 400 it can't be read.
    """
    if request.content_type.startswith("multipart/"):
        raise Problem(415, "unsupported_media_type", "send Content-Type: application/x-www-form-urlencoded")
    try:
        await request.post()
    except _UNREADABLE:
        raise invalid("the form can't be read") from None


async def read_multipart(request: web.Request, operation: Operation) -> tuple[dict[str, str], tuple[UploadedPart, ...]]:
    """The text fields, held against the operation's schema, and the files."""
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
    """Read all parts into memory. `request.post()` would leave temporary files open when a sender hangs up."""
    texts: list[tuple[str, str]] = []
    files: list[tuple[str, UploadedPart]] = []
    size = 0
    parts = await request.multipart()
    while (part := await parts.next()) is not None:
        if not isinstance(part, BodyPartReader) or part.name is None:
            raise ValueError("a part within a part, or a part without a name")
        content = bytearray()
        while chunk := await part.read_chunk(_CHUNK):
            size += len(chunk)
            if size > MOST_UPLOAD:
                raise Problem(413, "too_large", f"at most {MOST_UPLOAD} bytes")
            content += chunk
        if part.filename:
            kind = part.headers.get("Content-Type", "application/octet-stream")
            files.append((part.name, UploadedPart(name=part.filename, type=kind, content=bytes(content))))
        else:
            texts.append((part.name, content.decode(part.get_charset(default="utf-8"))))
        if len(texts) + len(files) > _MOST_PARTS:
            raise invalid(f"at most {_MOST_PARTS} parts")
    return texts, files
