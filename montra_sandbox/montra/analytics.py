"""Analytics: figures by day, week or month.

transactions    every try to pay            payments     those that succeeded      failed   those that did not
revenue         money of the payments       settlements  the same, two days later, when it is paid out
netCashFlow     revenue less refunds        customersNew / customersTotal
mrrMovements    how the recurring revenue moved, and why
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, TypeAlias

from ..clock import LAST_MOMENT, from_text, to_text
from ..context import Bare, Context, Handler
from ..periods import add_months
from ..store import Row
from ..wire import loads

SETTLED_AFTER = timedelta(days=2)
_FIRST = datetime.min.replace(tzinfo=timezone.utc)
_KINDS = ("new", "expansion", "contraction", "churn")

_Entry: TypeAlias = tuple[datetime, Decimal]


def get_analytics_series(context: Context) -> Bare:
    interval, points = context.query["interval"], context.query["points"]
    end = from_text(context.query["end"]) if "end" in context.query else context.now
    product = context.query.get("product")
    edges = bucket_edges(interval, points, min(end, LAST_MOMENT))
    keys = [key_of(interval, edge) for edge in edges[:-1]]

    payments = [
        row for row in context.mine("transactions") if product is None or product in loads(row["product_ids"].encode())
    ]
    paid = [row for row in payments if row["status"] == "succeeded"]
    revenue = _entries(paid)
    refunds = _entries(_refunds_of(context, {row["id"] for row in paid}), sign=-1)

    def counts(rows: Iterable[Row]) -> list[dict[str, Any]]:
        return _series(keys, edges, [(from_text(row["created_at"]), Decimal(1)) for row in rows])

    customers = context.mine("customers")
    return Bare(
        {
            "interval": interval,
            "start": to_text(edges[0]),
            "end": to_text(edges[-1]),
            "points": points,
            **({} if product is None else {"product": product}),
            "transactions": counts(payments),
            "payments": counts(paid),
            "failed": counts(row for row in payments if row["status"] == "failed"),
            "revenue": _series(keys, edges, revenue),
            "netCashFlow": _series(keys, edges, [*revenue, *refunds]),
            "settlements": _series(keys, edges, [(moment + SETTLED_AFTER, amount) for moment, amount in revenue]),
            "customersNew": counts(customers),
            "customersTotal": _running_total(keys, edges, customers),
            "mrrMovements": _movements(context, keys, edges, product),
        }
    )


def bucket_edges(interval: str, points: int, end: datetime) -> list[datetime]:
    """Pure: `points` + 1 moments; the last bucket holds `end`. Buckets before the calendar begins are empty."""
    midnight = end.replace(hour=0, minute=0, second=0, microsecond=0)
    edges: list[datetime] = []
    for n in range(1 - points, 2):
        try:
            edges.append(_edge(interval, midnight, n))
        except (OverflowError, ValueError):
            edges.append(_FIRST)
    return edges


def _edge(interval: str, midnight: datetime, n: int) -> datetime:
    """The start of the bucket `n` after the one that holds a day."""
    if interval == "monthly":
        return add_months(midnight.replace(day=1), n)
    if interval == "weekly":
        return midnight + timedelta(days=7 * n - midnight.weekday())
    return midnight + timedelta(days=n)


def key_of(interval: str, start: datetime) -> str:
    """A day, or the Monday of a week, as `YYYY-MM-DD`; a month as `YYYY-MM`."""
    return f"{start.year:04d}-{start.month:02d}" + ("" if interval == "monthly" else f"-{start.day:02d}")


def _entries(rows: Iterable[Row], sign: int = 1) -> list[_Entry]:
    return [(from_text(row["created_at"]), sign * Decimal(row["amount"])) for row in rows]


def _refunds_of(context: Context, transactions: set[str]) -> list[Row]:
    return [row for row in context.mine("refunds") if row["transaction_id"] in transactions]


def _buckets(edges: list[datetime], entries: Iterable[_Entry]) -> list[Decimal]:
    sums = [Decimal(0)] * (len(edges) - 1)
    for moment, amount in entries:
        if edges[0] <= moment < edges[-1]:
            sums[bisect_right(edges, moment) - 1] += amount
    return sums


def _series(keys: list[str], edges: list[datetime], entries: Iterable[_Entry]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in zip(keys, _buckets(edges, entries), strict=True)]


def _running_total(keys: list[str], edges: list[datetime], customers: list[Row]) -> list[dict[str, Any]]:
    moments = sorted(from_text(row["created_at"]) for row in customers)
    return [{"key": key, "value": bisect_left(moments, end)} for key, end in zip(keys, edges[1:], strict=True)]


def _movements(context: Context, keys: list[str], edges: list[datetime], product: str | None) -> list[dict[str, Any]]:
    rows = context.mine("mrr_movements")
    if product is not None:
        plan = context.store.value(
            "SELECT pricing_model_id FROM products WHERE id = ? AND merchant_id = ?", product, context.merchant_id
        )
        rows = [row for row in rows if row["pricing_model_id"] == plan]
    sums = {kind: _buckets(edges, _entries(row for row in rows if row["kind"] == kind)) for kind in _KINDS}
    found: list[dict[str, Any]] = []
    for i, key in enumerate(keys):
        one = {kind: sums[kind][i] for kind in _KINDS}
        up, down = one["new"] + one["expansion"], one["contraction"] + one["churn"]
        found.append({"key": key, "positive": up, "negative": down, **one})
    return found


HANDLERS: dict[str, Handler] = {"get_analytics_series": get_analytics_series}
