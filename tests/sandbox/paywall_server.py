"""A paywall of few lines, for tests: everything it says carries the mark of whom it is for, and its sessions rotate."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

from aiohttp import web

from montra_async.paywall import AuthSession, AuthUser

ENDED = {"code": "token_expired"}


class PaywallServer:
    """Access tokens are `at:<user>:<n>`, refresh tokens `rt:<user>:<n>`; of a user only the last of each is good.

    Attributes:
        seconds: how long answers take, by the end of the path.
        asked: method and end of the path of every request.
        lifetime: `expires_in` of new tokens.
    """

    def __init__(self) -> None:
        self.url = ""
        self.seconds: dict[str, float] = {}
        self.asked: list[str] = []
        self.lifetime: Any = 3600
        self.strict = True
        self.refuses = False
        self.names_users = True
        self._numbers = itertools.count()
        self._good: dict[str, int] = {}

    def tokens(self, user: str) -> dict[str, Any]:
        number = self._good[user] = next(self._numbers)
        answer = {"access_token": f"at:{user}:{number}", "refresh_token": f"rt:{user}:{number}"}
        named = {"user": {"id": user, "email": f"{user}@example.com"}} if self.names_users else {}
        return {**answer, "expires_in": self.lifetime, "token_type": "bearer", **named}

    def session(self, user: str, *, named: bool = True, ends_in: float = 3600) -> AuthSession:
        told = self.tokens(user)
        return AuthSession(
            access_token=told["access_token"],
            refresh_token=told["refresh_token"],
            expires_at=datetime.now(timezone.utc) + timedelta(seconds=ends_in),
            user=AuthUser(id=user) if named else None,
        )

    async def answer(self, request: web.BaseRequest) -> web.Response:
        end = request.path.rpartition("/")[2]
        self.asked.append(f"{request.method} {end}")
        body = json.loads(await request.read() or b"{}")
        await asyncio.sleep(self.seconds.get(end, 0))
        status, told = self._told(request, end, body)
        return web.json_response(told, status=status)

    def _told(self, request: web.BaseRequest, end: str, body: Any) -> tuple[int, Any]:
        if end == "refresh":
            _, user, number = body["refresh_token"].split(":")
            return (200, self.tokens(user)) if self._good.get(user) == int(number) else (401, ENDED)
        if end == "signin":
            return 200, self.tokens(body.get("email", "somebody").partition("@")[0])
        who = request.headers.get("X-User-Email", "").partition("@")[0]
        bearer = request.headers.get("Authorization", "")
        if bearer:
            _, who, number = bearer.split(":")
            if self.refuses or (self.strict and self._good.get(who) != int(number)):
                return 401, ENDED
        return 200, self._of(end, who, request, body)

    @staticmethod
    def _of(end: str, who: str, request: web.BaseRequest, body: Any) -> Any:
        purchases = [{"id": who or "nobody"}]
        language = request.headers.get("Accept-Language", "")
        return {
            "user-state": {"has_active_subscription": True, "purchases": purchases},
            "user": {"purchases": purchases},
            "bootstrap": {"settings": {"name": f"{who}/{language}"}, "prices": [], "user": {"purchases": purchases}},
            "balances": {"balances": [{"type": who, "count": 5}]},
            "start-checkout": {"checkoutUrl": f"https://pay/{body.get('email')}/{body.get('priceId')}"},
        }.get(end, {})

    def count(self, end: str) -> int:
        return sum(one.endswith(f" {end}") for one in self.asked)


@asynccontextmanager
async def paywall_server() -> AsyncIterator[PaywallServer]:
    server = PaywallServer()
    runner = web.ServerRunner(web.Server(server.answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()
