"""Slips in the names of events are told wherever they are given, and what is merely new goes through."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from montra_async import Montra
from montra_async.resources.event_types import EVENT_TYPES, warn_of_unknown
from montra_async.webhooks import MemoryStore, WebhookReceiver


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    bodies: list[Any] = []

    async def keep(_: Any, path: str, body: Any, *rest: Any) -> None:
        bodies.append(body)

    monkeypatch.setattr(Montra, "_post", keep)
    monkeypatch.setattr(Montra, "_patch", keep)
    return bodies


@pytest.mark.parametrize(
    ("name", "question"),
    [
        ("checkout.complete", "did you mean 'checkout.completed'?"),
        ("Subscription.Cancelled", "did you mean 'subscription.canceled'?"),
        ("robot.rebelled", "check the spelling"),
        ("x" * 100_000, "check the spelling"),
        ("\ud800\n", "check the spelling"),
    ],
)
async def test_an_unknown_event_is_told_and_sent(
    name: str, question: str, sent: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    montra = Montra("sk_test_x", "https://x.example")
    await montra.create_webhook(url="https://x.example", events=[name, "customer.created"])
    await montra.update_webhook("wh_1", events=["*", name])
    WebhookReceiver("whsec_of_the_tests", store=MemoryStore()).on(name)
    told = [one.getMessage() for one in caplog.records]
    assert [one.split(":")[0] for one in told] == ["create_webhook", "update_webhook", "on"]
    assert all(question in one and len(one) < 300 for one in told)
    assert [one["events"] for one in sent] == [[name, "customer.created"], ["*", name]]


async def test_known_events_are_not_told(sent: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    montra = Montra("sk_test_x", "https://x.example")
    await montra.create_webhook(url="https://x.example", events=[*EVENT_TYPES, "*"])
    await montra.create_webhook(url="https://x.example")
    warn_of_unknown((), EVENT_TYPES, where="nowhere", service="montra")
    assert caplog.text == ""


def test_names_are_known_without_loading_the_events() -> None:
    code = (
        "import sys, montra_async.resources.webhook_endpoints\n"
        "print(sorted({'montra_async.webhooks', 'difflib'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "[]", run.stderr
