"""Analytics: the merchant's figures over time."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Literal, TypeAlias

import attrs

from ..core import validation
from ..core.client import BaseClient
from ..core.http.messages import RawResponse, Request
from ..core.models.model import Model, wire
from . import responses

Interval: TypeAlias = Literal["daily", "weekly", "monthly"] | str


@attrs.frozen(kw_only=True)
class SeriesPoint(Model):
    """One value. `key` names the day, week or month; `value` is a count, or money in major units."""

    key: str
    value: Decimal


@attrs.frozen(kw_only=True)
class MrrMovement(Model):
    """How monthly recurring revenue moved, in major units. Net: `(new + expansion) - (contraction + churn)`."""

    key: str
    positive: Decimal = Decimal(0)
    negative: Decimal = Decimal(0)
    new: Decimal = Decimal(0)
    expansion: Decimal = Decimal(0)
    contraction: Decimal = Decimal(0)
    churn: Decimal = Decimal(0)

    @property
    def net(self) -> Decimal:
        return (self.new + self.expansion) - (self.contraction + self.churn)


@attrs.frozen(kw_only=True)
class AnalyticsSeries(Model):
    """The figures of `points` intervals that end with `end`."""

    interval: Interval
    points: int
    start: datetime | None = None
    end: datetime | None = None
    product: str | None = None
    transactions: list[SeriesPoint] = attrs.field(factory=list[SeriesPoint], hash=False)
    payments: list[SeriesPoint] = attrs.field(factory=list[SeriesPoint], hash=False)
    failed: list[SeriesPoint] = attrs.field(factory=list[SeriesPoint], hash=False)
    revenue: list[SeriesPoint] = attrs.field(factory=list[SeriesPoint], hash=False)
    net_cash_flow: list[SeriesPoint] = attrs.field(factory=list[SeriesPoint], hash=False, metadata=wire("netCashFlow"))
    settlements: list[SeriesPoint] = attrs.field(factory=list[SeriesPoint], hash=False)
    customers_new: list[SeriesPoint] = attrs.field(factory=list[SeriesPoint], hash=False, metadata=wire("customersNew"))
    customers_total: list[SeriesPoint] = attrs.field(
        factory=list[SeriesPoint], hash=False, metadata=wire("customersTotal")
    )
    mrr_movements: list[MrrMovement] = attrs.field(factory=list[MrrMovement], hash=False, metadata=wire("mrrMovements"))


class AnalyticsApi(BaseClient):
    async def get_analytics_series(
        self, *, interval: Interval, points: int, end: date | None = None, product: str | None = None
    ) -> AnalyticsSeries:
        """Payments, revenue, customers and recurring revenue over time (`GET /analytics/series`).

        Args:
            interval: `daily`, `weekly` or `monthly`.
            points: how many intervals, at least 1.
            end: the last interval is the one that holds this date or moment; now when left out.
            product: only this product's figures.
        """
        query = validation.query(
            interval=validation.text("interval", interval),
            points=validation.whole("points", points, least=1),
            end=validation.optional_day("end", end),
            product=validation.optional_text("product", product),
        )
        return await self._send(self._request("GET", "/analytics/series", query), _read_series)


def _read_series(response: RawResponse, request: Request) -> AnalyticsSeries:
    return responses.read_as(responses.read_object(response, request), response, request, AnalyticsSeries)
