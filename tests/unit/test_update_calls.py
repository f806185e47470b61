"""`update_*` calls: a field that is not given is not sent, None is sent as null: the bytes that a server receives."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import attrs
import pytest
import yaml
from aiohttp import web

import montra_sandbox
from montra_async import UNSET, InvalidArgumentError, Montra, Unset

ANSWER = {"id": "x", "email": "e@x", "slug": "s", "url": "https://x"}
UPDATES = [name for name, _ in inspect.getmembers(Montra, inspect.isfunction) if name.startswith("update_")]
FIELDS = [
    (name, parameter.name)
    for name in UPDATES
    for parameter in inspect.signature(getattr(Montra, name)).parameters.values()
    if parameter.kind is parameter.KEYWORD_ONLY
]
CLEARABLE = {
    *(("update_customer", field) for field in ("phone", "address", "invoicing_emails", "metadata")),
    ("update_feature", "description"),
    ("update_webhook", "description"),
}


@attrs.define
class Service:
    url: str = ""
    bodies: list[bytes] = attrs.field(factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        return web.json_response({"success": True, "data": ANSWER})


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    made = Service()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield made
    finally:
        await runner.cleanup()


@pytest.fixture
async def montra(service: Service) -> AsyncIterator[Montra]:
    async with Montra("sk_test_1", service.url, max_attempts=1) as made:
        yield made


def _kinds(name: str, field: str) -> tuple[Any, ...]:
    return get_args(get_type_hints(getattr(Montra, name))[field])


def _value(name: str, field: str) -> Any:
    """A value that the field's type allows."""
    kinds = _kinds(name, field)
    if bool in kinds:
        return False
    origins = {get_origin(kind) for kind in kinds}
    return {"a": 0.5} if Mapping in origins else ["*"] if Sequence in origins else "text"


def test_every_optional_parameter_of_an_update_is_unset_by_default() -> None:
    assert len(UPDATES) == 4
    for name, field in FIELDS:
        assert inspect.signature(getattr(Montra, name)).parameters[field].default is UNSET
        assert Unset in _kinds(name, field)


def test_fields_that_accept_none_by_type_are_those_that_can_be_cleared() -> None:
    assert {(name, field) for name, field in FIELDS if type(None) in _kinds(name, field)} == CLEARABLE


def test_the_contract_allows_null_for_the_fields_that_can_be_cleared() -> None:
    contract = Path(montra_sandbox.__file__).parent / "contract" / "montra.yaml"
    schemas: dict[str, Any] = yaml.safe_load(contract.read_text(encoding="utf-8"))["components"]["schemas"]

    def allows_null(schema: dict[str, Any]) -> bool:
        schema = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        return "null" in schema.get("type", ()) or any(map(allows_null, schema.get("anyOf", ())))

    nullable = {
        (f"update_{name}", field)
        for name, schema in (
            (re.sub("(?<=[a-z])([A-Z])", r"_\1", one.removesuffix("Update")).lower(), schema)
            for one, schema in schemas.items()
            if one.endswith("Update")
        )
        for field, described in schema["properties"].items()
        if allows_null(described)
    }
    assert nullable == CLEARABLE


@pytest.mark.parametrize("name", UPDATES)
async def test_a_field_that_is_not_given_is_not_sent(montra: Montra, service: Service, name: str) -> None:
    required = {"id": "x"} if name == "update_pricing_model" else {}
    await getattr(montra, name)("x")
    unset = {field: UNSET for owner, field in FIELDS if owner == name}
    await getattr(montra, name)("x", **unset)
    assert [json.loads(body) for body in service.bodies] == [required, required]


@pytest.mark.parametrize(("name", "field"), FIELDS)
async def test_a_field_that_is_given_is_sent_alone(montra: Montra, service: Service, name: str, field: str) -> None:
    value = _value(name, field)
    await getattr(montra, name)("x", **{field: value})
    body = json.loads(service.bodies[0])
    body.pop("id", None)
    assert body == {field: value}


@pytest.mark.parametrize(("name", "field"), FIELDS)
async def test_none_is_sent_as_null_or_refused(montra: Montra, service: Service, name: str, field: str) -> None:
    if (name, field) in CLEARABLE:
        await getattr(montra, name)("x", **{field: None})
        assert service.bodies == [b'{"%s":null}' % field.encode()]
    else:
        with pytest.raises(InvalidArgumentError, match="can't be cleared") as caught:
            await getattr(montra, name)("x", **{field: None})
        assert caught.value.parameter == field
        assert service.bodies == []


async def test_given_unset_and_cleared_fields_in_one_call(montra: Montra, service: Service) -> None:
    await montra.update_customer("x", name="Ada", phone=None, address={"line2": None}, metadata=UNSET)
    assert service.bodies == [b'{"name":"Ada","phone":null,"address":{"line2":null}}']


@pytest.mark.parametrize(("name", "field"), FIELDS)
async def test_a_value_of_the_wrong_type_is_refused(montra: Montra, service: Service, name: str, field: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        await getattr(montra, name)("x", **{field: 5})
    assert caught.value.parameter == field
    assert service.bodies == []


async def test_a_create_call_does_not_send_none(montra: Montra, service: Service) -> None:
    await montra.create_customer(name="Ada", email="e@x", phone=None, metadata={"a": None})
    assert service.bodies == [b'{"name":"Ada","email":"e@x","metadata":{"a":null}}']


async def test_a_create_call_refuses_unset(montra: Montra, service: Service) -> None:
    with pytest.raises(InvalidArgumentError):
        await montra.create_customer(name="Ada", email="e@x", phone=UNSET)  # type: ignore[arg-type]
    assert service.bodies == []


def test_unset_is_one_falsy_object() -> None:
    assert repr(UNSET) == "UNSET"
    assert not UNSET
    assert UNSET is not None
    assert list(Unset) == [UNSET]
    assert copy.deepcopy(UNSET) is pickle.loads(pickle.dumps(UNSET)) is UNSET
