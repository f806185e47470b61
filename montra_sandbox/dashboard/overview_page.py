"""The front page: how the business of a merchant goes, and what happened lately."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import attrs
from aiohttp import web

from ..database import Row
from ..datetimes import format_datetime
from ..montra import analytics
from ..montra.charges import round_to_cents
from ..pages.formatting import format_money, format_number
from ..problems import Problem
from .charts import Chart, Series, area, stacked_bars
from .routing import Done, form, page
from .view import View, merchant_cookie

_RANGES = {"30d": ("daily", 30, "30 days"), "12w": ("weekly", 12, "12 weeks"), "12m": ("monthly", 12, "12 months")}
_DEFAULT_RANGE = "12m"
_MAX_METERS = 4
_LATEST = 6
_MAX_CURRENCIES = 2
_START_CODE = """\
import os

from montra_async import Montra

async with Montra(os.environ["MONTRA_API_KEY"], "{base_url}") as montra:
    ada = await montra.create_customer(name="Ada", email="ada@example.com")
"""
_SIGNS = {"new": 1, "expansion": 1, "contraction": -1, "churn": -1}


async def show_overview(view: View) -> web.StreamResponse:
    """Show the front page.

    Args:
        view: the request.
    """
    chosen = view.query("range")
    chosen = chosen if chosen in _RANGES else _DEFAULT_RANGE
    interval, points, words = _RANGES[chosen]
    series = _analytics(view, interval, points)
    edges = analytics.bucket_edges(interval, points, view.now)
    keys = [entry["key"] for entry in series["revenue"]]
    starts = [format_datetime(edge) for edge in edges]
    recurring = _recurring_revenue(view, starts)
    base_url = f"{view.world.origin}/api/v1"
    return view.page(
        "overview.html",
        section="overview",
        ranges=[(name, text) for name, (_, _, text) in _RANGES.items()],
        chosen=chosen,
        words=words,
        numbers=_numbers(view, series, recurring),
        recurring=area(keys, Series("recurring revenue", "first", recurring), format_money),
        payments=_payments_chart(keys, series),
        customers=_customers_chart(keys, series),
        usage=_usage_charts(view, keys, starts),
        latest_payments=_latest_payments(view),
        latest_events=_latest_events(view),
        is_empty=_is_empty(view),
        base_url=base_url,
        start_code=_START_CODE.format(base_url=base_url),
    )


def _analytics(view: View, interval: str, points: int) -> dict[str, Any]:
    context = view.world.merchant_context(view.merchant_id, view.now)
    query = {"interval": interval, "points": points}
    value: dict[str, Any] = analytics.get_analytics_series(attrs.evolve(context, query=query)).value
    return value


def _values(entries: list[dict[str, Any]]) -> list[Any]:
    return [entry["value"] for entry in entries]


def _customers_chart(keys: list[str], series: dict[str, Any]) -> Chart:
    return stacked_bars(keys, [Series("new customers", "first", _values(series["customersNew"]))], format_number)


def _payments_chart(keys: list[str], series: dict[str, Any]) -> Chart:
    paid = Series("succeeded", "first", _values(series["payments"]))
    failed = Series("failed", "second", _values(series["failed"]))
    return stacked_bars(keys, [paid, failed], format_number)


def _recurring_revenue(view: View, starts: list[str]) -> list[Decimal]:
    """The monthly recurring revenue at the end of each bucket."""
    rows = view.db.all("SELECT kind, amount, created_at FROM mrr_movements WHERE merchant_id = ?", view.merchant_id)
    moves = sorted((row["created_at"], _SIGNS[row["kind"]] * Decimal(row["amount"])) for row in rows)
    totals: list[Decimal] = []
    total, i = Decimal(0), 0
    for end in starts[1:]:
        while i < len(moves) and moves[i][0] < end:
            total += moves[i][1]
            i += 1
        totals.append(total)
    return totals


def _numbers(view: View, series: dict[str, Any], recurring: list[Decimal]) -> list[tuple[str, str, str, str]]:
    """The figures above the charts: label, value, what is added to it, and where it leads."""
    active = view.db.value(
        "SELECT count(*) FROM subscriptions WHERE merchant_id = ? AND status IN ('active', 'trialing')",
        view.merchant_id,
    )
    total = view.db.value("SELECT count(*) FROM customers WHERE merchant_id = ?", view.merchant_id)
    new, revenue = sum(_values(series["customersNew"])), sum(_values(series["revenue"]), Decimal(0))
    failed = sum(_values(series["failed"]))
    running = f"{format_number(active)} running subscription{'' if active == 1 else 's'}"
    return [
        ("Recurring revenue", format_money(recurring[-1]), running, "/dashboard/customers"),
        ("Payments", format_money(revenue), f"{format_number(failed)} failed", "/dashboard/payments"),
        ("Customers", format_number(total), f"{format_number(new)} new", "/dashboard/customers"),
        ("Open invoices", *_open_invoices(view), "/dashboard/invoices?status=open"),
    ]


def _open_invoices(view: View) -> tuple[str, str]:
    """What is due in dollars, and how many invoices are open; what is due in other currencies stands beside it."""
    rows = view.db.all(
        "SELECT amount_due, currency FROM invoices WHERE merchant_id = ? AND status = 'open'", view.merchant_id
    )
    due: dict[str, Decimal] = {"USD": Decimal(0)}
    for row in rows:
        due[row["currency"]] = due.get(row["currency"], Decimal(0)) + Decimal(row["amount_due"])
    dollars, *others = [format_money(round_to_cents(amount), currency) for currency, amount in due.items()]
    if len(others) > _MAX_CURRENCIES:
        others = [*others[:_MAX_CURRENCIES], f"{len(others) - _MAX_CURRENCIES} more currencies"]
    also = f", also {', '.join(others)}" if others else ""
    return dollars, f"{format_number(len(rows))} open{also}"


def _usage_charts(view: View, keys: list[str], starts: list[str]) -> list[tuple[str, str, Chart]]:
    """The meters with the most usage reports: slug, formatted total and chart of each."""
    buckets = " + ".join("(usage.created_at >= ?)" for _ in starts[1:-1]) or "0"
    rows = view.db.all(
        f"SELECT usage.meter_slug AS slug, {buckets} AS bucket, count(*) AS reports, total(usage.amount) AS amount"
        " FROM customers customer JOIN usage_events usage ON usage.customer_id = customer.id"
        " WHERE customer.merchant_id = ? AND usage.created_at >= ? AND usage.created_at < ? GROUP BY 1, 2",
        *starts[1:-1],
        *(view.merchant_id, starts[0], starts[-1]),
    )
    reports: dict[str, int] = {}
    amounts: dict[str, list[float]] = {}
    for row in rows:
        reports[row["slug"]] = reports.get(row["slug"], 0) + row["reports"]
        amounts.setdefault(row["slug"], [0.0] * len(keys))[row["bucket"]] = row["amount"]
    most = sorted(reports, key=lambda slug: (-reports[slug], slug))[:_MAX_METERS]
    return [(slug, _quantity(sum(amounts[slug])), _usage_chart(keys, amounts[slug])) for slug in most]


def _usage_chart(keys: list[str], amounts: list[float]) -> Chart:
    return stacked_bars(keys, [Series("used", "first", amounts)], _quantity)


def _quantity(value: float) -> str:
    return format_number(f"{value:.2f}")


def _latest_payments(view: View) -> list[Row]:
    return view.db.all(
        "SELECT payment.*, customer.name AS customer_name FROM transactions payment"
        " LEFT JOIN customers customer ON customer.id = payment.customer_id"
        " WHERE payment.merchant_id = ? ORDER BY payment.created_at DESC, payment.rowid DESC LIMIT ?",
        *(view.merchant_id, _LATEST),
    )


def _latest_events(view: View) -> list[Row]:
    return view.db.all(
        "SELECT id, type, created_at FROM events WHERE merchant_id = ? ORDER BY rowid DESC LIMIT ?",
        *(view.merchant_id, _LATEST),
    )


def _is_empty(view: View) -> bool:
    return not view.db.value("SELECT 1 FROM audit_logs WHERE merchant_id = ? LIMIT 1", view.merchant_id)


async def choose_merchant(view: View) -> Done:
    """Choose whose data is seen. `dashboard` stores the choice in a cookie.

    Args:
        view: the request.

    Raises:
        Problem: 404.
    """
    chosen = view.fields.get("merchant", "")
    ids = [row["id"] for row in view.merchants]
    if chosen not in ids:
        raise Problem(404, "not_found", "There is no such merchant.")
    cookies = {merchant_cookie(view.request): chosen}
    return Done(f"The data of merchant {ids.index(chosen) + 1} is shown.", "/", cookies)


ROUTES = (page("/", show_overview), form("/dashboard/merchant", choose_merchant))
