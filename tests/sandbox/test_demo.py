"""Demo data: believable, reproducible, and nothing that the SDK can't read."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from montra_async import Montra
from montra_async.paywall import BillingClient
from montra_sandbox import Problem, Sandbox

from .scripted_sandbox import control, receiving
from .server_side import in_server


async def test_a_year_of_an_invented_company(sandbox: Sandbox, montra: Montra) -> None:
    counts = sandbox.demo()
    now = sandbox.now()
    customers = await montra.list_customers()
    assert len(customers) == counts["customers"] == 200
    assert all(one.email.endswith(("example.com", "example.org")) for one in customers)
    assert all(now - timedelta(days=367) < one.created_at < now for one in customers)
    assert {one.name for one in await montra.list_pricing_models()} == {"Free", "Pro", "Team", "Enterprise"}
    subscriptions = await montra.list_subscriptions()
    statuses = Counter(one.status for one in subscriptions)
    assert statuses["active"] > 40
    assert statuses["canceled"] > 5
    running = [one for one in subscriptions if one.status in ("active", "past_due", "paused")]
    assert all(one.current_period_end > now for one in running if one.current_period_end)
    invoices = await montra.list_invoices()
    assert len(invoices) == counts["invoices"] > 200
    assert {"paid", "uncollectible"} <= {one.status for one in invoices}
    assert counts["usage_events"] > 5_000
    assert not any(one.enabled for one in await montra.list_webhooks())
    assert sandbox.deliveries() == []
    seen = {(one["type"]) for one in await _events(montra)}
    assert {"refund.created", "subscription.paused", "usage.limit_reached", "subscription.canceled"} <= seen


async def _events(montra: Montra) -> list[dict[str, Any]]:
    return [{"type": one.event_type} async for one in montra.iter_audit_logs()]


async def test_the_figures_grow(sandbox: Sandbox, montra: Montra) -> None:
    sandbox.demo()
    series = await montra.get_analytics_series(interval="monthly", points=13)
    revenue = [one.value for one in series.revenue]
    assert sum(revenue[-4:-1]) > 3 * sum(revenue[1:4]) > 0
    assert sum(one.value for one in series.failed) > 5
    movements = series.mrr_movements
    for kind in ("new", "expansion", "contraction", "churn"):
        assert sum(getattr(one, kind) for one in movements) > 0
    assert series.customers_total[-1].value == 200


async def test_usage_follows_the_week_and_a_power_law(sandbox: Sandbox) -> None:
    sandbox.demo()
    rows = await _rows(sandbox, "SELECT customer_id, amount, created_at FROM usage_events WHERE meter_slug = 'tokens'")
    by_customer: Counter[str] = Counter()
    by_day: Counter[int] = Counter()
    for customer_id, amount, created_at in rows:
        by_customer[customer_id] += int(amount)
        by_day[datetime.fromisoformat(created_at[:10]).weekday()] += int(amount)
    total = sum(by_customer.values())
    assert sum(amount for _, amount in by_customer.most_common(len(by_customer) // 5)) > 0.7 * total
    assert max(by_day[5], by_day[6]) < 0.5 * min(by_day[day] for day in range(5))


async def _rows(sandbox: Sandbox, sql: str) -> list[tuple[Any, ...]]:
    return in_server(sandbox, lambda world: [tuple(row) for row in world.db.all(sql)])


async def test_running_totals_are_those_of_the_reports(sandbox: Sandbox) -> None:
    sandbox.demo(customers=60, months=6)
    totals = "SELECT customer_id, meter_slug, {} FROM {} GROUP BY 1, 2 ORDER BY 1, 2"
    stored = "sum(CAST(total AS INTEGER)), sum(events)"
    counted = "sum(CAST(amount AS INTEGER)), count(*)"
    assert await _rows(sandbox, totals.format(stored, "usage_totals")) == await _rows(
        sandbox, totals.format(counted, "usage_events")
    )


async def test_usage_stays_within_the_limits(sandbox: Sandbox, montra: Montra) -> None:
    sandbox.demo(customers=60, months=6)
    checked = Counter[bool]()
    for customer in (await montra.list_customers())[:40]:
        entitlement = await montra.check_entitlement(customer.id, "tokens")
        assert entitlement.usage is not None
        checked[entitlement.has_access] += 1
    assert checked[True] > 10
    assert checked[False] > 0


async def test_the_paywall_has_visitors(sandbox: Sandbox) -> None:
    counts = sandbox.demo()
    users = sandbox.paywall_users(sandbox.paywall_id)
    assert len(users) == counts["paywall_users"] > 20
    assert {one["status"] for user in users for one in user["purchases"]} >= {"active", "canceled"}
    assert any(user["balances"] for user in users)
    assert sandbox.tickets()
    assert {one["type"] for one in sandbox.tracked_events(sandbox.paywall_id)} >= {"paywall_opened", "checkout_started"}
    async with BillingClient(sandbox.paywall_id, sandbox.url, sandbox.api_key) as billing:
        for user in users[:10]:
            assert await billing.for_user(email=user["email"]).list_purchases() is not None


async def test_the_same_seed_gives_the_same_data(montra: Montra, sandbox: Sandbox) -> None:
    async def furnished(seed: int) -> tuple[dict[str, int], list[str], list[Decimal]]:
        sandbox.reset()
        counts = sandbox.demo(customers=40, months=4, seed=seed)
        customers, invoices = await montra.list_customers(), await montra.list_invoices()
        return counts, [f"{one.id} {one.email}" for one in customers], [one.amount_due for one in invoices]

    first, again, other = await furnished(7), await furnished(7), await furnished(8)
    # Prorated usage depends on the hour, so amounts are compared where the plan decides them.
    assert first[1] == again[1]
    assert first[0]["subscriptions"] == again[0]["subscriptions"]
    assert first[1] != other[1]


async def test_a_sandbox_that_is_in_use_is_left_alone(sandbox: Sandbox, montra: Montra) -> None:
    await montra.create_customer(name="Ada", email="ada@example.com")
    with pytest.raises(Problem, match="reset it first") as refused:
        sandbox.demo()
    assert refused.value.status == 409
    assert len(await montra.list_customers()) == 1
    sandbox.reset()
    assert sandbox.demo(customers=1, months=1)["customers"] == 1


async def test_endpoints_that_exist_get_nothing_of_the_past(sandbox: Sandbox, montra: Montra) -> None:
    async with receiving() as receiver:
        hook = await montra.create_webhook(url=f"{receiver.url}/montra")
        receiver.secret = hook.secret or ""
        sandbox.set_paywall(sandbox.paywall_id, webhook_url=f"{receiver.url}/paywall", webhook_secret=hook.secret)
        sandbox.demo(customers=20, months=2)
        await sandbox.settle()
        assert receiver.got == []
        await montra.create_customer(name="Ada", email="ada@example.com")
        sandbox.trigger("payment.completed")
        await sandbox.settle()
        assert {one.type for one in receiver.got} >= {"customer.created", "payment.completed"}


async def test_life_goes_on(sandbox: Sandbox, montra: Montra) -> None:
    sandbox.demo(customers=30, months=3)
    before = len(await montra.list_invoices())
    sandbox.advance(days=40)
    assert len(await montra.list_invoices()) > before


@pytest.mark.parametrize(
    "arguments",
    [{"customers": 0}, {"customers": 2_001}, {"months": 37}, {"seed": -1}, {"customers": True}, {"months": "12"}],
)
async def test_arguments_are_bounded(arguments: dict[str, Any], sandbox: Sandbox) -> None:
    with pytest.raises(Problem, match="a whole number from"):
        sandbox.demo(**arguments)


async def test_the_other_merchant_gets_nothing(sandbox: Sandbox) -> None:
    sandbox.demo(customers=5, months=1)
    async with Montra("sk_test_other", sandbox.base_url) as other:
        assert await other.list_customers() == []


async def test_over_http(sandbox: Sandbox) -> None:
    status, counts = await control(sandbox, "POST", "/demo", {"customers": 3, "months": 1, "seed": 5})
    assert (status, counts["customers"]) == (200, 3)
    status, error = await control(sandbox, "POST", "/demo", {})
    assert (status, error["code"]) == (409, "not_empty")


@pytest.mark.parametrize(("customers", "months", "seed"), [(1, 1, 0), (3, 36, 1), (900, 3, 2), (60, 12, 10**12)])
async def test_any_size_and_seed(customers: int, months: int, seed: int, sandbox: Sandbox) -> None:
    """Discount codes are used up among many, and periods end at every day of a month."""
    assert sandbox.demo(customers=customers, months=months, seed=seed)["customers"] >= customers
