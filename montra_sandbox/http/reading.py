"""Read and check what a request brings: query, JSON body, uploaded file."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web
from aiohttp.http import HttpProcessingError
from jsonschema.protocols import Validator
from multidict import MultiDictProxy

from ..context import UploadedPart
from ..contract import Operation, describe
from ..problems import Problem, invalid
from ..wire import loads_untrusted

MOST_JSON = 1024 * 1024
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


async def read_form(request: web.Request) -> MultiDictProxy[str | bytes | bytearray | web.FileField]:
    """The fields of a form, urlencoded or multipart. aiohttp keeps them, so it can be read again.

    Raises:
        Problem: 400.
    """
    try:
        return await request.post()
    except _UNREADABLE:
        raise invalid("the form can't be read") from None


async def read_multipart(request: web.Request, operation: Operation) -> tuple[dict[str, str], tuple[UploadedPart, ...]]:
    """The text fields, held against the operation's schema, and the files."""
    if request.content_type != "multipart/form-data":
        raise Problem(415, "unsupported_media_type", "send Content-Type: multipart/form-data")
    fields = await read_form(request)
    texts = {name: value for name, value in fields.items() if isinstance(value, str)}
    files = [(name, value) for name, value in fields.items() if isinstance(value, web.FileField)]
    if operation.body is None:
        if len(fields) != 1 or [name for name, _ in files] != ["file"]:
            raise invalid("send one part, named `file`, with a file name")
    else:
        check(operation.body, texts, "body")
        if any(name != "files" for name, _ in files) or len(files) + len(texts) != len(fields):
            raise invalid("files: parts with a file name, named `files`")
    return texts, tuple(_part(one) for _, one in files)


def _part(field: web.FileField) -> UploadedPart:
    with field.file:
        content = field.file.read()
    return UploadedPart(name=field.filename, type=field.content_type or "application/octet-stream", content=content)
