"""Applies a fault to a request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from ..faults import Fault
from ..problems import Problem


async def inject(
    request: web.Request,
    fault: Fault,
    handle: Callable[[], Awaitable[web.StreamResponse]],
    to_response: Callable[[Problem], web.Response],
) -> web.StreamResponse:
    """Apply a fault and return the response.

    Args:
        request: the request.
        fault: the fault.
        handle: handles the request; some faults don't call it.
        to_response: makes a problem a response of the request's API.
    """
    if fault.kind == "latency":
        await asyncio.sleep(fault.seconds)
        return await handle()
    if fault.kind == "drop_before":
        await request.read()
        return _close_connection(request)
    if fault.kind in ("status", "rate_limit"):
        await request.read()
        return _error_response(fault, to_response)
    response = await handle()
    if not isinstance(response, web.Response):  # a stream has been sent already
        return response
    if fault.kind == "drop_after":
        return _close_connection(request)
    if fault.kind == "drop_during_answer":
        return await _send_half(request, response)
    return _malformed_response(fault, response)


def _close_connection(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.close()
    return web.Response(status=500)


def _error_response(fault: Fault, to_response: Callable[[Problem], web.Response]) -> web.Response:
    code = "rate_limited" if fault.status == 429 else "injected_fault"
    response = to_response(Problem(fault.status, code, f"an injected fault: status {fault.status}"))
    if fault.retry_after is not None:
        response.headers["Retry-After"] = str(fault.retry_after)
    return response


async def _send_half(request: web.Request, complete: web.Response) -> web.StreamResponse:
    body = complete.body if isinstance(complete.body, bytes) else b""
    response = web.StreamResponse(status=complete.status, headers={"Content-Type": "application/json"})
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


def _malformed_response(fault: Fault, complete: web.Response) -> web.Response:
    body = complete.body if isinstance(complete.body, bytes) else b""
    if fault.body == "html":
        html = "<html><body><h1>502 Bad Gateway</h1></body></html>"
        return web.Response(status=complete.status, text=html, content_type="text/html")
    if fault.body == "truncated":
        return web.Response(status=complete.status, body=body[: len(body) // 2], content_type="application/json")
    return web.Response(status=complete.status, text="" if fault.body == "empty" else "OK", content_type="text/plain")
