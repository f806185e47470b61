"""Routes of the dashboard: pages that are shown, and forms that change something and lead back to a page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, TypeAlias

import attrs
from aiohttp import web

from .view import View

PageHandler: TypeAlias = Callable[[View], Awaitable[web.StreamResponse]]
"""Shows a page."""
FormHandler: TypeAlias = Callable[[View], Awaitable["Done"]]
"""Does what a form asks for."""


@attrs.frozen
class Done:
    """What a form led to.

    Attributes:
        message: what the next page says.
        path: the next page; None for the one that the form is on.
        cookies: cookies to set.
    """

    message: str
    path: str | None = None
    cookies: Mapping[str, str] = attrs.field(factory=dict[str, str])


@attrs.frozen
class Route:
    """A route of the dashboard.

    Attributes:
        method: `GET` shows a page and never changes anything, `POST` handles a form.
        path: the path, with `{parameters}`.
        page: the handler of a page; None for a form.
        form: the handler of a form; None for a page.
    """

    method: Literal["GET", "POST"]
    path: str
    page: PageHandler | None = None
    form: FormHandler | None = None


def page(path: str, handler: PageHandler) -> Route:
    """A page.

    Args:
        path: the path, with `{parameters}`.
        handler: shows it.
    """
    return Route("GET", path, page=handler)


def form(path: str, handler: FormHandler) -> Route:
    """A form.

    Args:
        path: the path, with `{parameters}`.
        handler: does what it asks for.
    """
    return Route("POST", path, form=handler)
