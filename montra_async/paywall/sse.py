"""An incremental parser of server-sent events, without I/O."""

from __future__ import annotations

import codecs
from typing import Any

import attrs

from ..core.models.json import loads

MAX_EVENT_SIZE = 16 * 1024 * 1024
"""Default limit of an event and of a line, in characters. An image in base64 fits."""

_RETRY_DIGITS = 9


@attrs.frozen(kw_only=True)
class ServerSentEvent:
    """One event of a `text/event-stream`.

    Attributes:
        data: the text of the `data` lines, joined by line breaks.
        event: the type of the event. Default: `message`.
        id: the last event id of the stream, from this event or an earlier one; None when there was none.
        retry: reconnection time in milliseconds; None when the event has none.
    """

    data: str
    event: str = "message"
    id: str | None = None
    retry: int | None = None

    def json(self) -> Any:
        """`data` as JSON; numbers with a fraction are `Decimal`.

        Raises:
            ValueError: `data` is not JSON, e.g. the `[DONE]` that some streams end with.
        """
        return loads(self.data.encode())


class LineReader:
    """Splits bytes into lines of text that end with `\\n`, `\\r\\n` or `\\r`.

    Args:
        encoding: encoding of the bytes. Default: UTF-8. Invalid bytes are replaced.
        max_size: maximum length of a line, in characters. Default: 16 Mi.
    """

    def __init__(self, encoding: str = "utf-8", max_size: int = MAX_EVENT_SIZE) -> None:
        self._max_size = max_size
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._parts: list[str] = []
        self._length = 0
        self._after_return = False

    def feed(self, chunk: bytes, *, end: bool = False) -> list[str]:
        """Return the lines that are complete, without their line breaks.

        Args:
            chunk: the next bytes.
            end: whether these are the last bytes: then the last line needs no line break. Default: False.

        Raises:
            ValueError: a line is longer than `max_size`.
        """
        text = self._decoder.decode(chunk, end)
        if self._after_return and text:
            text = text.removeprefix("\n")
            self._after_return = False
        if text.endswith("\r") and not end:
            self._after_return = True
        *whole, rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        if whole:
            whole[0] = "".join([*self._parts, whole[0]])
            self._parts, self._length = [], 0
        if rest:
            self._parts.append(rest)
            self._length += len(rest)
        if max(self._length, *map(len, whole), 0) > self._max_size:
            raise ValueError(f"a line of more than {self._max_size} characters")
        if end and self._parts:
            whole.append("".join(self._parts))
            self._parts, self._length = [], 0
        return whole


class EventReader:
    """Builds events from lines, as the HTML standard defines it: an empty line ends an event.

    An event that is not ended is discarded.

    Args:
        max_size: maximum length of the data of an event, in characters. Default: 16 Mi.
    """

    def __init__(self, max_size: int = MAX_EVENT_SIZE) -> None:
        self._max_size = max_size
        self._size = 0
        self._first = True
        self._data: list[str] = []
        self._event = ""
        self._id: str | None = None
        self._retry: int | None = None

    def feed(self, line: str) -> ServerSentEvent | None:
        """Return the event that this line completes; None when it completes none.

        Args:
            line: the next line, without its line break.

        Raises:
            ValueError: the event is longer than `max_size`.
        """
        if self._first:
            line, self._first = line.removeprefix("\ufeff"), False
        if line:
            name, _, value = line.partition(":")
            self._set_field(name, value.removeprefix(" "))
            return None
        event = None
        if self._data:
            event = ServerSentEvent(
                data="\n".join(self._data), event=self._event or "message", id=self._id, retry=self._retry
            )
        self._data, self._event, self._retry, self._size = [], "", None, 0
        return event

    def _set_field(self, name: str, value: str) -> None:
        if name == "data":
            self._size += len(value) + 1
            if self._size > self._max_size:
                raise ValueError(f"an event of more than {self._max_size} characters")
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit() and len(value) <= _RETRY_DIGITS:
            self._retry = int(value)
