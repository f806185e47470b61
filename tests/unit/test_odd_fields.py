"""A value that does not fit an optional field affects only that field. For every model of the SDK and any JSON."""

from __future__ import annotations

import importlib
import json
import pickle
import pkgutil
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any, get_args, get_origin

import attrs
import pytest
from hypothesis import given, settings, strategies as st

import montra_async
from montra_async import (
    AnalyticsSeries,
    Customer,
    Entitlement,
    Feature,
    Meter,
    Model,
    Refund,
    Subscription,
    SubscriptionUpgrade,
    paywall,
)
from montra_async.core.limits import MAX_DEPTH
from montra_async.core.models import builder as builders, model as serde
from montra_async.core.models.builder import wire_name
from montra_async.core.models.json import loads
from montra_async.core.models.model import SerdeError, structure
from montra_async.webhooks.events import EVENTS, WebhookEvent
from montra_async.webhooks.paywall_events import PaywallEventData


def _subclasses(cls: type[Model]) -> Iterator[type[Model]]:
    for one in cls.__subclasses__():
        yield one
        yield from _subclasses(one)


for folder in (montra_async.resources, paywall, montra_async.webhooks):
    for module in pkgutil.iter_modules(folder.__path__, f"{folder.__name__}."):
        if not module.name.endswith(".redis"):
            importlib.import_module(module.name)

# A builder's drafts are subclasses, too, but no module has them.
MODELS = sorted(
    {one for one in _subclasses(Model) if getattr(sys.modules[one.__module__], one.__name__, None) is one},
    key=lambda one: one.__qualname__,
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**60, 10**70)
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["2026-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "yes", "1e1000000", "\ud83d", 10**500]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "key", "x"]), inner, max_size=3),
    max_leaves=6,
)


def _fields(model: type[Model]) -> list[attrs.Attribute[Any]]:
    attrs.resolve_types(model)
    return [field for field in attrs.fields(model) if field.name != "_extra"]


def _some(kind: Any) -> Any:
    """A JSON value for a field of this type."""
    if isinstance(kind, type) and issubclass(kind, Model):
        return _smallest(kind)
    if get_origin(kind) is list:
        return []
    plain = {Decimal: 1, int: 1, bool: True, datetime: "2026-01-01T00:00:00Z"}
    return plain.get(next(iter(get_args(kind)), kind) if kind not in plain else kind, "x")


def _smallest(model: type[Model]) -> dict[str, Any]:
    return {wire_name(field): _some(field.type) for field in _fields(model) if field.default is attrs.NOTHING}


def test_the_models_of_all_packages_are_found() -> None:
    assert {Customer, paywall.Purchase, paywall.Bootstrap, PaywallEventData, Meter} <= set(MODELS)
    assert len(MODELS) > 40


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
@settings(max_examples=15)
@given(data=st.data())
def test_any_value_in_an_optional_field_is_kept(model: type[Model], data: st.DataObject) -> None:
    wire = _smallest(model)
    optional = [wire_name(field) for field in _fields(model) if field.default is not attrs.NOTHING]
    wire |= data.draw(st.dictionaries(st.sampled_from([*optional, "unknown"]), json_values))
    original = pickle.dumps(wire)
    made = model.from_dict(wire)
    assert pickle.dumps(wire) == original, "from_dict leaves its argument as it was"
    kept = made.to_dict()
    repr(made)
    for name, value in wire.items():
        if name in made.extra:
            assert repr(made.extra[name]) == repr(value), "the original value is kept"
            assert kept[name] is made.extra[name]
        elif value is not None:
            assert kept[name] is not None


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_null_means_that_an_optional_field_is_absent(model: type[Model]) -> None:
    wire = _smallest(model)
    nulls = {wire_name(field): None for field in _fields(model) if field.default is not attrs.NOTHING}
    assert model.from_dict({**nulls, **wire}) == model.from_dict(wire)
    assert model.from_dict({**nulls, **wire}).extra == {}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
@settings(max_examples=15)
@given(data=st.data())
def test_generated_and_field_by_field_builders_agree(model: type[Model], data: st.DataObject) -> None:
    names = [wire_name(field) for field in _fields(model)]
    wire = _smallest(model) | data.draw(st.dictionaries(st.sampled_from([*names, "unknown"]), json_values))
    slots = [serde._slot(field, serde._converter) for field in _fields(model)]

    def outcome(build: Any) -> Any:
        try:
            made = build()
        except ValueError:
            return "refused"
        return repr(made), repr(made.extra)

    quick = outcome(lambda: structure(wire, model))
    assert quick == outcome(lambda: builders.build_field_by_field(model, slots, frozenset(names), wire))


def _filled(model: type[Model]) -> dict[str, Any]:
    """JSON of a model with a value for every field, lists and objects among them, and an unknown field."""
    return {wire_name(field): _full(field.type) for field in _fields(model)} | {"unknown": {"a": [1]}}


def _full(kind: Any) -> Any:
    kinds = [one for one in (get_args(kind) if type(None) in get_args(kind) else (kind,)) if one is not type(None)]
    if kinds[0] is Any or get_origin(kinds[0]) is dict:
        return {"a": [1]}
    if get_origin(kinds[0]) is list:
        return [_full(get_args(kinds[0])[0])]
    return _filled(kinds[0]) if isinstance(kinds[0], type) and issubclass(kinds[0], Model) else _some(kind)


@pytest.mark.parametrize("wire_of", [_smallest, _filled])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_equal_models_have_equal_hashes(model: type[Model], wire_of: Callable[[type[Model]], dict[str, Any]]) -> None:
    one, other = (model.from_dict(wire_of(model)) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert {one: "found"}[other] == "found"
    assert one.extra.keys() <= {"unknown"}


@pytest.mark.parametrize("cls", [WebhookEvent, *EVENTS.values()])
def test_equal_events_have_equal_hashes(cls: type[WebhookEvent]) -> None:
    one, other = (cls(id="evt_1", type="t", data={"a": [1]}, extra={"b": []}) for _ in range(2))
    assert one == other
    assert len({one, other, attrs.evolve(one, id="evt_2")}) == 2
    customer = Customer(id="c", email="e", metadata={"a": 1})
    assert hash(attrs.evolve(one, data=customer)) == hash(attrs.evolve(one, data=attrs.evolve(customer)))


def test_a_hash_depends_on_the_class_and_on_every_field_that_is_no_list_or_dict() -> None:
    refund = Refund(id="r", status="succeeded", amount=Decimal("1.10"))
    others = [attrs.evolve(refund, id="s"), attrs.evolve(refund, amount=Decimal(2)), attrs.evolve(refund, reason="r")]
    assert len({hash(one) for one in [refund, *others]}) == 4
    assert hash(Meter(id="x", slug="s")) != hash(Feature(id="x", slug="s"))


def test_a_hash_of_its_own_can_not_be_defined() -> None:
    @attrs.frozen(kw_only=True)
    class Own(Model):
        id: str

        def __hash__(self) -> int:
            raise AssertionError("not called")

    assert hash(Own(id="a")) == hash(Own(id="a"))


@pytest.mark.parametrize("odd", ["yes", 1, None, [True], {"granted": True}, Decimal(1)])
def test_only_true_grants_access(odd: Any) -> None:
    with pytest.raises(SerdeError, match="has_access"):
        Entitlement.from_dict({"has_access": odd})
    with pytest.raises(SerdeError, match=r"required field missing @ Entitlement\.has_access"):
        Entitlement.from_dict({"usage": 1})
    user = paywall.PaywallUser.from_dict({"has_active_subscription": odd})
    assert user.has_active_subscription is False


def test_a_field_that_does_not_fit_has_its_default_and_extra_has_the_value() -> None:
    meter = Meter.from_dict({"id": "m", "slug": "s", "events_per_unit": "many", "created_at": "soon", "more": 1})
    assert (meter.events_per_unit, meter.created_at) == (None, None)
    assert meter.extra == {"events_per_unit": "many", "created_at": "soon", "more": 1}
    assert meter.to_dict() == {"id": "m", "slug": "s", "events_per_unit": "many", "created_at": "soon", "more": 1}
    assert Meter.from_dict(meter.to_dict()) == meter


def test_a_list_keeps_the_elements_that_fit() -> None:
    wire = {"interval": "daily", "points": 3, "revenue": [{"key": "a", "value": 1}, {"key": "b"}, 5]}
    series = AnalyticsSeries.from_dict(wire)
    assert [point.key for point in series.revenue] == ["a"]
    assert series.extra == {"revenue": wire["revenue"]}
    assert Customer.from_dict({"id": "c", "email": "e", "invoicing_emails": ["a@x", None]}).invoicing_emails == ["a@x"]


def test_a_list_with_many_elements_that_do_not_fit_has_its_default() -> None:
    wire: dict[str, Any] = {"interval": "daily", "points": 3, "revenue": [{"key": "a", "value": 1}, *[{}] * 1000]}
    series = AnalyticsSeries.from_dict(wire)
    assert series.revenue == []
    assert series.extra["revenue"] == wire["revenue"]


def test_a_field_of_a_nested_model_that_does_not_fit_affects_no_other_field() -> None:
    upgrade = SubscriptionUpgrade.from_dict(
        {
            "subscription": {"id": "s", "customer_id": "c", "status": "active", "paused_at": {}},
            "proration": {"unused_amount": 1},
        }
    )
    assert upgrade.subscription.extra == {"paused_at": {}}
    assert upgrade.proration is None
    assert upgrade.extra == {"proration": {"unused_amount": 1}}


def test_the_error_has_the_path_in_a_nested_model() -> None:
    with pytest.raises(SerdeError, match=r"required field missing @ SubscriptionUpgrade\.subscription\.status"):
        SubscriptionUpgrade.from_dict({"subscription": {"id": "s", "customer_id": "c"}})


@pytest.mark.parametrize(
    ("model", "wire"),
    [
        (Customer, {"id": "c", "email": "e"}),
        (Subscription, {"id": "s", "customer_id": "c", "status": "active"}),
        (Meter, {"id": "m", "slug": "s"}),
        (Feature, {"id": "f", "slug": "s"}),
        (montra_async.Product, {"id": "p"}),
        (montra_async.PricingModel, {"id": "p"}),
        (montra_async.Discount, {"id": "d", "code": "c"}),
        (montra_async.WebhookEndpoint, {"id": "w", "url": "u"}),
        (montra_async.AuditLogPage, {"data": []}),
        (montra_async.AuditLog, {"id": "a"}),
        (montra_async.CheckoutLink, {"id": "l", "url": "u"}),
        (montra_async.UploadedFile, {"id": "f"}),
        (montra_async.ScheduledChange, {"id": "s"}),
        (Refund, {"id": "r", "status": "succeeded", "amount": 1}),
        (montra_async.Invoice, {"id": "i", "amount_due": 1}),
    ],
)
def test_the_required_fields_of_each_model(model: type[Model], wire: dict[str, Any]) -> None:
    assert model.from_dict(wire).extra == {}
    assert _smallest(model).keys() == wire.keys()


def test_a_page_of_the_audit_log_is_read_without_a_valid_meta() -> None:
    page = montra_async.AuditLogPage.from_dict({"data": [{"id": "a"}], "meta": [3]})
    assert (page.data[0].id, page.meta.total, page.extra) == ("a", None, {"meta": [3]})


def test_events_carry_the_same_models() -> None:
    for cls in EVENTS.values():
        attrs.resolve_types(cls)
        assert attrs.fields_dict(cls)["data"].type in MODELS


# Explaining mismatches is cheap


def test_at_most_three_mismatches_are_searched_for() -> None:
    class Elements(list[Any]):
        taken = 0

        def __iter__(self) -> Iterator[Any]:
            for one in super().__iter__():
                Elements.taken += 1
                yield one

    with pytest.raises(SerdeError) as caught:
        structure(Elements([{}] * 200_000), list[Meter])
    assert str(caught.value).count("@") == 3
    assert str(caught.value).startswith("required field missing @ list[0].id; required field missing @ list[0].slug")
    assert Elements.taken <= 5


def test_the_message_of_a_large_mismatch_is_short() -> None:
    with pytest.raises(SerdeError) as caught:
        structure([{"id": {"x" * 100_000: 1}, "slug": ["y" * 100_000]}], list[Meter])
    assert len(str(caught.value)) < 300


def test_the_message_does_not_quote_values() -> None:
    with pytest.raises(SerdeError) as caught:
        paywall.AuthSession.from_dict({"access_token": "a", "refresh_token": "b", "expires_at": "token-like"})
    assert "token-like" not in str(caught.value)


# Depth


def _nested(levels: int) -> Any:
    value: Any = "x"
    for i in range(levels):
        value = [value] if i % 2 else {"a": value}
    return value


@pytest.mark.parametrize("name", ["metadata", "unknown", "status", "created_at"])
def test_nested_values_can_be_written_pickled_and_built_again(name: str) -> None:
    wire = {"id": "c", "email": "e", name: _nested(MAX_DEPTH - 1)}
    customer = structure(wire, Customer)
    assert json.loads(customer.to_json())[name] == wire[name]
    assert pickle.loads(pickle.dumps(customer)) == customer
    assert Customer.from_dict(customer.to_dict()) == customer


@pytest.mark.parametrize("name", ["metadata", "unknown", "status", "created_at"])
@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 500, 50_000])
def test_a_value_that_is_nested_too_deeply_is_refused(name: str, levels: int) -> None:
    with pytest.raises(SerdeError, match="nested"):
        structure({"id": "c", "email": "e", name: _nested(levels)}, Customer)
    with pytest.raises(SerdeError, match="nested"):
        Customer.from_dict({"id": "c", "email": "e", name: _nested(levels)})


def test_a_dict_that_contains_itself_is_refused() -> None:
    loop: dict[str, Any] = {"id": "c", "email": "e"}
    loop["metadata"] = {"a": loop, "b": loop}
    with pytest.raises(SerdeError, match="nested"):
        Customer.from_dict(loop)


def test_half_a_surrogate_pair_survives_a_round_trip() -> None:
    body = rb'{"id":"c","email":"e","name":"Ada \ud83d","more":["\udc00"]}'
    customer = structure(loads(body), Customer)
    assert customer.name == "Ada \ud83d"
    assert customer.to_json().encode() == body
