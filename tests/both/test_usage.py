"""Usage, limits and entitlements."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from montra_async import Customer, Montra, NotFoundError, PricingModel
from montra_sandbox import Problem, Sandbox
from montra_sandbox.montra.usage import aggregate, unique_value


@attrs.frozen
class Shop:
    free: PricingModel
    pro: PricingModel
    ada: Customer


@pytest.fixture
async def shop(montra: Montra) -> Shop:
    free = await montra.create_pricing_model(name="Free", is_default=True)
    pro = await montra.create_pricing_model(name="Pro")
    for model in (free, pro):
        await montra.create_meter(name="T", slug="tokens", pricing_model_id=model.id)
    return Shop(free, pro, await montra.create_customer(name="Ada", email="ada@example.com"))


async def _report(montra: Montra, shop: Shop, amount: Any, **fields: Any) -> None:
    assert await montra.report_usage(customer_id=shop.ada.id, meter_slug="tokens", amount=amount, **fields) is True


async def test_usage_adds_up_to_the_limit(montra: Montra, sandbox: Sandbox, shop: Shop) -> None:
    sandbox.set_limit(pricing_model_id=shop.free.id, meter_slug="tokens", max_amount=10)
    assert (await montra.check_entitlement(shop.ada.id, "tokens")).to_dict() == {
        "has_access": True,
        "usage": 0,
        "limit": 10,
        "type": "meter",
    }
    await _report(montra, shop, 9.5)
    access = await montra.check_entitlement(shop.ada.id, "tokens")
    assert (access.has_access, access.usage) == (True, 9.5)
    await _report(montra, shop, Decimal("0.5"))
    access = await montra.check_entitlement(shop.ada.id, "tokens")
    assert (access.has_access, access.usage, access.limit, access.reason) == (False, 10, 10, "limit_reached")


async def test_usage_without_a_limit_is_unlimited(montra: Montra, sandbox: Sandbox, shop: Shop) -> None:
    await _report(montra, shop, 9007199254740993)
    access = await montra.check_entitlement(shop.ada.id, "tokens")
    assert (access.has_access, access.usage, access.limit) == (True, 9007199254740993, None)
    sandbox.set_limit(pricing_model_id=shop.free.id, meter_slug="tokens", max_amount=None)
    assert (await montra.check_entitlement(shop.ada.id, "tokens")).has_access


async def test_the_default_amount_is_one(montra: Montra, shop: Shop) -> None:
    await montra.report_usage(customer_id=shop.ada.id, meter_slug="tokens")
    assert (await montra.check_entitlement(shop.ada.id, "tokens")).usage == 1


async def test_a_customer_without_a_plan_has_no_access(montra: Montra, shop: Shop) -> None:
    await montra.update_pricing_model(shop.free.id, is_default=False)
    for access in (
        await montra.check_entitlement(shop.ada.id, "tokens"),
        await montra.check_feature_access(shop.ada.id, "sso"),
    ):
        assert (access.has_access, access.reason) == (False, "no_plan")


async def test_unknown_customers_and_meters(montra: Montra, shop: Shop) -> None:
    for call in (
        montra.report_usage(customer_id="cust_none", meter_slug="tokens"),
        montra.report_usage(customer_id=shop.ada.id, meter_slug="none"),
        montra.check_entitlement("cust_none", "tokens"),
        montra.check_entitlement(shop.ada.id, "none"),
        montra.check_feature_access("cust_none", "sso"),
    ):
        with pytest.raises(NotFoundError):
            await call


@pytest.mark.parametrize("aggregation", ["sum", "max", "count", "unique"])
async def test_aggregations(montra: Montra, shop: Shop, aggregation: str) -> None:
    await montra.create_meter(name="A", slug="agg", pricing_model_id=shop.free.id, aggregation=aggregation)
    reports: list[tuple[int, dict[str, Any] | None]] = [
        (3, {"unique_key": "a"}),
        (7, {"unique_key": "a", "x": 1}),
        (5, {"model": "m1"}),
        (5, None),
        (5, None),
        (1, {}),
    ]
    for amount, metadata in reports:
        await montra.report_usage(customer_id=shop.ada.id, meter_slug="agg", amount=amount, metadata=metadata)
    usage = (await montra.check_entitlement(shop.ada.id, "agg")).usage
    assert usage == {"sum": 26, "max": 7, "count": 6, "unique": 4}[aggregation]


@settings(max_examples=15)
@given(
    reports=st.lists(
        st.tuples(
            st.decimals(0, 10**6, places=4),
            st.none() | st.dictionaries(st.sampled_from(["unique_key", "m"]), st.integers(0, 2), max_size=2),
        ),
        max_size=12,
    ),
    aggregation=st.sampled_from(["sum", "max", "count", "unique"]),
)
async def test_running_totals_agree_with_the_events(
    connect: Any, reports: list[tuple[Decimal, dict[str, int] | None]], aggregation: str
) -> None:
    async with Sandbox() as sandbox, connect(sandbox.api_key, sandbox.base_url) as montra:
        model = await montra.create_pricing_model(name="P", is_default=True)
        await montra.create_meter(name="A", slug="a", pricing_model_id=model.id, aggregation=aggregation)
        ada = await montra.create_customer(name="A", email="a@example.com")
        for amount, metadata in reports:
            await montra.report_usage(customer_id=ada.id, meter_slug="a", amount=amount, metadata=metadata)
        expected = aggregate(aggregation, [(amount, unique_value(amount, metadata)) for amount, metadata in reports])
        assert Decimal(str((await montra.check_entitlement(ada.id, "a")).usage)) == expected
        for period in ("day", "month", "lifetime"):
            sandbox.set_limit(pricing_model_id=model.id, meter_slug="a", max_amount=1, period=period)
            assert Decimal(str((await montra.check_entitlement(ada.id, "a")).usage)) == expected


async def test_a_limit_may_have_its_own_period_and_aggregation(montra: Montra, sandbox: Sandbox, shop: Shop) -> None:
    await _report(montra, shop, 5)
    sandbox.set_limit(
        pricing_model_id=shop.free.id, meter_slug="tokens", max_amount=2, period="day", aggregation="count"
    )
    access = await montra.check_entitlement(shop.ada.id, "tokens")
    assert (access.usage, access.limit, access.has_access) == (1, 2, True)
    await _report(montra, shop, 5)
    assert not (await montra.check_entitlement(shop.ada.id, "tokens")).has_access
    sandbox.advance(days=1)
    assert (await montra.check_entitlement(shop.ada.id, "tokens")).has_access
    sandbox.set_limit(pricing_model_id=shop.free.id, meter_slug="tokens", max_amount=10, period="lifetime")
    assert (await montra.check_entitlement(shop.ada.id, "tokens")).usage == 10


async def test_usage_is_reset_with_the_period(montra: Montra, sandbox: Sandbox, shop: Shop) -> None:
    await _report(montra, shop, 5)
    sandbox.advance(days=27)
    assert (await montra.check_entitlement(shop.ada.id, "tokens")).usage == 5
    sandbox.advance(days=5)
    assert (await montra.check_entitlement(shop.ada.id, "tokens")).usage == 0


async def test_a_change_of_a_plan_applies_at_once(montra: Montra, sandbox: Sandbox, shop: Shop) -> None:
    await _report(montra, shop, 50)
    sandbox.set_limit(pricing_model_id=shop.free.id, meter_slug="tokens", max_amount=10)
    assert not (await montra.check_entitlement(shop.ada.id, "tokens")).has_access
    sandbox.set_limit(pricing_model_id=shop.free.id, meter_slug="tokens", max_amount=100)
    assert (await montra.check_entitlement(shop.ada.id, "tokens")).has_access
    sso = await montra.create_feature(name="S", slug="sso", pricing_model_id=shop.free.id)
    assert (await montra.check_feature_access(shop.ada.id, "sso")).has_access
    await montra.update_feature(sso.id, status="Archived")
    access = await montra.check_feature_access(shop.ada.id, "sso")
    assert (access.has_access, access.reason) == (False, "feature_not_active")
    await montra.delete_feature(sso.id)
    assert (await montra.check_feature_access(shop.ada.id, "sso")).reason == "not_in_plan"


@pytest.mark.parametrize(
    ("status", "pro"),
    [("active", True), ("trialing", True), ("past_due", False), ("canceled", False), ("paused", False)],
)
async def test_only_an_active_subscription_grants_access(
    montra: Montra, sandbox: Sandbox, shop: Shop, status: str, pro: bool
) -> None:
    await montra.create_feature(name="S", slug="sso", pricing_model_id=shop.pro.id)
    subscription = await montra.create_subscription(shop.ada.id, shop.pro.id)
    if status == "paused":
        await montra.pause_subscription(subscription.id)
    elif status != "active":
        sandbox.set_subscription(subscription.id, status=status)
    assert (await montra.check_feature_access(shop.ada.id, "sso")).has_access is pro


async def test_the_event_for_the_limit_is_sent_once(montra: Montra, sandbox: Sandbox, shop: Shop) -> None:
    sandbox.set_limit(pricing_model_id=shop.free.id, meter_slug="tokens", max_amount=10)
    for _ in range(4):
        await _report(montra, shop, 5)
    logs = await montra.list_audit_logs(event_type="usage.limit_reached")
    assert [entry.payload for entry in logs.data] == [
        {"customer_id": shop.ada.id, "meter_slug": "tokens", "usage": 10, "limit": 10}
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"period": "fortnight"},
        {"aggregation": "median"},
        {"max_amount": -1},
        {"max_amount": "x"},
        {"max_amount": float("nan")},
        {"pricing_model_id": "pm_none"},
    ],
)
async def test_invalid_limits_are_refused(sandbox: Sandbox, shop: Shop, wrong: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"pricing_model_id": shop.free.id, "meter_slug": "tokens", "max_amount": 1}
    with pytest.raises(Problem):
        sandbox.set_limit(**{**fields, **wrong})


async def test_the_clock_can_not_go_back(sandbox: Sandbox) -> None:
    before = sandbox.now()
    for wrong in ({"days": -1}, {"days": 1e300}, {"to": before - timedelta(days=1)}, {"days": 1e7}):
        with pytest.raises(Problem):
            sandbox.advance(**wrong)  # type: ignore[arg-type]
    assert sandbox.advance(to=before + timedelta(days=3)) - before >= timedelta(days=3)
