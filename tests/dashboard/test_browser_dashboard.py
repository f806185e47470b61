"""The dashboard in a real browser: the main ways, the keyboard, a phone, and without scripts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from montra_sandbox import Sandbox
from montra_sync import Montra

from .browsing import furnish, open_page, receiving

PAGES = (
    *("/", "/dashboard/customers", "/dashboard/plans", "/dashboard/payments", "/dashboard/invoices"),
    *("/dashboard/paywalls", "/dashboard/requests", "/dashboard/webhooks", "/dashboard/events", "/dashboard/triggers"),
    *("/dashboard/scenarios", "/dashboard/faults", "/dashboard/clock", "/dashboard/nothing"),
    *("/dashboard/triggers/montra/checkout.completed",),
)


@pytest.fixture(scope="module")
def demo() -> Iterator[Sandbox]:
    """A furnished sandbox that tests only look at."""
    with Sandbox() as sandbox:
        furnish(sandbox)
        yield sandbox


@pytest.fixture
def running() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def test_a_customer_is_found(chromium: Any, demo: Sandbox) -> None:
    with Montra(demo.api_key, demo.base_url) as montra:
        wanted = montra.list_customers()[7]
    with open_page(chromium) as page:
        page.goto(demo.url)
        page.fill("#jump", wanted.email)
        page.press("#jump", "Enter")
        page.click(f"main >> text={wanted.name}")
        assert page.text_content("h1") == wanted.name
        assert wanted.id in page.text_content("main")
        page.fill("#jump", wanted.id)
        page.press("#jump", "Enter")
        assert page.text_content("h1") == wanted.name


def test_a_webhook_is_replayed(chromium: Any, running: Sandbox) -> None:
    running.freeze()  # so that nothing is attempted again by itself
    with receiving() as (url, bodies, statuses), open_page(chromium) as page:
        page.goto(f"{running.url}/dashboard/webhooks")
        page.fill("#endpoint-url", url)
        page.select_option("#endpoint-target", "montra")
        page.click("text=Add the endpoint")
        assert "Webhooks are sent to" in page.text_content("[role=status]")
        page.click("text=Trigger an event")
        page.click("a:text-is('customer.created')")
        page.fill("#trigger-field-email", "grace@example.com")
        page.click("main button.primary")
        assert "customer.created was caused" in page.text_content(".notice")
        page.wait_for_selector("#live-event .badge.good")  # by the live feed
        assert json.loads(bodies[0])["data"]["email"] == "grace@example.com"
        page.click("#live-event tbody a")
        statuses.append(503)
        page.click("button:text-is('Replay')")
        page.wait_for_selector("text=answered 503")
        running.advance(minutes=1)  # the next attempt
        page.wait_for_selector("#live-delivery .badge.good")
        assert bodies[0] == bodies[1] == bodies[2]


def test_the_clock_is_advanced(chromium: Any, running: Sandbox) -> None:
    with Montra(running.api_key, running.base_url) as montra:
        plan = montra.create_pricing_model(name="Pro")
        montra.create_product(plan.id, name="Seat", price_type="recurring", amount=20)
        ada = montra.create_customer(name="Ada", email="ada@example.com")
        subscription = montra.create_subscription(ada.id, plan.id)
        with open_page(chromium) as page:
            page.goto(f"{running.url}/dashboard/clock")
            page.click("text=Let it stand still")
            assert "Clock stands still" in page.text_content(".now")
            page.click("text=To the next period")
            assert running.now() == subscription.current_period_end
            page.click("nav >> text=Invoices")
            assert page.locator("#live-invoices tbody tr").count() == 2
            page.click("nav >> text=Clock")
            page.fill("#to", f"{running.now().year + 1}-01-31T12:30")
            page.click("text=Advance")
            assert running.now().strftime("%m-%d %H:%M") == "01-31 12:30"
            page.click("text=Reset the sandbox")
            assert montra.list_customers() != []  # the box was not ticked
            page.check("#sure")
            page.click("text=Reset the sandbox")
            page.wait_for_selector("text=Nothing has happened here yet")
            assert montra.list_customers() == []


def test_requests_appear_while_one_looks(chromium: Any, running: Sandbox) -> None:
    with Montra(running.api_key, running.base_url) as montra, open_page(chromium) as page:
        page.goto(f"{running.url}/dashboard/requests")
        page.wait_for_selector(".live.on")
        montra.create_customer(name="<b>Ada</b>", email="ada@example.com")
        page.wait_for_selector("#live-requests a:has-text('/api/v1/customers')")
        page.click("text=Pause")
        montra.list_meters()
        page.click("text=Resume")
        page.wait_for_selector("#live-requests a:has-text('/api/v1/meters')")
        page.focus("#live-requests tbody a >> nth=0")
        first = page.evaluate("document.activeElement.getAttribute('href')")
        montra.list_features()
        page.wait_for_selector("#live-requests a:has-text('/api/v1/features')")
        assert page.evaluate("document.activeElement.getAttribute('href')") == first  # the focus stays
        page.click("#live-requests a:has-text('/api/v1/customers')")
        assert "<b>Ada</b>" in page.text_content("main")
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.click("[aria-labelledby=python] [data-copy]")
        page.wait_for_selector("text=Copied")
        copied = page.evaluate("navigator.clipboard.readText()")
        assert "montra.create_customer(" in copied


def test_a_scenario_runs(chromium: Any, running: Sandbox) -> None:
    with receiving() as (url, bodies, _), open_page(chromium) as page:
        page.goto(f"{running.url}/dashboard/scenarios")
        page.fill("[aria-label*='for trial_then_paid']", url)
        page.click("button:has-text('Run trial_then_paid')")
        page.wait_for_url("**/dashboard/scenarios/reports/*")
        assert page.locator(".steps > li").count() >= 2
        assert page.locator("h1 + .badge.good").count() == 1
        assert bodies


def test_a_plan_is_edited(chromium: Any, running: Sandbox) -> None:
    with open_page(chromium) as page:
        page.goto(f"{running.url}/dashboard/plans")
        page.fill("#plan-name", "Pro")
        page.click("text=Create the plan")
        page.click("summary:text-is('New meter')")
        page.fill("#meter-name", "Tokens")
        page.fill("#meter-slug", "tokens")
        page.click("text=Create the meter")
        page.fill("[aria-label^='Limit of tokens']", "500")
        page.click("button:text-is('Set')")
        assert "tokens is at most 500" in page.text_content(".notice")
        page.click("summary:text-is('New feature')")
        page.fill("#feature-name", "SSO")
        page.fill("#feature-slug", "sso")
        page.click("text=Create the feature")
        page.click("summary:text-is('New feature')")
        page.fill("#feature-name", "Again")
        page.fill("#feature-slug", "sso")
        page.click("text=Create the feature")
        assert "has a feature with the slug" in page.text_content("[role=alert]")
        assert page.input_value("#feature-name") == "Again"  # the form is open, with what was entered
        assert page.is_visible("#feature-name")
        page.click("button:has-text('Delete sso')")  # the question is accepted
        assert "was deleted" in page.text_content(".notice")


def test_the_keyboard_is_enough(chromium: Any, demo: Sandbox) -> None:
    with open_page(chromium) as page:
        page.goto(demo.url)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to content"
        assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0  # it is visible now
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "content"
        seen: list[str] = []
        page.goto(demo.url)
        for _ in range(40):
            page.keyboard.press("Tab")
            seen.append(page.evaluate("document.activeElement.textContent.trim()"))
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", seen[-1]
        for link in ("Overview", "Customers", "Requests", "Clock", "30 days"):
            assert link in seen
        page.focus("nav >> text=Plans")
        page.keyboard.press("Enter")
        page.wait_for_url("**/dashboard/plans")
        assert page.get_attribute("nav a[aria-current=page]", "href") == "/dashboard/plans"


@pytest.mark.parametrize("path", PAGES)
def test_pages_fit_a_phone(chromium: Any, demo: Sandbox, path: str) -> None:
    with open_page(chromium, width=360) as page:
        page.goto(demo.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        link = page.query_selector("main tbody a")
        if link is not None:
            link.click()
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, page.url


def test_everything_is_read_without_scripts(chromium: Any, demo: Sandbox) -> None:
    with open_page(chromium, scripts=False) as page:
        for path in PAGES:
            page.goto(demo.url + path)
            assert page.text_content("h1")
            assert not page.is_visible("[data-live-pause]")
        page.goto(demo.url)
        assert page.locator("svg.chart").count() >= 4
        page.click("nav >> text=Faults")
        page.click("text=Add the fault")
        assert "status" in page.text_content("main tbody")
        page.click("text=Remove all")
        assert demo.faults() == []


def test_the_token_leaves_the_address(chromium: Any) -> None:
    with Sandbox(control_token="correct-horse") as sandbox, open_page(chromium) as page:
        page.goto(sandbox.url)
        assert "asks for its token" in page.text_content("h1")
        page.goto(f"{sandbox.url}/?token=correct-horse")
        assert page.url == f"{sandbox.url}/"
        page.click("nav >> text=Requests")
        page.wait_for_selector(".live.on")
        page.click("nav >> text=Clock")
        page.click("text=+ 1 day")
        assert "The clock shows" in page.text_content(".notice")


def test_hostile_names_run_nothing(chromium: Any, running: Sandbox) -> None:
    hostile = "\"'></title></svg><script>window.pwned=1</script><img src=x onerror=window.pwned=1>"
    with Montra(running.api_key, running.base_url) as montra:
        plan = montra.create_pricing_model(name=hostile, is_default=True)
        montra.create_meter(plan.id, name=hostile, slug=hostile)
        montra.create_feature(plan.id, name=hostile, slug=hostile)
        seat = montra.create_product(plan.id, name=hostile, price_type="recurring", amount=5)
        ada = montra.create_customer(name=hostile, email="'><script>x@example.com", metadata={"a": hostile})
        montra.create_subscription(ada.id, plan.id)
        montra.report_usage(ada.id, hostile, amount=3)
        montra.create_webhook(url="http://127.0.0.1:9/'\"><script>window.pwned=1</script>")
        link = montra.create_checkout_link(
            link_name="x", payment_name=hostile, description=hostile, line_items=[{"product_id": seat.id}]
        )
        invoice = montra.create_invoice(ada.id, amount_due=5, description=hostile)
    running.pay(link.url, name=hostile, email="eve@example.com")
    details = (
        *(f"/dashboard/customers/{ada.id}?usage=1", f"/dashboard/plans/{plan.id}", f"/dashboard/invoices/{invoice.id}"),
        *(f"/dashboard/payments/{running.transactions()[0]['id']}", f"/dashboard/events/{running.events()[0]['id']}"),
        *(f"/dashboard/requests/{request.id}" for request in running.requests),
        *(link.url.removeprefix(running.url), f"/dashboard/customers?q={hostile}"),
    )
    with open_page(chromium) as page:
        for path in (*PAGES, *details):
            page.goto(running.url + path)
            assert page.evaluate("window.pwned") is None, path
            assert page.locator("img[src=x]").count() == 0
