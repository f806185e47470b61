"""Plain HTTP to the dashboard, as a browser without scripts."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import attrs

from montra_sandbox import Sandbox

from ..sandbox.server_side import in_server

NOTICE = re.compile(r'<p class="notice (done|failed)"[^>]*>(.*?)</p>', re.DOTALL)


@attrs.frozen
class Answer:
    """A page after all redirects."""

    status: int
    path: str
    text: str
    headers: Any

    @property
    def notice(self) -> tuple[str, str] | None:
        """How the form before ended, and what the page says about it."""
        found = NOTICE.search(self.text)
        return None if found is None else (found[1], html.unescape(found[2]))

    @property
    def links(self) -> list[str]:
        """Where the page leads to."""
        return [html.unescape(link) for link in re.findall(r'href="([^"]*)"', self.text)]


@attrs.frozen
class DashboardHttp:
    sandbox: Sandbox
    http: aiohttp.ClientSession

    async def get(self, path: str, **headers: str) -> Answer:
        async with self.http.get(self.sandbox.url + path, headers=headers) as answer:
            return Answer(answer.status, str(answer.url.relative()), await answer.text(), answer.headers)

    async def post(self, path: str, page: str = "/", /, **fields: Any) -> Answer:
        form = {"_page": page, **{name: str(value) for name, value in fields.items()}}
        async with self.http.post(self.sandbox.url + path, data=form) as answer:
            return Answer(answer.status, str(answer.url.relative()), await answer.text(), answer.headers)

    async def done(self, path: str, page: str = "/", /, **fields: Any) -> Answer:
        """Send a form that must succeed."""
        answer = await self.post(path, page, **fields)
        assert answer.status == 200, answer.text
        assert answer.notice is not None
        assert answer.notice[0] == "done", answer.notice
        return answer

    def changes(self) -> int:
        """How many rows were changed since the start."""
        return in_server(self.sandbox, lambda world: int(world.db._connection.total_changes))

    def value(self, sql: str, *values: Any) -> Any:
        return in_server(self.sandbox, lambda world: world.db.value(sql, *values))


@asynccontextmanager
async def open_dashboard(sandbox: Sandbox) -> AsyncIterator[DashboardHttp]:
    jar = aiohttp.CookieJar(unsafe=True)  # cookies of an IP address
    async with aiohttp.ClientSession(headers={"Accept": "text/html"}, cookie_jar=jar) as http:
        yield DashboardHttp(sandbox, http)
