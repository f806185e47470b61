"""From a raw body to a typed event, or to the right words."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, strategies as st

from montra_async import Montra
from montra_async.paywall import BillingClient
from montra_async.resources.event_types import EVENT_TYPES
from montra_async.webhooks import (
    CheckoutCompleted,
    CustomerCreated,
    PaymentCompleted,
    WebhookError,
    WebhookEvent,
    WebhookHelpers,
    WebhookPayloadError,
    WebhookSignatureError,
    parse,
    parse_paywall,
)
from montra_async.webhooks.events import EVENTS
from montra_async.webhooks.paywall_events import PAYWALL_EVENTS
from montra_async.webhooks.signature import sign

SECRET = "whsec_of_the_tests"


def _signed(body: Any, secret: str = SECRET) -> tuple[bytes, str]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return raw, sign(raw, secret)


def _body(kind: str, data: Any, **more: Any) -> dict[str, Any]:
    return {"id": "evt_1", "type": kind, "created_at": datetime.now(timezone.utc).isoformat(), "data": data, **more}


CUSTOMER = {"id": "cust_1", "name": "Ada", "email": "ada@example.com"}


def test_a_typed_event() -> None:
    raw, signature = _signed(_body("customer.created", {**CUSTOMER, "new": 1}, trace="x"))
    event = parse(raw, signature, SECRET)
    match event:
        case CustomerCreated(id="evt_1", data=customer):
            assert (customer.name, customer.extra) == ("Ada", {"new": 1})
        case _:
            pytest.fail("not a CustomerCreated")
    assert (event.raw_body, event.extra, event.created_at is not None) == (raw, {"trace": "x"}, True)
    assert "raw_body" not in repr(event)


def test_money_keeps_its_digits() -> None:
    raw, signature = _signed(b'{"id":"e","type":"checkout.completed","data":{"session_id":"cs","amount":299.00}}')
    event = parse(raw, signature, SECRET)
    assert isinstance(event, CheckoutCompleted)
    assert str(event.data.amount) == "299.00"
    assert event.data.amount == Decimal(299)


def test_the_paywall_service() -> None:
    data = {"price": {"id": 101, "unit_amount": 999}, "user": {"id": "usr_1", "metadata": {"userId": 42}}}
    raw, signature = _signed(_body("payment.completed", data))
    for headers in ({"X-Signature": signature}, {"x-monetize-signature": f"sha256={signature}"}):
        event = parse_paywall(raw, headers, SECRET)
        assert isinstance(event, PaymentCompleted)
        assert event.data.price is not None
        assert event.data.user is not None
        assert (event.data.price.unit_amount, event.data.user.user_id) == (999, "42")
    both = {"X-Signature": "0" * 64, "X-Monetize-Signature": f"sha256={signature}"}
    assert parse_paywall(raw, both, SECRET).id == "evt_1"
    with pytest.raises(WebhookSignatureError, match="missing_header: the request has no header X-Signature or X-Mon"):
        parse_paywall(raw, {"Montra-Signature": signature}, SECRET)


def test_from_the_clients() -> None:
    raw, signature = _signed(_body("customer.created", CUSTOMER))
    assert isinstance(Montra.webhooks.parse(raw, signature, SECRET), CustomerCreated)
    assert isinstance(BillingClient.webhooks.parse(raw, signature, SECRET), WebhookEvent)
    assert BillingClient.webhooks.verify_signature(raw, signature, SECRET)


@pytest.mark.parametrize("kind", [*EVENTS, *PAYWALL_EVENTS])
def test_every_type_has_a_class(kind: str) -> None:
    full = {**CUSTOMER, "customer_id": "c", "status": "active", "amount": 1, "amount_due": 1, "url": "u"}
    for parse_one, events in ((parse, EVENTS), (parse_paywall, PAYWALL_EVENTS)):
        raw, signature = _signed(_body(kind, full))
        event = parse_one(raw, {"Montra-Signature": signature, "X-Signature": signature}, SECRET)
        assert type(event) is events.get(kind, WebhookEvent)


def test_an_unknown_type_stays_readable() -> None:
    raw, signature = _signed(_body("robot.rebelled", {"why": ["x"]}))
    event = parse(raw, signature, SECRET)
    assert type(event) is WebhookEvent
    assert (event.type, event.data) == ("robot.rebelled", {"why": ["x"]})


def test_text_bytes_and_several_secrets() -> None:
    raw, signature = _signed(_body("customer.created", CUSTOMER))
    assert parse(raw.decode(), f" SHA256={signature.upper()} ", ["whsec_of_a_rotation", SECRET]).id == "evt_1"
    assert parse(bytearray(raw), signature, iter([SECRET])).raw_body == raw  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        (None, "missing_header"),
        ("", "missing_header"),
        ({}, "missing_header"),
        ({"Content-Type": "x"}, "missing_header"),
        (5, "missing_header"),
        ("abc", "malformed_header"),
        ("ü" * 64, "malformed_header"),
        ("0" * 64, "wrong_signature"),
        ({"montra-signature": "0" * 64}, "wrong_signature"),
    ],
)
def test_it_says_what_is_wrong_with_the_signature(signature: Any, reason: str) -> None:
    raw, _ = _signed(_body("customer.created", CUSTOMER))
    with pytest.raises(WebhookSignatureError) as caught:
        parse(raw, signature, SECRET)
    assert caught.value.reason == reason
    assert isinstance(caught.value, WebhookError)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("spelling", [{"separators": (",", ":")}, {"ensure_ascii": False}, {"indent": 2}])
def test_a_body_that_was_parsed_and_written_again(spelling: dict[str, Any]) -> None:
    """The secret is right, the framework was too helpful: say so, and refuse."""
    value = _body("customer.created", {**CUSTOMER, "name": "Zoë"})
    raw = json.dumps(value).encode()
    changed = json.dumps(value, **spelling).encode()
    with pytest.raises(WebhookSignatureError, match="raw body") as caught:
        parse(changed, sign(raw, SECRET), SECRET)
    assert caught.value.reason == "changed_body"


def test_a_parsed_body() -> None:
    with pytest.raises(WebhookSignatureError, match="not a parsed dict") as caught:
        parse({"id": "evt_1"}, "0" * 64, SECRET)  # type: ignore[arg-type]
    assert caught.value.reason == "changed_body"


@pytest.mark.parametrize("secret", ["", [], [""], None, ["x", ""]])
def test_without_a_secret_nothing_is_believed(secret: Any) -> None:
    with pytest.raises(ValueError, match="no webhook secret"):
        parse(b"{}", sign(b"{}", ""), secret)


@pytest.mark.parametrize(
    "body",
    [b"", b"no", b"[]", b"{}", {"id": "e"}, {"type": "t"}, {"id": 5, "type": "t"}, {"id": "", "type": "t"}],
)
def test_what_is_no_event(body: Any) -> None:
    raw, signature = _signed(body)
    with pytest.raises(WebhookPayloadError):
        parse(raw, signature, SECRET)


def test_data_that_does_not_fit() -> None:
    raw, signature = _signed(_body("customer.created", {"id": "c"}))
    with pytest.raises(WebhookPayloadError, match="email"):
        parse(raw, signature, SECRET)


@pytest.mark.parametrize(("source", "header"), [("montra", "Montra-Signature"), ("paywall", "X-Signature")])
def test_helpers_of_a_client_parse_the_events_of_its_service(source: Any, header: str) -> None:
    helpers = WebhookHelpers(source)
    raw, signature = _signed(_body("x.y", None))
    assert helpers.verify_signature(raw, signature, SECRET)
    assert not helpers.verify_signature(raw, signature, "whsec_of_somebody_else")
    assert helpers.parse(raw, {header: signature}, SECRET, max_age=60, clock_skew=1) == parse(raw, signature, SECRET)
    with pytest.raises(WebhookSignatureError, match=f"missing_header: the request has no header {header}"):
        helpers.parse(raw, {}, SECRET)
    with pytest.raises(WebhookPayloadError, match="has no `created_at`"):
        undated = b'{"id": "evt_1", "type": "x.y"}'
        helpers.parse(undated, sign(undated, SECRET), SECRET, require_created_at=True)
    assert repr(helpers) == f"<webhook helpers of {source}>"


def test_old_events() -> None:
    old = (datetime.now(timezone.utc) - timedelta(days=8)).isoformat()
    raw, signature = _signed({**_body("x.y", None), "created_at": old})
    with pytest.raises(WebhookPayloadError, match=r"is 8 days, .* old; `max_age` is 604800 s"):
        parse(raw, signature, SECRET, max_age=timedelta(days=7))
    assert parse(raw, signature, SECRET, max_age=timedelta(days=9)).id == "evt_1"
    assert parse(raw, signature, SECRET).id == "evt_1"


@given(st.binary(max_size=200), st.text(max_size=80) | st.none() | st.dictionaries(st.text(max_size=5), st.text()))
def test_garbage_never_breaks_it(body: bytes, signature: Any) -> None:
    with pytest.raises(WebhookError):
        parse(body, signature, SECRET)
    with pytest.raises(WebhookPayloadError):
        parse(*_signed(body + b"!"), SECRET)


def test_names_of_events_are_known_without_their_classes() -> None:
    assert list(EVENT_TYPES) == list(EVENTS)
