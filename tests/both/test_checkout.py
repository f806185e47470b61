"""Checkout links, the hosted page, refunds, discounts, invoices, files."""

from __future__ import annotations

import io
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from montra_async import ConflictError, InvalidRequestError, Montra, NotFoundError
from montra_sandbox import Sandbox

from .browser import Browser


async def _link(montra: Montra, **fields: Any) -> str:
    fields = {"link_name": "l", "payment_name": "Premium <b>", "amount": Decimal("299.00"), **fields}
    return (await montra.create_checkout_link(**fields)).url


async def test_the_page_is_accessible(montra: Montra, browser: Browser) -> None:
    page = await browser.open(await _link(montra, description="a <script> in words"))
    assert page.status == 200
    assert "Premium <b>" in page.words
    assert "$299.00" in page.words
    assert "<script" not in page.html
    assert page.inputs <= page.labels, "every field has a label"
    assert page.fields["card"] == "4242424242424242"


async def test_a_payment_succeeds(montra: Montra, sandbox: Sandbox, browser: Browser) -> None:
    receipt = await browser.pay(await _link(montra))
    assert "Payment complete" in receipt.words
    [payment] = sandbox.transactions()
    assert (payment["amount"], payment["status"]) == (Decimal("299.00"), "succeeded")
    assert payment["id"] in receipt.words
    [customer] = await montra.list_customers()
    assert (customer.email, customer.id) == ("ada@example.com", payment["customer_id"])
    [completed] = (await montra.list_audit_logs(event_type="checkout.completed")).data
    assert completed.payload is not None
    assert completed.payload["transaction_id"] == payment["id"]
    assert (await browser.open(receipt.url)).status == 200


async def test_submitting_the_form_twice_pays_once(montra: Montra, sandbox: Sandbox, browser: Browser) -> None:
    page = await browser.open(await _link(montra))
    first = await browser.submit(page)
    second = await browser.submit(page)
    assert first.url == second.url
    assert len(sandbox.transactions()) == 1


async def test_a_form_without_its_session_pays_in_a_new_one(montra: Montra, sandbox: Sandbox, browser: Browser) -> None:
    url = await _link(montra)
    for session in ("", "cs_none"):
        assert "Payment complete" in (await browser.pay(url, session=session)).words
    assert len(sandbox.transactions()) == 2


@pytest.mark.parametrize(
    ("action", "card", "words"),
    [
        ("decline", "4242424242424242", "was declined"),
        ("pay", "4000 0000 0000 0002", "was declined"),
        ("pay", "4000000000009995", "insufficient funds"),
        ("pay", "4000000000000069", "expired"),
    ],
)
async def test_a_declined_payment_can_be_repeated(
    montra: Montra, sandbox: Sandbox, browser: Browser, action: str, card: str, words: str
) -> None:
    page = await browser.pay(await _link(montra), action=action, card=card)
    assert page.status == 402
    assert words in page.words
    assert [one["status"] for one in sandbox.transactions()] == ["failed"]
    assert await montra.list_customers() == []
    with pytest.raises(ConflictError, match="transaction_not_paid"):
        await montra.create_refund(transaction_id=sandbox.transactions()[0]["id"], amount=1)
    assert "Payment complete" in (await browser.submit(page, card="4242424242424242")).words


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": " "}, "your name"),
        ({"email": "nobody"}, "email address"),
        ({"card": "1234"}, "test cards"),
        ({"code": "NONE"}, "no such discount"),
    ],
)
async def test_a_form_that_is_not_filled_in(
    montra: Montra, sandbox: Sandbox, browser: Browser, fields: dict[str, str], words: str
) -> None:
    page = await browser.pay(await _link(montra), **fields)
    assert page.status == 400
    assert words in page.words
    assert sandbox.transactions() == []


async def test_unknown_and_inactive_links(montra: Montra, sandbox: Sandbox, browser: Browser) -> None:
    for path in ("link_none", "link_none/receipts/tx_none"):
        assert (await browser.open(f"{sandbox.url}/pay/{path}")).status == 404
    inactive = await _link(montra, status="inactive")
    page = await browser.open(inactive)
    assert page.status == 410
    assert "no longer active" in page.words
    url = await _link(montra)
    assert (await browser.open(f"{url}/receipts/tx_none")).status == 404


async def test_line_items_are_summed_and_start_a_subscription(
    montra: Montra, sandbox: Sandbox, browser: Browser
) -> None:
    pro = await montra.create_pricing_model(name="Pro")
    seat = await montra.create_product(
        pricing_model_id=pro.id, name="Seat", price_type="recurring", amount=Decimal("20.50")
    )
    setup = await montra.create_product(pricing_model_id=pro.id, name="Setup", price_type="one_time", amount=100)
    items = [{"product_id": seat.id, "quantity": 2}, {"product_id": setup.id}]
    url = await _link(montra, amount=None, line_items=items)
    page = await browser.open(url)
    assert "$141.00" in page.words
    assert "Seat \u00d7 2" in page.words
    await browser.submit(page)
    [subscription] = await montra.list_subscriptions()
    assert (subscription.status, subscription.pricing_model_id) == ("active", pro.id)
    await browser.pay(url)
    assert len(await montra.list_subscriptions()) == 1
    team = await montra.create_pricing_model(name="Team")
    big = await montra.create_product(pricing_model_id=team.id, name="Big", price_type="recurring", amount=500)
    await browser.pay(await _link(montra, amount=None, line_items=[{"product_id": big.id}]))
    [subscription] = await montra.list_subscriptions()
    assert subscription.pricing_model_id == team.id
    with pytest.raises(NotFoundError):
        await _link(montra, line_items=[{"product_id": "prod_none"}])
    free = await montra.create_product(pricing_model_id=pro.id, name="Free", price_type="recurring", amount=0)
    with pytest.raises(ConflictError, match="nothing_to_pay"):
        await _link(montra, amount=None, line_items=[{"product_id": free.id}])
    assert sandbox.transactions()[0]["product_ids"] == [big.id]


async def test_images(montra: Montra, sandbox: Sandbox, browser: Browser) -> None:
    picture = await montra.upload_file(b"\x89PNG", name="a.png")
    text = await montra.upload_file(b"<script>", name="a.html")
    url = await _link(montra, image_ids=[picture.id, "https://example.com/b.png", "javascript:x"], image_url="c.png")
    page = await browser.open(url)
    assert f'src="/files/{picture.id}"' in page.html
    assert 'src="https://example.com/b.png"' in page.html
    assert "javascript" not in page.html
    async with aiohttp.ClientSession() as http:
        async with http.get(picture.url or "") as answer:
            assert (answer.content_type, await answer.read()) == ("image/png", b"\x89PNG")
        async with http.get(text.url or "") as answer:
            assert answer.headers["Content-Disposition"] == "attachment"
            assert answer.content_type == "application/octet-stream"
    assert (await browser.open(f"{sandbox.url}/files/none")).status == 404


async def test_discounts(montra: Montra, sandbox: Sandbox, browser: Browser) -> None:
    launch = await montra.create_discount(
        name="Launch",
        code="L10",
        percent_off=Decimal("10.5"),
        duration="repeating",
        duration_in_months=3,
        max_redemptions=1,
        valid_until=sandbox.now() + timedelta(days=30),
    )
    assert (launch.status, launch.percent_off, launch.amount_off) == ("active", Decimal("10.5"), None)
    with pytest.raises(ConflictError):
        await montra.create_discount(name="Again", code="L10", amount_off=5, duration="once")
    fifty = await montra.create_discount(name="Fifty", code="F50", amount_off=50, duration="forever", currency="eur")
    assert (fifty.amount_off, fifty.currency) == (50, "EUR")
    url = await _link(montra)
    page = await browser.submit(await browser.open(url), action="apply", code="F50")
    assert "$249.00" in page.words
    assert sandbox.transactions() == []
    page = await browser.submit(page, action="apply", code="L10")
    assert "$267.61" in page.words
    await browser.submit(page, code="L10")
    assert sandbox.transactions()[0]["amount"] == Decimal("267.61")
    assert "used up" in (await browser.pay(url, code="L10")).words
    await montra.create_discount(
        name="E", code="EXP", percent_off=5, duration="once", valid_until=sandbox.now() + timedelta(days=1)
    )
    sandbox.advance(days=2)
    assert "expired" in (await browser.pay(url, code="EXP")).words


@pytest.mark.parametrize(
    ("duration", "months", "amounts"),
    [
        ("once", None, ["18.00", "20.00", "20.00", "20.00"]),
        ("repeating", 2, ["18.00", "18.00", "20.00", "20.00"]),
        ("forever", None, ["18.00", "18.00", "18.00", "18.00"]),
    ],
)
async def test_a_discount_applies_for_its_duration(
    montra: Montra, sandbox: Sandbox, browser: Browser, duration: str, months: int | None, amounts: list[str]
) -> None:
    pro = await montra.create_pricing_model(name="Pro")
    seat = await montra.create_product(pricing_model_id=pro.id, name="Seat", price_type="recurring", amount=20)
    await montra.create_discount(name="Ten", code="TEN", percent_off=10, duration=duration, duration_in_months=months)
    await browser.pay(await _link(montra, amount=None, line_items=[{"product_id": seat.id}]), code="TEN")
    sandbox.advance(days=31 * 3 + 1)
    invoices = await montra.list_invoices()
    assert [invoice.amount_due for invoice in invoices] == [Decimal(amount) for amount in amounts]
    assert [invoice.status for invoice in invoices] == ["paid", "open", "open", "open"]


async def test_refunds_never_exceed_the_payment(montra: Montra, sandbox: Sandbox, browser: Browser) -> None:
    await browser.pay(await _link(montra))
    [payment] = sandbox.transactions()
    first = await montra.create_refund(transaction_id=payment["id"], amount=Decimal("100.01"), reason="late")
    assert (first.status, first.amount, first.reason) == ("succeeded", Decimal("100.01"), "late")
    with pytest.raises(ConflictError) as caught:
        await montra.create_refund(transaction_id=payment["id"], amount=Decimal("199"))
    assert caught.value.code == "refund_exceeds_transaction"
    await montra.create_refund(transaction_id=payment["id"], amount=Decimal("198.99"))
    with pytest.raises(ConflictError):
        await montra.create_refund(transaction_id=payment["id"], amount=Decimal("0.01"))
    with pytest.raises(NotFoundError):
        await montra.create_refund(transaction_id="tx_none", amount=1)


@pytest.mark.parametrize(
    "amount",
    [
        Decimal("0.1") + Decimal("0.2"),
        Decimal("9007199254740993"),
        Decimal("0.123456789012"),
        Decimal("9007199254740993.123456789012"),
        Decimal("299.00"),
        Decimal("1E+3"),
    ],
    ids=str,
)
async def test_an_amount_keeps_every_digit(montra: Montra, amount: Decimal) -> None:
    ada = await montra.create_customer(name="A", email="a@example.com")
    invoice = await montra.create_invoice(customer_id=ada.id, amount_due=amount)
    assert invoice.amount_due == amount
    assert format(invoice.amount_due, "f") == format(amount, "f")
    assert (await montra.get_invoice(invoice.id)).amount_due == amount


async def test_a_float_has_no_rounding_error(montra: Montra) -> None:
    ada = await montra.create_customer(name="A", email="a@example.com")
    assert str((await montra.create_invoice(customer_id=ada.id, amount_due=0.1 + 0.2)).amount_due) == "0.3"


async def test_create_and_list_invoices(montra: Montra) -> None:
    ada = await montra.create_customer(name="A", email="a@example.com")
    invoice = await montra.create_invoice(
        customer_id=ada.id,
        amount_due=Decimal("120.50"),
        currency="eur",
        due_date=date(2027, 1, 31),
        description="work",
        status="draft",
    )
    assert (invoice.amount_due, invoice.currency, invoice.status) == (Decimal("120.50"), "EUR", "draft")
    assert invoice.due_date is not None
    assert invoice.due_date.date() == date(2027, 1, 31)
    second = await montra.create_invoice(customer_id=ada.id, amount_due=0)
    assert second.status == "open"
    assert await montra.list_invoices() == [invoice, second]
    with pytest.raises(NotFoundError):
        await montra.get_invoice("inv_none")
    with pytest.raises(NotFoundError):
        await montra.create_invoice(customer_id="cust_none", amount_due=1)
    with pytest.raises(InvalidRequestError, match="status"):
        await montra.create_invoice(customer_id=ada.id, amount_due=1, status="lost")


class TestUploads:
    async def test_a_path(self, montra: Montra, tmp_path: Path) -> None:
        path = tmp_path / "naïve ☕.png"
        path.write_bytes(b"x" * 300_000)
        uploaded = await montra.upload_file(path)
        assert (uploaded.name, uploaded.size, uploaded.type) == (path.name, 300_000, "image/png")
        assert (await montra.upload_file(str(path), name="b.bin", content_type="text/x")).type == "text/x"

    async def test_bytes(self, montra: Montra) -> None:
        for content in (b"", b"abc", bytearray(b"abc"), memoryview(b"abc")):
            uploaded = await montra.upload_file(content)
            assert (uploaded.name, uploaded.size, uploaded.type) == (
                "file",
                len(content),
                "application/octet-stream",
            )

    async def test_an_open_file_stays_open_and_starts_where_it_stands(self, montra: Montra, tmp_path: Path) -> None:
        path = tmp_path / "a.txt"
        path.write_bytes(b"0123456789")
        with path.open("rb") as file:
            file.seek(4)
            assert (await montra.upload_file(file)).size == 6
            assert not file.closed
        buffer = io.BytesIO(b"12345")
        assert (await montra.upload_file(buffer, name="b.csv")).size == 5
        assert not buffer.closed

    async def test_every_try_sends_the_same_bytes(self, unwatched: Montra, sandbox: Sandbox, tmp_path: Path) -> None:
        path = tmp_path / "a.txt"
        path.write_bytes(b"0123456789" * 20_000)
        with path.open("rb") as file:
            for source in (path, file, b"abc"):
                sandbox.add_fault(kind="drop_after", path="/files", times=2)
                uploaded = await unwatched.upload_file(source)
                assert uploaded.size == (3 if source == b"abc" else 200_000)
        assert (await unwatched.list_audit_logs(event_type="file.created")).meta.total == 3

    async def test_what_can_not_be_rewound_is_sent_once(self, unwatched: Montra, sandbox: Sandbox) -> None:
        class Stream(io.RawIOBase):
            def __init__(self) -> None:
                self.left = [b"abc", b"def"]

            def read(self, size: int = -1) -> bytes:
                return self.left.pop(0) if self.left else b""

        assert (await unwatched.upload_file(Stream())).size == 6  # type: ignore[arg-type]
        sandbox.add_fault(kind="status", status=503, path="/files", times=1)
        with pytest.raises(Exception, match="injected_fault") as caught:
            await unwatched.upload_file(Stream())  # type: ignore[arg-type]
        assert caught.value.attempts == 1  # type: ignore[attr-defined]

    async def test_too_large(self, unwatched: Montra) -> None:
        with pytest.raises(Exception, match="413 too_large"):
            await unwatched.upload_file(b"x" * (21 * 1024 * 1024))
