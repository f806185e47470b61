"""Prices, checkout, the hosted page, purchases, cancellation and the portal."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from montra_async.paywall import PaywallError
from montra_sandbox import Sandbox

from ..browser import Browser
from ..conftest import Service


async def test_prices(billing: Any) -> None:
    monthly, yearly, ever, once = await billing.get_prices()
    assert (monthly.id, monthly.amount, monthly.currency, monthly.interval) == ("101", Decimal("9.99"), "USD", "month")
    assert (monthly.local.currency, monthly.local.amount) == ("EUR", Decimal("9.49"))
    assert (yearly.interval, ever.interval, once.interval) == ("year", "lifetime", None)
    assert monthly.extra == {}
    assert await billing.list_prices() == [monthly, yearly, ever, once]


@pytest.mark.parametrize(
    ("locale", "label"),
    [("de", "Monatlich"), ("de-AT", "Monatlich"), ("fr, de;q=0.5", "Monatlich"), ("fr", "Monthly"), (None, "Monthly")],
)
async def test_labels_in_the_requested_language(billing: Any, locale: str | None, label: str) -> None:
    assert (await billing.get_prices(locale=locale))[0].label == label
    assert (await billing.bootstrap(locale=locale)).prices[0].label == label


async def test_language_of_the_client_and_default_of_the_paywall(service: Service) -> None:
    async with service.billing(accept_language="de-CH") as billing:
        assert (await billing.get_prices())[0].label == "Monatlich"
        assert (await billing.get_prices(locale="en"))[0].label == "Monthly"
        service.sandbox.set_paywall(service.sandbox.paywall_id, settings={"locale_default": "de"})
        assert (await billing.get_prices(locale="en", force=True))[0].label == "Monatlich"


async def test_a_domain_that_differs_from_the_origin_is_refused(billing: Any, sandbox: Sandbox) -> None:
    sandbox.set_paywall(sandbox.paywall_id, settings={"custom_domain": "https://127.0.0.1"})
    assert (await billing.bootstrap()).settings.custom_domain == "https://127.0.0.1"
    sandbox.set_paywall(sandbox.paywall_id, settings={"custom_domain": "pay.example.com"})
    with pytest.raises(PaywallError, match=r"pay\.example\.com") as caught:
        await billing.bootstrap(force=True)
    assert caught.value.code == "invalid_config"


async def test_a_payment_creates_a_purchase(ada: Any) -> None:
    user = await ada.get_user()
    [short] = user.purchases
    assert (user.has_active_subscription, short.status, user.trial, user.had_previous_trial) == (
        *(True, "active", None, False),
    )
    [purchase] = await ada.list_purchases()
    assert (purchase.id, purchase.unit_amount, purchase.currency, purchase.interval) == (short.id, 999, "USD", "month")
    assert purchase.current_period_end - purchase.current_period_start > timedelta(days=27)
    assert (purchase.canceled_at, purchase.ended_at, purchase.cancel_at_period_end) == (None, None, False)


async def test_a_checkout_sends_its_fields(billing: Any, browser: Browser, service: Service) -> None:
    bob = billing.for_user(email="bob@example.com", user_id="b-7")
    checkout = await bob.create_checkout(
        "102",
        success_url="https://shop.example.com/thanks",
        error_url="https://shop.example.com/sorry",
        shop_url="https://shop.example.com/",
        product_name="A year of answers",
        offer_id=201,
    )
    assert (checkout.acquiring, checkout.user_id[:4]) == ("stripe", "usr_")
    page = await browser.open(checkout.url)
    assert "A year of answers" in page.words
    assert "$79.20" in page.words
    assert "https://shop.example.com/" in page.html
    assert "https://shop.example.com/sorry" in page.html
    assert (await browser.leave(page, card="4000000000000002")).startswith("https://shop.example.com/sorry#")
    nonsense = await browser.submit(page, card="1")
    assert nonsense.status == 400
    for _ in range(2):  # sent twice, paid once
        assert (await browser.leave(page)).startswith("https://shop.example.com/thanks#")
    receipt = await browser.open(checkout.url)
    assert ("Payment complete" in receipt.words, "https://shop.example.com/thanks" in receipt.html) == (True, True)
    [purchase] = service.users()["bob@example.com"]["purchases"]
    assert (purchase["unit_amount"], purchase["discount"]) == (7920, 20)


async def test_a_second_purchase_is_refused_unless_allowed(ada: Any) -> None:
    with pytest.raises(PaywallError) as caught:
        await ada.create_checkout(102)
    assert (caught.value.code, caught.value.status, caught.value.body["hasActivePurchase"]) == (
        *("already_purchased", 409, True),
    )
    assert (await ada.create_checkout(102, ignore_active_purchase=True)).url


async def test_concurrent_callers_share_a_checkout(billing: Any, sandbox: Sandbox) -> None:
    bob, eve = billing.for_user(email="bob@example.com"), billing.for_user(email="eve@example.com")
    sandbox.add_fault(kind="latency", seconds=0.2, share=1)
    results = await asyncio.gather(
        *(bob.create_checkout(101) for _ in range(3)),
        *(eve.create_checkout(101) for _ in range(3)),
        *(bob.create_checkout(102) for _ in range(2)),
    )
    urls = [one.url for one in results]
    assert (len(set(urls[:3])), len(set(urls[3:6])), len(set(urls[6:]))) == (1, 1, 1)
    assert len(set(urls)) == 3


async def test_the_same_key_returns_the_same_checkout(billing: Any) -> None:
    bob = billing.for_user(email="bob@example.com")
    first = await bob.create_checkout(101, idempotency_key="order-1")
    assert (await bob.create_checkout(101, idempotency_key="order-1")).url == first.url
    assert (await bob.create_checkout(101, idempotency_key="order-2")).url != first.url
    assert (await bob.create_checkout(102, idempotency_key="order-1")).url == first.url  # the key decides


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "drop_during_answer"])
async def test_a_checkout_is_retried_under_its_key(bad_day: Service, kind: str) -> None:
    async with bad_day.billing() as billing:
        bad_day.sandbox.add_fault(kind=kind, times=2)
        assert (await billing.for_user(email="bob@example.com").create_checkout(101)).url
    assert bad_day.sandbox.faults() == []


async def test_trials(billing: Any, browser: Browser, sandbox: Sandbox) -> None:
    bob = billing.for_user(email="bob@example.com")
    page = await browser.pay((await bob.create_checkout(101, trial_days=7)).url)
    assert "trial has begun" in page.words
    [purchase] = await bob.list_purchases()
    assert purchase.status == "trialing"
    sandbox.advance(days=8)
    [purchase] = await bob.list_purchases()
    assert purchase.status == "active"


async def test_cancelling_ends_the_subscription_with_its_period(ada: Any, sandbox: Sandbox) -> None:
    [purchase] = await ada.list_purchases()
    assert not (await ada.get_user()).purchases[0].cancel_at_period_end
    ended = await ada.cancel_subscription(purchase.id, "too dear")
    assert (ended.status, ended.cancel_at_period_end, ended.cancel_at) == ("active", True, purchase.current_period_end)
    assert (await ada.get_user()).purchases[0].cancel_at_period_end  # what was kept of the user is forgotten
    assert (await ada.cancel_subscription(purchase.id, "again")).canceled_at == ended.canceled_at
    sandbox.advance(days=32)
    assert not (await ada.get_user(force=True)).has_active_subscription
    [purchase] = await ada.list_purchases()
    assert (purchase.status, purchase.ended_at) == ("canceled", ended.cancel_at)


async def test_renewals(ada: Any, sandbox: Sandbox, service: Service) -> None:
    sandbox.advance(days=32)
    [purchase] = await ada.list_purchases()
    assert purchase.status == "active"
    assert service.count("ada@example.com") == 200


@pytest.mark.parametrize(("price", "active"), [(103, True), (104, False)])
async def test_single_payments_do_not_renew(billing: Any, browser: Browser, price: int, active: bool) -> None:
    bob = billing.for_user(email="bob@example.com")
    await browser.pay((await bob.create_checkout(price)).url)
    [purchase] = await bob.list_purchases()
    assert purchase.current_period_end is None
    assert (await bob.get_user()).has_active_subscription is active
    with pytest.raises(PaywallError, match="not_a_subscription"):
        await bob.cancel_subscription(purchase.id, "x")


async def test_the_portal(ada: Any, browser: Browser) -> None:
    url = await ada.get_customer_portal_url(return_url="https://shop.example.com/account")
    page = await browser.open(url)
    assert "https://shop.example.com/account" in page.html
    assert "Renews on" in page.words
    [purchase] = await ada.list_purchases()
    asked = await browser.open(f"{url}/cancel?purchase={purchase.id}")
    assert not (await ada.list_purchases())[0].cancel_at_period_end  # it asks first
    page = await browser.submit(asked, action="cancel")
    assert "Ends on" in page.words
    [purchase] = await ada.list_purchases()
    assert purchase.cancel_at_period_end


async def test_no_portal(billing: Any, ada: Any, sandbox: Sandbox) -> None:
    unknown = billing.for_user(email="nobody@example.com")
    with pytest.raises(PaywallError, match="nothing to manage") as caught:
        await unknown.get_customer_portal_url()
    assert (caught.value.code, caught.value.status) == ("forbidden", 403)
    sandbox.set_paywall(sandbox.paywall_id, acquiring="freemius")
    with pytest.raises(PaywallError, match="Freemius") as caught:
        await ada.get_customer_portal_url()
    assert caught.value.code == "forbidden"


async def test_a_user_that_the_paywall_does_not_know(billing: Any) -> None:
    unknown = billing.for_user(email="nobody@example.com", user_id="n")
    for call in (unknown.list_purchases(), unknown.cancel_subscription("sub_1", "x")):
        with pytest.raises(PaywallError) as caught:
            await call
        assert (caught.value.code, caught.value.status) == ("identity_not_on_paywall", 404)
    user = await unknown.get_user()
    assert (user.has_active_subscription, user.purchases) == (False, [])


@pytest.mark.parametrize(("price", "code"), [(999, "price_not_found"), ("pr_x", "price_not_found")])
async def test_unknown_prices(billing: Any, price: Any, code: str) -> None:
    with pytest.raises(PaywallError) as caught:
        await billing.for_user(email="bob@example.com").create_checkout(price)
    assert (caught.value.code, caught.value.status) == (code, 404)


async def test_cached_state_belongs_to_one_user(ada: Any, billing: Any) -> None:
    """Users that are identified by address only, and by id only."""
    for view in (billing.for_user(email="ada@example.com"), billing.for_user(email="bob@example.com")):
        first = await view.get_user()
        assert (await view.get_user(force=True)) == first
    assert (await billing.for_user(email="ada@example.com").get_user()).has_active_subscription
    assert not (await billing.for_user(email="bob@example.com").get_user()).has_active_subscription
    assert not (await billing.for_user(user_id="ada").get_user()).has_active_subscription  # no address, no state
    assert (await billing.for_user(email="ada@example.com").bootstrap()).user.has_active_subscription
    assert not (await billing.for_user(email="bob@example.com").bootstrap()).user


async def test_user_state_is_cached_for_five_seconds(ada: Any, sandbox: Sandbox) -> None:
    sandbox.add_fault(kind="latency", seconds=0.2, path="/paywall", share=1)
    first, second = await asyncio.gather(ada.get_user(), ada.get_user())
    assert first == second
    sandbox.clear_faults()
    sandbox.add_fault(kind="status", status=404, path="/paywall", share=1)
    assert await ada.get_user() == first
    with pytest.raises(PaywallError, match="injected_fault"):
        await ada.get_user(force=True)
