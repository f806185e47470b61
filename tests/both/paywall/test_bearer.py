"""Calls with a session are made for the session's user, whatever address the call has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from montra_async.paywall import PaywallError
from montra_sandbox import Sandbox

from ..browser import Browser
from ..conftest import Service

BOB = ("bob@example.com", "correct horse")


@pytest.fixture
async def bob(service: Service) -> AsyncIterator[Any]:
    async with service.auth() as auth:
        await auth.sign_up(*BOB)
        yield auth


async def test_a_checkout_belongs_to_the_signed_in_user(
    service: Service, billing: Any, ada: Any, bob: Any, browser: Browser
) -> None:
    view = billing.for_user(email="ada@example.com", auth=bob)
    await browser.pay((await view.create_checkout(102, ignore_active_purchase=True)).url)
    assert len(await ada.list_purchases()) == 1
    assert len(await billing.for_user(auth=bob).list_purchases()) == 1


async def test_the_address_of_the_session_is_used(billing: Any, bob: Any, browser: Browser) -> None:
    view = billing.for_user(auth=bob)
    await browser.pay((await view.create_checkout(101)).url)
    assert (await view.get_user(force=True)).has_active_subscription
    assert (await view.create_support_ticket("Help", "please")).id


async def test_a_ticket_belongs_to_the_signed_in_user(
    service: Service, billing: Any, bob: Any, sandbox: Sandbox
) -> None:
    view = billing.for_user(email="ada@example.com", auth=bob)
    await view.create_support_ticket("Help", "please", files=[b"x"])
    [ticket] = sandbox.tickets()
    assert ticket["user_id"] == service.users()[BOB[0]]["id"]


async def test_an_address_is_required(service: Service, billing: Any) -> None:
    async with service.auth() as visitor:
        await visitor.sign_in_anonymously()
        view = billing.for_user(auth=visitor)
        for call in (view.create_checkout(101), view.create_support_ticket("Help", "please")):
            with pytest.raises(PaywallError, match="identity_required"):
                await call
