"""What the providers behind the gateway answer: an echo of what they were sent, or a stream of events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from ..paywall import gateway
from ..paywall.context import PaywallContext
from ..wire import dumps
from ..world import World
from .answers import respond

log = logging.getLogger("montra_sandbox")

_TOLD = ("Content-Type", "X-SDK-Version", "X-Paywall-Id", "X-User-ID")


async def serve_provider(
    request: web.Request,
    rest: str,
    world: World,
    context: Callable[[], PaywallContext],
    more: Mapping[str, str],
) -> web.StreamResponse:
    """Charge, then answer. `rest` is the address behind the gateway: provider and path, still escaped. `more`: headers
    of every answer."""
    content = await request.read()
    provider_id, _, path = rest.partition("/")
    world.catch_up()
    with world.store.transaction():
        provider = gateway.charge(context(), unquote(provider_id), request.headers.get("X-User-ID"))
    headers = {**more, "X-Query-Type": str(provider["query_type"])}
    if provider["mode"] == "stream":
        return await _stream(request, provider, headers, world)
    told = {name: request.headers[name] for name in _TOLD if name in request.headers}
    said = {
        "method": request.method,
        "path": unquote(path),
        "headers": told,
        "size": len(content),
        "body": content[:10_000].decode("utf-8", "replace"),
    }
    return respond(200, dumps(said).encode(), headers)


async def _stream(
    request: web.Request, provider: Mapping[str, Any], headers: dict[str, str], world: World
) -> web.StreamResponse:
    progress = {"sent": 0, "finished": False}
    world.streams.append(progress)
    response = web.StreamResponse(headers={**headers, "Cache-Control": "no-store"})
    response.content_type = "text/event-stream"
    response.charset = "utf-8"
    try:
        await _send_events(request, provider, response, progress)
    except ConnectionResetError:
        log.debug("the client left a stream after %s events", progress["sent"])
    return response


async def _send_events(
    request: web.Request, provider: Mapping[str, Any], response: web.StreamResponse, progress: dict[str, Any]
) -> None:
    await response.prepare(request)
    for event in [*provider.get("events", gateway.EVENTS), "[DONE]"]:
        if progress["sent"] == provider.get("break_after") and request.transport is not None:
            request.transport.close()
            return
        text = event if isinstance(event, str) else dumps(event)
        await response.write("".join(f"data: {line}\n" for line in text.split("\n")).encode() + b"\n")
        progress["sent"] += 1
        if provider["pause"]:
            await asyncio.sleep(float(provider["pause"]))
    await response.write_eof()
    progress["finished"] = True
