"""Arguments are checked before a request is sent. The error names the parameter."""

from __future__ import annotations

import inspect
import io
import math
from collections.abc import Awaitable, Callable
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qs, unquote

import pytest
from hypothesis import given, strategies as st

from montra_async import InvalidArgumentError, Montra, NetworkError
from montra_async.core import validation
from montra_async.core.validation import exact_float
from montra_async.resources.webhook_endpoints import EVENT_TYPES
from montra_async.webhooks.events import EVENTS

Wrong: TypeAlias = Callable[[Montra], Awaitable[object]]
LATER = datetime(2030, 1, 1, tzinfo=timezone.utc)


def _customer(**fields: Any) -> Wrong:
    return lambda m: m.create_customer(**{"name": "n", "email": "e@x", **fields})


def _usage(**fields: Any) -> Wrong:
    return lambda m: m.report_usage(**{"customer_id": "c", "meter_slug": "s", **fields})


def _discount(**fields: Any) -> Wrong:
    return lambda m: m.create_discount(**{"name": "n", "code": "c", "duration": "once", **fields})


def _link(**fields: Any) -> Wrong:
    return lambda m: m.create_checkout_link(**{"link_name": "l", "payment_name": "p", **fields})


def _product(**fields: Any) -> Wrong:
    return lambda m: m.create_product(**{"pricing_model_id": "pm", "name": "n", "price_type": "recurring", **fields})


class _BytesPath:
    def __fspath__(self) -> bytes:
        return b"x"


WRONG: list[tuple[str, Wrong]] = [
    ("name", _customer(name="")),
    ("name", _customer(name=" ")),
    ("email", _customer(email=None)),
    ("phone", _customer(phone=5)),
    ("address", _customer(address=["x"])),
    ("address", _customer(address={1: 2})),
    ("invoicing_emails", _customer(invoicing_emails="a@x")),
    ("invoicing_emails[1]", _customer(invoicing_emails=["a@x", ""])),
    ("metadata", _customer(metadata="x")),
    ("metadata.a", _customer(metadata={"a": math.nan})),
    ("metadata.a[0]", _customer(metadata={"a": [object()]})),
    ("idempotency_key", _customer(idempotency_key="")),
    ("idempotency_key", _customer(idempotency_key="a b")),
    ("idempotency_key", _customer(idempotency_key="k" * 256)),
    ("idempotency_key", _customer(idempotency_key="ключ")),
    (
        "idempotency_key",
        lambda m: m.create_customer_with_subscription(
            pricing_model_id="pm", name="n", email="e", idempotency_key="k" * 254
        ),
    ),
    ("pricing_model_id", lambda m: m.create_customer_with_subscription(pricing_model_id="", name="n", email="e")),
    ("customer_id", lambda m: m.get_customer("")),
    ("customer_id", lambda m: m.get_customer("..")),
    ("customer_id", lambda m: m.get_customer(None)),  # type: ignore[arg-type]
    ("customer_id", lambda m: m.get_customer("\ud800")),
    ("customer_id", lambda m: m.update_customer(" ", name="n")),
    ("amount", _usage(amount=-1)),
    ("amount", _usage(amount=math.nan)),
    ("amount", _usage(amount=Decimal("Infinity"))),
    ("amount", _usage(amount=True)),
    ("amount", _usage(amount="5")),
    ("customer_id", _usage(customer_id="")),
    ("meter_slug", _usage(meter_slug="")),
    ("events_per_unit", lambda m: m.create_meter(name="n", slug="s", pricing_model_id="p", events_per_unit=0)),
    ("events_per_unit", lambda m: m.create_meter(name="n", slug="s", pricing_model_id="p", events_per_unit=1.5)),  # type: ignore[arg-type]
    ("is_default", lambda m: m.create_pricing_model(name="n", is_default=1)),  # type: ignore[arg-type]
    ("meter_slug", _product(price_type="usage")),
    ("amount", _product(amount=-1)),
    ("amount", _product()),
    ("amount", _product(pricing_structure="fixed")),
    ("meter_slug", lambda m: m.check_entitlement("c", "")),
    ("customer_id", lambda m: m.check_feature_access("", "f")),
    ("feature_id", lambda m: m.delete_feature("")),
    ("amount", _link()),
    ("amount", _link(line_items=[])),
    ("amount", _link(amount=0)),
    ("line_items", _link(line_items={"product_id": "p"})),
    ("line_items[0]", _link(line_items=["p"])),
    ("line_items[0]", _link(line_items=[None])),
    ("line_items[0].product_id", _link(line_items=[{}])),
    ("line_items[0].quantity", _link(line_items=[{"product_id": "p", "quantity": 0}])),
    ("image_ids", _link(amount=1, image_ids="file_1")),
    ("file", lambda m: m.upload_file("/nonexistent/file.png")),
    ("file", lambda m: m.upload_file(5)),  # type: ignore[arg-type]
    ("file", lambda m: m.upload_file(b"/bytes/are/content\0", name=None, content_type="a\r\nb")),
    ("file", lambda m: m.upload_file(io.StringIO("text"))),  # type: ignore[arg-type]
    ("name", lambda m: m.upload_file(b"x", name="a\r\nb")),
    ("file", lambda m: m.upload_file(_BytesPath())),  # type: ignore[arg-type]
    ("file", lambda m: m.upload_file("a\0b")),
    (
        "scheduled_for",
        lambda m: m.schedule_subscription_change("s", new_pricing_model_id="p", scheduled_for=datetime(2030, 1, 1)),
    ),
    (
        "scheduled_for",
        lambda m: m.schedule_subscription_change("s", new_pricing_model_id="p", scheduled_for="2030-01-01"),  # type: ignore[arg-type]
    ),
    ("new_pricing_model_id", lambda m: m.upgrade_subscription("s", "")),
    ("resume_at", lambda m: m.pause_subscription("s", resume_at=datetime(2030, 1, 1))),
    ("amount", lambda m: m.create_refund(transaction_id="t", amount=0)),
    ("amount", lambda m: m.create_refund(transaction_id="t", amount=-5)),
    ("transaction_id", lambda m: m.create_refund(transaction_id="", amount=1)),
    ("percent_off", _discount()),
    ("percent_off", _discount(percent_off=10, amount_off=5)),
    ("percent_off", _discount(percent_off=101)),
    ("percent_off", _discount(percent_off=0)),
    ("amount_off", _discount(amount_off=0)),
    ("duration_in_months", _discount(percent_off=5, duration="repeating")),
    ("valid_until", _discount(percent_off=5, valid_until=datetime(2030, 1, 1))),
    ("max_redemptions", _discount(percent_off=5, max_redemptions=0)),
    ("amount_due", lambda m: m.create_invoice(customer_id="c", amount_due=math.inf)),
    ("due_date", lambda m: m.create_invoice(customer_id="c", amount_due=1, due_date=datetime(2030, 1, 1))),
    ("url", lambda m: m.create_webhook(url="")),
    ("events", lambda m: m.create_webhook(url="http://x", events="*")),
    ("enabled", lambda m: m.update_webhook("wh", enabled="yes")),  # type: ignore[arg-type]
    ("limit", lambda m: m.list_audit_logs(limit=0)),
    ("offset", lambda m: m.list_audit_logs(offset=-1)),
    ("points", lambda m: m.get_analytics_series(interval="daily", points=0)),
    ("interval", lambda m: m.get_analytics_series(interval="", points=1)),
]


@pytest.mark.parametrize(("parameter", "call"), WRONG, ids=[f"{i}-{name}" for i, (name, _) in enumerate(WRONG)])
async def test_an_invalid_argument_is_refused_before_a_request(parameter: str, call: Wrong) -> None:
    sent: list[object] = []
    async with Montra("sk_test_x", "http://127.0.0.1:9", on_request=sent.append) as montra:
        with pytest.raises(InvalidArgumentError) as caught:
            await call(montra)
    assert caught.value.parameter == parameter
    assert str(caught.value).startswith(f"{parameter}: ")
    assert isinstance(caught.value, ValueError)
    assert sent == []


async def test_a_directory_can_not_be_uploaded(tmp_path: Path) -> None:
    async with Montra("sk_test_x", "http://127.0.0.1:9") as montra:
        with pytest.raises(InvalidArgumentError, match="can't read"):
            await montra.upload_file(tmp_path)


@given(st.text(min_size=1).filter(lambda t: t.strip() and t not in (".", "..")))
def test_an_id_with_any_characters_is_one_path_segment(value: str) -> None:
    segment = validation.segment("id", value)
    assert not set(segment) & set("/?#[]@:;= ")
    assert unquote(segment) == value


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,10}", fullmatch=True), st.text(min_size=1)))
def test_a_query_survives_a_round_trip(values: dict[str, str]) -> None:
    query = validation.query(**values)
    assert query == "" if not values else query.startswith("?")
    assert parse_qs(query[1:]) == {name: [value] for name, value in values.items()}


@pytest.mark.parametrize(
    ("value", "decimal"),
    [
        (0.1 + 0.2, "0.3"),
        (19.99, "19.99"),
        (1e22, "1E+22"),
        (5e-13, "5E-13"),
        (123456789.123456789, "123456789.12345679"),
    ],
)
def test_a_float_becomes_a_decimal_without_rounding_errors(value: float, decimal: str) -> None:
    assert exact_float(value) == Decimal(decimal)


@given(st.integers(-(10**12), 10**12), st.integers(0, 4))
def test_amounts_in_cents_survive_as_floats(cents: int, places: int) -> None:
    exact = Decimal(cents).scaleb(-places)
    assert exact_float(float(exact)) == exact


def test_a_date_parameter_accepts_a_date_or_a_datetime() -> None:
    assert validation.optional_date("d", date(2026, 1, 2)) == "2026-01-02"
    assert validation.optional_date("d", LATER) == "2030-01-01T00:00:00Z"
    assert validation.optional_date("d", None) is None


def test_keys_are_random_and_long() -> None:
    keys = {validation.idempotency_key(None) for _ in range(1000)}
    assert len(keys) == 1000
    assert all(len(key) == 32 for key in keys)


async def test_an_unknown_event_type_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with Montra("sk_test_1", "http://127.0.0.1:9", max_attempts=1) as montra:
        for events in (["*", "customer.created"], ["customer.create"]):
            caplog.clear()
            with pytest.raises(NetworkError):
                await montra.create_webhook(url="https://x", events=events)
            assert ("customer.create'" in caplog.text) is (events == ["customer.create"])


def test_the_events_that_can_be_subscribed_to_are_those_that_can_be_received() -> None:
    assert EVENTS.keys() == set(EVENT_TYPES)


BULK = ("create_customers", "report_usage_many")
"""Calls that make many: they take the items first, and a `batch_key`."""
IDENTIFIERS = ("meter_slug", "feature_slug")
CALLS = [
    (name, list(inspect.signature(call).parameters.values())[1:])
    for name, call in inspect.getmembers(Montra, inspect.isfunction)
    if name not in ("aclose", "with_options", "with_raw_response", *BULK) and not name.startswith("_")
]


def _is_identifier(parameter: inspect.Parameter) -> bool:
    return parameter.name.endswith("_id") or parameter.name in IDENTIFIERS


def test_the_calls_are_found() -> None:
    names = {name for name, _ in CALLS}
    assert {"create_refund", "resume_subscription", "upload_file", "iter_audit_logs", "report_usage"} <= names


@pytest.mark.parametrize(("name", "parameters"), CALLS, ids=[name for name, _ in CALLS])
def test_ids_are_positional_and_everything_else_is_keyword_only(name: str, parameters: list[inspect.Parameter]) -> None:
    positional = [one for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
    others = [one for one in parameters if one.kind is one.KEYWORD_ONLY]
    assert positional + others == parameters
    assert all(_is_identifier(one) for one in positional) or [one.name for one in positional] in (["file"], ["items"])
    assert not [one.name for one in others if _is_identifier(one) and one.default is one.empty]


@pytest.mark.parametrize(("name", "parameters"), CALLS, ids=[name for name, _ in CALLS])
def test_every_create_call_takes_an_idempotency_key(name: str, parameters: list[inspect.Parameter]) -> None:
    reads = name.startswith(("get_", "list_", "iter_", "update_", "delete_", "check_"))
    key = "batch_key" if "items" in [one.name for one in parameters] else "idempotency_key"
    assert (key in [one.name for one in parameters]) is not reads
