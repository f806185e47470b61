"""The sender through the real client, against the sandbox and its faults: what was handed in is what was counted."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from montra_async import Montra
from montra_async.usage.events import UsageRequest
from montra_async.usage.sending.dispatcher import Report
from montra_async.usage.sending.sender import Sender

from ..contract_watch import WatchedSandbox
from .fake_outbox import FakeOutbox, usage_request


@attrs.frozen
class Line:
    """A client, a customer, and an outbox."""

    client: Montra
    customer_id: str
    outbox: FakeOutbox

    def add(self, count: int, slug: str = "tokens", metadata: str | None = None) -> int:
        """Returns the sum of what was added."""
        requests = [usage_request(self.customer_id, number, metadata=metadata) for number in range(1, count + 1)]
        self.outbox.add(*[request._replace(meter_slug=slug) for request in requests])
        return sum(range(1, count + 1))

    async def send(
        self, report: Report | None = None, on_open: Callable[[], object] | None = None, *, timeout: float = 2.0
    ) -> None:
        """Send everything, with short pauses between attempts.

        Args:
            report: instead of the client's.
            on_open: called when the circuit opens.
            timeout: seconds per attempt.
        """
        view = self.client.with_options(max_attempts=1, timeout=timeout)
        chance = random.Random(5).random
        sender = Sender(
            report=report or view.report_usage,
            exchange=self.outbox.exchange,
            request_timeout=timeout,
            random=lambda: chance() / 10,
        )
        task = asyncio.ensure_future(sender.run())
        try:
            while self.outbox.waiting or self.outbox.claimed:
                await asyncio.sleep(0.01)
                if on_open is not None and sender.state.circuit == "open":
                    on_open()
        finally:
            await sender.stop(2.0)
            await task
        assert self.outbox.problems == []

    async def counted(self) -> Any:
        return (await self.client.check_entitlement(self.customer_id, "tokens")).usage


@pytest.fixture
async def line(unwatched: Montra) -> Line:
    model = await unwatched.create_pricing_model(name="Free", is_default=True)
    await unwatched.create_meter(name="T", slug="tokens", pricing_model_id=model.id)
    ada = await unwatched.create_customer(name="Ada", email="ada@example.com")
    return Line(unwatched, ada.id, FakeOutbox(asyncio.get_running_loop().time))


async def test_everything_is_counted(line: Line, sandbox: WatchedSandbox) -> None:
    total = line.add(300)
    await line.send(timeout=60)  # none is repeated on a busy machine
    assert await line.counted() == total
    assert sandbox.watch.requests.count("report_usage") == 300
    assert line.outbox.retried == []


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500, "times": 8},
        {"kind": "status", "status": 503, "retry_after": 0.3, "times": 8},
        {"kind": "rate_limit", "retry_after": 0.2, "times": 10},
        {"kind": "status", "status": 401, "times": 3},
        {"kind": "drop_before", "times": 8},
        {"kind": "drop_after", "times": 8},
        {"kind": "drop_during_answer", "times": 8},
        {"kind": "malformed", "times": 8},
        {"kind": "malformed", "body": "truncated", "times": 8},
        {"kind": "latency", "seconds": 2.5, "times": 3},
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values()),
)
async def test_nothing_is_lost_or_counted_twice(line: Line, sandbox: WatchedSandbox, fault: dict[str, Any]) -> None:
    total = line.add(100)
    sandbox.add_fault(path="/usage", **fault)
    await line.send()
    assert sandbox.faults() == []
    assert await line.counted() == total
    assert line.outbox.refused == []
    assert line.outbox.retried != []
    # A request whose client gives up can't be read by the watch.
    sandbox.watch.problems = [one for one in sandbox.watch.problems if "Connection lost" not in one]


async def test_a_storm_of_faults(line: Line, sandbox: WatchedSandbox) -> None:
    total = line.add(200)
    for fault in (
        {"kind": "drop_after", "share": 0.1},
        {"kind": "status", "status": 502, "share": 0.1},
        {"kind": "rate_limit", "retry_after": 0.05, "times": 5},
        {"kind": "malformed", "share": 0.1},
        {"kind": "drop_before", "share": 0.1},
    ):
        sandbox.add_fault(path="/usage", **fault)
    await line.send()
    sandbox.clear_faults()
    assert await line.counted() == total
    assert len(line.outbox.delivered) == 200


async def test_what_the_service_does_not_know_is_refused(line: Line) -> None:
    line.add(3, slug="no-such-meter")
    total = line.add(20)
    await line.send()
    assert await line.counted() == total
    assert [(one.status, one.code) for one in line.outbox.refused] == [(404, "not_found")] * 3


async def test_a_key_of_another_body_is_refused(line: Line) -> None:
    first = usage_request(line.customer_id, 5)
    await line.client.report_usage(line.customer_id, "tokens", amount=7, idempotency_key=first.key)
    line.outbox.add(first)
    await line.send()
    assert [one.code for one in line.outbox.refused] == ["idempotency_mismatch"]
    assert await line.counted() == 7


@pytest.mark.parametrize(
    "broken",
    [
        {"metadata": "{"},
        {"metadata": "[1]"},
        {"units": "abc", "scale": -1},
        {"customer_id": ""},
        {"key": "not a key"},
        {"units": "-1", "scale": -1},
    ],
    ids=str,
)
async def test_what_can_not_be_read_is_refused(line: Line, broken: dict[str, Any]) -> None:
    wrong: UsageRequest = usage_request(line.customer_id, 1)._replace(**broken)
    line.outbox.add(wrong)
    total = line.add(5)
    await line.send()
    assert [one.code for one in line.outbox.refused] == ["invalid_argument"]
    assert await line.counted() == total


async def test_a_service_that_is_away_is_waited_for(line: Line, sandbox: WatchedSandbox) -> None:
    total = line.add(30)
    async with Montra(sandbox.api_key, f"http://127.0.0.1:{_free_port()}/api/v1") as nowhere:
        clients = [nowhere.with_options(max_attempts=1, timeout=2.0)]

        async def report(*args: Any, **fields: Any) -> bool:
            return await clients[-1].report_usage(*args, **fields)

        await line.send(report, lambda: clients.append(line.client))
        assert len(clients) > 1
    assert {one.sent for one in line.outbox.retried} == {False}
    assert await line.counted() == total


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
