"""What an injected fault does to a request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from ..faults import Fault
from ..problems import Problem


async def strike(
    request: web.Request,
    fault: Fault,
    answer: Callable[[], Awaitable[web.StreamResponse]],
    problem: Callable[[Problem], web.Response],
) -> web.StreamResponse:
    """Let a fault have its effect; `answer` handles the request, which some faults never let happen."""
    if fault.kind == "latency":
        await asyncio.sleep(fault.seconds)
        return await answer()
    if fault.kind == "drop_before":
        await request.read()
        return _hang_up(request)
    if fault.kind in ("status", "rate_limit"):
        await request.read()
        return _fault_status(fault, problem)
    response = await answer()
    if not isinstance(response, web.Response):  # a stream: it is out already
        return response
    if fault.kind == "drop_after":
        return _hang_up(request)
    if fault.kind == "drop_during_answer":
        return await _half(request, response)
    return _broken(fault, response)


def _hang_up(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.close()
    return web.Response(status=500)


def _fault_status(fault: Fault, answer: Callable[[Problem], web.Response]) -> web.Response:
    code = "rate_limited" if fault.status == 429 else "injected_fault"
    response = answer(Problem(fault.status, code, f"a fault was asked for: status {fault.status}"))
    if fault.retry_after is not None:
        response.headers["Retry-After"] = str(fault.retry_after)
    return response


async def _half(request: web.Request, whole: web.Response) -> web.StreamResponse:
    body = whole.body if isinstance(whole.body, bytes) else b""
    response = web.StreamResponse(status=whole.status, headers={"Content-Type": "application/json"})
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


def _broken(fault: Fault, whole: web.Response) -> web.Response:
    body = whole.body if isinstance(whole.body, bytes) else b""
    if fault.body == "html":
        return web.Response(
            status=whole.status, text="<html><body><h1>502 Bad Gateway</h1></body></html>", content_type="text/html"
        )
    if fault.body == "truncated":
        return web.Response(status=whole.status, body=body[: len(body) // 2], content_type="application/json")
    return web.Response(status=whole.status, text="" if fault.body == "empty" else "OK", content_type="text/plain")
