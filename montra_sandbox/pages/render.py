"""Templates to answers. Everything is escaped; a page may run no script and load nothing but pictures."""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import Any

import jinja2
from aiohttp import web

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src * data:; form-action 'self'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def page(template: str, *, status: int = 200, **values: Any) -> web.Response:
    text = _templates().get_template(template).render(**values)
    return web.Response(status=status, text=text, content_type="text/html", headers=_HEADERS)


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__ or "", "templates"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["money"] = _money
    return environment


def _money(amount: Decimal, currency: str = "USD") -> str:
    return f"${amount:,.2f}" if currency == "USD" else f"{amount:,.2f} {currency}"
