"""The pages of the paywall service: hosted checkout, customer portal, and an OAuth provider that approves everybody."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from aiohttp import web
from markupsafe import Markup

from .. import cards
from ..database import Row
from ..datetimes import parse_datetime
from ..json import dumps, loads
from ..paywall import auth, hosted_checkout, purchases, users
from ..paywall.paywall_context import PaywallContext, major_units
from ..paywall.purchase_lifecycle import cancel_at_period_end, get_purchase
from ..paywall.user_sessions import hash_token
from ..problems import Problem
from ..world import World
from .form_memory import FormMemory, KeptForm
from .render import redirect, render_page, with_exact_decimals


class PaywallPages:
    """The pages of the paywall service.

    Args:
        world: the state.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._forms = FormMemory()

    def routes(self) -> list[web.RouteDef]:
        """The routes of the pages."""
        return [
            web.get("/checkout/{id}", with_exact_decimals(self._show_checkout)),
            web.post("/checkout/{id}", with_exact_decimals(self._submit_checkout)),
            web.get("/checkout/{id}/receipt", self._show_receipt),
            web.get("/portal/{token}", self._show_portal),
            web.get("/portal/{token}/cancel", self._ask_to_cancel),
            web.post("/portal/{token}", self._cancel),
            web.get("/oauth/{paywall_id}", self._show_consent),
            web.post("/oauth/{paywall_id}", self._consent),
        ]

    # Checkout

    async def _show_checkout(self, request: web.Request) -> web.Response:
        row, context = self._get_checkout(request)
        if row["status"] == "paid":
            raise web.HTTPSeeOther(f"/checkout/{row['id']}/receipt")
        return self._form(context, row, self._forms.get(request.query.get("form")))

    async def _submit_checkout(self, request: web.Request) -> web.Response:
        row, context = self._get_checkout(request)
        fields = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
        error = cards.find_error(fields)
        if error is not None:
            return self._back(row, fields, error, status=400)
        declined = cards.decline_reason(fields) if row["status"] == "open" else None
        if declined is not None:
            error_url = hosted_checkout.return_url(row, "failed")
            if error_url is not None:
                return redirect(error_url)
            return self._back(row, fields, declined, status=402)
        with self._world.db.transaction():
            hosted_checkout.pay(context, self._get_row(row["id"]))
        self._world.notify()
        return redirect(hosted_checkout.return_url(row, "paid") or f"/checkout/{row['id']}/receipt")

    async def _show_receipt(self, request: web.Request) -> web.Response:
        row, context = self._get_checkout(request)
        if row["status"] != "paid":
            raise web.HTTPSeeOther(f"/checkout/{row['id']}")
        purchase = get_purchase(context, row["purchase_id"])
        return render_page(
            "paywall_receipt.html",
            scripts="'self'",
            checkout=row,
            name=_name(row),
            purchase=purchase,
            continue_url=hosted_checkout.return_url(row, "paid"),
            amount=major_units(purchase["unit_amount"], purchase["currency"]),
        )

    def _back(self, row: Row, fields: Mapping[str, str], message: str, *, status: int) -> web.Response:
        """Back to the form, with the chosen card."""
        return redirect(f"/checkout/{row['id']}?form={self._forms.keep(fields, message, status=status)}")

    def _form(self, context: PaywallContext, row: Row, kept: KeptForm) -> web.Response:
        price = loads(row["price"].encode())
        return render_page(
            "paywall_checkout.html",
            status=kept.status,
            checkout=row,
            name=_name(row),
            price=price,
            amount=hosted_checkout.amount_due(row),
            trial_days=hosted_checkout.trial_days(context, row),
            cancel_url=hosted_checkout.return_url(row, "cancelled"),
            form_targets=[url for url in (row["success_url"], row["error_url"]) if url],
            email=users.get_user(context, row["user_id"])["email"],
            problem=kept.message,
            cards=cards.list_cards(),
            chosen_card=cards.chosen_card(kept.fields),
        )

    def _get_checkout(self, request: web.Request) -> tuple[Row, PaywallContext]:
        now = self._world.run_due()
        row = self._get_row(request.match_info["id"])
        return row, self._context(row["paywall_id"], now)

    def _get_row(self, checkout_id: str) -> Row:
        row = self._world.db.one("SELECT * FROM paywall_checkouts WHERE id = ?", checkout_id)
        if row is None:
            raise Problem(404, "not_found", "There is no such checkout.")
        return row

    # Portal

    async def _show_portal(self, request: web.Request) -> web.Response:
        portal, user, context = self._get_portal(request)
        rows = [_portal_purchase(row) for row in users.list_user_purchases(context, user)]
        token = request.match_info["token"]
        return render_page("paywall_portal.html", portal=portal, token=token, user=user, purchases=rows)

    async def _ask_to_cancel(self, request: web.Request) -> web.Response:
        _, user, context = self._get_portal(request)
        purchase = _portal_purchase(self._get_own_purchase(context, user, request.query.get("purchase", "")))
        if not purchase["can_cancel"]:
            raise web.HTTPSeeOther(f"/portal/{request.match_info['token']}")
        return render_page("paywall_cancel.html", token=request.match_info["token"], purchase=purchase)

    async def _cancel(self, request: web.Request) -> web.Response:
        _, user, context = self._get_portal(request)
        purchase_id = str((await request.post()).get("purchase", ""))
        with self._world.db.transaction():
            purchase = self._get_own_purchase(context, user, purchase_id)
            cancel_at_period_end(context, purchase, "cancelled in the portal")
        self._world.notify()
        return redirect(request.rel_url.raw_path)

    def _get_own_purchase(self, context: PaywallContext, user: Row, purchase_id: str) -> Row:
        purchase = get_purchase(context, purchase_id)
        if purchase["user_id"] != user["id"]:
            raise Problem(404, "not_found", "There is no such purchase.")
        return purchase

    def _get_portal(self, request: web.Request) -> tuple[Row, Row, PaywallContext]:
        now = self._world.run_due()
        token_hash = hash_token(request.match_info["token"])
        portal = self._world.db.one("SELECT * FROM paywall_portals WHERE token_hash = ?", token_hash)
        if portal is None or parse_datetime(portal["expires_at"]) <= now:
            raise Problem(404, "not_found", "This link has expired. Please ask for a new one.")
        user = self._world.db.one("SELECT * FROM paywall_users WHERE id = ?", portal["user_id"])
        assert user is not None
        return portal, user, self._context(user["paywall_id"], now)

    # OAuth

    async def _show_consent(self, request: web.Request) -> web.Response:
        state = request.query.get("state", "")
        flow, _ = self._get_flow(request, state)
        return render_page("oauth.html", flow=flow, state=state, problem=None, outcome=None)

    async def _consent(self, request: web.Request) -> web.Response:
        """Approve any address, or deny on request."""
        fields: dict[str, Any] = dict(await request.post())
        state, email = str(fields.get("state", "")), str(fields.get("email", "")).strip()
        flow, context = self._get_flow(request, state)
        denied = fields.get("action") == "deny"
        if not denied and not cards.EMAIL.fullmatch(email):
            error = "Please give an email address."
            return render_page("oauth.html", status=400, flow=flow, state=state, problem=error, outcome=None)
        with self._world.db.transaction():
            if denied:
                auth.end_oauth(context, flow)
                outcome = _refused("access_denied", "access_denied", "The user denied the request.")
            elif not auth.can_link_identity(context, flow, email):
                auth.end_oauth(context, flow)
                message = "Identity is already linked to another user."
                outcome = _refused("server_error", "identity_already_exists", message)
            else:
                outcome = {"status": "success", "code": auth.approve_oauth(context, flow, email)}
        return _outcome_page(flow, state, {"type": "pw-oauth", "messageId": state, **outcome})

    def _get_flow(self, request: web.Request, state: str) -> tuple[Row, PaywallContext]:
        paywall_id = request.match_info["paywall_id"]
        if self._world.db.one("SELECT 1 FROM paywalls WHERE id = ?", paywall_id):
            context = self._context(paywall_id, self._world.clock.now())
            flow = auth.find_oauth_flow(context, state)
            if flow is not None:
                return flow, context
        raise Problem(404, "not_found", "This sign-in has expired. Please begin again.")

    def _context(self, paywall_id: str, now: datetime) -> PaywallContext:
        paywall = self._world.db.one("SELECT * FROM paywalls WHERE id = ?", paywall_id)
        assert paywall is not None
        return self._world.paywall_context(paywall, now)


def _refused(error: str, code: str, description: str) -> dict[str, str]:
    return {"status": "error", "error": error, "errorCode": code, "description": description}


def _outcome_page(flow: Row, state: str, message: Mapping[str, str]) -> web.Response:
    """The last page of a sign-in. A popup posts the outcome to the page that opened it.

    The target is the origin that began the sign-in, else the sandbox's own. A page of another origin that holds a
    reference to the window does not get the code.
    """
    nonce = secrets.token_urlsafe(16)
    return render_page(
        "oauth.html",
        scripts=f"'nonce-{nonce}'",
        flow=flow,
        state=state,
        problem=None,
        outcome=message,
        nonce=nonce,
        payload=_for_script({"message": message, "target": flow["origin"]}),
    )


def _for_script(value: Any) -> Markup:
    """JSON that can stand inside a script element."""
    text = dumps(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))  # noqa: S704 - all special characters are escaped


def _portal_purchase(row: Row) -> dict[str, Any]:
    """A purchase as the portal shows it."""
    price = loads(row["price"].encode())
    ends_later = row["status"] in users.ACTIVE_STATUSES and row["current_period_end"] is not None
    return {
        **purchases.serialize(row),
        "name": str(price.get("label") or f"Price {price['id']}"),
        "amount": major_units(row["unit_amount"], row["currency"]),
        "can_cancel": ends_later and not row["cancel_at_period_end"],
    }


def _name(row: Row) -> str:
    """The name of what a checkout sells."""
    price = loads(row["price"].encode())
    return str(row["product_name"] or price.get("label") or f"Price {price['id']}")
