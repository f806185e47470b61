"""PATCH is a JSON merge patch (RFC 7396): what is not given stays, null clears what may be empty. By plain HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import attrs
import pytest

from montra_sandbox import Sandbox

from .plain import Plain, plain

_KEYS = count()


@attrs.frozen
class Resource:
    """A resource with all of its fields set, and how it is changed."""

    path: str
    fields: dict[str, Any]
    clearable: tuple[str, ...]
    id_in_body: bool = False


CUSTOMER = Resource(
    "/customers",
    {
        "name": "Ada",
        "email": "ada@example.com",
        "phone": "1",
        "address": {"city": "Turku"},
        "invoicing_emails": ["billing@example.com"],
        "metadata": {"plan": "a"},
    },
    ("phone", "address", "invoicing_emails", "metadata"),
)
FEATURE = Resource(
    "/features",
    {"name": "SSO", "slug": "sso", "type": "Toggle", "description": "Single sign-on", "status": "Active"},
    ("description",),
)
WEBHOOK = Resource(
    "/webhooks",
    {"url": "http://127.0.0.1:9/", "description": "Mine", "events": ["customer.created"], "enabled": False},
    ("description",),
)
PRICING_MODEL = Resource("/pricing-models", {"name": "Pro", "is_default": True}, (), id_in_body=True)
RESOURCES = pytest.mark.parametrize(
    "resource", [CUSTOMER, FEATURE, WEBHOOK, PRICING_MODEL], ids=lambda resource: resource.path
)


@pytest.fixture
async def http(sandbox: Sandbox) -> AsyncIterator[Plain]:
    async with plain(sandbox) as client:
        yield client


async def _request(http: Plain, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    url, key = f"{http.sandbox.base_url}{path}", f"key-{next(_KEYS)}"
    headers = {"Authorization": f"Bearer {http.sandbox.api_key}", "Idempotency-Key": key}
    status, response = await http.ask(method, url, json=body, headers=headers)
    return status, response.get("data", response)


async def _create(http: Plain, resource: Resource) -> dict[str, Any]:
    body = dict(resource.fields)
    if resource is FEATURE:
        model = (await _request(http, "POST", "/pricing-models", {"name": "Pro"}))[1]
        body["pricing_model_id"] = model["id"]
    status, created = await _request(http, "POST", resource.path, body)
    assert status == 200, created
    return {name: value for name, value in created.items() if name != "secret"}


async def _patch(http: Plain, resource: Resource, resource_id: str, changes: dict[str, Any]) -> tuple[int, Any]:
    if resource.id_in_body:
        return await _request(http, "PATCH", resource.path, {"id": resource_id, **changes})
    return await _request(http, "PATCH", f"{resource.path}/{resource_id}", changes)


async def _stored(http: Plain, resource: Resource, resource_id: str) -> dict[str, Any]:
    listed = (await _request(http, "GET", resource.path))[1]
    return next(dict(one) for one in listed if one["id"] == resource_id)


@RESOURCES
async def test_a_field_that_is_not_given_stays(http: Plain, resource: Resource) -> None:
    created = await _create(http, resource)
    assert await _patch(http, resource, created["id"], {}) == (200, created)
    assert await _stored(http, resource, created["id"]) == created


@RESOURCES
async def test_null_clears_a_field_that_may_be_empty(http: Plain, resource: Resource) -> None:
    created = await _create(http, resource)
    expected = dict(created)
    for name in resource.clearable:
        del expected[name]  # an empty field is left out of responses
        assert await _patch(http, resource, created["id"], {name: None}) == (200, expected)
        assert await _stored(http, resource, created["id"]) == expected


@RESOURCES
async def test_null_is_refused_for_a_field_that_may_not_be_empty(http: Plain, resource: Resource) -> None:
    created = await _create(http, resource)
    for name in resource.fields.keys() - set(resource.clearable):
        status, body = await _patch(http, resource, created["id"], {name: None})
        assert (status, body["error"]["code"]) == (400, "validation_error")
        assert name in body["error"]["message"]
    assert await _stored(http, resource, created["id"]) == created


@pytest.mark.parametrize("resource", [CUSTOMER], ids=["/customers"])
async def test_null_at_creation_is_refused(http: Plain, resource: Resource) -> None:
    """There is nothing to clear: an optional field is left out."""
    for name in resource.fields:
        status, body = await _request(http, "POST", resource.path, {**resource.fields, name: None})
        assert (status, body["error"]["details"][0]["message"]) == (400, "must not be null")


async def test_address_and_metadata_are_replaced_as_a_whole(http: Plain) -> None:
    created = await _create(http, CUSTOMER)
    changes = {"address": {"zip": None}, "metadata": {}}
    status, changed = await _patch(http, CUSTOMER, created["id"], changes)
    assert (status, changed["address"], changed["metadata"]) == (200, {"zip": None}, {})


async def test_a_cleared_description_is_not_in_the_audit_log_either(http: Plain) -> None:
    created = await _create(http, FEATURE)
    await _patch(http, FEATURE, created["id"], {"description": None})
    [entry] = (await _request(http, "GET", "/audit-logs?event_type=feature.updated"))[1]
    assert "description" not in entry["payload"]
