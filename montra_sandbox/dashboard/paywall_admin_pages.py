"""The paywall service: users with balances and purchases, mails with their codes, tickets, tracked events."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ..database import Row
from ..json import loads
from ..paywall import tokens, tracking
from ..paywall.paywall_context import PaywallContext, major_units
from .routing import Done, form, page
from .view import View

_TABS = (
    *(("users", "Users"), ("purchases", "Purchases"), ("mails", "Mails")),
    *(("tickets", "Tickets"), ("events", "Tracked events"), ("setup", "Setup")),
)
_SHOWN = 20
_START_CODE = """\
billing = BillingClient("{paywall_id}", "{origin}", os.environ["MONTRA_API_KEY"])
url = (await billing.for_user(email="ada@example.com").create_checkout(101)).url"""
_PURCHASES = """
SELECT purchase.*, user.email FROM paywall_purchases purchase JOIN paywall_users user ON user.id = purchase.user_id
WHERE purchase.{} = ? ORDER BY purchase.created_at DESC, purchase.rowid DESC"""


async def show_paywalls(view: View) -> web.StreamResponse:
    """Lead to the first paywall of the merchant; show all of them if there are more.

    Args:
        view: the request.
    """
    paywalls = _paywalls(view)
    if len(paywalls) == 1:
        raise web.HTTPSeeOther(f"/dashboard/paywalls/{paywalls[0]['id']}")
    return view.page("paywalls.html", section="paywall", paywalls=paywalls)


def _paywalls(view: View) -> list[dict[str, Any]]:
    rows = view.db.all("SELECT * FROM paywalls WHERE merchant_id = ? ORDER BY rowid LIMIT 100", view.merchant_id)
    return [{**dict(row), "name": loads(row["config"].encode())["name"]} for row in rows]


async def show_paywall(view: View) -> web.StreamResponse:
    """Show one list of a paywall: `?tab=users` and so on.

    Args:
        view: the request.
    """
    paywall = view.get_row("paywalls", "paywall", view.path_value("id"))
    tab = view.query("tab")
    tab = tab if tab in dict(_TABS) else "users"
    return view.page(
        "paywall.html",
        section="paywall",
        paywall=paywall,
        config=loads(paywall["config"].encode()),
        paywalls=_paywalls(view),
        tabs=_TABS,
        tab=tab,
        rows=_LISTS[tab](view, paywall) if tab in _LISTS else None,
        start_code=_START_CODE.format(paywall_id=paywall["id"], origin=view.world.origin),
    )


def _users(view: View, paywall: Row) -> Any:
    rows = view.list_rows(
        "SELECT user.*, (SELECT count(*) FROM paywall_purchases WHERE user_id = user.id) AS purchases"
        " FROM paywall_users user WHERE user.paywall_id = ? ORDER BY user.rowid DESC",
        paywall["id"],
    )
    context = _context(view, paywall)
    return view.make_items(rows, lambda row: {**dict(row), "balances": tokens.list_balances(context, row)})


def _purchases(view: View, paywall: Row) -> Any:
    return view.make_items(view.list_rows(_PURCHASES.format("paywall_id"), paywall["id"]), _purchase)


def _purchase(row: Row) -> dict[str, Any]:
    price = loads(row["price"].encode())
    return {
        **dict(row),
        "name": str(price.get("label") or f"Price {price['id']}"),
        "amount": major_units(row["unit_amount"], row["currency"]),
    }


def _mails(view: View, paywall: Row) -> Any:
    return view.list_rows(
        "SELECT mail.*, codes.token FROM paywall_mails mail LEFT JOIN temp.codes ON codes.mail_id = mail.id"
        " WHERE mail.paywall_id = ? ORDER BY mail.rowid DESC",
        paywall["id"],
    )


def _tickets(view: View, paywall: Row) -> Any:
    rows = view.list_rows("SELECT * FROM paywall_tickets WHERE paywall_id = ? ORDER BY id DESC", paywall["id"])
    return view.make_items(rows, lambda row: {**dict(row), "files": _files(view, row)})


def _files(view: View, ticket: Row) -> list[Row]:
    sql = "SELECT name, type, size FROM paywall_ticket_files WHERE ticket_id = ? ORDER BY id LIMIT ?"
    return view.db.all(sql, ticket["id"], _SHOWN)


def _events(view: View, paywall: Row) -> Any:
    rows = view.list_rows("SELECT * FROM paywall_tracked WHERE paywall_id = ? ORDER BY id DESC", paywall["id"])
    return view.make_items(rows, tracking.serialize_event)


_LISTS = {"users": _users, "purchases": _purchases, "mails": _mails, "tickets": _tickets, "events": _events}


async def show_user(view: View) -> web.StreamResponse:
    """Show a user of a paywall.

    Args:
        view: the request.
    """
    paywall = view.get_row("paywalls", "paywall", view.path_value("id"))
    user = view.get_row("paywall_users", "user", view.path_value("user_id"))
    purchases = view.list_rows(_PURCHASES.format("user_id"), user["id"])
    return view.page(
        "paywall_user.html",
        section="paywall",
        paywall=paywall,
        user=user,
        balances=tokens.list_balances(_context(view, paywall), user),
        rows=view.make_items(purchases, _purchase),
        checkouts=view.db.all(
            "SELECT * FROM paywall_checkouts WHERE user_id = ? AND status = 'open' ORDER BY rowid DESC LIMIT ?",
            *(user["id"], _SHOWN),
        ),
    )


def _context(view: View, paywall: Row) -> PaywallContext:
    return view.world.paywall_context(paywall, view.now)


# Forms


async def refund(view: View) -> Done:
    """Refund a purchase, as the owner does at the acquirer.

    Args:
        view: the request.
    """
    view.controls.refund_purchase(view.path_value("id"))
    return Done("The purchase was refunded, and refund.created was sent.")


ROUTES = (
    page("/dashboard/paywalls", show_paywalls),
    page("/dashboard/paywalls/{id}", show_paywall),
    page("/dashboard/paywalls/{id}/users/{user_id}", show_user),
    form("/dashboard/purchases/{id}/refund", refund),
)
