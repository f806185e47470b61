"""Everything that can be changed in the dashboard, and what the pages then show."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from decimal import Decimal

import aiohttp
import pytest

from montra_async import Montra
from montra_async.paywall import AuthClient, BillingClient
from montra_sandbox import Sandbox

from .dashboard_http import DashboardHttp

CARD = "4242424242424242"


async def test_open_invoices_are_those_of_all_currencies(
    dashboard: DashboardHttp, montra: Montra, sandbox: Sandbox
) -> None:
    ada = await montra.create_customer(name="Ada", email="ada@example.com")

    async def shown() -> str:
        text = (await dashboard.get("/")).text.partition("Open invoices")[2]
        return " ".join(re.sub("<[^>]*>", " ", text.partition("</dd>")[0]).split())

    assert await shown() == "$0.00 0 open"
    for amount, currency in ((100, "USD"), (50, "EUR"), (1, "EUR"), (700, "JPY"), (3, "GBP"), (4, "CHF")):
        await montra.create_invoice(ada.id, amount_due=amount, currency=currency)
    await montra.create_invoice(ada.id, amount_due=9, status="paid")
    assert await shown() == "$100.00 6 open, also 51.00 EUR, 700 JPY, 2 more currencies"


async def test_a_plan_is_built_and_edited(dashboard: DashboardHttp, montra: Montra) -> None:
    made = await dashboard.done("/dashboard/plans", "/dashboard/plans", name="Pro", is_default="1")
    [plan] = await montra.list_pricing_models()
    page = f"/dashboard/plans/{plan.id}"
    assert made.path.startswith(page)
    assert plan.is_default
    for name in ("Products", "Meters", "Features"):
        assert f"No {name.lower()} yet" in made.text
    await dashboard.done(f"{page}/meters", page, name="API tokens", slug="api-tokens", aggregation="sum", amount="0.01")
    await dashboard.done(f"{page}/features", page, name="SSO", slug="sso", description="")
    await dashboard.done(f"{page}/products", page, name="Seat", price_type="recurring", amount="20.50")
    usage = {"price_type": "usage", "meter_slug": "api-tokens", "pricing_structure": "tiered"}
    await dashboard.done(f"{page}/products", page, name="Tokens", **usage)
    seat, tokens = await montra.list_products(plan.id)
    assert (seat.amount, seat.meter_slug) == (Decimal("20.50"), None)
    limited = await dashboard.done(f"{page}/limits", page, meter_slug="api-tokens", max_amount="1000", period="month")
    assert limited.notice == ("done", "api-tokens is at most 1,000 per month.")
    assert 'value="1000"' in limited.text
    tiers = {"up_to_1": "100", "unit_amount_1": "0.02", "up_to_2": "", "unit_amount_2": "0.01"}
    priced = await dashboard.done(f"/dashboard/products/{tokens.id}/tiers", page, **tiers)
    assert "to 100: $0.02" in priced.text
    assert "$20.50" in priced.text
    unlimited = await dashboard.done(f"{page}/limits", page, meter_slug="api-tokens", max_amount="")
    assert unlimited.notice == ("done", "api-tokens is unlimited.")
    [feature] = await montra.list_features()
    for action, status in (("deactivate", "Inactive"), ("activate", "Active")):
        await dashboard.done(f"/dashboard/features/{feature.id}", page, action=action)
        assert (await montra.list_features())[0].status == status
    await dashboard.done(f"/dashboard/features/{feature.id}", page, action="delete")
    assert await montra.list_features() == []
    await dashboard.done(page, page, name="Professional")
    [plan] = await montra.list_pricing_models()
    assert (plan.name, plan.is_default) == ("Professional", False)
    assert "$20.50" in (await dashboard.get("/dashboard/plans")).text


async def test_a_refused_form_keeps_what_was_entered(dashboard: DashboardHttp, montra: Montra) -> None:
    plan = await montra.create_pricing_model(name="Pro")
    page = f"/dashboard/plans/{plan.id}"
    refused = await dashboard.post(f"{page}/meters", page, _form="meter", name='A "name"', slug=" ", aggregation="max")
    assert refused.status == 400
    assert refused.notice is not None
    assert refused.notice[0] == "failed"
    assert 'value="A &#34;name&#34;"' in refused.text
    assert '<option value="max" selected>' in refused.text
    for fields in ({"max_amount": "much"}, {"max_amount": "-1"}, {"max_amount": "1", "period": "century"}):
        refused = await dashboard.post(f"{page}/limits", page, meter_slug="m", **fields)
        assert (refused.status, refused.notice is not None) == (400, True)
    product = await montra.create_product(plan.id, name="P", price_type="one_time", amount=1)
    for tiers in ({}, {"up_to_1": "5"}, {"up_to_1": "5", "unit_amount_1": "1"}):
        assert (await dashboard.post(f"/dashboard/products/{product.id}/tiers", page, **tiers)).status == 400
    assert (await dashboard.post("/dashboard/features/feat_none", page, action="delete")).status == 404


async def test_a_customer_and_the_subscription(dashboard: DashboardHttp, montra: Montra, sandbox: Sandbox) -> None:
    pro, team = [await montra.create_pricing_model(name=name) for name in ("Pro", "Team")]
    await montra.create_product(pro.id, name="Seat", price_type="recurring", amount=20)
    await montra.create_meter(pro.id, name="Tokens", slug="tokens")
    await montra.create_feature(pro.id, name="SSO", slug="sso")
    sandbox.set_limit(pricing_model_id=pro.id, meter_slug="tokens", max_amount=10)
    made = await dashboard.done("/dashboard/customers", name="Ada", email="ada@example.com")
    [ada] = await montra.list_customers()
    page = f"/dashboard/customers/{ada.id}"
    assert made.path.startswith(page)
    assert "No subscription" in made.text
    await dashboard.done(f"{page}/subscription", page, plan=pro.id)
    again = await dashboard.post(f"{page}/subscription", page, plan=pro.id)
    assert (again.status, again.notice) == (409, ("failed", "The customer has this plan already."))
    full = await dashboard.done(f"{page}/usage", page, meter_slug="tokens", amount="12.5")
    for words in ("12.5 of 10", "limit reached", "INV-000001", "subscription.created", "$20.00", "SSO"):
        assert words in full.text, words
    assert "usage.reported" not in full.text
    assert "usage.reported" in (await dashboard.get(f"{page}?usage=1")).text
    [subscription] = await montra.list_subscriptions()
    path = f"/dashboard/subscriptions/{subscription.id}"
    for action, status in (("pause", "paused"), ("resume", "active"), ("past_due", "past_due"), ("active", "active")):
        await dashboard.done(path, page, action=action)
        assert (await montra.get_subscription(subscription.id)).status == status
    await dashboard.done(f"{page}/subscription", page, plan=team.id)
    await montra.schedule_subscription_change(subscription.id, pro.id, scheduled_for=sandbox.now() + timedelta(days=3))
    assert "the plan changes to" in (await dashboard.get(page)).text
    await dashboard.done(path, page, action="cancel_at_period_end")
    assert "ends with its period" in (await dashboard.get(page)).text
    await dashboard.done(path, page, action="canceled")
    assert (await dashboard.post(path, page, action="nonsense")).status == 400


async def test_payments_links_discounts_and_refunds(dashboard: DashboardHttp, montra: Montra, sandbox: Sandbox) -> None:
    page = "/dashboard/payments"
    pro = await montra.create_pricing_model(name="Pro")
    seat = await montra.create_product(pro.id, name="Seat", price_type="recurring", amount=20)
    await dashboard.done("/dashboard/discounts", page, code="TEN", percent_off="10", duration="once")
    await montra.create_discount(name="Five", code="FIVE", amount_off=5, duration="once")
    assert (await dashboard.post("/dashboard/discounts", page, code="X", percent_off="")).status == 400
    made = await dashboard.done("/dashboard/checkout-links", page, payment_name="Pro", product=seat.id, amount="")
    assert "$20.00" in made.text
    assert "$5.00" in made.text
    await dashboard.done("/dashboard/checkout-links", page, payment_name="Gift", product="", amount="7")
    link = next(link for link in made.links if link.startswith("/pay/"))
    form = {"name": "Ada", "email": "ada@example.com", "card": CARD, "code": "TEN", "action": "pay"}
    async with dashboard.http.post(sandbox.url + link, data=form) as answer:
        receipt = await answer.text()
    payment = sandbox.transactions()[0]["id"]
    for words in ("Payment complete", "Seat", "Discount", "-$2.00", f"/dashboard/payments/{payment}", link):
        assert words in receipt, words
    shown = await dashboard.get(f"/dashboard/payments/{payment}")
    for words in ("$18.00", "Seat", "TEN", "Ada", "transaction.succeeded"):
        assert words in shown.text, words
    path = f"/dashboard/payments/{payment}"
    assert (await dashboard.post(f"{path}/refunds", path, amount="")).status == 400
    part = await dashboard.done(f"{path}/refunds", path, amount="8", reason="late")
    assert 'value="10.00"' in part.text
    assert "late" in part.text
    assert (await dashboard.post(f"{path}/refunds", path, amount="11")).status == 409
    whole = await dashboard.done(f"{path}/refunds", path, amount="10.00")
    assert f"{path}/refunds" not in whole.text
    assert payment in (await dashboard.get(f"{page}?status=succeeded")).text
    assert "No payment is found" in (await dashboard.get(f"{page}?status=failed")).text
    invoice = (await montra.list_invoices())[0]
    assert invoice.id in (await dashboard.get("/dashboard/invoices?status=paid")).text
    shown = await dashboard.get(f"/dashboard/invoices/{invoice.id}")
    assert all(words in shown.text for words in ("Pro", "Ada", "invoice.created"))
    assert "No invoice is found" in (await dashboard.get("/dashboard/invoices?status=void")).text


async def test_search_leads_to_objects(dashboard: DashboardHttp, montra: Montra, sandbox: Sandbox) -> None:
    pro = await montra.create_pricing_model(name="Pro")
    meter = await montra.create_meter(pro.id, name="M", slug="m")
    people = [await montra.create_customer(name=f"Ada {i}", email=f"ada_{i}@example.com") for i in range(30)]
    bob = await montra.create_customer(name="100% Bob", email="bob@example.org")
    subscription = await montra.create_subscription(bob.id, pro.id)
    invoice = await montra.create_invoice(bob.id, amount_due=5)
    event = sandbox.events(limit=1)[0]["id"]
    for wanted, path in (
        (bob.id, f"/dashboard/customers/{bob.id}"),
        (subscription.id, f"/dashboard/customers/{bob.id}"),
        (pro.id, f"/dashboard/plans/{pro.id}"),
        (meter.id, f"/dashboard/plans/{pro.id}"),
        (invoice.id, f"/dashboard/invoices/{invoice.id}"),
        (event, f"/dashboard/events/{event}"),
        ("cust_none", "/dashboard/customers?q=cust_none"),
    ):
        assert (await dashboard.get(f"/dashboard/search?q={wanted}")).path == path
    for query, found in (("%25", [bob]), ("_3@", [people[3]]), ("BOB", [bob]), (people[7].id, [people[7]])):
        shown = await dashboard.get(f"/dashboard/customers?q={query}")
        assert [one for one in (*people, bob) if one.id in shown.text] == found, query
    assert "No customer is found" in (await dashboard.get("/dashboard/customers?q=nobody")).text
    first = await dashboard.get("/dashboard/customers?q=ada")
    assert people[29].id in first.text
    assert people[0].id not in first.text
    [older] = [link for link in first.links if "page=2" in link]
    second = await dashboard.get(older)
    assert people[0].id in second.text
    assert "/dashboard/customers?q=ada" in second.links  # page 1 has no number
    for number in ("999999999999", "-1", "x", "٣"):
        assert (await dashboard.get(f"/dashboard/customers?page={number}")).status == 200


async def test_clock_snapshots_and_reset(dashboard: DashboardHttp, montra: Montra, sandbox: Sandbox) -> None:
    page = "/dashboard/clock"
    assert "Nothing is due" in (await dashboard.get(page)).text
    assert (await dashboard.post(f"{page}/advance", page, step="period")).status == 409
    pro = await montra.create_pricing_model(name="Pro")
    await montra.create_product(pro.id, name="Seat", price_type="recurring", amount=20)
    ada = await montra.create_customer(name="Ada", email="ada@example.com")
    subscription = await montra.create_subscription(ada.id, pro.id)
    await dashboard.done(f"{page}/freeze", page, action="freeze")
    frozen = sandbox.now()
    assert "It stands still" in (await dashboard.get(page)).text
    steps = (("hour", timedelta(hours=1)), ("day", timedelta(days=1)), ("week", timedelta(weeks=1)))
    for step, span in steps:
        before = sandbox.now()
        await dashboard.done(f"{page}/advance", page, step=step)
        assert sandbox.now() - before == span
    due = await dashboard.get(page)
    assert "period ends, invoice" in due.text
    assert f"/dashboard/customers/{ada.id}" in due.links
    snapshot = await dashboard.done("/dashboard/snapshots", page, name="before")
    assert snapshot.notice == ("done", "The snapshot before was taken.")
    await dashboard.done(f"{page}/advance", page, step="period")
    assert sandbox.now() == subscription.current_period_end
    assert len(await montra.list_invoices()) == 2
    await dashboard.done(f"{page}/advance", page, step="month")
    to = (sandbox.now() + timedelta(days=3)).strftime("%Y-%m-%dT%H:%M:%S")
    await dashboard.done(f"{page}/advance", page, to=to)
    for wrong in ("", "yesterday", "2001-01-01T00:00"):
        assert (await dashboard.post(f"{page}/advance", page, to=wrong)).status == 400
    await dashboard.done("/dashboard/snapshots/before", page, action="restore")
    assert len(await montra.list_invoices()) == 1
    await dashboard.done("/dashboard/snapshots/before", page, action="delete")
    assert (await dashboard.post("/dashboard/snapshots/before", page, action="restore")).status == 404
    await dashboard.done(f"{page}/freeze", page, action="unfreeze")
    await dashboard.done(f"{page}/freeze", page, action="freeze", at=(frozen + timedelta(days=60)).isoformat())
    assert (await dashboard.post("/dashboard/reset", page)).status == 400
    assert await montra.list_customers() != []
    assert (await dashboard.done("/dashboard/reset", page, sure="1")).path.startswith("/?")
    assert await montra.list_customers() == []


async def test_faults(dashboard: DashboardHttp, sandbox: Sandbox) -> None:
    page = "/dashboard/faults"
    assert "No faults" in (await dashboard.get(page)).text
    await dashboard.done(page, page, kind="status", method="POST", path="/customers", times="3", status="503")
    await dashboard.done(page, page, kind="latency", share="0.5", seconds="0.2")
    await dashboard.done(page, page, kind="malformed", body="text")
    shown = await dashboard.done(page, page, kind="rate_limit", retry_after="7")
    assert [one["kind"] for one in sandbox.faults()] == ["status", "latency", "malformed", "rate_limit"]
    for words in ("/customers", "503", "50 % of requests", "0.2 s", "Retry-After: 7.0"):
        assert words in shown.text, words
    for wrong in (
        *({"kind": "storm"}, {"kind": "status", "status": "99"}, {"kind": "status", "times": "1.5"}),
        {"kind": "status", "path": "customers"},
    ):
        assert (await dashboard.post(page, page, **wrong)).status == 400
    await dashboard.done(f"{page}/clear", page)
    assert sandbox.faults() == []


async def test_webhooks_events_and_triggers(dashboard: DashboardHttp, montra: Montra, sandbox: Sandbox) -> None:
    page = "/dashboard/webhooks"
    assert "No endpoints yet" in (await dashboard.get(page)).text
    await dashboard.done(page, page, url="http://127.0.0.1:9/hook", target="both", events="customer.created *")
    assert {one["service"] for one in sandbox.webhook_endpoints()} == {"montra", "paywall"}
    assert dashboard.value("SELECT secret FROM webhook_endpoints") == sandbox.webhook_secret
    for wrong in ({"url": "javascript:alert(1)", "target": "paywall"}, {"url": "nowhere", "target": "montra"}):
        assert (await dashboard.post(page, page, **wrong)).status == 400
    triggers = await dashboard.get("/dashboard/triggers")
    paths = [link for link in triggers.links if link.startswith("/dashboard/triggers/")]
    assert len(paths) == len(sandbox.list_triggers())
    shown = await dashboard.get("/dashboard/triggers/montra/checkout.completed")
    assert "email" in shown.text
    done = await dashboard.done(
        "/dashboard/triggers/montra/checkout.completed",
        **{"field-email": "eve@example.com", "field-amount": "49", "field-name": "", "field-unknown": "x"},
    )
    assert done.path.startswith("/dashboard/events/evt_")
    assert "eve@example.com" in done.text
    refused = await dashboard.post("/dashboard/triggers/montra/checkout.completed", **{"field-email": "nobody"})
    assert refused.status == 400
    assert (await dashboard.post("/dashboard/triggers/montra/none")).status == 404
    await sandbox.settle()
    listed = await dashboard.get(page)
    delivery = sandbox.deliveries()[0]
    assert delivery["id"] in listed.text
    one = await dashboard.get(f"/dashboard/deliveries/{delivery['id']}")
    assert all(words in one.text for words in (delivery["event_id"], "http://127.0.0.1:9/hook", "Replay"))
    again = await dashboard.done(f"/dashboard/deliveries/{delivery['id']}/replay", page)
    assert again.path.startswith(f"/dashboard/deliveries/{delivery['id']}")
    assert "No delivery is found" in (await dashboard.get(f"{page}?status=succeeded")).text
    event = delivery["event_id"]
    sent = await dashboard.done(f"/dashboard/events/{event}/replay", f"/dashboard/events/{event}")
    assert sent.notice == ("done", "The event is sent to 1 endpoint.")
    assert event in (await dashboard.get(f"/dashboard/events?type={delivery['event_type']}")).text
    assert "No event is found" in (await dashboard.get("/dashboard/events?type=none")).text
    for endpoint in sandbox.webhook_endpoints():
        await dashboard.done(f"{page}/{endpoint['id']}/remove", page)
    assert sandbox.webhook_endpoints() == []
    assert "a removed endpoint" in (await dashboard.get(page)).text
    assert (await dashboard.post(f"{page}/wh_none/remove", page)).status == 404


async def test_the_paywall(dashboard: DashboardHttp, sandbox: Sandbox) -> None:
    page = f"/dashboard/paywalls/{sandbox.paywall_id}"
    tabs = ("users", "purchases", "mails", "tickets", "events")
    for tab in tabs:
        assert 'class="empty"' in (await dashboard.get(f"{page}?tab={tab}")).text
    async with (
        BillingClient(sandbox.paywall_id, sandbox.url, sandbox.api_key) as billing,
        AuthClient(sandbox.paywall_id, sandbox.url) as auth,
    ):
        ada = billing.for_user(email="ada@example.com")
        url = (await ada.create_checkout(101)).url
        async with dashboard.http.post(url, data={"card": CARD, "action": "pay"}) as answer:
            assert "Payment complete" in await answer.text()
        await ada.create_support_ticket("A <question>", "Why?", email="ada@example.com", files=[b"text"])
        await auth.send_otp("bob@example.com")
        events = {"events": [{"type": "paywall_shown", "ts": 1}], "visitor_id": "v1"}
        async with dashboard.http.post(
            f"{sandbox.url}/api/v1/paywall/{sandbox.paywall_id}/events", json=events
        ) as sent:
            assert sent.status == 200
    shown = {tab: (await dashboard.get(f"{page}?tab={tab}")).text for tab in (*tabs, "setup")}
    assert "100 <code>gpt-4</code>" in shown["users"]
    assert "Monthly" in shown["purchases"]
    assert sandbox.mails()[0]["token"] in shown["mails"]
    assert "A &lt;question&gt;" in shown["tickets"]
    assert "4 bytes" in shown["tickets"]
    assert "paywall_shown" in shown["events"]
    assert "299.00" in shown["setup"]
    [user] = [one for one in sandbox.paywall_users(sandbox.paywall_id) if one["email"] == "ada@example.com"]
    one = await dashboard.get(f"{page}/users/{user['id']}")
    [purchase] = user["purchases"]
    assert all(words in one.text for words in (purchase["id"], "$9.99", "gpt-4"))
    assert (await dashboard.get(f"/dashboard/search?q={user['id']}")).path == f"{page}/users/{user['id']}"
    await dashboard.done(f"/dashboard/purchases/{purchase['id']}/refund", page)
    assert sandbox.events(limit=1)[0]["type"] == "refund.created"
    assert (await dashboard.post("/dashboard/purchases/pur_none/refund", page)).status == 404
    sandbox.add_paywall(id="second", name="Another one")
    both = await dashboard.get("/dashboard/paywalls")
    assert "/dashboard/paywalls/second" in both.links


async def test_the_merchant_is_chosen(dashboard: DashboardHttp, montra: Montra, other: Montra) -> None:
    mine = await montra.create_customer(name="Mine", email="a@example.com")
    theirs = await other.create_customer(name="Theirs", email="a@example.com")
    second = dashboard.value("SELECT id FROM merchants ORDER BY rowid DESC LIMIT 1")
    assert mine.id in (await dashboard.get("/dashboard/customers")).text
    await dashboard.done("/dashboard/merchant", merchant=second)
    listed = await dashboard.get("/dashboard/customers")
    assert theirs.id in listed.text
    assert mine.id not in listed.text
    assert f'<option value="{second}" selected>' in listed.text
    shown = await dashboard.get(f"/dashboard/customers/{mine.id}")  # an object's page shows its merchant
    assert f'<option value="{second}" selected>' not in shown.text
    assert (await dashboard.post("/dashboard/merchant", merchant="merchant_none")).status == 404


async def test_demo_data_fill_an_empty_sandbox_once(dashboard: DashboardHttp, sandbox: Sandbox) -> None:
    assert "Nothing has happened here yet" in (await dashboard.get("/")).text
    await dashboard.done("/dashboard/demo")
    for chosen in ("30d", "12w", "12m", "nonsense"):
        shown = await dashboard.get(f"/?range={chosen}")
        assert "Usage: tokens" in shown.text
        assert "Nothing has happened" not in shown.text
    assert (await dashboard.post("/dashboard/demo")).status == 409


async def test_the_live_feed_says_what_changes(dashboard: DashboardHttp, montra: Montra, sandbox: Sandbox) -> None:
    async def next_kinds(answer: aiohttp.ClientResponse, wanted: set[str]) -> None:
        seen: set[str] = set()
        async for line in answer.content:
            if line.startswith(b"data: "):
                seen.add(line[6:].decode().strip())
            if wanted <= seen:
                return

    async with dashboard.http.get(f"{sandbox.url}/dashboard/live") as answer:
        assert answer.content_type == "text/event-stream"
        await montra.create_customer(name="A", email="a@example.com")
        await next_kinds(answer, {"request", "event"})
        sandbox.advance(days=1)
        await next_kinds(answer, {"clock"})
        sandbox.add_webhook_endpoint("http://127.0.0.1:9/")
        await montra.create_customer(name="B", email="b@example.com")
        await next_kinds(answer, {"delivery"})
        sandbox.reset()
        await next_kinds(answer, {"reset"})


@pytest.mark.parametrize("path", ["/dashboard/nothing", "/dashboard/customers/cust_none", "/dashboard/plans/pm_none"])
async def test_unknown_pages_are_pages(dashboard: DashboardHttp, path: str) -> None:
    shown = await dashboard.get(path)
    assert (shown.status, "<nav" in shown.text) == (404, True)
    async with dashboard.http.get(dashboard.sandbox.url + path, headers={"Accept": "*/*"}) as answer:
        assert (answer.status, answer.content_type) == (404, "application/json")


async def test_scenarios_run_step_by_step(dashboard: DashboardHttp, sandbox: Sandbox) -> None:
    page = "/dashboard/scenarios"
    listed = await dashboard.get(page)
    for one in sandbox.scenarios():
        assert one["name"] in listed.text
    report = await dashboard.done(f"{page}/trial_then_paid", page)
    assert report.path.startswith(f"{page}/reports/")
    scenario = next(one for one in sandbox.scenarios() if one["name"] == "trial_then_paid")
    assert all(step in html.unescape(report.text) for step in scenario["steps"])
    event = next(link for link in report.links if link.startswith("/dashboard/events/"))
    assert (await dashboard.get(event)).status == 200
    told = await dashboard.done(f"{page}/trial_then_paid", page, to="http://127.0.0.1:9/hook")
    assert "Not every webhook was answered with success." in told.text
    assert "http://127.0.0.1:9/hook" in told.text or "a removed endpoint" in told.text
    for path, to, status in (("none", "", 404), ("trial_then_paid", "app:/x", 400)):
        assert (await dashboard.post(f"{page}/{path}", page, to=to)).status == status
    assert (await dashboard.get(f"{page}/reports/none")).status == 404
