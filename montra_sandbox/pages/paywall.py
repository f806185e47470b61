"""The paywall service's pages: hosted checkout, customer portal, and the OAuth provider that says yes to everybody."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from aiohttp import web

from ..clock import from_text
from ..paywall import auth, checkout, purchases, users
from ..paywall.context import PaywallContext, major_units
from ..problems import Problem
from ..store import Row
from ..wire import loads
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
        return page("paywall_portal.html", portal=portal, user=user, purchases=rows)

    async def cancel(self, request: web.Request) -> web.Response:
        portal, user, context = self._portal(request)
        wanted = str((await request.post()).get("purchase", ""))
        with self._world.store.transaction():
            purchase = purchases.find(context, wanted)
            if purchase["user_id"] != user["id"]:
                raise Problem(404, "not_found", "There is no such purchase.")
            purchases.cancel(context, purchase, "cancelled in the portal")
        self._world.changed.set()
        raise web.HTTPSeeOther(f"/portal/{portal['token']}")

    def _portal(self, request: web.Request) -> tuple[Row, Row, PaywallContext]:
        now = self._world.catch_up()
        portal = self._world.store.one("SELECT * FROM paywall_portals WHERE token = ?", request.match_info["token"])
        if portal is None or from_text(portal["expires_at"]) <= now:
            raise Problem(404, "not_found", "This link has expired. Please ask for a new one.")
        user = self._world.store.one("SELECT * FROM paywall_users WHERE id = ?", portal["user_id"])
        assert user is not None
        return portal, user, self._context(user["paywall_id"], now)

    # OAuth

    async def show_consent(self, request: web.Request) -> web.Response:
        flow, _ = self._flow(request, request.query.get("state", ""))
        return page("oauth.html", flow=flow, problem=None, code=None)

    async def consent(self, request: web.Request) -> web.Response:
        fields: dict[str, Any] = dict(await request.post())
        flow, context = self._flow(request, str(fields.get("state", "")))
        email = str(fields.get("email", "")).strip()
        if not EMAIL.fullmatch(email):
            return page("oauth.html", status=400, flow=flow, problem="Please give an email address.", code=None)
        with self._world.store.transaction():
            code = auth.approve_oauth(context, flow, email)
        return page("oauth.html", flow=flow, problem=None, code=code)

    def _flow(self, request: web.Request, state: str) -> tuple[Row, PaywallContext]:
        now = self._world.clock.now()
        flow = self._world.store.one(
            "SELECT * FROM paywall_oauth WHERE state = ? AND paywall_id = ?", state, request.match_info["paywall_id"]
        )
        if flow is None or from_text(flow["expires_at"]) <= now:
            raise Problem(404, "not_found", "This sign-in has expired. Please begin again.")
        return flow, self._context(flow["paywall_id"], now)

    def _context(self, paywall_id: str, now: datetime) -> PaywallContext:
        paywall = self._world.store.one("SELECT * FROM paywalls WHERE id = ?", paywall_id)
        assert paywall is not None
        return PaywallContext(store=self._world.store, now=now, origin=self._world.origin, paywall=paywall)


def _name(row: Row) -> str:
    price = loads(row["price"].encode())
    return str(row["product_name"] or price.get("label") or f"Price {price['id']}")
