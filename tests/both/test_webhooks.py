"""Webhook endpoints and the deliveries to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from montra_async import Montra, NotFoundError, verify_signature
from montra_sandbox import Problem, Sandbox
from montra_sandbox.json import loads


class Receiver:
    """A real server that keeps what it got; `answers` are the statuses of its next answers, then 200."""

    def __init__(self) -> None:
        self.got: list[tuple[bytes, str]] = []
        self.answers: list[int] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.got.append((await request.read(), request.headers["Montra-Signature"]))
        return web.Response(status=self.answers.pop(0) if self.answers else 200)

    @property
    def types(self) -> list[str]:
        return [loads(body)["type"] for body, _ in self.got]


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    made = Receiver()
    app = web.Application()
    app.router.add_post("/hook", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield made, f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    await runner.cleanup()


async def test_endpoints(montra: Montra) -> None:
    hook = await montra.create_webhook(url="https://example.com/hook", description="d", events=["refund.created"])
    assert hook.secret is not None
    assert hook.secret.startswith("whsec_")
    [listed] = await montra.list_webhooks()
    assert (listed.secret, listed.events, listed.enabled) == (None, ["refund.created"], True)
    changed = await montra.update_webhook(hook.id, events=["*"], enabled=False, url="http://127.0.0.1:9/x")
    assert (changed.events, changed.enabled, changed.url) == (["*"], False, "http://127.0.0.1:9/x")
    await montra.delete_webhook(hook.id)
    assert await montra.list_webhooks() == []
    with pytest.raises(NotFoundError):
        await montra.update_webhook(hook.id, enabled=True)


async def test_deliveries_are_signed_and_told_apart(
    montra: Montra, sandbox: Sandbox, receiver: tuple[Receiver, str]
) -> None:
    got, url = receiver
    every = await montra.create_webhook(url=url)
    some = await montra.create_webhook(url=url, events=["customer.updated", "refund.created"])
    await montra.create_webhook(url=url, enabled=False)
    ada = await montra.create_customer(name="Ä", email="a@example.com")
    await sandbox.settle()
    [(body, signature)] = got.got
    assert verify_signature(body, signature, every.secret or "")
    assert not verify_signature(body, signature, some.secret or "")
    event = loads(body)
    assert event["type"] == "customer.created"
    assert event["data"]["id"] == ada.id
    assert event["data"]["name"] == "Ä"
    assert event["id"].startswith("evt_")
    await montra.update_customer(ada.id, name="B")
    await sandbox.settle()
    assert got.types == ["customer.created", "customer.updated", "customer.updated"]
    assert len({loads(body)["id"] for body, _ in got.got[1:]}) == 1
    assert {one["status"] for one in sandbox.deliveries()} == {"succeeded"}


async def test_failures_are_retried_with_growing_pauses(
    montra: Montra, sandbox: Sandbox, receiver: tuple[Receiver, str]
) -> None:
    got, url = receiver
    sandbox.freeze()  # only `advance` lets it be tried again
    await montra.create_webhook(url=url)
    got.answers = [500, 302, 404]
    await montra.create_customer(name="A", email="a@example.com")
    await sandbox.settle()
    [delivery] = sandbox.deliveries()
    assert (delivery["status"], delivery["attempts"], delivery["last_status"]) == ("pending", 1, 500)
    for attempts, pause in ((2, 2), (3, 3), (4, 5)):
        sandbox.advance(seconds=pause)
        await sandbox.settle()
        assert sandbox.deliveries()[0]["attempts"] == attempts
    [delivery] = sandbox.deliveries()
    assert (delivery["status"], delivery["last_status"], delivery["last_error"]) == ("succeeded", 200, None)
    assert len({body for body, _ in got.got}) == 1


async def test_a_receiver_that_is_gone_is_given_up_in_the_end(montra: Montra, sandbox: Sandbox) -> None:
    await montra.create_webhook(url="http://127.0.0.1:9/hook")
    await montra.create_customer(name="A", email="a@example.com")
    for _ in range(14):
        sandbox.advance(hours=2)
        await sandbox.settle()
    [delivery] = sandbox.deliveries()
    assert (delivery["status"], delivery["attempts"], delivery["next_attempt_at"]) == ("failed", 12, None)
    assert delivery["last_error"]


async def test_replays(montra: Montra, sandbox: Sandbox, receiver: tuple[Receiver, str]) -> None:
    got, url = receiver
    hook = await montra.create_webhook(url=url)
    await montra.create_customer(name="A", email="a@example.com")
    await sandbox.settle()
    [delivery] = sandbox.deliveries()
    sandbox.replay(delivery["id"])
    await sandbox.settle()
    assert len(got.got) == 2
    assert got.got[0] == got.got[1]
    await montra.delete_webhook(hook.id)
    sandbox.replay(delivery["id"])
    await sandbox.settle()
    assert sandbox.deliveries()[0]["status"] == "canceled"
    with pytest.raises(Problem):
        sandbox.replay("dlv_none")


async def test_other_machines_get_nothing_unless_allowed(montra: Montra, sandbox: Sandbox) -> None:
    await montra.create_webhook(url="http://hooks.invalid/hook")
    await montra.create_customer(name="A", email="a@example.com")
    await sandbox.settle()
    [delivery] = sandbox.deliveries()
    assert delivery["status"] == "blocked"
    assert "--deliver-anywhere" in delivery["last_error"]


async def test_other_machines_when_allowed(connect: Any) -> None:
    async with (
        Sandbox(deliver_anywhere=True, frozen=True) as sandbox,
        connect(sandbox.api_key, sandbox.base_url) as montra,
    ):
        await montra.create_webhook(url="http://hooks.invalid:99999/hook")
        await montra.create_customer(name="A", email="a@example.com")
        await sandbox.settle()
        [delivery] = sandbox.deliveries()
        assert (delivery["status"], delivery["attempts"]) == ("pending", 1)


async def test_a_change_that_fails_sends_nothing(
    montra: Montra, sandbox: Sandbox, receiver: tuple[Receiver, str]
) -> None:
    got, url = receiver
    await montra.create_webhook(url=url)
    await montra.create_customer(name="A", email="a@example.com")
    with pytest.raises(Exception, match="409"):
        await montra.create_customer(name="A", email="a@example.com")
    await sandbox.settle()
    assert got.types == ["customer.created"]
