"""`GET /_sandbox/live`: server-sent events of what happens in the sandbox."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import attrs
from aiohttp import web

from .. import event_log
from ..json import dumps
from ..problems import Problem, invalid
from ..world import World

_MAX_READERS = 50
_KEEP_ALIVE = 15.0
_POSITION = re.compile(r"([0-9]{1,15})-([0-9]{1,15})", re.ASCII)


@attrs.define
class _Position:
    """How far a reader has read.

    Attributes:
        message: the number of the last message.
        event: the position of the last stored event.
    """

    message: int
    event: int

    def __str__(self) -> str:
        return f"{self.message}-{self.event}"


class LiveStream:
    """The route.

    Args:
        world: the state.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._readers = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """The aiohttp handler.

        `event:` is `request`, `event`, `delivery`, `clock` or `reset`, and `data:` its JSON. `id:` can be given as
        `?after=` or `Last-Event-ID`, to go on from there; without it the stream begins with what happens next.

        Args:
            request: the request.

        Raises:
            Problem: 400, not an id; 429, too many readers.
        """
        position = self._parse_position(request.query.get("after") or request.headers.get("Last-Event-ID"))
        if self._readers >= _MAX_READERS:
            raise Problem(429, "too_many_readers", f"{_MAX_READERS} readers are connected already")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        self._readers += 1
        try:
            await response.prepare(request)
            await response.write(f"retry: 1000\nid: {position}\n: the sandbox is connected\n\n".encode())
            await self._send(response, position)
        except ConnectionError:
            pass  # the reader has gone
        finally:
            self._readers -= 1
        return response

    async def _send(self, response: web.StreamResponse, position: _Position) -> None:
        live = self._world.live
        while not live.is_closed:
            text = "".join(self._messages(position))
            if text:
                await response.write(text.encode())
                continue
            change = live.next_change()  # nothing can happen between the look above and this
            try:
                done, _ = await asyncio.wait([change], timeout=_KEEP_ALIVE)
            finally:
                change.cancel()
            if not done:
                await response.write(b": still there\n\n")

    def _messages(self, position: _Position) -> Iterator[str]:
        """What is new, oldest first; moves the position behind it."""
        for message in self._world.live.after(position.message):
            position.message = message.number
            data = message.make_data()
            if message.kind == "reset":
                position.event = data["position"]
            elif message.kind == "delivery":  # its event comes first
                yield from self._events(position)
            if data or message.kind != "delivery":  # a reset may have deleted the delivery
                yield _format(position, message.kind, data)
        yield from self._events(position)

    def _events(self, position: _Position) -> Iterator[str]:
        for row in event_log.events_after(self._world.db, position.event):
            position.event = row["position"]
            yield _format(position, "event", event_log.serialize_event(row))

    def _parse_position(self, text: str | None) -> _Position:
        live, db = self._world.live, self._world.db
        if not text:
            return _Position(live.last_number, event_log.last_position(db))
        match = _POSITION.fullmatch(text)
        if match is None:
            raise invalid("after: the id of a message")
        message, event = int(match[1]), int(match[2])
        if message > live.last_number:  # of an earlier run of the sandbox
            return _Position(live.last_number, event_log.last_position(db))
        return _Position(message, min(event, event_log.last_position(db)))


def _format(position: _Position, kind: str, data: Any) -> str:
    return f"id: {position}\nevent: {kind}\ndata: {dumps(data)}\n\n"
