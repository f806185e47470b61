"""The hosted checkout: plain forms, no JavaScript, nothing loaded from elsewhere but the merchant's pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from aiohttp import web

from ..context import Context
from ..montra import checkout, money
from ..montra.pricing import cents, discounted
from ..problems import Problem
from ..store import Row
from ..wire import decimal, loads
from ..world import World
from . import cards
from .cards import EMAIL
from .render import exact, page


class CheckoutPages:
    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/pay/{link_id}", exact(self.show)),
            web.post("/pay/{link_id}", exact(self.submit)),
            web.get("/pay/{link_id}/receipts/{transaction_id}", self.receipt),
            web.get("/files/{file_id}", self.file),
        ]

    async def show(self, request: web.Request) -> web.Response:
        link, context = self._link(request)
        return self._form(context, link, {}, None)

    async def submit(self, request: web.Request) -> web.Response:
        link, context = self._link(request)
        fields = {name: value.strip() for name, value in (await request.post()).items() if isinstance(value, str)}
        if fields.get("action") == "apply":
            return self._form(context, link, fields, None)
        problem = _problem(fields)
        if problem is not None:
            return self._form(context, link, fields, problem, status=400)
        payment = checkout.Payment(
            name=fields["name"], email=fields["email"], code=fields.get("code") or None, declined=cards.refusal(fields)
        )
        try:
            with self._world.store.transaction():
                session = self._session(context, link, fields.get("session", ""))
                transaction = checkout.pay(context, session, payment)
        except checkout.Refused as refused:
            return self._form(context, link, fields, str(refused), status=400)
        self._world.changed.set()
        if transaction["status"] == "failed":
            return self._form(context, link, fields, transaction["failure"], status=402)
        raise web.HTTPSeeOther(f"/pay/{link['id']}/receipts/{transaction['id']}")

    async def receipt(self, request: web.Request) -> web.Response:
        link, context = self._link(request)
        transaction = checkout.find_transaction(context, request.match_info["transaction_id"])
        return page("receipt.html", link=link, transaction=checkout.show_transaction(transaction))

    async def file(self, request: web.Request) -> web.Response:
        row = self._world.store.one("SELECT * FROM files WHERE id = ?", request.match_info["file_id"])
        if row is None:
            raise web.HTTPNotFound
        picture = re.fullmatch(r"image/(png|jpeg|gif|webp)", row["type"])
        headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
        if not picture:
            headers["Content-Disposition"] = "attachment"
        return web.Response(
            body=row["content"], content_type=row["type"] if picture else "application/octet-stream", headers=headers
        )

    def _link(self, request: web.Request) -> tuple[Row, Context]:
        now = self._world.catch_up()
        link = self._world.store.one("SELECT * FROM checkout_links WHERE id = ?", request.match_info["link_id"])
        if link is None:
            raise Problem(404, "not_found", "There is no such checkout link.")
        if link["status"] != "active":
            raise Problem(410, "link_inactive", "This checkout link is no longer active.")
        return link, self._world.context(link["merchant_id"], now)

    def _session(self, context: Context, link: Row, session_id: str) -> Row:
        """The form's session; a new one when it has none, or a declined one: a person may try again."""
        row = context.store.one("SELECT * FROM checkout_sessions WHERE id = ? AND link_id = ?", session_id, link["id"])
        if row is None or row["status"] == "declined":
            return checkout.open_session(context, link)
        return row

    def _form(
        self, context: Context, link: Row, fields: Mapping[str, str], problem: str | None, *, status: int = 200
    ) -> web.Response:
        with self._world.store.transaction():
            session = checkout.open_session(context, link)
        amount = cents(checkout.price(context, link))
        reduced, note = _reduced(context, amount, fields.get("code"))
        return page(
            "checkout.html",
            status=status,
            link=link,
            session=session["id"],
            items=_items(context, link),
            images=_images(context, link),
            amount=amount,
            to_pay=reduced,
            fields=fields,
            problem=problem or note,
            cards=cards.shown(),
        )


def _problem(fields: Mapping[str, str]) -> str | None:
    if not fields.get("name"):
        return "Please give your name."
    if not EMAIL.fullmatch(fields.get("email", "")):
        return "Please give your email address."
    return cards.problem(fields)


def _reduced(context: Context, amount: Decimal, code: str | None) -> tuple[Decimal, str | None]:
    """What is to be paid with a discount code, or why the code doesn't help."""
    if not code:
        return amount, None
    found = money.redeemable(context, code)
    if isinstance(found, str):
        return amount, found
    return discounted(amount, decimal(found["percent_off"]), decimal(found["amount_off"])), None


def _items(context: Context, link: Row) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    for item in checkout.line_items(link):
        product = context.find("products", "product", item["product_id"])
        price = None if product["amount"] is None else cents(Decimal(product["amount"]) * item["quantity"])
        recurring = product["price_type"] == "recurring"
        items.append({"name": product["name"], "quantity": item["quantity"], "price": price, "recurring": recurring})
    return items


def _images(context: Context, link: Row) -> list[str]:
    """Addresses of the link's pictures: external ones as they are, files of the merchant from here."""
    wanted = [*loads(link["image_ids"].encode()), *([link["image_url"]] if link["image_url"] else [])]
    found: list[str] = []
    for one in wanted:
        if one.startswith(("http://", "https://")):
            found.append(one)
        elif context.store.one("SELECT 1 FROM files WHERE id = ? AND merchant_id = ?", one, context.merchant_id):
            found.append(f"/files/{one}")
    return found
