"""One request to the dashboard: the merchant whose data is seen, the state, and the rendering of the page."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

import attrs
from aiohttp import web
from yarl import URL

from ..controls import Controls
from ..database import Database, Row
from ..pages.form_memory import KeptForm
from ..problems import invalid, not_found
from ..scenarios.calls import Calls
from ..webhook_sender import WebhookSender
from ..world import World
from .memory import Memory
from .rendering import render

PAGE_SIZE: int = 25
"""Rows of one page of a list."""
_MAX_PAGE = 100_000
_MAX_QUERY = 200
_NUMBER = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,20})?", re.ASCII)


@attrs.frozen
class Rows:
    """One page of a list.

    Attributes:
        items: the rows.
        page: which page it is, from 1.
        previous: the address of the page before; None for the first one.
        following: the address of the page after; None for the last one.
    """

    items: Sequence[Any]
    page: int
    previous: str | None
    following: str | None


class View:
    """What a handler of the dashboard gets.

    Args:
        request: the request.
        controls: the sandbox's controls.
        world: the state.
        sender: sends webhooks.
        memory: what the dashboard remembers.
        fields: the fields of the form; empty for a page.

    Attributes:
        request: as given.
        controls: as given.
        world: as given.
        sender: as given.
        memory: as given.
        fields: as given.
        now: the sandbox's time; what is due by then has run.
    """

    request: web.Request
    controls: Controls
    world: World
    sender: WebhookSender
    memory: Memory
    fields: Mapping[str, str]
    now: datetime

    def __init__(
        self,
        request: web.Request,
        controls: Controls,
        world: World,
        sender: WebhookSender,
        memory: Memory,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        self.request = request
        self.controls = controls
        self.world = world
        self.sender = sender
        self.fields = fields or {}
        self.now = world.run_due()
        self.memory = memory
        self._merchant_id: str | None = None

    @property
    def db(self) -> Database:
        """The database."""
        return self.world.db

    def path_value(self, name: str) -> str:
        """A parameter of the path.

        Args:
            name: its name.
        """
        return self.request.match_info[name]

    def query(self, name: str) -> str:
        """A parameter of the query without spaces around it, at most 200 characters; empty without it.

        Args:
            name: its name.
        """
        return self.request.query.get(name, "").strip()[:_MAX_QUERY]

    def text(self, name: str) -> str | None:
        """A field of the form without spaces around it; None when it is empty.

        Args:
            name: its name.
        """
        return self.fields.get(name, "").strip() or None

    def number(self, name: str) -> Decimal | None:
        """A number of the form; None when the field is empty.

        Args:
            name: its name.

        Raises:
            Problem: 400, not a number.
        """
        text = self.text(name)
        if text is None:
            return None
        if not _NUMBER.fullmatch(text):
            raise invalid(f"{name}: a number such as 12 or 12.50")
        return Decimal(text)

    @cached_property
    def notice(self) -> KeptForm:
        """What the form before this page led to."""
        return self.memory.forms.get(self.request.query.get("notice"))

    # Merchants

    @cached_property
    def merchants(self) -> list[Row]:
        """All merchants, the first one first."""
        return self.db.all("SELECT id, created_at FROM merchants ORDER BY rowid LIMIT 100")

    @property
    def merchant_id(self) -> str:
        """The merchant whose data is seen: the one of the page's object, else the chosen one, else the first."""
        if self._merchant_id is not None:
            return self._merchant_id
        ids: list[str] = [row["id"] for row in self.merchants]
        chosen = self.request.cookies.get(merchant_cookie(self.request), "")
        return chosen if chosen in ids else ids[0]

    @property
    def api(self) -> Calls:
        """The API as the merchant whose data is seen: what it refuses, a form is refused, too."""
        return Calls(self.world, self.merchant_id)

    def get_row(self, table: str, what: str, row_id: str) -> Row:
        """A row of any merchant, who becomes the one whose data is seen.

        Args:
            table: the table's name, a constant of the code.
            what: the kind of object, in words, for the message.
            row_id: the row's id.

        Raises:
            Problem: 404.
        """
        row = self.db.one(f"SELECT * FROM {table} WHERE id = ?", row_id)
        if row is None:
            raise not_found(what, row_id[:100])
        if "merchant_id" in row.keys():  # noqa: SIM118 - a row iterates over its values
            self._merchant_id = row["merchant_id"]
        return row

    # Lists

    def list_rows(self, sql: str, *values: Any, size: int = PAGE_SIZE) -> Rows:
        """The page of a list that `?page=` names.

        Args:
            sql: a query in the order of the list, without LIMIT.
            values: the values of its placeholders.
            size: rows of one page.
        """
        page = self.page_number()
        found = self.db.all(f"{sql} LIMIT ? OFFSET ?", *values, size + 1, (page - 1) * size)
        return self.make_rows(found, size)

    def make_rows(self, found: Sequence[Any], size: int = PAGE_SIZE) -> Rows:
        """A page of a list.

        Args:
            found: the rows of the page, and one more if there are more.
            size: rows of one page.
        """
        page = self.page_number()
        previous = self.here(page=None if page == 2 else page - 1) if page > 1 else None
        following = self.here(page=page + 1) if len(found) > size else None
        return Rows(found[:size], page, previous, following)

    def make_items(self, rows: Rows, make: Callable[[Row], Any]) -> Rows:
        """A page of a list with other items.

        Args:
            rows: the page.
            make: makes the item of a row.
        """
        return attrs.evolve(rows, items=[make(row) for row in rows.items])

    def page_number(self) -> int:
        """The number of the page, from 1."""
        text = self.query("page")
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 1
        return min(max(number, 1), _MAX_PAGE)

    def here(self, **changes: Any) -> str:
        """This page's address with other query parameters.

        Args:
            changes: the new values; None removes one.
        """
        query = {name: value for name, value in self.request.query.items() if name not in ("notice", "page")}
        query.update({name: str(value) for name, value in changes.items()})
        kept = {name: value for name, value in query.items() if changes.get(name, "") is not None}
        return str(URL.build(path=self.request.path, query=kept))

    # Answers

    def page(self, template: str, *, status: int = 200, **values: Any) -> web.Response:
        """Render a page.

        Args:
            template: the file in `templates/`.
            status: the HTTP status.
            values: the template's variables.
        """
        return render(self, template, status=status, **values)

    def leave_for(self, path: str, message: str, *, status: int = 200, succeeded: bool = True) -> web.Response:
        """Redirect to a page that shows a message, and what was entered.

        Args:
            path: a path of the dashboard.
            message: the message.
            status: the HTTP status of that page.
            succeeded: whether the message reports a success.
        """
        kept: Mapping[str, str] = {} if succeeded else self.fields
        token = self.memory.forms.keep(kept, message, status=status, succeeded=succeeded)
        url = URL(path).update_query(notice=token)
        return web.Response(status=303, headers={"Location": str(url), "Cache-Control": "no-store"})


def merchant_cookie(request: web.Request) -> str:
    """The name of the cookie that holds the chosen merchant.

    Args:
        request: the request.
    """
    return f"montra_sandbox_merchant_{request.url.port}"


def own_page(path: str) -> str:
    """A path that a form names, if it is a page of the dashboard; else its front page.

    Args:
        path: the path, with a query.
    """
    try:
        url = URL(path)
    except ValueError:
        return "/"
    is_own = not url.is_absolute() and (url.path == "/" or url.path.startswith("/dashboard/"))
    return str(url.without_query_params("notice")) if is_own and not set(path) & set("\\\r\n\t") else "/"
