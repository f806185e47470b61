"""Helpers of `montra_walk` and `paywall_walk`: counted steps, a webhook endpoint, a payment in the browser."""

import re
import sys
from types import TracebackType

import aiohttp
from aiohttp import web

from montra_async import verify_signature

steps = 0


def step(what: str, result: object) -> None:
    """Count a step and print its result."""
    global steps
    steps += 1
    print(f"{steps:3}  {what:<38} {result}")


def expect(truth: bool, what: str) -> None:
    if not truth:
        sys.exit(f"Surprise: {what}")


def ended() -> None:
    print(f"\n{steps} steps, all as expected.")


class Receiver:
    """A webhook endpoint: it verifies the signature of the raw body before it reads the event."""

    def __init__(self, header: str) -> None:
        self.header = header
        self.secret = ""
        self.origin = self.url = ""
        self.received: list[str] = []

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        if not verify_signature(body, request.headers.get(self.header), self.secret):
            return web.Response(status=401)
        self.received.append((await request.json())["type"])
        return web.Response(status=204)

    async def thanks(self, request: web.Request) -> web.Response:
        """The page that the hosted checkout redirects to."""
        return web.Response(text=f"Thank you for {request.query['session']}!")

    async def __aenter__(self) -> "Receiver":
        app = web.Application()
        app.router.add_post("/webhooks", self.handle)
        app.router.add_get("/thanks", self.thanks)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.origin = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.url = f"{self.origin}/webhooks"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()


async def pay(url: str, card: str = "4242424242424242", code: str = "") -> str:
    """Pay as in a browser: open the page, fill in the form, submit it. Return the page that follows."""
    async with aiohttp.ClientSession() as browser:
        async with browser.get(url) as page:
            session = re.findall(r'name="session" value="([^"]+)"', await page.text())
        form = {"session": session[0] if session else "", "card": card, "code": code, "action": "pay"}
        async with browser.post(url, data={**form, "name": "Ada Lovelace", "email": "ada@example.com"}) as page:
            return await page.text()
