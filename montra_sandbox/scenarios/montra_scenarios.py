"""Lifecycles at the Montra service."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from ..datetimes import format_datetime, parse_datetime
from ..montra import subscriptions
from ..problems import Problem
from .collection import GIVE_UP_DAYS, RETRY_DAYS, charge_invoice, newest_invoice, set_invoice_status
from .montra_triggers import set_limit
from .stage import Action, Scenario, Stage, Step

_PRICES = {"Starter": "9.00", "Pro": "29.00", "Team": "99.00"}
_DECLINED = "The card was declined."
_NO_FUNDS = "The card has insufficient funds."
_METER = "scenario-tokens"
_LIMITS = {"Starter": 100, "Pro": 1_000}


# Steps that several scenarios have


def _buy(plan: str) -> Action:
    """Buy a plan on the page of a checkout link."""

    def run(stage: Stage) -> None:
        link_id = _make_link(stage, plan)
        _pay(stage, link_id)

    return run


def _make_link(stage: Stage, plan: str) -> str:
    model_id = stage.plan(plan, _PRICES[plan])
    [product] = stage.calls.montra("list_products", query={"pricing_model_id": model_id})
    body = {"link_name": f"{plan} {stage.suffix}", "payment_name": plan, "line_items": [{"product_id": product["id"]}]}
    return str(stage.calls.montra("create_checkout_link", body)["id"])


def _pay(stage: Stage, link_id: str, code: str | None = None, declined: str | None = None) -> None:
    paid = stage.calls.pay_link(link_id, name="Ada Lovelace", email=stage.email, code=code, declined=declined)
    if not declined:
        stage.ids["transaction"], stage.ids["customer"] = paid["id"], paid["customer_id"]
        running = subscriptions.find_running(stage.calls.context(), paid["customer_id"])
        assert running is not None
        stage.ids["subscription"] = running["id"]
        stage.add(paid["id"], paid["customer_id"], running["id"])


def _to_period_end(stage: Stage) -> str:
    """Let the period end; the invoice of the new one appears."""
    stage.advance_to(stage.period_end())
    return _describe_invoice(stage)


def _renew(stage: Stage) -> str:
    """Let the period end, and charge the invoice of the new one."""
    stage.advance_to(stage.period_end())
    with stage.calls.transaction():
        charge_invoice(stage.calls.context(), newest_invoice(stage.calls.context(), stage.ids["subscription"]))
    return _describe_invoice(stage)


def _describe_invoice(stage: Stage) -> str:
    invoice_id = newest_invoice(stage.calls.context(), stage.ids["subscription"])
    invoice = stage.calls.montra("get_invoice", path={"invoice_id": invoice_id})
    return f"invoice {invoice['invoice_number']}: {invoice['amount_due']:f} {invoice['currency']}, {invoice['status']}"


def _set_status(stage: Stage, **decided: Any) -> None:
    context = stage.calls.context()
    subscriptions.set_by_service(context, subscriptions.get_row(context, stage.ids["subscription"]), **decided)


def _subscription_call(stage: Stage, operation_id: str, **body: Any) -> Any:
    return stage.calls.montra(operation_id, body, path={"subscription_id": stage.ids["subscription"]})


# Declined renewals


def _decline_renewal(stage: Stage) -> str:
    stage.advance_to(stage.period_end())
    with stage.calls.transaction():
        invoice_id = newest_invoice(stage.calls.context(), stage.ids["subscription"])
        charge_invoice(stage.calls.context(), invoice_id, _NO_FUNDS)
        _set_status(stage, status="past_due")
    return _describe_invoice(stage)


def _recover(stage: Stage) -> str:
    stage.advance(timedelta(days=RETRY_DAYS))
    with stage.calls.transaction():
        charge_invoice(stage.calls.context(), newest_invoice(stage.calls.context(), stage.ids["subscription"]))
        _set_status(stage, status="active")
    return _describe_invoice(stage)


def _give_up(stage: Stage) -> str:
    stage.advance(timedelta(days=GIVE_UP_DAYS))
    with stage.calls.transaction():
        invoice_id = newest_invoice(stage.calls.context(), stage.ids["subscription"])
        charge_invoice(stage.calls.context(), invoice_id, _NO_FUNDS)
        set_invoice_status(stage.calls.context(), invoice_id, "uncollectible")
        _set_status(stage, status="canceled")
    return _describe_invoice(stage)


# Changes of plan


def _upgrade(stage: Stage) -> str:
    stage.advance((stage.period_end() - stage.calls.now()) / 2)
    upgraded = _subscription_call(stage, "upgrade_subscription", new_pricing_model_id=stage.plan("Team", "99.00"))
    proration = upgraded["proration"]
    return (
        f"unused {proration['unused_amount']}, remaining {proration['remaining_amount']}, due {proration['net_amount']}"
    )


def _schedule_downgrade(stage: Stage) -> str:
    stage.advance(timedelta(days=10))
    when = stage.subscription()["current_period_end"]
    body = {"new_pricing_model_id": stage.plan("Pro", "29.00"), "scheduled_for": when}
    _subscription_call(stage, "schedule_subscription_change", **body)
    return f"scheduled for {when}"


# Refund, pause, discount, checkout


def _cancel_at_period_end(stage: Stage) -> None:
    stage.advance(timedelta(days=5))
    with stage.calls.transaction():
        _set_status(stage, cancel_at_period_end=True)


def _refund(stage: Stage) -> None:
    body = {"transaction_id": stage.ids["transaction"], "amount": Decimal("29.00"), "reason": "canceled"}
    stage.calls.montra("create_refund", body)


def _end(stage: Stage) -> None:
    stage.advance_to(stage.period_end())


def _pause(stage: Stage) -> None:
    stage.advance(timedelta(days=3))
    resume_at = format_datetime(stage.calls.now() + timedelta(days=40))
    stage.ids["resume_at"] = resume_at
    _subscription_call(stage, "pause_subscription", pause_behavior="void", resume_at=resume_at)


def _wait_for_resume(stage: Stage) -> None:
    stage.advance_to(parse_datetime(stage.ids["resume_at"]))


def _buy_with_discount(stage: Stage) -> str:
    code = f"SCENARIO-{stage.suffix}".upper()
    discount = {"name": "Half price", "code": code, "percent_off": 50, "duration": "repeating"}
    stage.calls.montra("create_discount", {**discount, "duration_in_months": 2})
    _pay(stage, _make_link(stage, "Pro"), code)
    return _describe_invoice(stage)


def _open_link(stage: Stage) -> None:
    stage.ids["link"] = _make_link(stage, "Pro")


def _try_card(declined: str | None) -> Action:
    def run(stage: Stage) -> str | None:
        _pay(stage, stage.ids["link"], declined=declined)
        return declined

    return run


# Usage


def _start_metered(stage: Stage) -> None:
    with stage.calls.transaction():
        for plan in ("Starter", "Pro"):
            model_id = stage.plan(plan, _PRICES[plan])
            if not stage.calls.db.one("SELECT 1 FROM meters WHERE pricing_model_id = ? AND slug = ?", model_id, _METER):
                meter = {"name": "Tokens", "slug": _METER, "pricing_model_id": model_id}
                stage.calls.montra("create_meter", meter)
            set_limit(stage.calls, model_id, _METER, Decimal(_LIMITS[plan]))
        _buy("Starter")(stage)


def _report(amount: int) -> Action:
    def run(stage: Stage) -> str:
        body = {"customer_id": stage.ids["customer"], "meter_slug": _METER, "amount": amount}
        stage.calls.montra("report_usage", body)
        return _describe_access(stage)

    return run


def _upgrade_to_pro(stage: Stage) -> str:
    _subscription_call(stage, "upgrade_subscription", new_pricing_model_id=stage.plan("Pro", "29.00"))
    return _describe_access(stage)


def _describe_access(stage: Stage) -> str:
    query = {"customer_id": stage.ids["customer"], "meter": _METER}
    entitlement = stage.calls.montra("check_entitlement", query=query)
    access = "access" if entitlement["has_access"] else "no access"
    return f"{entitlement['usage']} of {entitlement['limit']} used: {access}"


# Deliveries


def _update_twice(stage: Stage) -> None:
    position = stage.calls.last_event()
    path = {"customer_id": stage.ids["customer"]}
    for name in ("Ada King", "Ada King-Noel"):
        stage.calls.montra("update_customer", {"name": name}, path=path)
    first, second = [event["id"] for event in stage.calls.events_after(position) if stage.owns(event)]
    stage.ids["first"], stage.ids["second"] = first, second


def _resend(*names: str) -> Action:
    def run(stage: Stage) -> None:
        stage.resend = [stage.ids[name] for name in names]

    return run


def _resubscribe_refused(stage: Stage) -> str:
    """A receiver that subscribes at every delivery would do this."""
    body = {"customer_id": stage.ids["customer"], "pricing_model_id": stage.plan("Pro", "29.00")}
    try:
        stage.calls.montra("create_subscription", body)
    except Problem as problem:
        return f"{problem.status} {problem.code}"
    raise AssertionError("a second subscription was not refused")


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        name="card_declined_at_renewal",
        title="A card is declined at the renewal: once it recovers, the next time the subscription ends",
        service="montra",
        steps=(
            Step("A customer buys Pro", _buy("Pro")),
            Step("A month later the renewal is declined: the subscription is past due", _decline_renewal),
            Step("Three days later the card pays: the subscription is active again", _recover),
            Step("At the next renewal the card is declined again", _decline_renewal),
            Step("After ten days the service gives up: uncollectible, and canceled", _give_up),
        ),
    ),
    Scenario(
        name="upgrade_mid_period",
        title="A customer upgrades in the middle of a period",
        service="montra",
        steps=(
            Step("A customer buys Pro", _buy("Pro")),
            Step("Half a period later the customer upgrades to Team, prorated", _upgrade),
            Step("The next period is invoiced at the price of Team", _renew),
        ),
    ),
    Scenario(
        name="downgrade_scheduled",
        title="A downgrade is scheduled for the end of the period",
        service="montra",
        steps=(
            Step("A customer buys Team", _buy("Team")),
            Step("Ten days later a change to Pro is scheduled for the end of the period", _schedule_downgrade),
            Step(
                "The period ends: the plan changes, and the next period is invoiced at the price of Pro", _to_period_end
            ),
        ),
    ),
    Scenario(
        name="refund_after_cancel",
        title="A customer cancels and gets the money back",
        service="montra",
        steps=(
            Step("A customer buys Pro", _buy("Pro")),
            Step("Five days later the subscription is canceled at the end of its period", _cancel_at_period_end),
            Step("The payment is refunded in full", _refund),
            Step("The period ends, and with it the subscription", _end),
        ),
    ),
    Scenario(
        name="pause_and_resume",
        title="A subscription is paused and resumes by itself",
        service="montra",
        steps=(
            Step("A customer buys Pro", _buy("Pro")),
            Step("Three days later the subscription is paused for 40 days", _pause),
            Step("The period ends during the pause: its invoice is void", _to_period_end),
            Step("After 40 days the subscription resumes by itself", _wait_for_resume),
            Step("The next period is invoiced as usual", _renew),
        ),
    ),
    Scenario(
        name="usage_limit_reached_then_upgrade",
        title="A customer uses up the limit of a meter and upgrades",
        service="montra",
        steps=(
            Step("A customer buys Starter, which includes 100 tokens", _start_metered),
            Step("60 tokens are used", _report(60)),
            Step("40 more are used: the limit is reached, access ends", _report(40)),
            Step("The customer upgrades to Pro, which includes 1,000 tokens: access again", _upgrade_to_pro),
        ),
    ),
    Scenario(
        name="discount_that_ends",
        title="A discount of two months ends",
        service="montra",
        steps=(
            Step("A customer buys Pro with a code: half the price for two months", _buy_with_discount),
            Step("The second month costs half the price", _renew),
            Step("The third month costs the full price", _renew),
        ),
    ),
    Scenario(
        name="checkout_abandoned_then_paid",
        title="Two cards are declined at a checkout, the third pays",
        service="montra",
        steps=(
            Step("A checkout link for Pro is opened", _open_link),
            Step("The first card is declined", _try_card(_DECLINED)),
            Step("The second card has insufficient funds", _try_card(_NO_FUNDS)),
            Step("The third card pays", _try_card(None)),
        ),
    ),
    Scenario(
        name="duplicate_and_late_deliveries",
        title="Webhooks arrive twice and in the wrong order",
        service="montra",
        steps=(
            Step("A customer buys Pro", _buy("Pro")),
            Step("The customer's name changes twice", _update_twice),
            Step("Both changes are delivered again, the older one last", _resend("second", "first")),
            Step("The older one is delivered a third time", _resend("first")),
            Step("Who subscribed at every delivery would be refused", _resubscribe_refused),
        ),
    ),
)
