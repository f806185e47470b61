"""A person pays: the hosted pages in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from montra_sandbox import Sandbox
from montra_sync import Montra
from montra_sync.paywall import BillingClient

from .browsing import open_page

DECLINED = "4000000000000002"
NO_FUNDS = "4000000000009995"


@pytest.fixture
def running() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def link(running: Sandbox) -> str:
    with Montra(running.api_key, running.base_url) as montra:
        plan = montra.create_pricing_model(name="Pro")
        seat = montra.create_product(plan.id, name="Seat", price_type="recurring", amount=20)
        montra.create_discount(name="Half", code="HALF", percent_off=50, duration="once")
        items = [{"product_id": seat.id, "quantity": 2}]
        return montra.create_checkout_link(link_name="pro", payment_name="Pro plan", line_items=items).url


@pytest.fixture
def checkout(running: Sandbox) -> str:
    with BillingClient(running.paywall_id, running.url, running.api_key) as billing:
        return billing.for_user(email="ada@example.com").create_checkout(101).url


def _fill(page: Any, *, name: str = "Ada", email: str = "ada@example.com") -> None:
    page.fill("#name", name)
    page.fill("#email", email)


@pytest.mark.parametrize("field", ["name", "email", "code"])
def test_enter_in_a_field_pays(chromium: Any, running: Sandbox, link: str, field: str) -> None:
    with open_page(chromium) as page:
        page.goto(link)
        _fill(page)
        page.press(f"#{field}", "Enter")
        page.wait_for_url("**/receipts/*")
        assert "Payment complete" in page.text_content("main")
    assert [one["status"] for one in running.transactions()] == ["succeeded"]


def test_a_discount_is_applied_and_paid(chromium: Any, running: Sandbox, link: str) -> None:
    with open_page(chromium) as page:
        page.goto(link)
        _fill(page)
        page.fill("#code", "HALF")
        page.click("text=Apply")
        assert "$20.00" in page.text_content(".total")
        assert page.input_value("#name") == "Ada"
        assert running.transactions() == []
        page.click("button.primary")
        page.wait_for_url("**/receipts/*")
        receipt = page.text_content("main")
        assert all(words in receipt for words in ("Seat", "2", "Discount", "-$20.00", "Total", "$20.00"))


def test_a_decline_keeps_what_was_entered_and_back_works(chromium: Any, running: Sandbox, link: str) -> None:
    with open_page(chromium) as page:
        page.goto(link)
        _fill(page)
        page.check(f"input[value='{NO_FUNDS}']")
        page.click("button.primary")
        page.wait_for_selector("[role=alert]")
        assert "insufficient funds" in page.text_content("[role=alert]")
        assert page.is_checked(f"input[value='{NO_FUNDS}']")
        assert (page.input_value("#name"), page.input_value("#email")) == ("Ada", "ada@example.com")
        page.reload()  # asks nothing, and pays nothing
        assert page.input_value("#name") == "Ada"
        page.check("input[value='4242424242424242']")
        page.click("button.primary")
        page.wait_for_url("**/receipts/*")
        for _ in range(2):
            page.go_back()
            assert page.url.startswith(running.url)
            assert page.query_selector("main") is not None  # a page of ours, not an error page of the browser
        page.go_forward()
        assert page.url.startswith(running.url)
    assert [one["status"] for one in running.transactions()] == ["succeeded", "failed"]


def test_back_after_the_payment_leads_to_the_receipt(chromium: Any, running: Sandbox, link: str) -> None:
    with open_page(chromium) as page:
        page.goto(link)
        _fill(page)
        page.click("text=Decline this payment")
        page.wait_for_selector("[role=alert]")
        page.click("button.primary")
        page.wait_for_url("**/receipts/*")
        page.go_back()
        assert "Payment complete" in page.text_content("main")
    assert len(running.transactions()) == 2


def test_the_receipt_leads_on(chromium: Any, running: Sandbox, link: str) -> None:
    with open_page(chromium) as page:
        page.goto(link)
        _fill(page)
        page.click("button.primary")
        page.wait_for_url("**/receipts/*")
        assert page.is_visible("text=Print this receipt")
        page.emulate_media(media="print")
        assert not page.is_visible(".next")
        page.emulate_media(media="screen")
        page.click("text=the payment in the dashboard")
        page.wait_for_url("**/dashboard/payments/*")
        assert "$40.00" in page.text_content("h1")
        page.go_back()
        page.click("text=Pay once more")
        assert page.url == link


def test_a_checkout_of_the_paywall_service(chromium: Any, running: Sandbox, checkout: str) -> None:
    with open_page(chromium) as page:
        page.goto(checkout)
        page.check(f"input[value='{DECLINED}']")
        page.click("button.primary")
        page.wait_for_selector("[role=alert]")
        assert page.is_checked(f"input[value='{DECLINED}']")
        page.check("input[value='4242424242424242']")
        page.press("input[value='4242424242424242']", "Enter")
        page.wait_for_url("**/receipt")
        assert "Renews" in page.text_content("main")
        page.go_back()
        page.wait_for_url("**/receipt")
        page.click("text=the user in the dashboard")
        assert "ada@example.com" in page.text_content("h1")


@pytest.mark.parametrize("scripts", [True, False])
def test_the_portal_asks_before_it_cancels(chromium: Any, running: Sandbox, checkout: str, scripts: bool) -> None:
    with open_page(chromium, scripts=scripts) as page:
        page.goto(checkout)
        page.click("button.primary")
        page.wait_for_url("**/receipt")
        with BillingClient(running.paywall_id, running.url, running.api_key) as billing:
            portal = billing.for_user(email="ada@example.com").get_customer_portal_url(
                return_url="http://shop.example/"
            )
        page.goto(portal)
        [purchase] = running.paywall_users(running.paywall_id)[0]["purchases"]
        renews = page.get_attribute("time", "datetime")
        assert "Renews on" in page.text_content("main")
        assert renews[:10] == purchase["current_period_end"][:10]
        page.click("text=Cancel…")
        assert "is not renewed" in page.text_content("main")
        page.click("text=Keep it")
        assert "Renews on" in page.text_content("main")
        page.click("text=Cancel…")
        page.click("text=Cancel at the end of the period")
        assert "Ends on" in page.text_content("main")
        assert page.query_selector("text=Cancel…") is None
        page.goto(f"{portal}/cancel?purchase={purchase['id']}")  # there is nothing to cancel any more
        assert page.url == portal
    [purchase] = running.paywall_users(running.paywall_id)[0]["purchases"]
    assert purchase["cancel_at_period_end"]


def test_hosted_pages_fit_a_phone(chromium: Any, running: Sandbox, link: str, checkout: str) -> None:
    with open_page(chromium, width=360) as page:
        for url in (link, checkout, f"{running.url}/pay/none"):
            page.goto(url)
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
            assert re.search(r"Montra sandbox|Pay", page.title())
