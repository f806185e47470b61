"""Analytics: time series of the merchant."""

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
"""Interval of an `AnalyticsSeries`. Values that this SDK does not know stay strings."""


@attrs.frozen(kw_only=True)
class SeriesPoint(Model):
    """One value of a time series.

    Attributes:
        key: name of the day, week or month.
        value: a count, or an amount in major units.
    """

    key: str
    value: Decimal


@attrs.frozen(kw_only=True)
class MrrMovement(Model):
    """Changes of the monthly recurring revenue in one interval, in major units.

    Attributes:
        key: name of the day, week or month.
        positive: sum of all increases; 0 by default.
        negative: sum of all decreases; 0 by default.
        new: revenue of new customers; 0 by default.
        expansion: increase from existing customers; 0 by default.
        contraction: decrease from existing customers; 0 by default.
        churn: revenue of customers who left; 0 by default.
    """

    key: str
    positive: Decimal = Decimal(0)
    negative: Decimal = Decimal(0)
    new: Decimal = Decimal(0)
    expansion: Decimal = Decimal(0)
    contraction: Decimal = Decimal(0)
    churn: Decimal = Decimal(0)

    @property
    def net(self) -> Decimal:
        """The net change: `(new + expansion) - (contraction + churn)`."""
        return (self.new + self.expansion) - (self.contraction + self.churn)


@attrs.frozen(kw_only=True)
class AnalyticsSeries(Model):
    """Time series of payments, revenue and customers, with one value per interval.

    Attributes:
        interval: `daily`, `weekly` or `monthly`.
        points: number of intervals.
        start: start of the first interval.
        end: end of the last interval.
        product: the product that the values are restricted to.
        transactions: number of transactions.
        payments: number of successful payments.
        failed: number of failed payments.
        revenue: revenue in major units.
        net_cash_flow: net cash flow in major units.
        settlements: settled amounts in major units.
        customers_new: number of new customers.
        customers_total: number of customers at the end of the interval.
        mrr_movements: changes of the monthly recurring revenue.
    """

    interval: Interval
    points: int
    start: datetime | None = None
    end: datetime | None = None
    product: str | None = None
    transactions: list[SeriesPoint] = attrs.field(factory=list[SeriesPoint])
    payments: list[SeriesPoint] = attrs.field(factory=list[SeriesPoint])
    failed: list[SeriesPoint] = attrs.field(factory=list[SeriesPoint])
    revenue: list[SeriesPoint] = attrs.field(factory=list[SeriesPoint])
    net_cash_flow: list[SeriesPoint] = attrs.field(factory=list[SeriesPoint], metadata=wire("netCashFlow"))
    settlements: list[SeriesPoint] = attrs.field(factory=list[SeriesPoint])
    customers_new: list[SeriesPoint] = attrs.field(factory=list[SeriesPoint], metadata=wire("customersNew"))
    customers_total: list[SeriesPoint] = attrs.field(factory=list[SeriesPoint], metadata=wire("customersTotal"))
    mrr_movements: list[MrrMovement] = attrs.field(factory=list[MrrMovement], metadata=wire("mrrMovements"))

    def _repr_html_(self) -> str:
        from ..core.models.html import chart

        return chart(f"{self.interval}, {self.points} points", _lines_of(self))


class AnalyticsApi(BaseClient):
    """Calls for analytics."""

    async def get_analytics_series(
        self, *, interval: Interval, points: int, end: date | None = None, product: str | None = None
    ) -> AnalyticsSeries:
        """Get time series of payments, revenue and customers (`GET /analytics/series`).

        Args:
            interval: `daily`, `weekly` or `monthly`.
            points: number of intervals, at least 1.
            end: a date or aware datetime within the last interval; now by default.
            product: `prod_...`, to restrict the values to one product; all products by default.
        """
        query = validation.query(
            interval=validation.text("interval", interval),
            points=validation.whole("points", points, minimum=1),
            end=validation.optional_date("end", end),
            product=validation.optional_text("product", product),
        )
        return await self._send(self._request("GET", "/analytics/series", query), _read_series)


def _lines_of(series: AnalyticsSeries) -> dict[str, list[tuple[str, Decimal]]]:
    """What a chart of the series shows: amounts, or else counts, which would be flat beside amounts."""
    amounts = {"revenue": series.revenue, "net cash flow": series.net_cash_flow, "settlements": series.settlements}
    counts = {"new customers": series.customers_new, "payments": series.payments, "failed": series.failed}
    chosen = amounts if any(point.value for points in amounts.values() for point in points) else counts
    lines = {name: [(point.key, point.value) for point in points] for name, points in chosen.items()}
    if chosen is amounts:
        lines["MRR, net change"] = [(one.key, one.net) for one in series.mrr_movements]
    return lines


def _read_series(response: RawResponse, request: Request) -> AnalyticsSeries:
    return responses.read_as(responses.read_object(response, request), response, request, AnalyticsSeries)
