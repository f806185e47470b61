"""Analytics: one series of figures per day, week or month.

- `transactions`: attempted payments; `payments`: those that succeeded; `failed`: those that failed.
- `revenue`: the amount of the payments; `settlements`: the same amounts two days later, when they are paid out.
- `netCashFlow`: revenue minus refunds.
- `customersNew`, `customersTotal`: customers created in the bucket, and by its end.
- `mrrMovements`: how the monthly recurring revenue (MRR) moved, by kind.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, TypeAlias

from ..database import Row
from ..datetimes import LAST_DATETIME, add_months, format_datetime, parse_datetime
from ..json import loads
from .merchant_context import BareResponse, MerchantContext, operation

_SETTLED_AFTER = timedelta(days=2)
_CALENDAR_START = datetime.min.replace(tzinfo=timezone.utc)
_MOVEMENT_KINDS = ("new", "expansion", "contraction", "churn")

_Entry: TypeAlias = tuple[datetime, Decimal]


@operation("get_analytics_series")
def get_analytics_series(context: MerchantContext) -> BareResponse:
    """GET /analytics/series."""
    interval, points = context.query["interval"], context.query["points"]
    end = parse_datetime(context.query["end"]) if "end" in context.query else context.now
    product = context.query.get("product")
    edges = bucket_edges(interval, points, min(end, LAST_DATETIME))
    keys = [bucket_key(interval, edge) for edge in edges[:-1]]

    payments = [
        row
        for row in context.list_rows("transactions")
        if product is None or product in loads(row["product_ids"].encode())
    ]
    paid = [row for row in payments if row["status"] == "succeeded"]
    revenue = _entries(paid)
    refunds = _entries(_refunds_of(context, {row["id"] for row in paid}), sign=-1)

    def counts(rows: Iterable[Row]) -> list[dict[str, Any]]:
        return _series(keys, edges, [(parse_datetime(row["created_at"]), Decimal(1)) for row in rows])

    customers = context.list_rows("customers")
    return BareResponse(
        {
            "interval": interval,
            "start": format_datetime(edges[0]),
            "end": format_datetime(edges[-1]),
            "points": points,
            **({} if product is None else {"product": product}),
            "transactions": counts(payments),
            "payments": counts(paid),
            "failed": counts(row for row in payments if row["status"] == "failed"),
            "revenue": _series(keys, edges, revenue),
            "netCashFlow": _series(keys, edges, [*revenue, *refunds]),
            "settlements": _series(keys, edges, [(paid_at + _SETTLED_AFTER, amount) for paid_at, amount in revenue]),
            "customersNew": counts(customers),
            "customersTotal": _running_total(keys, edges, customers),
            "mrrMovements": _movements(context, keys, edges, product),
        }
    )


def bucket_edges(interval: str, points: int, end: datetime) -> list[datetime]:
    """The boundaries of the buckets: `points` + 1 datetimes. Buckets before the start of the calendar are empty.

    Args:
        interval: `daily`, `weekly` (from Monday) or `monthly`.
        points: the number of buckets.
        end: a datetime inside the last bucket.
    """
    midnight = end.replace(hour=0, minute=0, second=0, microsecond=0)
    edges: list[datetime] = []
    for n in range(1 - points, 2):
        try:
            edges.append(_edge(interval, midnight, n))
        except (OverflowError, ValueError):
            edges.append(_CALENDAR_START)
    return edges


def _edge(interval: str, midnight: datetime, n: int) -> datetime:
    """The start of the bucket `n` buckets after the one that contains `midnight`."""
    if interval == "monthly":
        return add_months(midnight.replace(day=1), n)
    if interval == "weekly":
        return midnight + timedelta(days=7 * n - midnight.weekday())
    return midnight + timedelta(days=n)


def bucket_key(interval: str, start: datetime) -> str:
    """The key of a bucket: `YYYY-MM` for months, else `YYYY-MM-DD`.

    Args:
        interval: `daily`, `weekly` or `monthly`.
        start: the start of the bucket.
    """
    return f"{start.year:04d}-{start.month:02d}" + ("" if interval == "monthly" else f"-{start.day:02d}")


def _entries(rows: Iterable[Row], sign: int = 1) -> list[_Entry]:
    return [(parse_datetime(row["created_at"]), sign * Decimal(row["amount"])) for row in rows]


def _refunds_of(context: MerchantContext, transactions: set[str]) -> list[Row]:
    return [row for row in context.list_rows("refunds") if row["transaction_id"] in transactions]


def _buckets(edges: list[datetime], entries: Iterable[_Entry]) -> list[Decimal]:
    sums = [Decimal(0)] * (len(edges) - 1)
    for created_at, amount in entries:
        if edges[0] <= created_at < edges[-1]:
            sums[bisect_right(edges, created_at) - 1] += amount
    return sums


def _series(keys: list[str], edges: list[datetime], entries: Iterable[_Entry]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in zip(keys, _buckets(edges, entries), strict=True)]


def _running_total(keys: list[str], edges: list[datetime], customers: list[Row]) -> list[dict[str, Any]]:
    created = sorted(parse_datetime(row["created_at"]) for row in customers)
    return [{"key": key, "value": bisect_left(created, end)} for key, end in zip(keys, edges[1:], strict=True)]


def _movements(
    context: MerchantContext, keys: list[str], edges: list[datetime], product: str | None
) -> list[dict[str, Any]]:
    rows = context.list_rows("mrr_movements")
    if product is not None:
        plan = context.db.value(
            "SELECT pricing_model_id FROM products WHERE id = ? AND merchant_id = ?", product, context.merchant_id
        )
        rows = [row for row in rows if row["pricing_model_id"] == plan]
    sums = {kind: _buckets(edges, _entries(row for row in rows if row["kind"] == kind)) for kind in _MOVEMENT_KINDS}
    movements: list[dict[str, Any]] = []
    for i, key in enumerate(keys):
        by_kind = {kind: sums[kind][i] for kind in _MOVEMENT_KINDS}
        positive, negative = by_kind["new"] + by_kind["expansion"], by_kind["contraction"] + by_kind["churn"]
        movements.append({"key": key, "positive": positive, "negative": negative, **by_kind})
    return movements
