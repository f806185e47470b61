"""Montra against a sandbox: customers, plans, usage, checkout, refund, subscriptions, webhooks.

python examples/montra_walk.py
"""

import asyncio
from datetime import timedelta
from decimal import Decimal

from walking import Receiver, ended, expect, pay, step

from montra_async import ConflictError, Montra
from montra_sandbox import Sandbox


async def walk(montra: Montra, sandbox: Sandbox, receiver: Receiver) -> None:
    endpoint = await montra.create_webhook(url=receiver.url, events=["*"])
    receiver.secret = endpoint.secret or ""
    step("webhook endpoint", endpoint.url)

    # Plans with a product, meters and a feature.
    free = await montra.create_pricing_model(name="Free", is_default=True)
    pro = await montra.create_pricing_model(name="Pro")
    step("pricing models", f"{free.name}, {pro.name}")
    seat = await montra.create_product(
        pricing_model_id=pro.id, name="Pro plan", price_type="recurring", amount=Decimal("299.00")
    )
    step("product", f"{seat.name}: {seat.amount} {seat.currency} {seat.price_type}")
    for plan, limit in ((free, 1_000), (pro, 100_000)):
        await montra.create_meter(
            name="API tokens",
            slug="api-tokens",
            pricing_model_id=plan.id,
            amount=Decimal("0.002"),
            events_per_unit=1000,
        )
        sandbox.set_limit(pricing_model_id=plan.id, meter_slug="api-tokens", max_amount=limit)
    step("meters with limits", "1,000 tokens free, 100,000 with Pro")
    sso = await montra.create_feature(name="Single sign-on", slug="sso", pricing_model_id=pro.id)
    step("feature", f"{sso.slug} ({sso.status})")

    # A customer on the free plan reaches its limit.
    ada = await montra.create_customer(name="Ada Lovelace", email="ada@example.com", metadata={"team": "engines"})
    step("customer", f"{ada.name} <{ada.email}>")
    try:
        await montra.create_customer(name="Ada again", email="ada@example.com")
        expect(False, "the same email was accepted twice")
    except ConflictError as error:
        step("same email again", f"refused: {error.code}")
    await montra.report_usage(customer_id=ada.id, meter_slug="api-tokens", amount=400, idempotency_key="job-1")
    await montra.report_usage(customer_id=ada.id, meter_slug="api-tokens", amount=400, idempotency_key="job-1")
    access = await montra.check_entitlement(ada.id, "api-tokens")
    step("usage, reported twice by one key", f"{access.usage} of {access.limit} tokens")
    expect(access.usage == 400, "an idempotency key counted twice")
    await montra.report_usage(customer_id=ada.id, meter_slug="api-tokens", amount=600)
    access = await montra.check_entitlement(ada.id, "api-tokens")
    step("entitlement at the limit", f"has_access={access.has_access}, {access.reason}")
    expect(not access.has_access, "access beyond the limit")
    access = await montra.check_feature_access(ada.id, "sso")
    step("feature on the free plan", f"has_access={access.has_access}, {access.reason}")
    expect(not access.has_access, "sso without Pro")

    # She buys Pro on the hosted checkout.
    await montra.create_discount(name="Launch", code="LAUNCH10", percent_off=10, duration="once")
    link = await montra.create_checkout_link(
        link_name="pro", payment_name="Montra Pro", line_items=[{"product_id": seat.id, "quantity": 1}]
    )
    step("checkout link", link.url)
    expect("declined" in await pay(link.url, card="4000000000000002"), "a bad card paid")
    step("a declined card", "the page says so")
    expect("Payment complete" in await pay(link.url, code="LAUNCH10"), "the payment failed")
    payment = sandbox.transactions()[0]
    step("payment with a discount", f"{payment['amount']} {payment['currency']} {payment['status']}")
    expect(payment["amount"] == Decimal("269.10"), "10 % off 299.00 is 269.10")
    access = await montra.check_entitlement(ada.id, "api-tokens")
    step("entitlement on Pro", f"has_access={access.has_access}, {access.usage} of {access.limit}")
    expect(access.has_access, "no access after paying")
    expect((await montra.check_feature_access(ada.id, "sso")).has_access, "no sso after paying")

    refund = await montra.create_refund(transaction_id=payment["id"], amount=Decimal("50.00"), reason="goodwill")
    step("refund", f"{refund.amount} {refund.status}")
    try:
        await montra.create_refund(transaction_id=payment["id"], amount=Decimal("250.00"))
        expect(False, "more was refunded than paid")
    except ConflictError as error:
        step("refund of more than is left", f"refused: {error.message}")

    # Changes of a subscription.
    [subscription] = await montra.list_subscriptions(ada.id)
    step("subscription", f"{subscription.status} until {subscription.current_period_end:%Y-%m-%d}")
    upgrade = await montra.upgrade_subscription(subscription.id, free.id)
    proration = upgrade.proration
    step("down to Free", f"net {proration.net_amount if proration else None}")
    await montra.upgrade_subscription(subscription.id, pro.id)
    soon = sandbox.now() + timedelta(days=10)
    change = await montra.schedule_subscription_change(subscription.id, free.id, scheduled_for=soon)
    step("scheduled change", f"{change.status} for {change.scheduled_for:%Y-%m-%d}")
    paused = await montra.pause_subscription(subscription.id, resume_at=sandbox.now() + timedelta(days=5))
    step("paused", f"{paused.status} until {paused.resume_at:%Y-%m-%d}")
    sandbox.advance(days=6)
    resumed = await montra.get_subscription(subscription.id)
    step("six days later", f"{resumed.status} again, by itself")
    expect(resumed.status == "active", "resume_at passed without a resume")
    sandbox.advance(days=6)
    [done] = await montra.list_scheduled_changes(subscription.id)
    step("six more days later", f"the scheduled change is {done.status}")
    expect(done.status == "completed", "the scheduled change did not happen")
    sandbox.advance(days=30)
    usage = (await montra.check_entitlement(ada.id, "api-tokens")).usage
    step("a month later", f"a new period, usage {usage}, {len(await montra.list_invoices())} invoices so far")
    expect(usage == 0, "usage did not start again with the period")

    # Analytics, audit log and webhooks.
    series = await montra.get_analytics_series(interval="monthly", points=3)
    step("analytics", f"revenue {sum(point.value for point in series.revenue)} in {series.points} months")
    entries = [entry.event_type async for entry in montra.iter_audit_logs()]
    step("audit log", f"{len(entries)} entries, the first: {entries[-1]}")
    await sandbox.settle()
    step("webhooks, signatures verified", f"{len(receiver.received)}: {', '.join(sorted(set(receiver.received)))}")
    expect("checkout.completed" in receiver.received, "no webhook told of the payment")
    expect(all(one["status"] == "succeeded" for one in sandbox.deliveries()), "a webhook was not delivered")


async def main() -> None:
    async with (
        Receiver("Montra-Signature") as receiver,
        Sandbox() as sandbox,
        Montra(sandbox.api_key, sandbox.base_url) as montra,
    ):
        await walk(montra, sandbox, receiver)


if __name__ == "__main__":
    asyncio.run(main())
    ended()
