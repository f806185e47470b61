"""Templates to answers. Everything is escaped; a page may run no script and load nothing but pictures."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from functools import cache
from typing import Any

import jinja2
from aiohttp import web
from aiohttp.typedefs import Handler
from yarl import URL

from ..montra.pricing import exactly

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src * data:; form-action 'self'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def exact(handler: Handler) -> Handler:
    """A page that adds up money."""

    async def handle(request: web.Request) -> web.StreamResponse:
        with exactly():
            return await handler(request)

    return handle


def page(template: str, *, status: int = 200, goes_to: Iterable[str] = (), **values: Any) -> web.Response:
    """`goes_to`: addresses elsewhere that the answer to the page's form may lead to; browsers hold a form back else."""
    text = _templates().get_template(template).render(**values)
    targets = sorted({str(URL(address).origin()) for address in goes_to})
    policy = {"Content-Security-Policy": " ".join([_HEADERS["Content-Security-Policy"], *targets])}
    return web.Response(status=status, text=text, content_type="text/html", headers={**_HEADERS, **policy})


def leave(address: str) -> web.Response:
    """On to another page, which may be anywhere."""
    return web.Response(status=303, headers={**_HEADERS, "Location": address})


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__ or "", "templates"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["money"] = _money
    return environment


def _money(amount: Decimal, currency: str = "USD") -> str:
    return f"${amount:,.2f}" if currency == "USD" else f"{amount:,.2f} {currency}"
