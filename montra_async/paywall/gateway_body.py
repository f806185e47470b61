"""The body of a gateway call: bytes, text, files, streams, forms or JSON."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from typing import Any, cast

import aiohttp

from ..core.errors import InvalidArgumentError
from ..core.http.messages import Request
from ..core.http.multipart import from_object
from ..core.models.json import dumps


def set_body(request: Request, body: Any) -> None:
    """Set body and content type of a request. Everything but bytes, text, files, streams and forms is sent as JSON.

    Args:
        request: the request. A content type in its headers is kept.
        body: bytes, str, a file open for binary reading, an iterator or async iterable of bytes, an aiohttp form, or
            JSON. None for no body.

    Raises:
        InvalidArgumentError: the body can't be sent.
    """
    if body is None:
        return
    content_type: str | None = "application/octet-stream"
    if isinstance(body, (bytes, bytearray)):
        request.body = bytes(body)
    elif isinstance(body, str):
        try:
            request.body, content_type = body.encode(), "text/plain; charset=utf-8"
        except UnicodeEncodeError:
            raise InvalidArgumentError("body", "holds half a surrogate pair, which can't be sent") from None
    elif isinstance(body, (aiohttp.FormData, aiohttp.MultipartWriter)):
        request.body, request.single_use, content_type = (lambda: body), True, None  # it knows its type and boundary
    elif callable(getattr(body, "read", None)):
        make, _, rewindable = from_object("body", body)
        request.body, request.single_use = (lambda: make("application/octet-stream")), not rewindable
    elif isinstance(body, (AsyncIterable, Iterator)):
        chunks = cast("AsyncIterable[bytes] | Iterator[bytes]", body)
        request.body, request.single_use = (lambda: _validated_chunks(chunks)), True
    else:
        request.body, content_type = dumps(body), "application/json"
    if content_type is not None and not any(name.lower() == "content-type" for name in request.headers):
        request.headers["Content-Type"] = content_type


async def _validated_chunks(body: AsyncIterable[bytes] | Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The chunks of a body. An error of the iterator is an invalid argument, not a network error."""
    try:
        if isinstance(body, AsyncIterable):
            async for chunk in body:
                yield _validated_chunk(chunk)
            return
        while (chunk_or_end := await asyncio.to_thread(_next, body)) is not None:
            yield _validated_chunk(chunk_or_end)
    except InvalidArgumentError:
        raise
    except Exception as error:
        raise InvalidArgumentError("body", f"the iterator raised {type(error).__name__}: {error}") from error


def _validated_chunk(chunk: bytes) -> bytes:
    if not isinstance(chunk, (bytes, bytearray)):
        raise InvalidArgumentError("body", f"its chunks are bytes, not {type(chunk).__name__}")
    return bytes(chunk)


def _next(chunks: Iterator[bytes]) -> bytes | None:
    return next(chunks, None)
