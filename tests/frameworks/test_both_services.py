"""One application that hears from both services: the sandbox delivers for real."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from montra_async import Montra
from montra_async.frameworks.aiohttp import webhook_handler
from montra_async.paywall import BillingClient
from montra_async.webhooks import (
    PAYWALL,
    CustomerCreated,
    MemoryStore,
    PaymentCompleted,
    PaywallSubscriptionCreated,
    WebhookReceiver,
)
from montra_sandbox import Sandbox

from ..both.browser import Browser


@pytest.fixture
async def heard(sandbox: Sandbox) -> AsyncIterator[list[str]]:
    said: list[str] = []
    app = web.Application()
    runner = web.AppRunner(app)
    async with Montra(sandbox.api_key, sandbox.base_url) as montra:
        ours = WebhookReceiver("whsec_of_the_paywall", store=MemoryStore(), source=PAYWALL)
        secrets: list[str] = ["whsec_not_yet_known"]
        theirs = WebhookReceiver(secrets, store=MemoryStore())

        @theirs.on(CustomerCreated)
        async def customer(event: CustomerCreated) -> None:
            said.append(f"customer {event.data.email}")

        @ours.on(PaymentCompleted, PaywallSubscriptionCreated)
        async def paid(event: PaymentCompleted | PaywallSubscriptionCreated) -> None:
            assert event.data.user is not None
            said.append(f"{event.type} by {event.data.user.user_id}")

        app.router.add_post("/paywall", webhook_handler(ours))
        app.router.add_post("/montra", webhook_handler(theirs))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        endpoint = await montra.create_webhook(url=f"{url}/montra")
        theirs.secrets = [endpoint.secret or ""]
        sandbox.set_paywall(sandbox.paywall_id, webhook_url=f"{url}/paywall", webhook_secret="whsec_of_the_paywall")
        yield said
    await runner.cleanup()


async def test_each_service_is_believed_by_its_own_secret(sandbox: Sandbox, heard: list[str]) -> None:
    async with (
        Montra(sandbox.api_key, sandbox.base_url) as montra,
        BillingClient(sandbox.paywall_id, sandbox.url, sandbox.api_key) as billing,
        aiohttp.ClientSession() as http,
    ):
        await montra.create_customer(name="Bob", email="bob@example.com")
        checkout = await billing.for_user(email="ada@example.com", user_id="42").create_checkout(101)
        await Browser(http).pay(checkout.url)
    await sandbox.settle()
    assert sorted(heard) == ["customer bob@example.com", "payment.completed by 42", "subscription.created by 42"]
    assert {one["status"] for one in sandbox.deliveries()} == {"succeeded"}
