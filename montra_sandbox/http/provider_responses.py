"""Responses of the providers behind the gateway: the request as JSON, or a stream of server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from ..json import dumps
from ..log import log
from ..paywall.gateway import DEFAULT_EVENTS
from ..world import World
from .json_response import json_response

_ECHOED_HEADERS = ("Content-Type", "X-SDK-Version", "X-Paywall-Id", "X-User-ID")
_MAX_ECHOED_BODY = 10_000


async def provider_response(
    request: web.Request,
    provider: Mapping[str, Any],
    path: str,
    content: bytes,
    headers: Mapping[str, str],
    world: World,
) -> web.StreamResponse:
    """What a provider responds to a call that was charged.

    Args:
        request: the request.
        provider: the provider's configuration.
        path: the path behind the provider's id.
        content: the request's body.
        headers: headers of every response.
        world: the state, which keeps the progress of streams.
    """
    headers = {**headers, "X-Query-Type": str(provider["query_type"])}
    if provider["mode"] == "stream":
        return await _stream(request, provider, headers, world)
    echo = {
        "method": request.method,
        "path": path,
        "headers": {name: request.headers[name] for name in _ECHOED_HEADERS if name in request.headers},
        "size": len(content),
        "body": content[:_MAX_ECHOED_BODY].decode("utf-8", "replace"),
    }
    return json_response(200, dumps(echo).encode(), headers)


async def _stream(
    request: web.Request, provider: Mapping[str, Any], headers: Mapping[str, str], world: World
) -> web.StreamResponse:
    progress = {"sent": 0, "finished": False}
    world.streams.append(progress)
    response = web.StreamResponse(headers={**headers, "Cache-Control": "no-store"})
    response.content_type = "text/event-stream"
    response.charset = "utf-8"
    try:
        await _send_events(request, provider, response, progress)
    except ConnectionResetError:
        log.debug("the client closed a stream after %s events", progress["sent"])
    return response


async def _send_events(
    request: web.Request, provider: Mapping[str, Any], response: web.StreamResponse, progress: dict[str, Any]
) -> None:
    await response.prepare(request)
    for event in [*provider.get("events", DEFAULT_EVENTS), "[DONE]"]:
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
