"""The paywall service's pages: hosted checkout, customer portal, and the OAuth provider that says yes to everybody."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from aiohttp import web
from markupsafe import Markup

from ..clock import from_text
from ..paywall import auth, checkout, purchases, users
from ..paywall.context import PaywallContext, major_units
from ..paywall.sessions import digest
from ..problems import Problem
from ..store import Row
from ..wire import dumps, loads
from ..world import World
from . import cards
from .cards import EMAIL
from .render import exact, leave, page


class PaywallPages:
    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/checkout/{id}", exact(self.show_checkout)),
            web.post("/checkout/{id}", exact(self.submit_checkout)),
            web.get("/checkout/{id}/receipt", self.receipt),
            web.get("/portal/{token}", self.show_portal),
            web.post("/portal/{token}", self.cancel),
            web.get("/oauth/{paywall_id}", self.show_consent),
            web.post("/oauth/{paywall_id}", self.consent),
        ]

    # Checkout

    async def show_checkout(self, request: web.Request) -> web.Response:
        row, context = self._checkout(request)
        if row["status"] == "paid":
            raise web.HTTPSeeOther(f"/checkout/{row['id']}/receipt")
        return self._form(context, row, {}, None)

    async def submit_checkout(self, request: web.Request) -> web.Response:
        row, context = self._checkout(request)
        fields = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
        problem = cards.problem(fields)
        if problem is not None:
            return self._form(context, row, fields, problem, status=400)
        refused = cards.refusal(fields) if row["status"] == "open" else None
        if refused is not None:
            failed = checkout.way_back(row, "failed")
            if failed is not None:
                return leave(failed)
            return self._form(context, row, fields, refused, status=402)
        with self._world.store.transaction():
            checkout.pay(context, self._row(row["id"]))
        self._world.changed.set()
        return leave(checkout.way_back(row, "paid") or f"/checkout/{row['id']}/receipt")

    async def receipt(self, request: web.Request) -> web.Response:
        row, context = self._checkout(request)
        if row["status"] != "paid":
            raise web.HTTPSeeOther(f"/checkout/{row['id']}")
        purchase = purchases.find(context, row["purchase_id"])
        return page(
            "paywall_receipt.html",
            checkout=row,
            name=_name(row),
            purchase=purchase,
            goes_on=checkout.way_back(row, "paid"),
            amount=major_units(purchase["unit_amount"], purchase["currency"]),
        )

    def _form(
        self, context: PaywallContext, row: Row, fields: Mapping[str, str], problem: str | None, *, status: int = 200
    ) -> web.Response:
        price = loads(row["price"].encode())
        return page(
            "paywall_checkout.html",
            status=status,
            checkout=row,
            name=_name(row),
            price=price,
            amount=checkout.to_pay(row),
            trial_days=checkout.trial_days(context, row),
            goes_back=checkout.way_back(row, "cancelled"),
            goes_to=[address for address in (row["success_url"], row["error_url"]) if address],
            email=users.by_id(context, row["user_id"])["email"],
            fields=fields,
            problem=problem,
            cards=cards.shown(),
        )

    def _checkout(self, request: web.Request) -> tuple[Row, PaywallContext]:
        now = self._world.catch_up()
        row = self._row(request.match_info["id"])
        return row, self._context(row["paywall_id"], now)

    def _row(self, checkout_id: str) -> Row:
        row = self._world.store.one("SELECT * FROM paywall_checkouts WHERE id = ?", checkout_id)
        if row is None:
            raise Problem(404, "not_found", "There is no such checkout.")
        return row

    # Portal

    async def show_portal(self, request: web.Request) -> web.Response:
        portal, user, context = self._portal(request)
        rows = [
            {**purchases.show(row), "amount": major_units(row["unit_amount"], row["currency"])}
            for row in users.purchases_of(context, user)
        ]
        token = request.match_info["token"]
        return page("paywall_portal.html", portal=portal, token=token, user=user, purchases=rows)

    async def cancel(self, request: web.Request) -> web.Response:
        _, user, context = self._portal(request)
        wanted = str((await request.post()).get("purchase", ""))
        with self._world.store.transaction():
            purchase = purchases.find(context, wanted)
            if purchase["user_id"] != user["id"]:
                raise Problem(404, "not_found", "There is no such purchase.")
            purchases.cancel(context, purchase, "cancelled in the portal")
        self._world.changed.set()
        raise web.HTTPSeeOther(request.rel_url.raw_path)

    def _portal(self, request: web.Request) -> tuple[Row, Row, PaywallContext]:
        now = self._world.catch_up()
        token_hash = digest(request.match_info["token"])
        portal = self._world.store.one("SELECT * FROM paywall_portals WHERE token_hash = ?", token_hash)
        if portal is None or from_text(portal["expires_at"]) <= now:
            raise Problem(404, "not_found", "This link has expired. Please ask for a new one.")
        user = self._world.store.one("SELECT * FROM paywall_users WHERE id = ?", portal["user_id"])
        assert user is not None
        return portal, user, self._context(user["paywall_id"], now)

    # OAuth

    async def show_consent(self, request: web.Request) -> web.Response:
        state = request.query.get("state", "")
        flow, _ = self._flow(request, state)
        return page("oauth.html", flow=flow, state=state, problem=None, outcome=None)

    async def consent(self, request: web.Request) -> web.Response:
        """The provider says yes to every address, or no when it is told to."""
        fields: dict[str, Any] = dict(await request.post())
        state, email = str(fields.get("state", "")), str(fields.get("email", "")).strip()
        flow, context = self._flow(request, state)
        denied = fields.get("action") == "deny"
        if not denied and not EMAIL.fullmatch(email):
            problem = "Please give an email address."
            return page("oauth.html", status=400, flow=flow, state=state, problem=problem, outcome=None)
        with self._world.store.transaction():
            if denied:
                auth.end_oauth(context, flow)
                outcome = _refused("access_denied", "access_denied", "The user denied the request.")
            elif not auth.linkable(context, flow, email):
                auth.end_oauth(context, flow)
                said = "Identity is already linked to another user."
                outcome = _refused("server_error", "identity_already_exists", said)
            else:
                outcome = {"status": "success", "code": auth.approve_oauth(context, flow, email)}
        return _told(flow, state, {"type": "pw-oauth", "messageId": state, **outcome})

    def _flow(self, request: web.Request, state: str) -> tuple[Row, PaywallContext]:
        paywall_id = request.match_info["paywall_id"]
        if self._world.store.one("SELECT 1 FROM paywalls WHERE id = ?", paywall_id):
            context = self._context(paywall_id, self._world.clock.now())
            flow = auth.find_oauth(context, state)
            if flow is not None:
                return flow, context
        raise Problem(404, "not_found", "This sign-in has expired. Please begin again.")

    def _context(self, paywall_id: str, now: datetime) -> PaywallContext:
        paywall = self._world.store.one("SELECT * FROM paywalls WHERE id = ?", paywall_id)
        assert paywall is not None
        return PaywallContext(store=self._world.store, now=now, origin=self._world.origin, paywall=paywall)


def _refused(error: str, code: str, description: str) -> dict[str, str]:
    return {"status": "error", "error": error, "errorCode": code, "description": description}


def _told(flow: Row, state: str, message: Mapping[str, str]) -> web.Response:
    """The end of the consent page. A popup posts the outcome to the page that opened it, and to no other: the target
    is the origin that began the sign-in, else our own, so that no page that only knows the window gets the code."""
    nonce = secrets.token_urlsafe(16)
    response = page(
        "oauth.html",
        flow=flow,
        state=state,
        problem=None,
        outcome=message,
        nonce=nonce,
        payload=_for_script({"message": message, "target": flow["origin"]}),
    )
    policy = response.headers["Content-Security-Policy"]
    response.headers["Content-Security-Policy"] = f"{policy}; script-src 'nonce-{nonce}'"
    return response


def _for_script(value: Any) -> Markup:
    """JSON that can stand inside of a script element."""
    text = dumps(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))  # noqa: S704 - nothing to escape is left


def _name(row: Row) -> str:
    price = loads(row["price"].encode())
    return str(row["product_name"] or price.get("label") or f"Price {price['id']}")
