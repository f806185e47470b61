"""Pure: server-sent events from bytes, as they come."""

from __future__ import annotations

import codecs
from typing import Any

import attrs

from ..core.models.json import loads

MAX_EVENT_SIZE = 16 * 1024 * 1024
"""Characters of one event, or of one line: an image in base64 fits, a stream without line breaks does not."""

_RETRY_DIGITS = 9


@attrs.frozen(kw_only=True)
class ServerSentEvent:
    """One event of a `text/event-stream`.

    Attributes:
        data: the text of its `data` lines, joined by line breaks.
        event: its type, `message` when the stream names none.
        id: the last id the stream gave, for this event or an earlier one.
        retry: milliseconds after which a lost connection may be opened again, when the stream says so.
    """

    data: str
    event: str = "message"
    id: str | None = None
    retry: int | None = None

    def json(self) -> Any:
        """`data` as JSON; numbers with a fraction are `Decimal`.

        Raises:
            ValueError: it is none, e.g. the `[DONE]` that some streams end with.
        """
        return loads(self.data.encode())


class LineReader:
    """Text lines from bytes: ended by `\n`, `\r\n` or `\r`, whole characters only."""

    def __init__(self, encoding: str = "utf-8", max_size: int = MAX_EVENT_SIZE) -> None:
        self._max_size = max_size
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._parts: list[str] = []
        self._length = 0
        self._after_return = False

    def feed(self, chunk: bytes, *, end: bool = False) -> list[str]:
        """The lines that are whole now, without their ends; at the `end` also one that never ended.

        Raises:
            ValueError: a line longer than `max_size` characters.
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
    """Events from lines, as the HTML standard has it: an event is over at an empty line; a half one is none."""

    def __init__(self, max_size: int = MAX_EVENT_SIZE) -> None:
        self._max_size = max_size
        self._size = 0
        self._first = True
        self._data: list[str] = []
        self._event = ""
        self._id: str | None = None
        self._retry: int | None = None

    def feed(self, line: str) -> ServerSentEvent | None:
        """The event that this line completes, if any.

        Raises:
            ValueError: an event longer than `max_size` characters.
        """
        if self._first:
            line, self._first = line.removeprefix("\ufeff"), False
        if line:
            name, _, value = line.partition(":")
            self._note(name, value.removeprefix(" "))
            return None
        event = None
        if self._data:
            event = ServerSentEvent(
                data="\n".join(self._data), event=self._event or "message", id=self._id, retry=self._retry
            )
        self._data, self._event, self._retry, self._size = [], "", None, 0
        return event

    def _note(self, name: str, value: str) -> None:
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
