"""The hosted page of checkout links: plain forms that need no JavaScript, and the merchant's images."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from aiohttp import web

from .. import cards
from ..database import Row
from ..json import decimal, loads
from ..montra import payments
from ..montra.charges import apply_discount, round_to_cents
from ..montra.checkout_links import line_items, link_price
from ..montra.merchant_context import MerchantContext
from ..montra.refunds import find_redeemable_discount
from ..problems import Problem
from ..world import World
from .form_memory import FormMemory, KeptForm
from .render import redirect, render_page, with_exact_decimals


class CheckoutPages:
    """The pages of checkout links, and uploaded files.

    Args:
        world: the state.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._forms = FormMemory()

    def routes(self) -> list[web.RouteDef]:
        """The routes of the pages."""
        return [
            web.get("/pay/{link_id}", with_exact_decimals(self._show)),
            web.post("/pay/{link_id}", with_exact_decimals(self._submit)),
            web.get("/pay/{link_id}/receipts/{transaction_id}", self._receipt),
            web.get("/files/{file_id}", self._file),
        ]

    async def _show(self, request: web.Request) -> web.Response:
        link, context = self._get_link(request)
        kept = self._forms.get(request.query.get("form"))
        session = self._find_session(link, kept.fields.get("session", ""))
        if session is not None and session["status"] == "paid":  # the browser's "back" after the payment
            raise web.HTTPSeeOther(_receipt_path(link, session["transaction_id"]))
        return self._form(context, link, kept)

    async def _submit(self, request: web.Request) -> web.Response:
        link, context = self._get_link(request)
        fields = {name: value.strip() for name, value in (await request.post()).items() if isinstance(value, str)}
        if fields.get("action") == "apply":
            return self._back(link, fields, None)
        error = _find_error(fields)
        if error is not None:
            return self._back(link, fields, error, status=400)
        payment = payments.Payment(
            name=fields["name"],
            email=fields["email"],
            code=fields.get("code") or None,
            declined=cards.decline_reason(fields),
        )
        try:
            with self._world.db.transaction():
                session = self._get_session(context, link, fields.get("session", ""))
                transaction = payments.pay(context, session, payment)
        except payments.DiscountRefused as refused:
            return self._back(link, fields, str(refused), status=400)
        self._world.notify()
        if transaction["status"] == "failed":
            with self._world.db.transaction():
                again = payments.open_session(context, link)
            return self._back(link, {**fields, "session": again["id"]}, transaction["failure"], status=402)
        return redirect(_receipt_path(link, transaction["id"]))

    def _back(self, link: Row, fields: Mapping[str, str], message: str | None, *, status: int = 200) -> web.Response:
        """Back to the form, with what was entered."""
        return redirect(f"/pay/{link['id']}?form={self._forms.keep(fields, message, status=status)}")

    async def _receipt(self, request: web.Request) -> web.Response:
        link, context = self._get_link(request)
        row = payments.get_transaction(context, request.match_info["transaction_id"])
        transaction = payments.serialize_transaction(row)
        items = _items(context, link)
        price = round_to_cents(link_price(context, link))
        off = price - transaction["amount"]
        totals = [("Discount", -off), ("Total", transaction["amount"])] if off > 0 else []
        if off > 0 and not items:
            totals.insert(0, (link["payment_name"], price))
        return render_page(
            "receipt.html", scripts="'self'", link=link, transaction=transaction, items=items, totals=totals
        )

    async def _file(self, request: web.Request) -> web.Response:
        row = self._world.db.one("SELECT * FROM files WHERE id = ?", request.match_info["file_id"])
        if row is None:
            raise web.HTTPNotFound
        image = re.fullmatch(r"image/(png|jpeg|gif|webp)", row["type"])
        headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
        if not image:
            headers["Content-Disposition"] = "attachment"
        return web.Response(
            body=row["content"], content_type=row["type"] if image else "application/octet-stream", headers=headers
        )

    def _get_link(self, request: web.Request) -> tuple[Row, MerchantContext]:
        now = self._world.run_due()
        link = self._world.db.one("SELECT * FROM checkout_links WHERE id = ?", request.match_info["link_id"])
        if link is None:
            raise Problem(404, "not_found", "There is no such checkout link.")
        if link["status"] != "active":
            raise Problem(410, "link_inactive", "This checkout link is no longer active.")
        return link, self._world.merchant_context(link["merchant_id"], now)

    def _find_session(self, link: Row, session_id: str) -> Row | None:
        return self._world.db.one(
            "SELECT * FROM checkout_sessions WHERE id = ? AND link_id = ?", session_id, link["id"]
        )

    def _get_session(self, context: MerchantContext, link: Row, session_id: str) -> Row:
        """The session of the form. Without one, or after a declined payment, a new session."""
        row = self._find_session(link, session_id)
        if row is None or row["status"] == "declined":
            return payments.open_session(context, link)
        return row

    def _form(self, context: MerchantContext, link: Row, kept: KeptForm) -> web.Response:
        with self._world.db.transaction():
            session = self._get_session(context, link, kept.fields.get("session", ""))
        amount = round_to_cents(link_price(context, link))
        amount_due, code_error = _amount_due(context, amount, kept.fields.get("code"))
        return render_page(
            "checkout.html",
            status=kept.status,
            link=link,
            session=session["id"],
            items=_items(context, link),
            images=_images(context, link),
            amount=amount,
            amount_due=amount_due,
            fields=kept.fields,
            problem=kept.message or code_error,
            cards=cards.list_cards(),
            chosen_card=cards.chosen_card(kept.fields),
        )


def _receipt_path(link: Row, transaction_id: str) -> str:
    return f"/pay/{link['id']}/receipts/{transaction_id}"


def _find_error(fields: Mapping[str, str]) -> str | None:
    if fields.get("action", "pay") not in ("pay", "decline"):
        return "Please pay, or decline this payment."
    if not fields.get("name"):
        return "Please give your name."
    if not cards.EMAIL.fullmatch(fields.get("email", "")):
        return "Please give your email address."
    return cards.find_error(fields)


def _amount_due(context: MerchantContext, amount: Decimal, code: str | None) -> tuple[Decimal, str | None]:
    """The amount after a discount code; if the code can't be redeemed, the full amount and the reason."""
    if not code:
        return amount, None
    found = find_redeemable_discount(context, code)
    if isinstance(found, str):
        return amount, found
    return apply_discount(amount, decimal(found["percent_off"]), decimal(found["amount_off"])), None


def _items(context: MerchantContext, link: Row) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    for item in line_items(link):
        product = context.get_or_404("products", "product", item["product_id"])
        price = None if product["amount"] is None else round_to_cents(Decimal(product["amount"]) * item["quantity"])
        recurring = product["price_type"] == "recurring"
        items.append({"name": product["name"], "quantity": item["quantity"], "price": price, "recurring": recurring})
    return items


def _images(context: MerchantContext, link: Row) -> list[str]:
    """URLs of the link's images: external URLs, and uploaded files of the merchant."""
    images = [*loads(link["image_ids"].encode()), *([link["image_url"]] if link["image_url"] else [])]
    urls: list[str] = []
    for image in images:
        if image.startswith(("http://", "https://")):
            urls.append(image)
        elif context.db.one("SELECT 1 FROM files WHERE id = ? AND merchant_id = ?", image, context.merchant_id):
            urls.append(f"/files/{image}")
    return urls
