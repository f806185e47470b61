"""The live feed of the dashboard: it says that something has changed, and pages are rendered anew."""

from __future__ import annotations

import asyncio

from aiohttp import web

from .. import event_log
from ..problems import Problem
from ..world import World
from .live_position import parse_position
from .routing import page
from .view import View

LIVE_ROUTE: str = "/dashboard/live"
"""The path of the feed."""
_MAX_READERS = 50
_KEEP_ALIVE = 15.0
_PAUSE = 0.1
_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}


async def stream_changes(view: View) -> web.StreamResponse:
    """Send the kinds of what happens after `?after=`: `request`, `delivery`, `event`, `clock` or `reset`.

    Args:
        view: the request.

    Raises:
        Problem: 429, too many readers.
    """
    if view.memory.readers >= _MAX_READERS:
        raise Problem(429, "too_many_readers", f"{_MAX_READERS} pages are open already")
    response = web.StreamResponse(headers=_HEADERS)
    view.memory.readers += 1
    try:
        await response.prepare(view.request)
        await response.write(b"retry: 1000\n: connected\n\n")
        await _send(response, view.world, *parse_position(view.query("after"), view.world))
    except ConnectionError:
        pass  # the reader has gone
    finally:
        view.memory.readers -= 1
    return response


async def _send(response: web.StreamResponse, world: World, number: int, position: int) -> None:
    while not world.live.is_closed:
        kinds: set[str] = {message.kind for message in world.live.after(number)}
        number, last = world.live.last_number, event_log.last_position(world.db)
        if last != position:
            kinds.add("event")
            position = last
        if kinds:
            await response.write("".join(f"event: change\ndata: {kind}\n\n" for kind in sorted(kinds)).encode())
            await asyncio.sleep(_PAUSE)  # a burst of changes is one message
        elif not await _wait(world):
            await response.write(b": still there\n\n")


async def _wait(world: World) -> bool:
    """Wait until something happens; False when it is time for a sign of life."""
    change = world.live.next_change()
    try:
        done, _ = await asyncio.wait([change], timeout=_KEEP_ALIVE)
    finally:
        change.cancel()
    return bool(done)


ROUTES = (page(LIVE_ROUTE, stream_changes),)
