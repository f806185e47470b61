"""Scenarios: real calls, a clock that really moves, and only their own webhooks at the endpoint that is asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from montra_async import Montra
from montra_async.paywall import BillingClient
from montra_sandbox import Problem, Sandbox
from montra_sandbox.datetimes import parse_datetime
from montra_sandbox.scenarios.scenario import SCENARIOS, list_scenarios, open_scenario
from montra_sandbox.world import World

from .scripted_sandbox import control, receiving
from .server_side import in_server

STARTED = ["customer.created", "subscription.created", "invoice.created", "checkout.completed"]
PERIOD = ["subscription.updated", "invoice.created"]

EVENTS: dict[str, list[list[str]]] = {
    "trial_then_paid": [
        ["subscription.created"],
        ["subscription.updated", "payment.completed"],
        ["subscription.updated", "payment.completed"],
    ],
    "trial_cancelled": [["subscription.created"], ["subscription.updated"], ["subscription.cancelled"]],
    "tokens_run_out_then_topped_up": [["payment.completed"], [], [], ["payment.completed"], []],
    "guest_checkout_then_sign_in": [
        ["subscription.created", "payment.completed"],
        [],
        [],
        ["subscription.updated", "payment.completed"],
    ],
    "card_declined_at_renewal": [
        STARTED,
        [*PERIOD, "subscription.updated"],
        ["subscription.updated"],
        [*PERIOD, "subscription.updated"],
        ["subscription.canceled"],
    ],
    "upgrade_mid_period": [STARTED, ["subscription.updated"], PERIOD],
    "downgrade_scheduled": [STARTED, [], ["subscription.updated", *PERIOD]],
    "refund_after_cancel": [STARTED, ["subscription.updated"], ["refund.created"], ["subscription.canceled"]],
    "pause_and_resume": [STARTED, ["subscription.paused"], PERIOD, ["subscription.resumed"], PERIOD],
    "usage_limit_reached_then_upgrade": [STARTED, [], ["usage.limit_reached"], ["subscription.updated"]],
    "discount_that_ends": [STARTED, PERIOD, PERIOD],
    "checkout_abandoned_then_paid": [[], [], [], STARTED],
    "duplicate_and_late_deliveries": [STARTED, ["customer.updated"] * 2, [], [], []],
}

NOTES: dict[str, list[str]] = {
    "card_declined_at_renewal": ["", "29.00 USD, open", "29.00 USD, paid", "29.00 USD, open", "uncollectible"],
    "upgrade_mid_period": ["", "unused 14.50, remaining 49.50, due 35.00", "99.00 USD, paid"],
    "downgrade_scheduled": ["", "scheduled for", "29.00 USD, open"],
    "refund_after_cancel": ["", "", "", ""],
    "pause_and_resume": ["", "", "29.00 USD, void", "", "29.00 USD, paid"],
    "usage_limit_reached_then_upgrade": ["", "60 of 100", "100 of 100 used: no access", "100 of 1000 used: access"],
    "discount_that_ends": ["14.50 USD, paid", "14.50 USD, paid", "29.00 USD, paid"],
    "checkout_abandoned_then_paid": ["", "declined", "insufficient funds", ""],
    "duplicate_and_late_deliveries": ["", "", "", "", "409 already_subscribed"],
    "trial_then_paid": ["the trial ends", "is active", "is active"],
    "trial_cancelled": ["the trial ends", "", "is canceled"],
    "tokens_run_out_then_topped_up": ["50 gpt-4", "0 gpt-4", "409 insufficient", "50 gpt-4", "49 gpt-4"],
    "guest_checkout_then_sign_in": ["bought by", "", "has 1 purchase", "is active"],
}

names = pytest.mark.parametrize("name", list(SCENARIOS))


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    # A fixed time far from midnight: the free tokens of a new day would come between two steps.
    async with Sandbox(
        api_keys=("sk_test_sandbox", "sk_test_other"), now=parse_datetime("2026-03-02T09:00:00Z"), frozen=True
    ) as running:
        yield running


@pytest.fixture
async def montra(sandbox: Sandbox) -> AsyncIterator[Montra]:
    async with Montra(sandbox.api_key, sandbox.base_url) as client:
        yield client


def test_scenarios_are_described() -> None:
    listed = list_scenarios()
    assert [one["name"] for one in listed] == list(SCENARIOS)
    assert set(EVENTS) == set(NOTES) == set(SCENARIOS)
    for one in listed:
        assert one["service"] in ("montra", "paywall")
        assert len(one["steps"]) >= 3
        assert len(set(one["steps"])) >= 2
        json.dumps(one)


def test_the_documentation_lists_them_all() -> None:
    text = (Path(__file__).parents[2] / "docs" / "sandbox" / "scenarios.md").read_text(encoding="utf-8")
    for one in list_scenarios():
        assert f"| `{one['name']}` | {one['service']} | {one['title']} |" in text


@names
async def test_each_scenario_sends_its_events(name: str, sandbox: Sandbox) -> None:
    async with receiving() as receiver:
        report = await sandbox.scenario(name, to=f"{receiver.url}/both", secret=receiver.secret)
        _check_report(report.data, name)
        sent = [delivery["event_id"] for step in report.steps for delivery in step["deliveries"]]
        assert sorted(one.id for one in receiver.got) == sorted(sent)
        assert [(one["last_status"], one["response_body"]) for step in report.steps for one in step["deliveries"]] == [
            (200, "thank you")
        ] * len(sent)
    assert in_server(sandbox, _temporary) == 0


def _check_report(report: dict[str, Any], name: str) -> None:
    json.dumps(report)
    steps = report["steps"]
    assert [step["title"] for step in steps] == [step.title for step in SCENARIOS[name].steps]
    assert [sorted(event["type"] for event in step["events"]) for step in steps] == [
        sorted(one) for one in EVENTS[name]
    ]
    assert [len(step["deliveries"]) for step in steps] == [len(step["events"] + step["resent"]) for step in steps]
    for step, expected in zip(steps, NOTES[name], strict=True):
        assert expected in (step["note"] or "")
    assert report["succeeded"]
    assert [step["at"] for step in steps] == sorted(step["at"] for step in steps)
    assert report["from"] <= steps[0]["at"]
    assert report["to"] == steps[-1]["at"]


def _temporary(world: World) -> int:
    count: int = world.db.value("SELECT (SELECT count(*) FROM webhook_endpoints) + (SELECT count(*) - 2 FROM paywalls)")
    return count


@names
async def test_over_http(name: str, sandbox: Sandbox) -> None:
    async with receiving() as receiver:
        body = {"to": f"{receiver.url}/both", "secret": receiver.secret}
        status, report = await control(sandbox, "POST", f"/scenarios/{name}", body)
        assert status == 200
        _check_report(report, name)
    status, listed = await control(sandbox, "GET", "/scenarios")
    assert (status, [one["name"] for one in listed]) == (200, list(SCENARIOS))


def test_synchronously_and_one_after_the_other() -> None:
    with Sandbox() as sandbox:
        for name in SCENARIOS:
            report = sandbox.scenario(name)
            assert report.succeeded
            assert report.steps[0]["title"] in str(report)
            before = sandbox.now()
        again = sandbox.scenario("upgrade_mid_period")
        assert again.succeeded
        assert sandbox.now() > before
        # Both runs share the plans that the first has made.
        with_plans = in_server(sandbox, lambda world: world.db.value("SELECT count(*) FROM pricing_models"))
        assert with_plans == 3


def test_an_application_of_this_process_gets_the_webhooks_of_each_step() -> None:
    got: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        got.append(json.loads(environ["wsgi.input"].read())["type"])
        start_response("204 No Content", [])
        return iter([b""])

    with Sandbox() as sandbox:
        sandbox.webhooks.to(app)
        report = sandbox.scenario("refund_after_cancel")
    assert got == [event for step in EVENTS["refund_after_cancel"] for event in step]
    assert {one["last_status"] for step in report.steps for one in step["deliveries"]} == {204}


async def test_a_receiver_that_fails_is_reported_and_retried(sandbox: Sandbox) -> None:
    async with receiving() as receiver:
        receiver.answers = [500]
        report = await sandbox.scenario("trial_cancelled", to=f"{receiver.url}/both", secret=receiver.secret)
        [first] = report.steps[0]["deliveries"]
        assert (first["attempts"], first["last_status"]) == (2, 200)  # again when the clock had moved on
        assert report.succeeded
        receiver.answers = [500] * 100
        report = await sandbox.scenario("trial_cancelled", to=f"{receiver.url}/both", secret=receiver.secret)
        assert not report.succeeded
        [last] = report.steps[-1]["deliveries"]
        assert (last["status"], last["last_status"], last["last_error"]) == ("pending", 500, "answered 500")
        assert last["response_body"] == "not today"
        assert "-> 500" in str(report)


async def test_a_receiver_that_is_not_there(sandbox: Sandbox) -> None:
    report = await sandbox.scenario("trial_cancelled", to="http://127.0.0.1:9/hook")
    assert not report.succeeded
    assert report.steps[0]["deliveries"][0]["last_status"] is None
    elsewhere = await sandbox.scenario("trial_cancelled", to="https://example.com/hook")
    assert elsewhere.steps[0]["deliveries"][0]["status"] == "blocked"


async def test_deliveries_come_again_and_in_the_wrong_order(sandbox: Sandbox) -> None:
    async with receiving() as receiver:
        await sandbox.scenario("duplicate_and_late_deliveries", to=f"{receiver.url}/both", secret=receiver.secret)
        changes = [one for one in receiver.got if one.type == "customer.updated"]
        [first, second] = sorted({one.id: one for one in changes}.values(), key=lambda one: one.data.name)
        assert (first.data.name, second.data.name) == ("Ada King", "Ada King-Noel")
        assert [one.id for one in changes[2:]] == [second.id, first.id, first.id]


async def test_what_others_do_is_not_the_scenarios(sandbox: Sandbox, montra: Montra) -> None:
    """A customer whose subscription renews on the way, and a user at the same paywall."""
    sandbox.trigger("checkout.completed", email="grace@example.com")
    sandbox.trigger("payment.completed", email="grace@example.com", price_id="101")
    async with receiving() as own, receiving() as all_:
        hook = await montra.create_webhook(url=f"{all_.url}/montra")
        all_.secret = hook.secret or ""
        sandbox.set_paywall(sandbox.paywall_id, webhook_url=f"{all_.url}/paywall", webhook_secret=all_.secret)
        for name in ("upgrade_mid_period", "trial_then_paid"):
            report = await sandbox.scenario(name, to=f"{own.url}/both", secret=own.secret)
            _check_report(report.data, name)
        assert not any("grace" in repr(one) for one in own.got)
        own_ids, all_ids = {one.id for one in own.got}, {one.id for one in all_.got}
        assert own_ids < all_ids  # the endpoints that were there get everything, as always
    assert [one.id for one in await montra.list_webhooks()] == [hook.id]
    assert sandbox.paywall(sandbox.paywall_id)["webhook_url"] == f"{all_.url}/paywall"
    assert [one.status for one in await montra.list_subscriptions()] == ["active"] * 2


async def test_what_an_application_does_when_it_gets_a_webhook_is_part_of_the_step(
    sandbox: Sandbox, montra: Montra
) -> None:
    async with receiving() as receiver:

        async def react(event: Any) -> None:
            if event.type == "customer.created":
                await montra.update_customer(event.data.id, phone="+1 555 0100")
            if event.type == "customer.updated":  # without end
                await montra.update_customer(event.data.id, phone=f"{event.data.phone}0")

        receiver.react = react
        report = await sandbox.scenario("refund_after_cancel", to=f"{receiver.url}/both", secret=receiver.secret)
        assert report.succeeded
        types = [[event["type"] for event in step["events"]] for step in report.steps]
        assert types[0][:5] == [*STARTED, "customer.updated"]
        assert types[0].count("customer.updated") == 10  # the rest counts for the next step
        assert set(types[1]) == {"subscription.updated", "customer.updated"}
        assert all(len(step["deliveries"]) == len(step["events"]) for step in report.steps)


async def test_the_sandbox_keeps_what_happened(sandbox: Sandbox, montra: Montra) -> None:
    started = sandbox.now()
    report = await sandbox.scenario("card_declined_at_renewal")
    [customer] = await montra.list_customers()
    assert customer.email.startswith("scenario.")
    [subscription] = await montra.list_subscriptions()
    assert subscription.status == "canceled"
    assert sorted(one.status for one in await montra.list_invoices()) == ["paid", "paid", "uncollectible"]
    assert [one["status"] for one in sandbox.transactions()] == ["failed", "failed", "succeeded", "failed", "succeeded"]
    assert parse_datetime(report.data["from"]) == started
    assert parse_datetime(report.data["to"]) == sandbox.now()
    assert (sandbox.now() - started).days > 60


async def test_the_purchase_of_a_guest_moves(sandbox: Sandbox) -> None:
    await sandbox.scenario("guest_checkout_then_sign_in")
    [guest, member] = sandbox.paywall_users(sandbox.paywall_id)
    assert (guest["purchases"], len(member["purchases"])) == ([], 1)
    async with BillingClient(sandbox.paywall_id, sandbox.url, sandbox.api_key) as billing:
        [purchase] = await billing.for_user(email=member["email"]).list_purchases()
        assert purchase.status == "active"


async def test_the_other_merchant(sandbox: Sandbox, montra: Montra) -> None:
    async with receiving() as receiver:
        to = f"{receiver.url}/both"
        report = await sandbox.scenario("trial_then_paid", to=to, secret=receiver.secret, owner="sk_test_other")
        assert report.succeeded
        assert len(receiver.got) == 5
    await sandbox.scenario("pause_and_resume", owner="sk_test_other")
    assert await montra.list_customers() == []
    assert sandbox.paywall_users(sandbox.paywall_id) == []


async def test_refusals_leave_nothing_behind(sandbox: Sandbox) -> None:
    for name, given, status in (
        ("nothing", {}, 404),
        ("trial_then_paid", {"to": "ftp://x"}, 400),
        ("trial_then_paid", {"to": 5}, 400),
        ("trial_then_paid", {"to": "http://x", "secret": 5}, 400),
        ("trial_then_paid", {"to": "http://x", "secret": ""}, 400),
        ("trial_then_paid", {"owner": "sk_test_nobody"}, 400),
    ):
        assert (await control(sandbox, "POST", f"/scenarios/{name}", given))[0] == status
        with pytest.raises(Problem):
            await sandbox.scenario(name, **given)  # type: ignore[arg-type]
    sandbox.set_paywall(sandbox.paywall_id, prices=[])
    for name in ("trial_then_paid", "tokens_run_out_then_topped_up"):
        with pytest.raises(Problem, match="this scenario needs a price"):
            await sandbox.scenario(name, to="http://127.0.0.1:9/")
    assert in_server(sandbox, _temporary) == 0


async def test_a_reset_on_the_way_ends_it(sandbox: Sandbox) -> None:
    async with receiving() as receiver:
        resets: list[Any] = []

        async def reset(event: Any) -> None:
            if not resets:
                sandbox.reset()
            resets.append(event)

        receiver.react = reset
        with pytest.raises(Problem):
            await sandbox.scenario("upgrade_mid_period", to=f"{receiver.url}/both", secret=receiver.secret)
        assert resets
    assert in_server(sandbox, _temporary) == 0


async def test_a_report_has_to_be_awaited_in_a_coroutine(sandbox: Sandbox) -> None:
    report = sandbox.scenario("trial_cancelled")
    with pytest.raises(RuntimeError, match=r"await sandbox\.scenario"):
        _ = report.succeeded
    await report
    assert report.succeeded
    assert (await report) is report


async def test_step_by_step_in_the_server(sandbox: Sandbox) -> None:
    def play(world: World) -> list[tuple[str, int]]:
        run = open_scenario(world, "trial_cancelled")
        results = [run.run_next() for _ in run.steps]
        assert run.is_over
        with pytest.raises(IndexError):
            run.run_next()
        return [(one.title, len(one.events)) for one in results]

    assert [count for _, count in in_server(sandbox, play)] == [1, 1, 1]
