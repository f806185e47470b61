"""Subscriptions, and their automatic changes."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import attrs
import pytest

from montra_async import ConflictError, InvalidRequestError, Montra, NotFoundError, Subscription
from montra_sandbox import Problem, Sandbox


@attrs.frozen
class Plans:
    basic: str
    pro: str
    subscription: Subscription


@pytest.fixture
async def plans(montra: Montra) -> Plans:
    ids: list[str] = []
    for name, price in (("Basic", "10.00"), ("Pro", "99.99")):
        model = await montra.create_pricing_model(name=name)
        await montra.create_product(pricing_model_id=model.id, name=name, price_type="recurring", amount=Decimal(price))
        ids.append(model.id)
    ada = await montra.create_customer(name="Ada", email="ada@example.com")
    return Plans(*ids, await montra.create_subscription(ada.id, ids[0]))


async def _status(montra: Montra, plans: Plans) -> str:
    return (await montra.get_subscription(plans.subscription.id)).status


async def test_a_new_subscription(montra: Montra, plans: Plans) -> None:
    new = plans.subscription
    assert (new.status, new.billing_interval, new.cancel_at_period_end) == ("active", "monthly", False)
    assert new.current_period_start == new.created_at
    assert new.current_period_end is not None
    assert timedelta(days=28) <= new.current_period_end - new.current_period_start <= timedelta(days=31)
    [invoice] = await montra.list_invoices()
    assert (invoice.amount_due, invoice.status, invoice.customer_id) == (Decimal("10.00"), "open", new.customer_id)
    assert await montra.get_invoice(invoice.id) == invoice
    with pytest.raises(ConflictError, match="already_subscribed"):
        await montra.create_subscription(new.customer_id, plans.pro)
    for wrong in ({"customer_id": "cust_none"}, {"pricing_model_id": "pm_none"}):
        with pytest.raises(NotFoundError):
            await montra.create_subscription(**{"customer_id": new.customer_id, "pricing_model_id": plans.pro, **wrong})


async def test_lists_can_be_filtered(montra: Montra, sandbox: Sandbox, plans: Plans) -> None:
    bob = await montra.create_customer(name="Bob", email="bob@example.com")
    second = await montra.create_subscription(bob.id, plans.pro)
    sandbox.set_subscription(second.id, status="past_due")
    assert len(await montra.list_subscriptions()) == 2
    assert [one.id for one in await montra.list_subscriptions(bob.id)] == [second.id]
    assert [one.id for one in await montra.list_subscriptions(status="active")] == [plans.subscription.id]
    assert await montra.list_subscriptions(bob.id, status="active") == []


async def test_an_upgrade_is_prorated(montra: Montra, sandbox: Sandbox, plans: Plans) -> None:
    start, end = plans.subscription.current_period_start, plans.subscription.current_period_end
    assert start is not None
    assert end is not None
    sandbox.advance(to=start + (end - start) / 2)
    upgrade = await montra.upgrade_subscription(plans.subscription.id, plans.pro)
    proration = upgrade.proration
    assert proration is not None
    assert proration.unused_amount == Decimal("5.00")
    assert proration.remaining_amount in (Decimal("49.99"), Decimal("50.00"))
    assert proration.net_amount == proration.remaining_amount - proration.unused_amount
    assert abs(proration.remaining_ratio - Decimal("0.5")) < Decimal("0.001")
    assert upgrade.subscription.pricing_model_id == plans.pro
    assert upgrade.subscription.current_period_end == end
    with pytest.raises(NotFoundError):
        await montra.upgrade_subscription(plans.subscription.id, "pm_none")
    sandbox.set_subscription(plans.subscription.id, status="canceled")
    with pytest.raises(ConflictError, match="canceled"):
        await montra.upgrade_subscription(plans.subscription.id, plans.basic)


async def test_periods_follow_each_other(montra: Montra, sandbox: Sandbox, plans: Plans) -> None:
    start = plans.subscription.current_period_start
    assert start is not None
    sandbox.advance(to=start + timedelta(days=365 + 15))
    now = await montra.get_subscription(plans.subscription.id)
    assert now.current_period_start is not None
    assert now.current_period_end is not None
    assert now.current_period_start <= sandbox.now() < now.current_period_end
    invoices = await montra.list_invoices()
    assert len(invoices) == 13
    assert {invoice.amount_due for invoice in invoices} == {Decimal("10.00")}
    moments = [invoice.created_at for invoice in invoices]
    assert moments == sorted(moments, key=lambda moment: moment or start)
    assert [invoice.invoice_number for invoice in invoices][:2] == ["INV-000001", "INV-000002"]
    assert invoices[1].created_at == plans.subscription.current_period_end


async def test_usage_is_invoiced_at_the_end_of_its_period(montra: Montra, sandbox: Sandbox, plans: Plans) -> None:
    for slug, amount in (("metered", Decimal("0.50")), ("priced", None), ("tiered", None)):
        await montra.create_meter(
            name=slug, slug=slug, pricing_model_id=plans.basic, amount=amount, events_per_unit=100 if amount else 1
        )
    await montra.create_product(
        pricing_model_id=plans.basic, name="p", price_type="usage", meter_slug="priced", amount=Decimal("0.02")
    )
    tiered = await montra.create_product(
        pricing_model_id=plans.basic, name="t", price_type="usage", meter_slug="tiered", pricing_structure="tiered"
    )
    sandbox.set_tiers(tiered.id, [{"up_to": 10, "unit_amount": "1"}, {"up_to": None, "unit_amount": "0.1"}])
    for slug in ("metered", "priced", "tiered"):
        await montra.report_usage(customer_id=plans.subscription.customer_id, meter_slug=slug, amount=250)
    sandbox.advance(days=32)
    # 10.00 again, 250/100 * 0.50, 250 * 0.02, 10 * 1 + 240 * 0.1
    assert (await montra.list_invoices())[-1].amount_due == Decimal("10.00") + Decimal("1.25") + 5 + 34
    sandbox.advance(days=31)
    assert (await montra.list_invoices())[-1].amount_due == Decimal("10.00")


async def test_a_scheduled_change_happens(montra: Montra, sandbox: Sandbox, plans: Plans) -> None:
    when = sandbox.now() + timedelta(days=3)
    change = await montra.schedule_subscription_change(
        plans.subscription.id, new_pricing_model_id=plans.pro, scheduled_for=when
    )
    assert (change.status, change.scheduled_for, change.new_pricing_model_id) == ("pending", when, plans.pro)
    sandbox.advance(days=2)
    assert (await montra.get_subscription(plans.subscription.id)).pricing_model_id == plans.basic
    sandbox.advance(days=1)
    assert (await montra.get_subscription(plans.subscription.id)).pricing_model_id == plans.pro
    [done] = await montra.list_scheduled_changes(plans.subscription.id)
    assert (done.id, done.status) == (change.id, "completed")
    log = (await montra.list_audit_logs(event_type="scheduled_change.completed")).data
    assert log[0].created_at == when


async def test_a_change_at_the_end_of_a_period_precedes_the_next_invoice(
    montra: Montra, sandbox: Sandbox, plans: Plans
) -> None:
    end = plans.subscription.current_period_end
    assert end is not None
    await montra.schedule_subscription_change(plans.subscription.id, new_pricing_model_id=plans.pro, scheduled_for=end)
    sandbox.advance(to=end + timedelta(seconds=1))
    assert [invoice.amount_due for invoice in await montra.list_invoices()] == [Decimal("10.00"), Decimal("99.99")]


async def test_a_change_of_an_ended_subscription_is_cancelled(montra: Montra, sandbox: Sandbox, plans: Plans) -> None:
    await montra.schedule_subscription_change(
        plans.subscription.id, new_pricing_model_id=plans.pro, scheduled_for=sandbox.now() + timedelta(days=3)
    )
    sandbox.set_subscription(plans.subscription.id, status="canceled")
    sandbox.advance(days=4)
    assert [one.status for one in await montra.list_scheduled_changes(plans.subscription.id)] == ["cancelled"]
    with pytest.raises(ConflictError):
        await montra.schedule_subscription_change(
            plans.subscription.id, new_pricing_model_id=plans.pro, scheduled_for=sandbox.now() + timedelta(days=3)
        )


async def test_a_change_can_not_be_scheduled_in_the_past(montra: Montra, sandbox: Sandbox, plans: Plans) -> None:
    past = sandbox.now() - timedelta(seconds=1)
    with pytest.raises(InvalidRequestError, match="in the future"):
        await montra.schedule_subscription_change(
            plans.subscription.id, new_pricing_model_id=plans.pro, scheduled_for=past
        )
    with pytest.raises(InvalidRequestError, match="in the future"):
        await montra.pause_subscription(plans.subscription.id, resume_at=past)


async def test_pause_and_resume(montra: Montra, plans: Plans) -> None:
    with pytest.raises(ConflictError, match="not paused"):
        await montra.resume_subscription(plans.subscription.id)
    paused = await montra.pause_subscription(plans.subscription.id)
    assert (paused.status, paused.resume_at) == ("paused", None)
    assert paused.paused_at is not None
    with pytest.raises(ConflictError, match="already_paused"):
        await montra.pause_subscription(plans.subscription.id)
    resumed = await montra.resume_subscription(plans.subscription.id)
    assert (resumed.status, resumed.paused_at) == ("active", None)


async def test_a_paused_subscription_resumes_automatically(montra: Montra, sandbox: Sandbox, plans: Plans) -> None:
    resume_at: datetime = sandbox.now() + timedelta(days=5)
    paused = await montra.pause_subscription(plans.subscription.id, resume_at=resume_at)
    assert paused.resume_at == resume_at
    sandbox.advance(days=4)
    assert await _status(montra, plans) == "paused"
    sandbox.advance(days=1)
    assert await _status(montra, plans) == "active"


@pytest.mark.parametrize(
    ("behavior", "status"),
    [(None, "draft"), ("keep_as_is", "draft"), ("mark_uncollectible", "uncollectible"), ("void", "void")],
)
async def test_invoices_during_a_pause(
    montra: Montra, sandbox: Sandbox, plans: Plans, behavior: str | None, status: str
) -> None:
    await montra.pause_subscription(plans.subscription.id, pause_behavior=behavior)
    sandbox.advance(days=32)
    assert (await montra.list_invoices())[-1].status == status


async def test_a_subscription_ends_with_its_period(montra: Montra, sandbox: Sandbox, plans: Plans) -> None:
    sandbox.set_subscription(plans.subscription.id, cancel_at_period_end=True)
    assert (await montra.get_subscription(plans.subscription.id)).cancel_at_period_end is True
    sandbox.advance(days=32)
    assert await _status(montra, plans) == "canceled"
    assert len(await montra.list_invoices()) == 1
    with pytest.raises(ConflictError, match="canceled"):
        await montra.pause_subscription(plans.subscription.id)


async def test_a_long_time_can_be_advanced_in_steps(
    montra: Montra, sandbox: Sandbox, plans: Plans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("montra_sandbox.montra.scheduler.MAX_STEPS", 2)
    sandbox.advance(days=31 * 6)
    for _ in range(3):
        await montra.list_meters()
    assert len(await montra.list_invoices()) == 7


async def test_controls_refuse_invalid_arguments(sandbox: Sandbox, plans: Plans) -> None:
    with pytest.raises(Problem, match="status"):
        sandbox.set_subscription(plans.subscription.id, status="dormant")
    with pytest.raises(Problem):
        sandbox.set_subscription("sub_none", status="active")
    with pytest.raises(Problem, match="no product"):
        sandbox.set_tiers("prod_none", [{"up_to": None, "unit_amount": 1}])


async def test_tiered_prices(montra: Montra, sandbox: Sandbox, plans: Plans) -> None:
    product = (await montra.list_products())[0]
    for tiers in (
        [],
        "x",
        [5],
        [{"up_to": 1, "unit_amount": 1}],
        [{"up_to": None}],
        [{"up_to": 5, "unit_amount": 1}, {"up_to": 5, "unit_amount": 1}, {"up_to": None, "unit_amount": 1}],
        [{"up_to": None, "unit_amount": None}],
    ):
        with pytest.raises(Problem, match="tiers"):
            sandbox.set_tiers(product.id, tiers)  # type: ignore[arg-type]
