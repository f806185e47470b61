"""A person at the hosted checkout: opens the page, fills in its form, presses a button."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import urljoin

import aiohttp


class Page(HTMLParser):
    """A page as a person sees it: its words, and the form with what is filled in."""

    def __init__(self, status: int, url: str, html: str) -> None:
        super().__init__()
        self.status, self.url, self.html = status, url, html
        self.fields: dict[str, str] = {}
        self.labels: set[str] = set()
        self.inputs: set[str] = set()
        self.words = ""
        self.action = ""
        self._hidden = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self._hidden = tag == "style"
        if tag == "form":
            self.action = named.get("action", "")
        if tag == "label":
            self.labels.add(named.get("for", ""))
        if tag == "input" and (named.get("type") != "radio" or "checked" in named):
            self.fields[named["name"]] = named.get("value", "")
        if tag == "input" and named.get("type") in ("text", "email"):
            self.inputs.add(named["id"])

    def handle_endtag(self, tag: str) -> None:
        self._hidden = False

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words += data


class Browser:
    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def open(self, url: str) -> Page:
        async with self._http.get(url) as answer:
            return Page(answer.status, str(answer.url), await answer.text())

    async def submit(self, page: Page, action: str = "pay", **fields: str) -> Page:
        form = {**page.fields, "name": "Ada", "email": "ada@example.com", **fields, "action": action}
        to = urljoin(page.url, page.action) if page.action else page.url.partition("/receipts")[0]
        async with self._http.post(to, data=form) as answer:
            return Page(answer.status, str(answer.url), await answer.text())

    async def leave(self, page: Page, **fields: str) -> str:
        """Submit a page that sends its visitor on to somewhere else: where."""
        form = {**page.fields, "name": "Ada", "email": "ada@example.com", **fields, "action": "pay"}
        async with self._http.post(page.url, data=form, allow_redirects=False) as answer:
            assert answer.status == 303
            return answer.headers["Location"]

    async def pay(self, url: str, **fields: str) -> Page:
        return await self.submit(await self.open(url), **fields)
