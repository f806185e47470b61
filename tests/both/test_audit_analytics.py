"""The audit log and analytics."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from montra_async import CallEvent, InvalidRequestError, Montra
from montra_sandbox import Sandbox

from .browser import Browser


async def _customers(montra: Montra, count: int, start: int = 0) -> list[str]:
    return [(await montra.create_customer(name="A", email=f"{start + i}@example.com")).id for i in range(count)]


async def test_every_change_is_in_the_log(montra: Montra) -> None:
    model = await montra.create_pricing_model(name="P")
    [customer] = await _customers(montra, 1)
    await montra.update_customer(customer, name="B")
    hook = await montra.create_webhook(url="http://127.0.0.1:9/")
    await montra.delete_webhook(hook.id)
    page = await montra.list_audit_logs()
    assert [entry.event_type for entry in page.data] == [
        "webhook.deleted",
        "webhook.created",
        "customer.updated",
        "customer.created",
        "pricing_model.created",
    ]
    assert (page.meta.total, page.meta.limit, page.meta.offset) == (5, 50, 0)
    created = page.data[-1]
    assert (created.resource_type, created.resource_id) == ("pricing_model", model.id)
    assert created.payload is not None
    assert created.payload["name"] == "P"
    assert hook.secret not in str(page.data)


async def test_pages_and_filters(montra: Montra) -> None:
    await _customers(montra, 7)
    await montra.create_pricing_model(name="P")
    page = await montra.list_audit_logs(resource_type="customer", limit=3, offset=6)
    assert (len(page.data), page.meta.total) == (1, 7)
    assert (await montra.list_audit_logs(event_type="pricing_model.created")).meta.total == 1
    assert (await montra.list_audit_logs(event_type="customer.updated")).data == []
    with pytest.raises(InvalidRequestError, match="limit"):
        await montra.list_audit_logs(limit=1001)


@pytest.mark.parametrize(("entries", "size"), [(0, 3), (1, 3), (3, 3), (7, 3), (7, 1), (7, 100)])
async def test_iterating_yields_all_entries_in_order(montra: Montra, entries: int, size: int) -> None:
    ids = await _customers(montra, entries)
    seen = [entry.resource_id async for entry in montra.iter_audit_logs(page_size=size)]
    assert seen == ids[::-1]


@pytest.mark.parametrize("growth", [1, 2, 3, 4, 9])
async def test_entries_written_during_the_iteration_are_not_yielded(montra: Montra, growth: int) -> None:
    ids = await _customers(montra, 10)
    seen: list[str | None] = []
    async for entry in montra.iter_audit_logs(page_size=3):
        seen.append(entry.resource_id)
        if len(seen) % 4 == 0:
            await _customers(montra, growth, start=100 * len(seen))
    assert seen == ids[::-1]


async def test_breaking_out_stops_fetching(connect: Any, sandbox: Sandbox) -> None:
    asked: list[CallEvent] = []
    async with connect(sandbox.api_key, sandbox.base_url, on_request=asked.append) as montra:
        await _customers(montra, 9)
        asked.clear()
        async for _ in montra.iter_audit_logs(page_size=2):
            break
        await asyncio.sleep(0)
        assert len(asked) == 1


def _values(points: list[Any]) -> list[Decimal]:
    return [point.value for point in points]


async def test_series_of_a_merchant(montra: Montra, sandbox: Sandbox, browser: Browser) -> None:
    next_month = sandbox.now().replace(day=1) + timedelta(days=31)
    noon = next_month.replace(day=10, hour=12, minute=0, second=0, microsecond=0)  # all days are of one month
    sandbox.advance(to=noon)
    pro = await montra.create_pricing_model(name="Pro")
    seat = await montra.create_product(pricing_model_id=pro.id, name="S", price_type="recurring", amount=20)
    fixed = await montra.create_checkout_link(link_name="l", payment_name="p", amount=Decimal("99.90"))
    plan = await montra.create_checkout_link(link_name="l", payment_name="p", line_items=[{"product_id": seat.id}])
    await browser.pay(fixed.url)
    await browser.pay(fixed.url, action="decline")
    await montra.create_refund(transaction_id=sandbox.transactions()[-1]["id"], amount=Decimal("9.90"))
    sandbox.advance(days=1)
    await browser.pay(plan.url, email="bob@example.com")
    sandbox.advance(days=1)
    [subscription] = await montra.list_subscriptions()
    free = await montra.create_pricing_model(name="Free")
    await montra.upgrade_subscription(subscription.id, free.id)
    await montra.upgrade_subscription(subscription.id, pro.id)
    sandbox.set_subscription(subscription.id, status="canceled")

    series = await montra.get_analytics_series(interval="daily", points=4)
    assert [point.key for point in series.revenue] == [f"{noon + timedelta(days=n):%Y-%m-%d}" for n in (-1, 0, 1, 2)]
    assert _values(series.transactions) == [0, 2, 1, 0]
    assert _values(series.payments) == [0, 1, 1, 0]
    assert _values(series.failed) == [0, 1, 0, 0]
    assert _values(series.revenue) == [0, Decimal("99.90"), 20, 0]
    assert _values(series.net_cash_flow) == [0, Decimal("90.00"), 20, 0]
    assert _values(series.settlements) == [0, 0, 0, Decimal("99.90")]
    assert _values(series.customers_new) == [0, 1, 1, 0]
    assert _values(series.customers_total) == [0, 1, 2, 2]
    day1, day2 = series.mrr_movements[2:]
    assert (day1.new, day1.positive, day1.net) == (20, 20, 20)
    assert (day2.expansion, day2.contraction, day2.churn, day2.negative, day2.net) == (20, 20, 20, 40, -20)

    product = await montra.get_analytics_series(interval="monthly", points=1, product=seat.id)
    assert (_values(product.revenue), product.product) == ([20], seat.id)
    later = await montra.get_analytics_series(interval="weekly", points=2, end=date(2020, 1, 1))
    assert _values(later.customers_total) == [0, 0]
    assert [point.key for point in later.revenue] == ["2019-12-23", "2019-12-30"]
    assert later.end is not None
    assert later.end.date() == date(2020, 1, 6)


async def test_an_unknown_interval_is_refused(montra: Montra) -> None:
    with pytest.raises(InvalidRequestError, match="interval"):
        await montra.get_analytics_series(interval="hourly", points=1)
    with pytest.raises(InvalidRequestError, match="points"):
        await montra.get_analytics_series(interval="daily", points=100_000)
