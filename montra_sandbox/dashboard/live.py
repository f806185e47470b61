"""The live feed of the dashboard: it says that something has changed, and pages are rendered anew."""

from __future__ import annotations

import asyncio

from aiohttp import web

from ..live_feed import KEEP_ALIVE, MAX_READERS
from ..live_position import LivePosition
from ..problems import Problem
from ..world import World
from .routing import page
from .view import View

LIVE_ROUTE: str = "/dashboard/live"
"""The path of the feed."""
_PAUSE = 0.1
_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}


async def stream_changes(view: View) -> web.StreamResponse:
    """Send the kinds of what happens after `?after=`: `request`, `delivery`, `event`, `clock` or `reset`.

    Args:
        view: the request.

    Raises:
        Problem: 429, too many readers.
    """
    if view.memory.readers >= MAX_READERS:
        raise Problem(429, "too_many_readers", f"{MAX_READERS} pages are open already")
    response = web.StreamResponse(headers=_HEADERS)
    view.memory.readers += 1
    try:
        await response.prepare(view.request)
        await response.write(b"retry: 1000\n: connected\n\n")
        await _send(response, view.world, _position_of(view))
    except ConnectionError:
        pass  # the reader has gone
    finally:
        view.memory.readers -= 1
    return response


def _position_of(view: View) -> LivePosition:
    """What the page has seen; everything, by an address of our own making without it."""
    position = LivePosition.parse(view.query("after")) or LivePosition.now(view.world)
    # A page of an earlier run of the sandbox shows nothing of what is there now.
    return position if position.is_of_this_run(view.world) else LivePosition(0, 0)


async def _send(response: web.StreamResponse, world: World, position: LivePosition) -> None:
    while not world.live.is_closed:
        kinds: set[str] = {message.kind for message in world.live.after(position.message)}
        now = LivePosition.now(world)
        if now.event != position.event:
            kinds.add("event")
        position = now
        if kinds:
            await response.write("".join(f"event: change\ndata: {kind}\n\n" for kind in sorted(kinds)).encode())
            await asyncio.sleep(_PAUSE)  # a burst of changes is one message
        elif not await world.live.wait_for_change(KEEP_ALIVE):
            await response.write(b": still there\n\n")


ROUTES = (page(LIVE_ROUTE, stream_changes),)
