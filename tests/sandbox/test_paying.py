"""`sandbox.pay`: what a person does on the pages, in one call."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, strategies as st

from montra_async import Montra
from montra_async.paywall import BillingClient
from montra_sandbox import PaidCheckout, Problem, Sandbox


async def test_a_link_is_paid_by_object_url_and_id(sandbox: Sandbox, montra: Montra) -> None:
    link = await montra.create_checkout_link(link_name="book", payment_name="A book", amount=Decimal("20.00"))
    paid = [sandbox.pay(target, email=f"{i}@example.com") for i, target in enumerate((link, link.url, link.id))]
    assert {(one.status, one.amount, one.currency) for one in paid} == {("succeeded", Decimal("20.00"), "USD")}
    assert [one.customer_id for one in paid] == [one.id for one in await montra.list_customers()]
    assert [one["id"] for one in sandbox.transactions()] == [one.id for one in reversed(paid)]


async def test_a_recurring_product_subscribes(sandbox: Sandbox, montra: Montra) -> None:
    plan = await montra.create_pricing_model(name="Pro")
    seat = await montra.create_product(pricing_model_id=plan.id, name="Seat", price_type="recurring", amount=20)
    items = [{"product_id": seat.id, "quantity": 2}]
    link = await montra.create_checkout_link(link_name="seats", payment_name="Seats", line_items=items)
    once = await montra.create_checkout_link(link_name="once", payment_name="Once", amount=1)
    paid = sandbox.pay(link, email="ada@example.com", name="Ada Lovelace")
    assert paid.amount == 40
    assert [one.id for one in await montra.list_subscriptions()] == [paid.subscription_id]
    assert [one.name for one in await montra.list_customers()] == ["Ada Lovelace"]
    assert sandbox.pay(once, email="ada@example.com").subscription_id is None


async def test_what_was_bought_renews(sandbox: Sandbox, montra: Montra) -> None:
    """Payment, invoices and recurring revenue agree on quantities, and on what of a plan was bought."""
    plan = await montra.create_pricing_model(name="Pro")

    async def product(name: str, price: int, price_type: Any = "recurring") -> str:
        return (await montra.create_product(plan.id, name=name, price_type=price_type, amount=price)).id

    seat, _, setup = await product("Seat", 20), await product("Support", 7), await product("Setup", 100, "one_time")

    async def buy(*items: tuple[str, int]) -> Decimal:
        bought = [{"product_id": one, "quantity": quantity} for one, quantity in items]
        link = await montra.create_checkout_link(link_name="shop", payment_name="Pro", line_items=bought)
        paid = sandbox.pay(link, email="ada@example.com")
        assert paid.subscription_id == (await montra.list_subscriptions())[0].id
        return paid.amount

    async def after_a_month() -> list[tuple[Decimal, str | None]]:
        before = len(await montra.list_invoices())
        sandbox.advance(days=31)
        invoices = sorted(await montra.list_invoices(), key=lambda one: one.invoice_number or "")
        return [(one.amount_due, one.status) for one in invoices[before:]]

    assert await buy((seat, 2), (setup, 1)) == 140
    assert [(one.amount_due, one.status) for one in await montra.list_invoices()] == [(140, "paid")]
    assert await after_a_month() == [(40, "open")]
    assert await buy((seat, 3)) == 60
    assert await after_a_month() == [(60, "open")]
    other = await montra.create_pricing_model(name="Team")
    await montra.create_product(other.id, name="Team", price_type="recurring", amount=500)
    changed = await montra.upgrade_subscription((await montra.list_subscriptions())[0].id, other.id)
    ratio = changed.proration.remaining_ratio
    assert changed.proration.unused_amount == round(60 * ratio, 2)
    assert await after_a_month() == [(500, "open")]
    sandbox.trigger("subscription.canceled", email="ada@example.com")
    analytics = await montra.get_analytics_series(interval="monthly", points=12)
    assert sum(one.net for one in analytics.mrr_movements) == 0


async def test_a_paid_period_whose_price_the_link_says(sandbox: Sandbox, montra: Montra) -> None:
    plan = await montra.create_pricing_model(name="Pro")
    seat = await montra.create_product(plan.id, name="Seat", price_type="recurring", amount=20)
    link = await montra.create_checkout_link(
        link_name="first", payment_name="First month", amount=5, line_items=[{"product_id": seat.id}]
    )
    sandbox.pay(link, email="ada@example.com")
    sandbox.advance(days=31)
    found = sorted((one.amount_due, one.description) for one in await montra.list_invoices())
    assert found == [(5, "First month"), (20, "Recurring 20.00, usage 0.00")]


@pytest.mark.parametrize(
    ("card", "failure"),
    [
        ("declined", "The card was declined."),
        ("insufficient_funds", "The card has insufficient funds."),
        ("expired", "The card has expired."),
        ("4000 0000 0000 0002", "The card was declined."),
    ],
)
async def test_a_card_is_declined(sandbox: Sandbox, montra: Montra, card: str, failure: str) -> None:
    link = await montra.create_checkout_link(link_name="book", payment_name="A book", amount=20)
    paid = sandbox.pay(link, card=card)
    assert (paid.status, paid.failure, paid.customer_id) == ("failed", failure, None)
    assert await montra.list_customers() == []


async def test_a_discount_code(sandbox: Sandbox, montra: Montra) -> None:
    link = await montra.create_checkout_link(link_name="book", payment_name="A book", amount=20)
    await montra.create_discount(name="Half", code="HALF", percent_off=50, duration="once", max_redemptions=1)
    assert sandbox.pay(link, code="HALF").amount == 10
    with pytest.raises(Problem, match="used up"):
        sandbox.pay(link, code="HALF")


async def test_a_checkout_of_the_paywall(sandbox: Sandbox) -> None:
    async with BillingClient(sandbox.paywall_id, sandbox.url, sandbox.api_key) as billing:
        view = billing.for_user(email="ada@example.com", user_id="ada")
        checkout = await view.create_checkout(101, error_url="https://app.example/failed")
        declined = sandbox.pay(checkout, card="declined")
        assert (declined.status, declined.id, declined.amount) == ("failed", None, Decimal("9.99"))
        assert str(declined.redirect_url).startswith("https://app.example/failed#paywall_status=failed")
        paid = sandbox.pay(checkout.url)
        assert (paid.status, paid.email, paid.subscription_id) == ("succeeded", "ada@example.com", paid.id)
        with pytest.raises(Problem, match="paid already") as caught:
            sandbox.pay(checkout)
        assert caught.value.status == 409
        other = await billing.for_user(email="eve@example.com").create_checkout(101)
        with pytest.raises(Problem, match="takes no code"):
            sandbox.pay(other, code="HALF")


async def test_what_can_not_be_paid(sandbox: Sandbox, montra: Montra) -> None:
    link = await montra.create_checkout_link(link_name="x", payment_name="X", amount=1)
    off = await montra.create_checkout_link(link_name="off", payment_name="Off", amount=1, status="inactive")
    with pytest.raises(Problem, match="no longer active"):
        sandbox.pay(off)
    with pytest.raises(Problem, match="no checkout link and no checkout 'link_unknown'"):
        sandbox.pay("link_unknown")
    for wrong in ({"email": "nobody"}, {"email": ""}, {"card": "4111111111111111"}, {"name": "x" * 301}):
        with pytest.raises(Problem, match=next(iter(wrong))):
            sandbox.pay(link, **wrong)
    assert sandbox.transactions() == []


def test_any_target_is_refused_with_a_problem() -> None:
    with Sandbox() as sandbox:

        @given(target=st.one_of(st.none(), st.integers(), st.text(), st.text(min_size=2_001)))
        def refused(target: Any) -> None:
            with pytest.raises(Problem):
                sandbox.pay(target)

        refused()


def test_a_payment_is_json() -> None:
    paid = PaidCheckout(id="tx_1", status="succeeded", amount=Decimal("20.00"), currency="USD", email="a@example.com")
    assert paid.to_dict()["amount"] == "20.00"
