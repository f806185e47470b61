"""Render templates. Values are escaped; pages can't run scripts or load anything except images and their own files."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, cast

import jinja2
from aiohttp import web
from aiohttp.typedefs import Handler
from yarl import URL

from ..montra.charges import exact_decimals
from .assets import asset_path
from .formatting import FILTERS

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src * data:; base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def with_exact_decimals(handler: Handler) -> Handler:
    """Decorate the handler of a page that calculates amounts.

    Args:
        handler: the handler.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        with exact_decimals():
            return await handler(request)

    return handle


def render_page(
    template: str, *, status: int = 200, form_targets: Iterable[str] = (), scripts: str = "", **values: Any
) -> web.Response:
    """Render a template.

    Args:
        template: the file in `templates/`.
        status: the HTTP status.
        form_targets: URLs of other origins to which the page's form may redirect; browsers block all others.
        scripts: which scripts run, as a source of the Content-Security-Policy; none by default.
        values: the template's variables.
    """
    text = _templates().get_template(template).render(status=status, **values)
    targets = sorted({str(URL(address).origin()) for address in form_targets})
    policy = " ".join([_HEADERS["Content-Security-Policy"], *targets])
    if scripts:
        policy = f"{policy}; script-src {scripts}"
    headers = {**_HEADERS, "Content-Security-Policy": policy}
    return web.Response(status=status, text=text, content_type="text/html", headers=headers)


def redirect(url: str) -> web.Response:
    """Redirect to a page of any origin.

    Args:
        url: where to.
    """
    return web.Response(status=303, headers={**_HEADERS, "Location": url})


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__ or "", "templates"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(FILTERS)
    cast("dict[str, Any]", environment.globals)["asset"] = asset_path
    return environment
