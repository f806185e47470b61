"""A sandbox, and a receiver of its webhooks that verifies and parses as applications do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from montra_async.webhooks import parse, parse_paywall
from montra_sandbox import Sandbox

SECRET = "whsec_of_the_tests"


class Receiver:
    """A server that keeps the events it got. `answers` are the statuses of its next answers, then 200.

    One address serves both services, told apart by the header of the signature. `react` is called with each event.
    """

    def __init__(self) -> None:
        self.url = ""
        self.secret = SECRET
        self.got: list[Any] = []
        self.answers: list[int] = []
        self.react: Callable[[Any], Awaitable[None]] | None = None

    async def handle(self, request: web.Request) -> web.Response:
        parsed = parse if "Montra-Signature" in request.headers else parse_paywall
        event = parsed(await request.read(), dict(request.headers), self.secret)
        self.got.append(event)
        if self.react is not None:
            await self.react(event)
        status = self.answers.pop(0) if self.answers else 200
        return web.Response(status=status, text="thank you" if status == 200 else "not today")


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/{any}", receiver.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield receiver
    finally:
        await runner.cleanup()


async def control(sandbox: Sandbox, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Status and `data` (or `error`) of a control over HTTP."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"{sandbox.url}/_sandbox{path}", json=body) as response,
    ):
        answer = await response.json()
        return response.status, answer.get("data", answer.get("error"))
