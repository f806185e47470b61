"""Models from JSON and back: amounts, quantities, datetimes, unknown fields."""

from __future__ import annotations

import pickle
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

import montra_async
from montra_async import (
    AnalyticsSeries,
    AuditLogPage,
    Customer,
    Entitlement,
    Invoice,
    Meter,
    Model,
    Refund,
    Subscription,
    SubscriptionUpgrade,
    WebhookEndpoint,
)
from montra_async.core.models.converters import plain_json
from montra_async.core.models.datetimes import format_datetime, parse_datetime
from montra_async.core.models.model import SerdeError, structure
from montra_async.paywall import AuthSession, auth_models, models as paywall_models

UTC = timezone.utc
MODELS = [
    one
    for place in (montra_async, paywall_models, auth_models)
    for one in (getattr(place, name) for name in dir(place))
    if isinstance(one, type) and issubclass(one, Model) and one is not Model
]
UNKNOWN = {"new_field": {"a": [1, "x"]}, "fee": Decimal("0.10")}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_models_are_immutable_slotted_and_keyword_only(model: type[Model]) -> None:
    assert not hasattr(model, "__dict__") or "__slots__" in vars(model)
    assert all(field.kw_only for field in attrs.fields(model))
    assert model.__setattr__ is not object.__setattr__


@given(money=st.decimals(-(10**40), 10**40, places=12))
def test_money_is_exact(money: Decimal) -> None:
    refund = Refund.from_dict({"id": "r", "status": "succeeded", "amount": money})
    assert refund.amount == money
    assert Refund.from_dict(refund.to_dict()) == refund


@pytest.mark.parametrize(
    ("wire", "amount"),
    [(5, "5"), ("299.00", "299.00"), (0.1, "0.1"), (9007199254740993, "9007199254740993"), (0.1 + 0.2, "0.3")],
)
def test_amounts_are_read_from_every_json_form(wire: Any, amount: str) -> None:
    assert Refund.from_dict({"id": "r", "status": "s", "amount": wire}).amount == Decimal(amount)


@pytest.mark.parametrize("wire", [None, True, "x", [], {}, Decimal("NaN"), "Infinity"])
def test_an_invalid_amount_is_an_error_that_names_the_field(wire: Any) -> None:
    with pytest.raises(SerdeError, match="amount"):
        Refund.from_dict({"id": "r", "status": "s", "amount": wire})


@pytest.mark.parametrize(
    ("wire", "quantity", "kind"),
    [
        (9007199254740993, 9007199254740993, int),
        (Decimal("2.0"), 2, int),
        (Decimal("2.5"), 2.5, float),
        ("7", 7, int),
    ],
)
def test_quantities_are_plain_numbers(wire: Any, quantity: float, kind: type) -> None:
    usage = Entitlement.from_dict({"has_access": True, "usage": wire}).usage
    assert usage == quantity
    assert type(usage) is kind


@given(st.floats(1e-30, 1e15))
def test_a_quantity_with_a_fraction_survives_with_all_digits(value: float) -> None:
    made = Entitlement.from_dict({"has_access": True, "limit": value})
    assert made.limit == value
    assert Entitlement.from_dict(made.to_dict()) == made


@pytest.mark.parametrize("has_access", [True, False])
def test_an_entitlement_is_as_true_as_its_access(has_access: bool) -> None:
    assert bool(Entitlement(has_access=has_access, usage=5)) is has_access


@pytest.mark.parametrize("data", [None, 5, "x", [1], [("id", "c")]])
def test_what_is_no_json_object_is_told(data: Any) -> None:
    with pytest.raises(ValueError, match="a JSON object was expected, not "):
        Customer.from_dict(data)


def test_unknown_fields_and_enum_values_survive_a_round_trip() -> None:
    wire = {
        "id": "sub_1",
        "customer_id": "cust_1",
        "status": "hibernating",
        "current_period_end": "2026-01-01T00:00:00Z",
        **UNKNOWN,
    }
    subscription = Subscription.from_dict(wire)
    assert subscription.status == "hibernating"
    assert subscription.extra == UNKNOWN
    assert subscription.to_dict() == wire
    assert "new_field" not in repr(subscription)


def test_nested_models_and_renamed_fields_survive_a_round_trip() -> None:
    wire = {
        "interval": "hourly",
        "points": 1,
        "netCashFlow": [{"key": "a", "value": Decimal("0.10"), "note": "n"}],
        "mrrMovements": [{"key": "a", "new": 3, "churn": 1}],
        "transactions": [],
    }
    series = AnalyticsSeries.from_dict(wire)
    assert series.net_cash_flow[0].value == Decimal("0.10")
    assert series.mrr_movements[0].net == 2
    again = series.to_dict()
    assert again["netCashFlow"] == wire["netCashFlow"]
    assert AnalyticsSeries.from_dict(again) == series


def test_metadata_has_floats_instead_of_decimals() -> None:
    wire = {"a": Decimal("0.1"), "b": [Decimal("1.5"), 2], "c": Decimal("0.12345678901234567890")}
    customer = Customer.from_dict({"id": "c", "name": "n", "email": "e", "metadata": wire})
    assert customer.metadata == {"a": 0.1, "b": [1.5, 2], "c": Decimal("0.12345678901234567890")}
    assert type(customer.metadata["a"]) is float


def test_the_message_lists_the_path_of_every_mismatch() -> None:
    with pytest.raises(SerdeError) as caught:
        structure([{"id": [], "name": "n", "slug": None}, 5], list[Meter])
    assert str(caught.value) == (
        "a string was expected, not list @ list[0].id; a string was expected, not NoneType @ list[0].slug; "
        "an object was expected, not int @ list[1]"
    )


@pytest.mark.parametrize("data", [None, [], "x", 5, {"subscription": [], "proration": 3}])
def test_data_of_the_wrong_shape_is_a_serde_error(data: Any) -> None:
    with pytest.raises(SerdeError):
        structure(data, SubscriptionUpgrade)


@pytest.mark.parametrize(
    ("kind", "field", "wire"),
    [
        (Entitlement, "has_access", 1),
        (Entitlement, "has_access", "true"),
        (Meter, "slug", True),
        (AnalyticsSeries, "points", Decimal("1.5")),
        (AuthSession, "expires_at", True),
        (AuthSession, "expires_at", "soon"),
        (AuthSession, "expires_at", 10**400),
        (AuthSession, "expires_at", Decimal("1e300")),
        (AuthSession, "expires_at", "0001-01-01T00:00:00+10:00"),
        (Refund, "amount", "1e1000000"),
        (Refund, "amount", 10**64),
        (Refund, "amount", Decimal("1e-65")),
        (Refund, "amount", "9" * 401),
        (AuditLogPage, "data", [None]),
        (AuditLogPage, "data", {}),
        (Subscription, "status", {}),
    ],
)
def test_a_value_of_the_wrong_type_is_an_error_that_names_the_field(kind: type[Model], field: str, wire: Any) -> None:
    tokens = {"access_token": "a", "refresh_token": "r"}
    ids = {"id": "i", "email": "e", "slug": "s", "customer_id": "c", "interval": "daily", "status": "s"}
    with pytest.raises(SerdeError, match=field):
        kind.from_dict({**tokens, **ids, field: wire})


def test_values_of_a_compatible_type_are_converted() -> None:
    meter = Meter.from_dict({"id": 5, "name": "n", "slug": Decimal("1.5"), "events_per_unit": Decimal("2.0")})
    assert (meter.id, meter.slug, meter.events_per_unit) == ("5", "1.5", 2)
    now = datetime.now(UTC)
    assert Meter.from_dict({"id": "m", "name": "n", "slug": "s", "created_at": now}).created_at is now


def test_members_that_are_models_already_are_accepted() -> None:
    series = AnalyticsSeries.from_dict({"interval": "daily", "points": 1})
    again = AnalyticsSeries.from_dict({**series.to_dict(), "mrrMovements": [montra_async.MrrMovement(key="k")]})
    assert again.mrr_movements == [montra_async.MrrMovement(key="k")]


@pytest.mark.parametrize("data", [None, {}, "x", 5, [None]])
def test_only_an_array_is_a_list(data: Any) -> None:
    with pytest.raises(SerdeError):
        structure(data, list[Meter])


@given(
    data=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.decimals(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["id", "amount_due", "due_date", "x"]), inner),
    )
)
def test_any_json_is_an_invoice_or_a_serde_error(data: Any) -> None:
    try:
        invoice = structure(data, Invoice)
    except SerdeError:
        return
    assert invoice.id == str(data["id"])
    assert invoice.due_date is None or invoice.due_date.utcoffset() == timedelta(0)


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_decimal_becomes_a_float_only_when_it_keeps_its_digits(value: Decimal) -> None:
    plain = plain_json(value)
    assert plain is value or (type(plain) is float and Decimal(repr(plain)) == value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_in_metadata_survives_a_round_trip(value: float) -> None:
    plain = plain_json(Decimal(repr(value)))
    assert (type(plain), plain) == (float, value)


def test_each_model_without_unknown_fields_has_its_own_empty_extra() -> None:
    one, other = (Customer.from_dict({"id": "c", "name": "n", "email": "e"}) for _ in range(2))
    one.extra["x"] = 1
    assert other.extra == Customer(id="c", name="n", email="e", extra={}).extra == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-12-23T11:00:00Z", datetime(2025, 12, 23, 11, tzinfo=UTC)),
        ("2025-12-23T11:00:00.5Z", datetime(2025, 12, 23, 11, 0, 0, 500_000, tzinfo=UTC)),
        ("2025-12-23T11:00:00.123456789Z", datetime(2025, 12, 23, 11, 0, 0, 123_456, tzinfo=UTC)),
        ("2025-12-23T13:00:00+02:00", datetime(2025, 12, 23, 11, tzinfo=UTC)),
        ("2025-12-23T13:00:00+0200", datetime(2025, 12, 23, 11, tzinfo=UTC)),
        ("2025-12-23T11:00:00", datetime(2025, 12, 23, 11, tzinfo=UTC)),
        ("2025-12-23 11:00:00z", datetime(2025, 12, 23, 11, tzinfo=UTC)),
        ("2025-12-23", datetime(2025, 12, 23, tzinfo=UTC)),
    ],
)
def test_datetimes_are_aware_and_utc(text: str, expected: datetime) -> None:
    parsed = parse_datetime(text)
    assert parsed == expected
    assert parsed.utcoffset() == timedelta(0)


@given(st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=st.timezones()))
def test_datetimes_survive_a_round_trip(value: datetime) -> None:
    assert parse_datetime(format_datetime(value)) == value.astimezone(UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2025-13-01T00:00:00Z",
        "2025-12-23T25:00:00Z",
        "99",
        "0001-01-01T00:00:00+10:00",
        "9999-12-31T23:59:59-10:00",
        "\ud800",
        "2025-12-23T11:00:00\udc00",
    ],
)
def test_an_invalid_datetime_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_datetime(text)


def test_a_secret_is_not_in_the_repr() -> None:
    endpoint = WebhookEndpoint(id="wh", url="https://x", secret="whsec_very_secret")
    assert "very_secret" not in repr(endpoint)
    assert endpoint.secret == "whsec_very_secret"
    assert "secret=None" in repr(WebhookEndpoint(id="wh", url="https://x"))


def test_models_can_be_pickled_and_written_as_json() -> None:
    refund = Refund(id="r", status="s", amount=Decimal("1.10"), extra={"a": 1})
    assert pickle.loads(pickle.dumps(refund)) == refund
    assert hash(refund) == hash(Refund(id="r", status="s", amount=Decimal("1.1"), extra={"b": 1}))
    assert refund.to_json() == '{"id":"r","status":"s","amount":1.10,"a":1}'
