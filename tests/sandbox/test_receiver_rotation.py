"""The rotation of docs/guides/webhooks.md, step by step, while events happen."""

from __future__ import annotations

from collections import Counter

import pytest
from aiohttp import web

from montra_async import Montra
from montra_async.frameworks.aiohttp import webhook_handler
from montra_async.webhooks import CustomerCreated, MemoryStore, WebhookReceiver
from montra_sandbox import Sandbox


async def test_a_rotation_loses_no_event(montra: Montra, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONTRA_SANDBOX", "1")  # its clock moves
    handled: Counter[str] = Counter()
    expected: Counter[str] = Counter()
    receiver = WebhookReceiver("whsec_not_known_yet_0123456789", store=MemoryStore())
    app = web.Application()
    app.router.add_post("/webhooks", webhook_handler(receiver))
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhooks"

    @receiver.on(CustomerCreated)
    async def created(event: CustomerCreated) -> None:
        handled[event.data.email] += 1
        if event.data.email.startswith("late") and handled[event.data.email] == 1:
            raise RuntimeError("the database is away")  # its delivery is repeated later, signed with the old secret

    async def happens(name: str) -> None:
        email = f"{name}{sum(expected.values())}@example.com"
        expected[email] = 2 if name == "late" else 1
        await montra.create_customer(name=name, email=email)

    try:
        events = ["customer.created"]
        old = await montra.create_webhook(url=url, events=events)
        receiver.secrets = old.secret or ""
        await happens("before")
        new = await montra.create_webhook(url=url, events=events, enabled=False)
        await happens("new-disabled")
        await sandbox.settle()

        receiver.secrets = [new.secret or "", old.secret or ""]
        await happens("late")
        await happens("both-secrets")
        await montra.update_webhook(new.id, enabled=True)
        await happens("both-enabled")
        await montra.update_webhook(old.id, enabled=False)
        await happens("old-disabled")
        await sandbox.settle()
        sandbox.advance(hours=12)  # the retries of the old endpoint
        await sandbox.settle()

        await montra.delete_webhook(old.id)
        receiver.secrets = new.secret or ""
        await happens("after")
        await sandbox.settle()
        assert handled == expected
        assert [one["last_status"] for one in sandbox.deliveries() if one["status"] != "succeeded"] == []
    finally:
        await runner.cleanup()
