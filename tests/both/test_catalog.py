"""Customers, pricing models, products, features, meters."""

from __future__ import annotations

from decimal import Decimal

import attrs
import pytest

from montra_async import UNSET, ConflictError, InvalidRequestError, Montra, NotFoundError
from montra_sandbox import Sandbox


async def test_create_get_and_update_a_customer(montra: Montra) -> None:
    ada = await montra.create_customer(
        name="Ada",
        email="ada@example.com",
        phone="+358 1",
        address={"city": "Helsinki", "lines": ["a", "b"]},
        invoicing_emails=["books@example.com"],
        metadata={"score": 0.1, "deep": {"a": [1, None, True]}},
    )
    assert ada.status == "active"
    assert ada.created_at is not None
    assert ada.created_at.utcoffset() is not None
    assert ada.address == {"city": "Helsinki", "lines": ["a", "b"]}
    assert ada.metadata == {"score": 0.1, "deep": {"a": [1, None, True]}}
    assert await montra.get_customer(ada.id) == ada
    changed = await montra.update_customer(ada.id, name="Ada L.", metadata={"score": 0.2})
    assert (changed.name, changed.metadata, changed.email) == ("Ada L.", {"score": 0.2}, "ada@example.com")
    assert await montra.list_customers() == [changed]
    assert await montra.update_customer(ada.id) == changed


async def test_none_clears_a_field_of_a_customer(montra: Montra) -> None:
    ada = await montra.create_customer(
        name="Ada",
        email="ada@example.com",
        phone="+358 1",
        address={"city": "Helsinki"},
        invoicing_emails=["books@example.com"],
        metadata={"score": 1},
    )
    kept = await montra.update_customer(ada.id, phone=UNSET, metadata=UNSET)
    assert kept == ada
    changed = await montra.update_customer(ada.id, name="Ada L.", phone=None)
    assert changed == attrs.evolve(ada, name="Ada L.", phone=None)
    cleared = await montra.update_customer(ada.id, address=None, invoicing_emails=None, metadata=None)
    assert cleared == attrs.evolve(changed, address=None, invoicing_emails=None, metadata=None)
    assert await montra.get_customer(ada.id) == cleared


async def test_none_clears_a_description(montra: Montra) -> None:
    model = await montra.create_pricing_model(name="P")
    feature = await montra.create_feature(model.id, name="F", slug="f", description="text")
    assert await montra.update_feature(feature.id, description=None) == attrs.evolve(feature, description=None)
    created = await montra.create_webhook(url="http://127.0.0.1:9/", description="text", events=["customer.created"])
    endpoint = await montra.update_webhook(created.id, enabled=False)
    assert (endpoint.description, endpoint.events, endpoint.enabled) == ("text", ["customer.created"], False)
    assert await montra.update_webhook(created.id, description=None) == attrs.evolve(endpoint, description=None)


async def test_a_large_body_is_sent_without_a_warning(unwatched: Montra) -> None:
    with pytest.raises(Exception, match="413 too_large"):
        await unwatched.create_customer(name="A", email="a@example.com", metadata={"text": "x" * 2_000_000})


async def test_the_email_of_a_customer_is_unique(montra: Montra) -> None:
    await montra.create_customer(name="A", email="a@example.com")
    b = await montra.create_customer(name="B", email="b@example.com")
    with pytest.raises(ConflictError) as caught:
        await montra.create_customer(name="A2", email="a@example.com")
    assert caught.value.code == "conflict"
    with pytest.raises(ConflictError):
        await montra.update_customer(b.id, email="a@example.com")
    assert (await montra.get_customer(b.id)).email == "b@example.com"
    assert len(await montra.list_customers()) == 2


async def test_merchants_can_not_see_the_objects_of_others(montra: Montra, other: Montra) -> None:
    mine = await montra.create_customer(name="A", email="a@example.com")
    model = await montra.create_pricing_model(name="P", is_default=True)
    feature = await montra.create_feature(name="F", slug="f", pricing_model_id=model.id)
    hook = await montra.create_webhook(url="http://127.0.0.1:9/")
    await other.create_customer(name="A", email="a@example.com")
    assert len(await other.list_customers()) == 1
    assert await other.list_pricing_models() == []
    for call in (
        other.get_customer(mine.id),
        other.update_customer(mine.id, name="x"),
        other.create_meter(name="m", slug="s", pricing_model_id=model.id),
        other.update_pricing_model(model.id, name="x"),
        other.delete_feature(feature.id),
        other.delete_webhook(hook.id),
        other.create_subscription(mine.id, model.id),
        other.check_feature_access(mine.id, "f"),
        other.create_invoice(customer_id=mine.id, amount_due=1),
    ):
        with pytest.raises(NotFoundError):
            await call
    assert (await other.list_audit_logs()).meta.total == 1


async def test_ids_of_every_kind_are_escaped(montra: Montra) -> None:
    for customer_id in ("a/b", "a?b=c", "a#b", "ä ö", "%2e%2e", "a\\b", "\x00", "x" * 400, "../../customers", ".. "):
        with pytest.raises(NotFoundError) as caught:
            await montra.get_customer(customer_id)
        assert caught.value.code == "not_found"


async def test_there_is_one_default_pricing_model(montra: Montra) -> None:
    first = await montra.create_pricing_model(name="First", is_default=True)
    second = await montra.create_pricing_model(name="Second", is_default=True)
    third = await montra.create_pricing_model(name="Third")
    assert [one.is_default for one in await montra.list_pricing_models()] == [False, True, False]
    renamed = await montra.update_pricing_model(third.id, name="Third!", is_default=True)
    assert (renamed.name, renamed.is_default) == ("Third!", True)
    assert [one.is_default for one in await montra.list_pricing_models()] == [False, False, True]
    await montra.update_pricing_model(third.id, is_default=False)
    assert not any(one.is_default for one in await montra.list_pricing_models())
    assert first.id != second.id


async def test_products(montra: Montra) -> None:
    model = await montra.create_pricing_model(name="P")
    other_model = await montra.create_pricing_model(name="Q")
    await montra.create_meter(name="T", slug="tokens", pricing_model_id=model.id)
    seat = await montra.create_product(
        pricing_model_id=model.id, name="Seat", price_type="recurring", amount=Decimal("19.999999999999")
    )
    assert seat.amount == Decimal("19.999999999999")
    assert (seat.status, seat.pricing_structure, seat.currency) == ("Active", "fixed", "USD")
    tokens = await montra.create_product(
        pricing_model_id=model.id, name="Tokens", price_type="usage", meter_slug="tokens", pricing_structure="tiered"
    )
    assert tokens.amount is None
    assert await montra.list_products() == [seat, tokens]
    assert await montra.list_products(other_model.id) == []
    assert [one.products_count for one in await montra.list_pricing_models()] == [2, 0]
    with pytest.raises(NotFoundError):
        await montra.list_products("pm_none")
    with pytest.raises(NotFoundError):
        await montra.create_product(pricing_model_id=model.id, name="x", price_type="usage", meter_slug="none")
    with pytest.raises(InvalidRequestError, match="price_type"):
        await montra.create_product(pricing_model_id=model.id, name="x", price_type="rental")


async def test_features(montra: Montra) -> None:
    model = await montra.create_pricing_model(name="P")
    sso = await montra.create_feature(name="SSO", slug="sso", pricing_model_id=model.id, description="one login")
    assert (sso.type, sso.status, sso.description) == ("Toggle", "Active", "one login")
    with pytest.raises(ConflictError):
        await montra.create_feature(name="SSO", slug="sso", pricing_model_id=model.id)
    saml = await montra.create_feature(name="SAML", slug="saml", pricing_model_id=model.id)
    with pytest.raises(ConflictError):
        await montra.update_feature(saml.id, slug="sso")
    archived = await montra.update_feature(saml.id, status="Archived")
    assert await montra.list_features() == [sso, archived]
    await montra.delete_feature(saml.id)
    assert await montra.list_features() == [sso]
    with pytest.raises(NotFoundError):
        await montra.delete_feature(saml.id)


async def test_meters(montra: Montra) -> None:
    model = await montra.create_pricing_model(name="P")
    meter = await montra.create_meter(
        name="T",
        slug="t",
        pricing_model_id=model.id,
        amount=Decimal("0.000000000001"),
        currency="eur",
        events_per_unit=7,
    )
    assert (meter.amount, meter.currency, meter.events_per_unit) == (Decimal("0.000000000001"), "EUR", 7)
    assert (await montra.create_meter(name="T", slug="u", pricing_model_id=model.id)).amount is None
    with pytest.raises(ConflictError):
        await montra.create_meter(name="T", slug="t", pricing_model_id=model.id)
    assert [one.aggregation for one in await montra.list_meters()] == ["sum", "sum"]


async def test_create_customer_with_subscription_can_be_repeated(montra: Montra, sandbox: Sandbox) -> None:
    model = await montra.create_pricing_model(name="P")
    fields = {"pricing_model_id": model.id, "name": "A", "email": "a@example.com", "idempotency_key": "signup-1"}
    sandbox.add_fault(kind="status", status=500, path="/subscriptions", times=3)
    with pytest.raises(Exception, match="injected_fault") as caught:
        await montra.with_options(max_attempts=1).create_customer_with_subscription(**fields)
    assert caught.value.idempotency_key == "signup-1"  # type: ignore[attr-defined]
    sandbox.clear_faults()
    both = await montra.create_customer_with_subscription(**fields)
    assert both.subscription.customer_id == both.customer.id
    assert await montra.create_customer_with_subscription(**fields) == both
    assert len(await montra.list_customers()) == len(await montra.list_subscriptions()) == 1
