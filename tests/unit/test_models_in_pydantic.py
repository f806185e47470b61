"""Every model in pydantic, which FastAPI uses: it is validated, written and described as what it is."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timezone
from decimal import Decimal
from functools import cache
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import attrs
import jsonschema
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

import montra_async
from montra_async import (
    AnalyticsSeries,
    Customer,
    CustomerWithSubscription,
    Invoice,
    Model,
    Subscription,
    WebhookEndpoint,
)
from montra_async.paywall import auth_models, models as paywall_models

MODELS = [
    one
    for place in (montra_async, paywall_models, auth_models)
    for one in (getattr(place, name) for name in dir(place))
    if isinstance(one, type) and issubclass(one, Model) and one is not Model
]
IDS = [model.__name__ for model in MODELS]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text(max_size=5) | st.floats(-100, 100, width=16),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=8),
    int: st.integers(-(10**20), 10**20),
    float: st.integers(-(10**6), 10**6).map(lambda eighths: eighths / 8),
    bool: st.booleans(),
    Decimal: st.decimals(-(10**20), 10**20, places=4),
    NoneType: st.none(),
    Any: JSON_VALUES,
    datetime: st.datetimes(
        min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=st.just(timezone.utc)
    ),
}


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Values that a field of this type can have."""
    if kind in SCALARS:
        return SCALARS[kind]
    if isinstance(kind, type) and issubclass(kind, Model):
        return models_of(kind)
    origin, args = get_origin(kind), get_args(kind)
    if origin is list:
        return st.lists(values_of(args[0]), max_size=2)
    if origin is dict:
        return st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=2)
    if origin is Literal:
        return st.sampled_from(args)
    return st.one_of(*(values_of(one) for one in args))


@cache
def models_of(cls: type[Model]) -> st.SearchStrategy[Model]:
    """Objects of a model, some with fields that the SDK does not know."""
    attrs.resolve_types(cls)
    fields = {field.name: values_of(field.type) for field in attrs.fields(cls) if field.name != "_extra"}
    extra = st.dictionaries(st.text(min_size=1, max_size=5).map("x-{}".format), JSON_VALUES, max_size=2)
    return st.builds(cls, **fields, extra=extra)


@cache
def adapter_of(model: type[Model]) -> tuple[TypeAdapter[Any], list[Any]]:
    """A model's adapter, and what checks JSON against its schemas."""
    adapter: TypeAdapter[Any] = TypeAdapter(model)
    modes: list[Literal["serialization", "validation"]] = ["serialization", "validation"]
    return adapter, [jsonschema.Draft202012Validator(adapter.json_schema(mode=mode)) for mode in modes]


@pytest.mark.parametrize("model", MODELS, ids=IDS)
@settings(max_examples=15)
@given(data=st.data())
def test_every_model_survives_pydantic(model: type[Model], data: st.DataObject) -> None:
    adapter, schemas = adapter_of(model)
    made = data.draw(models_of(model))
    assert adapter.validate_python(made) is made
    for written in (adapter.dump_python(made), adapter.dump_python(made, mode="json")):
        assert adapter.validate_python(written) == made
    text = adapter.dump_json(made)
    assert adapter.validate_json(text) == made
    for schema in schemas:
        schema.validate(json.loads(text))


def test_python_keeps_amounts_and_json_has_strings() -> None:
    adapter: TypeAdapter[Invoice] = TypeAdapter(Invoice)
    invoice = Invoice(id="inv_1", amount_due=Decimal("19.90"))
    assert adapter.dump_python(invoice) == {"id": "inv_1", "amount_due": Decimal("19.90")}
    assert adapter.dump_json(invoice) == b'{"id":"inv_1","amount_due":"19.90"}'
    assert adapter.validate_json('{"id":"inv_1","amount_due":19.9}') == invoice


def test_nested_lists_and_fields_of_pydantic_models() -> None:
    class Page(BaseModel):
        customers: list[Customer]
        latest: dict[str, Invoice | None]

    page = Page.model_validate(
        {
            "customers": [{"id": "cust_1", "email": "a@x"}],
            "latest": {"cust_1": {"id": "i", "amount_due": "5"}, "b": None},
        }
    )
    assert page.customers == [Customer(id="cust_1", email="a@x")]
    assert page.latest["cust_1"] == Invoice(id="i", amount_due=Decimal(5))
    assert Page.model_validate_json(page.model_dump_json()) == page


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"id": "cust_1"}, "Customer.*required field missing @ Customer.email"),
        ({"id": "cust_1", "email": []}, "a string was expected, not list @ Customer.email"),
        (5, "a Customer or its JSON object was expected, not int"),
        (Invoice(id="i", amount_due=Decimal(1)), "a Customer or its JSON object was expected, not Invoice"),
    ],
)
def test_what_does_not_fit_is_a_validation_error(value: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=f"(?s){words}"):
        TypeAdapter(Customer).validate_python(value)


def test_the_schema_has_names_descriptions_open_enums_and_references() -> None:
    schema = TypeAdapter(CustomerWithSubscription).json_schema(mode="serialization")
    customer, subscription = schema["$defs"]["Customer"], schema["$defs"]["Subscription"]
    assert schema["title"] == "CustomerWithSubscription"
    assert schema["properties"]["customer"] == {"$ref": "#/$defs/Customer"}
    assert (customer["title"], customer["description"]) == ("Customer", "A customer of the merchant.")
    assert customer["required"] == ["id", "email"]
    assert customer["additionalProperties"] is True
    assert customer["properties"]["created_at"]["anyOf"][0] == {"type": "string", "format": "date-time"}
    assert customer["properties"]["email"]["description"] == "email address, unique within the merchant."
    assert {"type": "string"} in subscription["properties"]["status"]["anyOf"]


def test_names_are_those_of_json() -> None:
    schema = TypeAdapter(AnalyticsSeries).json_schema(mode="serialization")
    assert {"netCashFlow", "customersNew", "mrrMovements"} <= set(schema["properties"])
    assert schema["properties"]["netCashFlow"]["description"] == "net cash flow in major units."


def test_nothing_imports_pydantic_by_itself() -> None:
    code = (
        "import sys, montra_async, montra_async.paywall, montra_async.webhooks\n"
        "montra_async.Customer.from_dict({'id': 'c', 'email': 'e'}).to_json()\n"
        "print(sorted(name for name in sys.modules if name.startswith('pydantic')))"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "[]", run.stderr


def test_a_subscription_of_a_customer_is_a_model_too() -> None:
    both = CustomerWithSubscription(
        customer=Customer(id="c", email="e"),
        subscription=Subscription.from_dict(
            {"id": "s", "customer_id": "c", "pricing_model_id": "p", "status": "active"}
        ),
    )
    assert CustomerWithSubscription.from_dict(both.to_dict()) == both


def test_what_pydantic_leaves_out_is_left_out() -> None:
    hook = WebhookEndpoint.from_dict(
        {"id": "wh", "url": "https://a", "events": ["*"], "secret": "whsec_1", "new": {"a": 1}}
    )

    class Page(BaseModel):
        hook: WebhookEndpoint
        hooks: list[WebhookEndpoint]

    page = Page(hook=hook, hooks=[hook])
    one: TypeAdapter[Any] = TypeAdapter(WebhookEndpoint)
    many: TypeAdapter[Any] = TypeAdapter(list[WebhookEndpoint])
    public = {"id": "wh", "url": "https://a", "events": ["*"], "new": {"a": 1}}
    assert one.dump_python(hook) == {**public, "secret": "whsec_1"}
    assert one.dump_python(hook, exclude={"secret"}) == json.loads(one.dump_json(hook, exclude={"secret"})) == public
    assert one.dump_python(hook, include={"id", "new"}, exclude={"new": {"a"}}) == {"id": "wh", "new": {}}
    assert many.dump_python([hook], exclude={"__all__": {"secret"}}) == [public]
    shown = page.model_dump(exclude={"hook": {"secret"}, "hooks": {"__all__": {"secret"}}})
    assert shown == {"hook": public, "hooks": [public]}
