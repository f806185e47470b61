"""The body of an answer: read whole within a limit, or taken as it comes."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any

import aiohttp

from ..errors import CallInfo, NetworkError, without_frames
from .aiohttp_errors import emptied, failure_of

_PIECE = 1024 * 1024


async def read_body(response: aiohttp.ClientResponse, limit: int) -> tuple[bytes, bool]:
    """The body, decompressed, and whether there is more than `limit` bytes of it.

    What is beyond the limit is neither read nor decompressed; the connection is given up then.
    """
    pieces: list[bytes] = []
    size, next_rest = 0, _PIECE
    try:
        while piece := await response.content.readany():
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                response.close()
                return b"".join(pieces)[:limit], True
            if size >= next_rest:  # what is decompressed faster than we read it never makes us wait
                next_rest = size + _PIECE
                await asyncio.sleep(0)
    except BaseException:
        response.close()
        raise
    return pieces[0] if len(pieces) == 1 else b"".join(pieces), False


class Stream:
    """An open answer. It holds its place in the pool until it was read to its end, or closed.

    Nothing is read ahead of the consumer beyond aiohttp's buffer: who reads slowly makes the server wait.
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
        """Bytes that may be read into memory at once."""
        self._response = response
        self._scrub = scrub
        self._owner = owner  # a client that nobody holds any more closes its connections: not while we read from one
        self._call = call
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._ended = False
        self._whole = False
        self._reading = False

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Bytes as they arrive.

        Raises:
            NetworkError: the connection broke, or the stream was closed.
        """
        if self._reading:  # not ours to end
            raise NetworkError("the answer is being read already; it can be read once", self._call)
        self._reading = True
        try:
            while chunk := await self._next():
                yield chunk
                del chunk  # it may quote our token: it is in no variable when the next one does not come
            self._whole = True
        finally:
            self._end(drop=not self._whole)

    async def _next(self) -> bytes:
        if self._ended:
            raise self._closed()
        try:
            return await self._response.content.readany()
        except Exception as error:
            if self._ended:  # while we were waiting
                raise self._closed() from None
            failure = failure_of(error, self._call, self._response.url.authority, scrub=self._scrub)
            emptied(error)
        except BaseException as error:
            # The frames below hold headers in their variables; whoever cancelled us may record them.
            raise without_frames(error)  # noqa: B904 - the same error
        raise failure.error from failure.cause

    def _closed(self) -> NetworkError:
        state = "read already; it can be read once" if self._whole else "closed before it was read"
        return NetworkError(f"the answer was {state}", self._call)

    def close(self) -> None:
        """Let go of the connection; what has not been read is lost. Safe to call twice."""
        self._end(drop=True)

    def abandon(self) -> None:
        """Forget the connection without a word: its loop will never run again here, its socket is taken care of."""
        self._ended = True
        with contextlib.suppress(AttributeError):  # another aiohttp may keep it elsewhere
            connection, self._response._connection = self._response._connection, None
            if connection is not None:
                connection._protocol = None

    def _end(self, *, drop: bool) -> None:
        if self._ended:
            return
        self._ended = True
        _let_go(self._response, self._on_end, drop)

    def __del__(self) -> None:
        if not getattr(self, "_ended", True):
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the connection with it
                self._loop.call_soon_threadsafe(_let_go, self._response, self._on_end, True)


def _let_go(response: Any, on_end: Callable[[], None], drop: bool) -> None:
    if drop:
        response.close()
    else:
        response.release()
    on_end()
