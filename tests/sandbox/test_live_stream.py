"""`GET /_sandbox/live`: what happens, as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from montra_async import Montra
from montra_sandbox import Sandbox


class Reader:
    """Reads the messages of a live stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.last_id = ""

    async def next(self, kind: str | None = None) -> dict[str, Any]:
        """The data of the next message, or of the next one of a kind, which is added as `_kind`."""
        while True:
            fields: dict[str, str] = {}
            while True:
                line = (await asyncio.wait_for(self.response.content.readline(), 30)).decode()
                assert line, "the stream has ended"
                if line == "\n":
                    break
                name, _, value = line.rstrip("\n").partition(": ")
                fields[name] = value
            self.last_id = fields.get("id", self.last_id)
            if "event" in fields and kind in (None, fields["event"]):
                return {**json.loads(fields["data"]), "_kind": fields["event"]}


@asynccontextmanager
async def reading(sandbox: Sandbox, after: str = "") -> AsyncIterator[Reader]:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http,
        http.get(f"{sandbox.url}/_sandbox/live", params={"after": after} if after else {}) as response,
    ):
        assert (response.status, response.content_type) == (200, "text/event-stream")
        yield Reader(response)


async def test_requests_events_deliveries_and_the_clock(sandbox: Sandbox, montra: Montra) -> None:
    sandbox.trigger("customer.created")  # before: not told
    async with reading(sandbox) as reader:
        sandbox.webhooks.to("http://127.0.0.1:9/")
        ada = await montra.create_customer(name="Ada", email="ada@example.com")
        request, event = await reader.next("request"), await reader.next("event")
        assert (request["operation"], request["status"]) == ("create_customer", 200)
        assert (event["type"], event["data"]["id"]) == ("customer.created", ada.id)
        delivery = await reader.next("delivery")
        assert (delivery["event_id"], delivery["status"]) == (event["id"], "pending")
        shown = sandbox.freeze()
        clock = await reader.next("clock")
        assert clock["frozen"] is True
        assert clock["now"].startswith(shown.isoformat()[:19])
        sandbox.reset()
        assert (await reader.next("reset"))["_kind"] == "reset"
        sandbox.trigger("customer.created")
        assert (await reader.next("event"))["type"] == "customer.created"


async def test_a_reader_goes_on_where_it_was(sandbox: Sandbox, montra: Montra) -> None:
    async with reading(sandbox) as reader:
        await montra.create_customer(name="A", email="a@example.com")
        await reader.next("event")
        last = reader.last_id
    await montra.create_customer(name="B", email="b@example.com")
    async with reading(sandbox, last) as reader:
        assert (await reader.next("event"))["data"]["name"] == "B"
    async with reading(sandbox, "999999-999999") as reader:  # of a run that is over
        await montra.create_customer(name="C", email="c@example.com")
        assert (await reader.next("event"))["data"]["name"] == "C"


async def test_a_restore_tells_nothing_again(sandbox: Sandbox) -> None:
    sandbox.trigger("customer.created")
    name = sandbox.snapshot()
    async with reading(sandbox) as reader:
        sandbox.restore(name)
        await reader.next("reset")
        sandbox.trigger("customer.updated")
        assert (await reader.next("event"))["type"] == "customer.created"  # of the trigger's own customer
        assert (await reader.next("event"))["type"] == "customer.updated"
        assert len(sandbox.events()) == 3


async def test_a_payment_on_a_page_is_told_at_once(sandbox: Sandbox, montra: Montra) -> None:
    link = await montra.create_checkout_link(link_name="x", payment_name="X", amount=1)
    form = {"name": "Ada", "email": "ada@example.com", "card": "4242424242424242", "action": "pay"}
    async with reading(sandbox) as reader, aiohttp.ClientSession() as http:
        await http.post(str(link.url), data=form)
        told = asyncio.create_task(reader.next("event"))
        assert (await asyncio.wait_for(told, 10))["type"] == "customer.created"  # a sign of life comes after 15 s


async def test_a_slow_reader_misses_the_oldest_and_holds_nobody_up(sandbox: Sandbox, montra: Montra) -> None:
    async with reading(sandbox) as reader:
        for i in range(1_200):
            sandbox.freeze() if i % 2 else sandbox.clock.unfreeze()
        assert (await reader.next("clock"))["frozen"] in (True, False)
        await montra.list_customers()
        assert (await reader.next("request"))["operation"] == "list_customers"


@pytest.mark.parametrize("after", ["x", "1", "1-2-3", "-1-2", "9" * 30 + "-1"])
async def test_what_is_no_position_is_refused(sandbox: Sandbox, after: str) -> None:
    async with aiohttp.ClientSession() as http, http.get(f"{sandbox.url}/_sandbox/live?after={after}") as response:
        assert response.status == 400


async def test_readers_are_bounded_and_come_and_go(sandbox: Sandbox) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        url = f"{sandbox.url}/_sandbox/live"
        readers = [await http.get(url) for _ in range(50)]
        async with http.get(url) as refused:
            assert refused.status == 429
        for reader in readers:
            reader.close()
        sandbox.freeze()
        for _ in range(1_000):
            sandbox.clock.unfreeze()  # wakes them: the server sees that they have gone
            async with http.get(url) as again:
                if again.status == 200:
                    break
            await asyncio.sleep(0.01)
        assert again.status == 200


async def test_stopping_ends_the_stream() -> None:
    sandbox = Sandbox()
    sandbox.start()
    async with aiohttp.ClientSession() as http:
        response = await http.get(f"{sandbox.url}/_sandbox/live")
        await sandbox.stop()
        rest = await asyncio.wait_for(response.content.read(), 30)
        assert b"connected" in rest


async def test_pages_of_other_origins_and_readers_without_the_token_are_refused() -> None:
    async with Sandbox(control_token="correct-horse") as sandbox, aiohttp.ClientSession() as http:
        url = f"{sandbox.url}/_sandbox/live"
        for headers, status in (
            ({}, 401),
            ({"X-Sandbox-Token": "correct-horse", "Origin": "http://evil.example"}, 403),
            ({"X-Sandbox-Token": "correct-horse", "Host": "evil.example"}, 403),
            ({"X-Sandbox-Token": "correct-horse"}, 200),
        ):
            async with http.get(url, headers=headers) as response:
                assert response.status == status
