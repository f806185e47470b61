"""`GET /_sandbox/live`: server-sent events of what happens in the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiohttp import web

from .. import event_log
from ..json import dumps
from ..live_feed import KEEP_ALIVE, MAX_READERS
from ..live_position import LivePosition
from ..problems import Problem, invalid
from ..world import World


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
        if self._readers >= MAX_READERS:
            raise Problem(429, "too_many_readers", f"{MAX_READERS} readers are connected already")
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

    async def _send(self, response: web.StreamResponse, position: LivePosition) -> None:
        live = self._world.live
        while not live.is_closed:
            text = "".join(self._messages(position))
            if text:
                await response.write(text.encode())
                continue
            if not await live.wait_for_change(KEEP_ALIVE):
                await response.write(b": still there\n\n")

    def _messages(self, position: LivePosition) -> Iterator[str]:
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

    def _events(self, position: LivePosition) -> Iterator[str]:
        for row in event_log.events_after(self._world.db, position.event):
            position.event = row["position"]
            yield _format(position, "event", event_log.serialize_event(row))

    def _parse_position(self, text: str | None) -> LivePosition:
        now = LivePosition.now(self._world)
        if not text:
            return now
        position = LivePosition.parse(text)
        if position is None:
            raise invalid("after: the id of a message")
        if not position.is_of_this_run(self._world):
            return now
        return LivePosition(position.message, min(position.event, now.event))


def _format(position: LivePosition, kind: str, data: Any) -> str:
    return f"id: {position}\nevent: {kind}\ndata: {dumps(data)}\n\n"
