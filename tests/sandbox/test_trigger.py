"""Triggers: each event of both services is really caused, sent, verified and parsed; and what people say matters."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from montra_async import Montra
from montra_async.paywall import BillingClient
from montra_async.webhooks import (
    CheckoutCompleted,
    PaymentCompleted,
    PaywallRefundCreated,
    PaywallSubscriptionCreated,
    RefundCreated,
    UsageLimitReached,
)
from montra_async.webhooks.parsing import MONTRA, PAYWALL
from montra_sandbox import Problem, Sandbox
from montra_sandbox.montra.merchant_context import WEBHOOK_EVENT_TYPES
from montra_sandbox.scenarios.fields import FIELDS
from montra_sandbox.scenarios.trigger import list_triggers

from .scripted_sandbox import control, receiving

CLASSES = {**{("montra", name): one for name, one in MONTRA.events.items()}}
CLASSES.update({("paywall", name): one for name, one in PAYWALL.events.items()})


def test_every_event_of_both_services_has_a_trigger() -> None:
    known = {(one["service"], one["event"]) for one in list_triggers()}
    assert known == CLASSES.keys()
    assert {event for service, event in known if service == "montra"} == WEBHOOK_EVENT_TYPES


def test_triggers_are_described() -> None:
    for one in list_triggers():
        assert one["description"].endswith(".")
        assert one["fields"]
        assert all(one["fields"].values())
    used = {name for one in list_triggers() for name in one["fields"]}
    assert used == FIELDS.keys()


def test_the_documentation_lists_them_all() -> None:
    text = (Path(__file__).parents[2] / "docs" / "sandbox" / "scenarios.md").read_text(encoding="utf-8")
    for one in list_triggers():
        fields = ", ".join(f"`{name}`" for name in one["fields"])
        row = f"| `{one['event']}` | {one['service']} | {one['description'].removesuffix('.')} | {fields} |"
        assert row in text
    for name, field in FIELDS.items():
        assert f"| `{name}` | {field.description} |" in text


@pytest.mark.parametrize("one", list_triggers(), ids=lambda one: f"{one['service']}:{one['event']}")
def test_what_a_trigger_causes_is_in_order(sandbox: Sandbox, one: dict[str, Any]) -> None:
    """Nothing ends before it begins: receivers order events by their time."""
    caused = sandbox.trigger(one["event"], service=one["service"])
    times = [event["created_at"] for event in caused]
    assert times == sorted(times)


async def test_over_http(sandbox: Sandbox) -> None:
    status, data = await control(sandbox, "POST", "/trigger", {"event": "customer.created", "fields": {"name": "Bo"}})
    assert (status, [one["data"]["name"] for one in data["events"]]) == (200, ["Bo"])
    body = {"event": "refund.created", "service": "paywall", "owner": "sk_test_other"}
    status, data = await control(sandbox, "POST", "/trigger", body)
    assert (status, data["events"][-1]["service"]) == (200, "paywall")
    for body, message in (
        ({}, "required: event"),
        ({"event": 5}, "event and service: text"),
        ({"event": "x", "fields": [1]}, "fields: an object"),
        ({"event": "customer.created", "fields": {"event": "x", "self": "y"}}, "unknown: event, self; the fields of"),
        ({"event": "customer.created", "fields": {"owner": "x"}}, "belongs beside fields"),
        ({"event": "customer.created", "fields": {"service": "x"}}, "belongs beside fields"),
        ({"event": "customer.created", "service": ["montra"]}, "event and service: text"),
        ({"event": "customer.created", "owner": 5}, "owner: an API key"),
        ({"event": "customer.created", "owner": "sk_test_nobody"}, "does not know this API key"),
    ):
        status, error = await control(sandbox, "POST", "/trigger", body)
        assert status == 400
        assert message in error["message"]
    status, listed = await control(sandbox, "GET", "/triggers")
    assert (status, listed) == (200, list_triggers())


async def test_every_event_arrives_signed_and_typed(sandbox: Sandbox, montra: Montra) -> None:
    async with receiving() as receiver:
        hook = await montra.create_webhook(url=f"{receiver.url}/montra")
        receiver.secret = hook.secret or ""
        address = f"{receiver.url}/paywall"
        sandbox.set_paywall(sandbox.paywall_id, webhook_url=address, webhook_secret=receiver.secret)
        for service, event in CLASSES:
            for _ in range(2):  # any number of times
                receiver.got.clear()
                caused = sandbox.trigger(event, service=service)
                assert (caused[-1]["service"], caused[-1]["type"]) == (
                    service,
                    event,
                ) or event == "subscription.created"
                await sandbox.settle()
                # Deliveries go out ten at a time, so their order is not that of the events.
                assert sorted(one.id for one in receiver.got) == sorted(one["id"] for one in caused)
                [wanted] = [one for one in receiver.got if type(one) is CLASSES[service, event]]
                assert wanted.extra == {}
                json.dumps(caused)


async def test_a_checkout_leaves_all_its_objects(sandbox: Sandbox, montra: Montra) -> None:
    caused = sandbox.trigger("checkout.completed", email="ada@example.com", name="Ada", amount=49)
    types = ["customer.created", "subscription.created", "invoice.created", "checkout.completed"]
    assert [one["type"] for one in caused] == types
    data = caused[-1]["data"]
    assert (data["amount"], data["customer_email"]) == (49, "ada@example.com")
    [customer] = await montra.list_customers()
    [subscription] = await montra.list_subscriptions()
    [invoice] = await montra.list_invoices()
    assert (customer.id, customer.name) == (data["customer_id"], "Ada")
    assert (subscription.id, subscription.customer_id) == (data["subscription_id"], customer.id)
    assert (invoice.status, invoice.amount_due) == ("paid", Decimal(49))
    refund = await montra.create_refund(transaction_id=data["transaction_id"], amount=49)
    assert refund.status == "succeeded"


async def test_existing_objects_are_used(sandbox: Sandbox, montra: Montra) -> None:
    pro = await montra.create_pricing_model(name="Pro")
    seat = await montra.create_product(pricing_model_id=pro.id, name="Seat", price_type="recurring", amount=20)
    link = await montra.create_checkout_link(
        link_name="x", payment_name="y", line_items=[{"product_id": seat.id, "quantity": 3}]
    )
    await montra.create_discount(name="Half", code="HALF", percent_off=50, duration="once")
    checkout = sandbox.trigger("checkout.completed", link_id=link.id, email="ada@example.com", code="HALF")[-1]["data"]
    assert (checkout["link_id"], checkout["amount"]) == (link.id, 30)
    paused = sandbox.trigger("subscription.paused", email="ada@example.com", pause_behavior="void")
    assert [one["data"]["id"] for one in paused] == [checkout["subscription_id"]]
    [resumed] = sandbox.trigger("subscription.resumed", subscription_id=checkout["subscription_id"])
    assert resumed["data"]["status"] == "active"
    [late] = sandbox.trigger("subscription.updated", customer_id=checkout["customer_id"], status="past_due")
    assert late["data"]["status"] == "past_due"
    team = await montra.create_pricing_model(name="Team")
    [changed] = sandbox.trigger("subscription.updated", email="ada@example.com", new_pricing_model_id=team.id)
    assert changed["data"]["pricing_model_id"] == team.id
    [ending] = sandbox.trigger("subscription.updated", email="ada@example.com", cancel_at_period_end="true")
    assert ending["data"]["cancel_at_period_end"] is True
    [canceled] = sandbox.trigger("subscription.canceled", email="ada@example.com")
    assert canceled["data"]["id"] == checkout["subscription_id"]
    with pytest.raises(Problem, match="is canceled"):
        sandbox.trigger("subscription.canceled", subscription_id=checkout["subscription_id"])
    [refund] = sandbox.trigger("refund.created", transaction_id=checkout["transaction_id"], amount=10)
    [rest] = sandbox.trigger("refund.created", transaction_id=checkout["transaction_id"], reason="duplicate")
    assert (refund["data"]["amount"], rest["data"]["amount"], rest["data"]["reason"]) == (10, 20, "duplicate")
    with pytest.raises(Problem, match="nothing is left"):
        sandbox.trigger("refund.created", transaction_id=checkout["transaction_id"])
    [updated] = sandbox.trigger("customer.updated", customer_id=checkout["customer_id"], name="Grace")
    assert updated["data"]["name"] == "Grace"
    assert len(await montra.list_customers()) == 1


async def test_plans_that_exist_are_preferred(sandbox: Sandbox, montra: Montra) -> None:
    free = await montra.create_pricing_model(name="Free", is_default=True)
    pro = await montra.create_pricing_model(name="Pro")
    await montra.create_product(pricing_model_id=pro.id, name="Pro", price_type="recurring", amount=20)
    made = sandbox.trigger("subscription.created")[1]["data"]
    assert made["pricing_model_id"] == pro.id
    assert sandbox.trigger("subscription.created", pricing_model_id=free.id)[1]["data"]["pricing_model_id"] == free.id
    dear = sandbox.trigger("subscription.created", amount="99.50")[1]["data"]["pricing_model_id"]
    assert dear not in (free.id, pro.id)
    [up] = sandbox.trigger("subscription.updated", subscription_id=made["id"])
    assert up["data"]["pricing_model_id"] == dear
    [down] = sandbox.trigger("subscription.updated", subscription_id=made["id"])
    assert down["data"]["pricing_model_id"] == pro.id
    with pytest.raises(Problem, match="no recurring product"):
        sandbox.trigger("checkout.completed", pricing_model_id=free.id)


@pytest.mark.parametrize("aggregation", ["sum", "max", "count", "unique"])
async def test_the_limit_is_reached_whatever_the_meter_counts(
    aggregation: Any, sandbox: Sandbox, montra: Montra
) -> None:
    pro = await montra.create_pricing_model(name="Pro", is_default=True)
    await montra.create_meter(name="T", slug="tokens", pricing_model_id=pro.id, aggregation=aggregation)
    sandbox.set_limit(pricing_model_id=pro.id, meter_slug="tokens", max_amount=5)
    ada = await montra.create_customer(name="Ada", email="ada@example.com")
    await montra.report_usage(customer_id=ada.id, meter_slug="tokens", amount=2)
    [reached] = sandbox.trigger("usage.limit_reached", customer_id=ada.id)
    assert reached["data"] == {"customer_id": ada.id, "meter_slug": "tokens", "usage": 5, "limit": 5}
    assert not (await montra.check_entitlement(ada.id, "tokens")).has_access
    with pytest.raises(Problem, match="give a higher limit"):
        sandbox.trigger("usage.limit_reached", customer_id=ada.id)
    [again] = sandbox.trigger("usage.limit_reached", customer_id=ada.id, limit=8)
    assert again["data"]["usage"] == 8


async def test_a_counting_meter_takes_a_bounded_number_of_reports(sandbox: Sandbox, montra: Montra) -> None:
    pro = await montra.create_pricing_model(name="Pro", is_default=True)
    await montra.create_meter(name="T", slug="calls", pricing_model_id=pro.id, aggregation="count")
    with pytest.raises(Problem, match="at most 1000"):
        sandbox.trigger("usage.limit_reached", meter_slug="calls", limit=10**9)
    assert await montra.list_customers() == []  # all or nothing


async def test_an_unlimited_plan_needs_a_limit(sandbox: Sandbox, montra: Montra) -> None:
    pro = await montra.create_pricing_model(name="Pro", is_default=True)
    await montra.create_meter(name="T", slug="calls", pricing_model_id=pro.id)
    sandbox.set_limit(pricing_model_id=pro.id, meter_slug="calls", max_amount=None)
    with pytest.raises(Problem, match="unlimited"):
        sandbox.trigger("usage.limit_reached")


async def test_services_are_told_apart(sandbox: Sandbox) -> None:
    assert sandbox.trigger("refund.created")[-1]["service"] == "montra"
    assert sandbox.trigger("paywall:refund.created")[-1]["service"] == "paywall"
    assert sandbox.trigger("montra:refund.created", service="montra")[-1]["service"] == "montra"
    assert sandbox.trigger("subscription.cancelled")[-1]["service"] == "paywall"
    for event, service in (
        ("paywall:refund.created", "montra"),
        ("refund.created", "stripe"),
        ("payment.completed", "montra"),
    ):
        with pytest.raises(Problem) as refused:
            sandbox.trigger(event, service=service)
        assert refused.value.status == 400


async def test_the_paywall_service_is_really_used(sandbox: Sandbox) -> None:
    who = {"email": "ada@example.com", "user_id": "42"}
    created = sandbox.trigger("paywall:subscription.created", **who, trial_days=7)
    assert [one["type"] for one in created] == ["subscription.created"]
    data = created[0]["data"]
    assert (data["subscription"]["status"], data["user"]["metadata"]) == ("trialing", {"userId": "42"})
    updated = sandbox.trigger("paywall:subscription.updated", user_id="42", reason="moving away")
    assert [one["data"]["subscription"]["id"] for one in updated] == [data["subscription"]["id"]]
    with pytest.raises(Problem, match="ends with its period"):
        sandbox.trigger("paywall:subscription.updated", purchase_id=data["subscription"]["id"])
    [ended] = sandbox.trigger("subscription.cancelled", email="ada@example.com")
    assert ended["data"]["subscription"]["status"] == "canceled"
    with pytest.raises(Problem, match="nothing to cancel"):
        sandbox.trigger("subscription.cancelled", purchase_id=data["subscription"]["id"])
    paid = sandbox.trigger("payment.completed", **who, price_id=104)
    assert paid[-1]["data"]["price"] == {"id": "104", "unit_amount": 500, "interval": None}
    async with BillingClient(sandbox.paywall_id, sandbox.url, sandbox.api_key) as billing:
        purchases = await billing.for_user(email="ada@example.com").list_purchases()
    assert [one.status for one in purchases] == ["completed", "canceled"]
    with pytest.raises(Problem) as refused:
        sandbox.trigger("paywall:subscription.created", email="bo@example.com", price_id="103")
    assert refused.value.code == "price_not_found"


async def test_other_merchants_see_nothing(sandbox: Sandbox, montra: Montra) -> None:
    sandbox.trigger("checkout.completed", owner="sk_test_other")
    assert await montra.list_customers() == []
    refund = sandbox.trigger("refund.created", service="paywall", owner="sk_test_other")[-1]
    assert refund["data"]["paywall"]["id"] != sandbox.paywall_id
    with pytest.raises(Problem, match="API key"):
        sandbox.trigger("customer.created", owner="sk_test_nobody")
    with pytest.raises(Problem) as refused:
        sandbox.trigger("payment.completed", paywall_id=sandbox.paywall_id, owner="sk_test_other")
    assert refused.value.status == 404


@pytest.mark.parametrize(
    ("event", "fields", "message"),
    [
        ("customer.deleted", {}, "there are: customer.created"),
        ("customer.created", {"mail": "x"}, "the fields of customer.created are: name, email"),
        ("customer.created", {"email": "ada"}, "email"),
        ("customer.created", {"metadata": [1]}, "metadata: an object"),
        ("customer.created", {"metadata": {"x": "y" * 200_000}}, "at most 100000 bytes"),
        ("customer.created", {"metadata": {"x": float("nan")}}, "fields"),
        ("customer.created", {"metadata": {"x": object()}}, "can't be JSON"),
        ("customer.created", {"name": ""}, "name: text of 1 to"),
        ("customer.created", {"name": "\ud800"}, "fields"),
        ("customer.created", {"name": "\x00"}, "name: must not be empty"),
        ("customer.updated", {"customer_id": "cust_none"}, "no customer"),
        ("customer.updated", {"customer_id": {}}, "customer_id: text"),
        ("subscription.updated", {"status": "paused"}, "status: one of"),
        ("subscription.paused", {"resume_at": "yesterday"}, "resume_at"),
        ("checkout.completed", {"amount": "abc"}, "amount: a number"),
        ("checkout.completed", {"amount": True}, "amount: a number"),
        ("checkout.completed", {"amount": -1}, "amount: a number from 0"),
        ("checkout.completed", {"amount": "1e-300"}, "amount: a number from 0"),
        ("checkout.completed", {"one_time": "perhaps"}, "true or false"),
        ("checkout.completed", {"code": "NONE", "one_time": True}, "no such discount code"),
        ("checkout.completed", {"link_id": "link_none"}, "no checkout link"),
        ("payment.completed", {"price_id": "999"}, "no price"),
        ("payment.completed", {"paywall_id": "pw_none"}, "no paywall"),
        ("paywall:subscription.created", {"trial_days": 1.5}, "whole number"),
    ],
)
async def test_refusals_say_what_is_wrong(event: str, fields: dict[str, Any], message: str, sandbox: Sandbox) -> None:
    before = sandbox.overview()["counts"]
    with pytest.raises(Problem) as refused:
        sandbox.trigger(event, **fields)
    assert message in refused.value.message
    assert len(refused.value.message) < 2_000
    assert sandbox.overview()["counts"] == before


async def test_an_inactive_link_is_not_paid(sandbox: Sandbox, montra: Montra) -> None:
    link = await montra.create_checkout_link(link_name="x", payment_name="y", amount=5, status="inactive")
    with pytest.raises(Problem, match="no longer active"):
        sandbox.trigger("checkout.completed", link_id=link.id)


async def test_values_of_all_kinds_are_accepted_or_refused(sandbox: Sandbox) -> None:
    values = st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.decimals(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=10,
    )
    triggers = st.sampled_from(
        [(one["service"], one["event"], tuple(one["fields"])) for one in sandbox.list_triggers()]
    )

    @given(st.data(), triggers)
    def check(data: st.DataObject, one: tuple[str, str, tuple[str, ...]]) -> None:
        service, event, names = one
        fields = data.draw(st.dictionaries(st.sampled_from(names), values, max_size=4))
        try:
            caused = sandbox.trigger(event, service=service, **fields)
        except Problem as problem:
            statuses.add(problem.status)
        else:
            assert event in [one["type"] for one in caused]

    statuses: set[int] = set()
    check()
    assert statuses <= {400, 404, 409, 413}


async def test_the_classes_are_those_of_the_sdk(sandbox: Sandbox) -> None:
    assert CLASSES["montra", "checkout.completed"] is CheckoutCompleted
    assert CLASSES["montra", "refund.created"] is RefundCreated
    assert CLASSES["montra", "usage.limit_reached"] is UsageLimitReached
    assert CLASSES["paywall", "refund.created"] is PaywallRefundCreated
    assert CLASSES["paywall", "payment.completed"] is PaymentCompleted
    assert CLASSES["paywall", "subscription.created"] is PaywallSubscriptionCreated
