"""The body of a response: read whole within a limit, or streamed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

import aiohttp

from ..errors import CallInfo, NetworkError, without_frames
from .aiohttp_compat import detach_connection, send_body_to_traces
from .aiohttp_errors import emptied, failure_of

_YIELD_AFTER = 1024 * 1024  # bytes


async def read_body(response: aiohttp.ClientResponse, limit: int) -> tuple[bytes, bool]:
    """Read a body, decompressed, up to a limit.

    What is beyond the limit is neither read nor decompressed; the connection is closed then.

    Args:
        response: its body is unread.
        limit: bytes, at most.

    Returns:
        The body, and whether it was cut at the limit.
    """
    content = response.content
    if content.is_eof():  # it came together with the headers, as most do: nothing has to be awaited
        body = content.read_nowait()
        return (body, False) if len(body) <= limit else (body[:limit], True)
    pieces: list[bytes] = []
    size, next_yield = 0, _YIELD_AFTER
    try:
        while piece := await content.readany():
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                response.close()
                return b"".join(pieces)[:limit], True
            if size >= next_yield:  # data that is decompressed faster than it is read never suspends this task
                next_yield = size + _YIELD_AFTER
                await asyncio.sleep(0)
    except BaseException:
        response.close()
        raise
    return pieces[0] if len(pieces) == 1 else b"".join(pieces), False


async def read_traced_body(response: aiohttp.ClientResponse, limit: int) -> tuple[bytes, bool]:
    """`read_body` for a session with `trace_configs`, which are told of the body."""
    body, truncated = await read_body(response, limit)
    await send_body_to_traces(response, body)
    return body, truncated


class StreamWatcher(Protocol):
    """Is told of the end of a stream."""

    def ended(self, complete: bool, error: NetworkError | None) -> None:
        """The stream has ended.

        Args:
            complete: whether its body was read to the end.
            error: why the connection broke; None if it did not.
        """
        ...


class Stream:
    """An open response. It keeps its place in the connection pool until it has been read to its end, or closed.

    Nothing is read ahead of the consumer beyond aiohttp's buffer: a slow consumer makes the server wait.

    Args:
        response: its body is unread.
        call: the call it belongs to, for errors.
        on_end: called once, when the connection is released.
        owner: kept alive until then: a client that is garbage collected closes its connections.
        max_size: bytes that may be read into memory at once.
        scrub: removes known secrets from a text.
    """

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        call: CallInfo,
        on_end: Callable[[], None],
        owner: object,
        max_size: int,
        scrub: Callable[[str], str],
    ) -> None:
        self.max_size = max_size
        self._response = response
        self._scrub = scrub
        self._owner = owner
        self._call = call
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._ended = False
        self._complete = False
        self._reading = False
        self._failure: NetworkError | None = None
        self._watcher: StreamWatcher | None = None

    def watch(self, watcher: StreamWatcher) -> None:
        """Tell an object of the end."""
        self._watcher = watcher

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Bytes as they arrive.

        Raises:
            NetworkError: the connection broke, or the stream was closed.
        """
        if self._reading and self._ended:
            raise self._closed_error()
        if self._reading:  # by another reader, whose stream is not ended by this
            raise NetworkError("the response is being read already; it can be read once", self._call)
        self._reading = True
        try:
            while chunk := await self._next():
                yield chunk
                del chunk  # it may contain an access token, which no frame must show when the next one fails
            self._complete = True
        finally:
            self._end(close=not self._complete)

    async def _next(self) -> bytes:
        if self._ended:
            raise self._closed_error()
        try:
            return await self._response.content.readany()
        except Exception as error:
            if self._ended:  # closed meanwhile
                raise self._closed_error() from None
            failure = failure_of(error, self._call, self._response.url.authority, scrub=self._scrub)
            emptied(error)
        except BaseException as error:
            # The frames of aiohttp hold headers in their variables, and an error reporter may record them.
            raise without_frames(error)  # noqa: B904 - the same error
        if self._watcher is not None:
            self._failure = failure.error
        raise failure.error from failure.cause

    def _closed_error(self) -> NetworkError:
        state = "read already; it can be read once: keep the result" if self._complete else "closed before it was read"
        return NetworkError(f"the response was {state}", self._call)

    def close(self) -> None:
        """Close the connection unless the response was read to its end. Safe to call twice."""
        self._end(close=True)

    def discard(self) -> None:
        """End without using the event loop, which will never run again. The socket is closed by the session."""
        self._ended = True
        self._tell()
        detach_connection(self._response)

    def _end(self, *, close: bool) -> None:
        if self._ended:
            return
        self._ended = True
        self._tell()
        _release(self._response, self._on_end, close)

    def _tell(self) -> None:
        watcher, failure = self._watcher, self._failure
        self._watcher = self._failure = None  # the failure's frames refer to this object
        if watcher is not None:
            watcher.ended(self._complete, failure)

    def __del__(self) -> None:
        if not getattr(self, "_ended", True):
            self._tell()
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the connection with it
                self._loop.call_soon_threadsafe(_release, self._response, self._on_end, True)


def _release(response: aiohttp.ClientResponse, on_end: Callable[[], None], close: bool) -> None:
    if close:
        response.close()
    else:
        response.release()
    on_end()
