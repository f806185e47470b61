"""`GatewayResponse`: the streamed response of a gateway call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from io import BytesIO
from types import TracebackType
from typing import Any

from ..core.compat import Self
from ..core.decoding import size_limit
from ..core.errors import NetworkError
from ..core.hints import AsyncOnly
from ..core.http.messages import RawResponse
from ..core.http.streaming import Stream
from ..core.models.json import loads
from .errors import PaywallInvalidResponseError, translate
from .sse import MAX_EVENT_SIZE, EventReader, LineReader, ServerSentEvent

QUERY_TYPE = "X-Query-Type"
"""Header that names the token type that was charged."""

_CHARSETS = frozenset(
    {
        *("utf-8", "utf8", "utf-16le", "utf-16be", "us-ascii", "ascii", "iso-8859-1", "latin-1", "latin1"),
        *("iso-8859-2", "iso-8859-5", "iso-8859-7", "iso-8859-9", "iso-8859-15", "koi8-r", "koi8-u"),
        *("windows-1250", "windows-1251", "windows-1252", "windows-1253", "windows-1254", "windows-1256"),
        *("shift_jis", "euc-jp", "iso-2022-jp", "gb2312", "gbk", "gb18030", "big5", "euc-kr"),
    }
)
"""Encodings that a provider may choose. Others of Python's codecs take quadratic time, or do not decode to text."""


class GatewayResponse(AsyncOnly):
    """A streamed response of a provider. Nothing is read ahead: a slow reader slows the provider down (backpressure).

    It holds a connection of the pool until it is read to its end, left with `async with`, or closed with `aclose()`.
    The body can be read once.

    Attributes:
        status: HTTP status, 2xx.
        headers: headers of the response.
        query_type: token type that was charged; None when the response lacks it.
    """

    status: int
    headers: Mapping[str, str]
    query_type: str | None

    def __init__(self, response: RawResponse, stream: Stream, path: str) -> None:
        """
        Args:
            response: status and headers.
            stream: the body.
            path: path of the request, for messages.
        """
        self.status = response.status
        self.headers = response.headers
        self.query_type = response.headers.get(QUERY_TYPE)
        self._stream = stream
        self._path = path

    async def iter_chunks(self) -> AsyncGenerator[bytes, None]:
        """Iterate over the body in chunks of bytes, as they arrive.

        Raises:
            PaywallNetworkError: `network_error`: the connection broke.
        """
        chunks = self._stream.chunks()
        try:
            async for chunk in chunks:
                yield chunk
                del chunk  # it may quote our token, and error reporters record the local variables of frames
        except NetworkError as error:
            raise translate(error) from error
        finally:
            await chunks.aclose()

    async def iter_lines(self, *, max_line_size: int = MAX_EVENT_SIZE) -> AsyncGenerator[str, None]:
        """Iterate over the lines of the body, without line breaks. The encoding is the response's, or else UTF-8.

        Args:
            max_line_size: maximum length of a line, in characters. Default: 16 Mi.

        Raises:
            PaywallInvalidResponseError: `invalid_response`: a line is longer.
            PaywallNetworkError: `network_error`: the connection broke.
        """
        reader = LineReader(self._encoding(), max_line_size)
        chunks = self.iter_chunks()
        try:
            async for chunk in chunks:
                for line in self._lines(reader, chunk):
                    yield line
                del chunk
            for line in self._lines(reader, b"", end=True):
                yield line
        finally:
            await chunks.aclose()

    async def iter_sse(self, *, max_event_size: int = MAX_EVENT_SIZE) -> AsyncGenerator[ServerSentEvent, None]:
        """Iterate over the server-sent events of the body. An incomplete event at the end of the stream is discarded.

        Args:
            max_event_size: maximum length of an event, in characters. Default: 16 Mi.

        Raises:
            PaywallInvalidResponseError: `invalid_response`: an event is longer.
            PaywallNetworkError: `network_error`: the connection broke.
        """
        reader = EventReader(max_event_size)
        lines = self.iter_lines(max_line_size=max_event_size)
        try:
            async for line in lines:
                if (event := self._event(reader, line)) is not None:
                    yield event
        finally:
            await lines.aclose()

    async def read(self) -> bytes:
        """Read the whole body as bytes.

        Raises:
            PaywallInvalidResponseError: `invalid_response`: the body exceeds the client's `max_response_size`.
            PaywallNetworkError: `network_error`: the connection broke.
        """
        content = BytesIO()
        limit = self._stream.max_size
        chunks = self.iter_chunks()
        try:
            async for chunk in chunks:
                content.write(chunk)
                del chunk
                if content.tell() > limit:
                    raise self._invalid(f"the body is larger than {size_limit(limit)}")
        finally:
            await chunks.aclose()
        return content.getvalue()

    async def text(self) -> str:
        """Read the whole body as text. The encoding is the response's, or else UTF-8; invalid bytes are replaced.

        Raises:
            PaywallInvalidResponseError: `invalid_response`: the body exceeds the client's `max_response_size`.
            PaywallNetworkError: `network_error`: the connection broke.
        """
        return (await self.read()).decode(self._encoding(), "replace")

    async def json(self) -> Any:
        """Read the whole body as JSON. Numbers with a fraction are `Decimal`.

        Raises:
            PaywallInvalidResponseError: `invalid_response`: the body exceeds the client's `max_response_size`,
                or is not JSON.
            PaywallNetworkError: `network_error`: the connection broke.
        """
        content = await self.read()
        try:
            return loads(content)
        except ValueError:
            raise self._invalid("the provider's response is not JSON") from None

    async def aclose(self) -> None:
        """Release the connection. The rest of the body is discarded."""
        self._stream.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def __repr__(self) -> str:
        return f"<GatewayResponse {getattr(self, 'status', '?')} of {getattr(self, '_path', '?')}>"

    def _event(self, reader: EventReader, line: str) -> ServerSentEvent | None:
        try:
            return reader.feed(line)
        except ValueError as error:
            raise self._invalid(str(error)) from None

    def _lines(self, reader: LineReader, chunk: bytes, *, end: bool = False) -> list[str]:
        try:
            return reader.feed(chunk, end=end)
        except ValueError as error:
            raise self._invalid(str(error)) from None

    def _invalid(self, problem: str) -> PaywallInvalidResponseError:
        return PaywallInvalidResponseError(
            "invalid_response", f"{problem} ({self._path})", status=self.status, sent=True
        )

    def _encoding(self) -> str:
        _, _, charset = self.headers.get("Content-Type", "").lower().partition("charset=")
        name = charset.split(";")[0].strip("\"' ")
        return name if name in _CHARSETS else "utf-8"
