"""The metered endpoints of the README and of the examples, on their server: a stream, a full limit, `kill -9`."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest

from montra_async import Montra
from montra_async.usage import SqliteOutbox, UsageReporter
from montra_async.webhooks.signature import sign
from montra_sandbox import Sandbox

from ..contract_watch import WatchedSandbox
from ..servers import EXAMPLES
from .conftest import SECRET
from .serving import Server, start
from .session_cookies import SESSION_SECRET, session_headers

README = EXAMPLES.parent / "README.md"
PROMPT = "to be or not to be"  # 6 words, each a token
UVICORN = ["-m", "uvicorn", "--port", "PORT"]


def readme_app(folder: Path, base_url: str) -> list[str]:
    """Write the second example of the README into a folder; the command that serves it."""
    [code] = re.findall(r"`second\.py`:\n\n```python\n(.*?)```", README.read_text(), re.DOTALL)
    code = code.replace("http://127.0.0.1:4242/api/v1", base_url).replace("secrets.token_hex()", repr(SESSION_SECRET))
    (folder / "second.py").write_text(code)
    return [*UVICORN, "second:app"]


def example_app(folder: Path, base_url: str) -> list[str]:
    return [*UVICORN, "--app-dir", str(EXAMPLES), "metered_fastapi_app:app"]


@attrs.frozen
class Shop:
    """Customers with 1,000 tokens, and the application that they ask."""

    sandbox: Sandbox
    montra: Montra
    http: aiohttp.ClientSession
    outbox: Path
    serve: Callable[[], Server]

    async def customer(self, name: str) -> str:
        return (await self.montra.create_customer(name=name, email=f"{name}@example.com")).id

    async def ask(self, server: Server, customer: str, prompt: str = PROMPT) -> tuple[int, str]:
        url, headers = f"{server.url}/ask", session_headers("metered", customer)
        async with self.http.post(url, params={"prompt": prompt}, headers=headers) as answer:
            return answer.status, await answer.text()

    async def used(self, customer: str) -> int:
        return int((await self.montra.check_entitlement(customer, "api-tokens")).usage or 0)

    async def stored(self, events: int) -> None:
        """Wait until so many events are in the outbox."""
        async with UsageReporter(self.montra, SqliteOutbox(self.outbox), send=False) as usage:
            while (await usage.stats()).waiting < events:  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.02)

    async def counted(self, customer: str, tokens: int) -> None:
        """Wait until the service has counted so many tokens, and not more."""
        while await self.used(customer) < tokens:  # noqa: ASYNC110 - another process sends them
            await asyncio.sleep(0.02)
        async with UsageReporter(self.montra, SqliteOutbox(self.outbox)) as usage:
            assert await usage.flush(30) == 0
        assert await self.used(customer) == tokens


@pytest.fixture(params=[readme_app, example_app], ids=["readme", "example"])
async def shop(request: pytest.FixtureRequest, tmp_path: Path, sandbox: WatchedSandbox) -> AsyncIterator[Shop]:
    sandbox.watch.answers = False  # some are faults
    command = request.param(tmp_path, sandbox.base_url)
    outbox = tmp_path / "usage.db"
    servers: list[Server] = []

    def serve() -> Server:
        server = start(
            command,
            cwd=tmp_path,
            MONTRA_BASE_URL=sandbox.base_url,
            MONTRA_API_KEY=sandbox.api_key,
            MONTRA_WEBHOOK_SECRET=SECRET,
            SESSION_SECRET=SESSION_SECRET,
            MONTRA_OUTBOX=str(outbox),
            PYTHONPATH=str(EXAMPLES.parent),
        )
        servers.append(server)
        return server

    async with Montra(sandbox.api_key, sandbox.base_url) as montra, aiohttp.ClientSession() as http:
        plan = await montra.create_pricing_model(name="Free", is_default=True)
        await montra.create_meter(name="Tokens", slug="api-tokens", pricing_model_id=plan.id)
        sandbox.set_limit(pricing_model_id=plan.id, meter_slug="api-tokens", max_amount=1000)
        try:
            yield Shop(sandbox, montra, http, outbox, serve)
        finally:
            for server in servers:
                await asyncio.to_thread(server.stop)
    for server in servers:
        assert not server.crashes(), server.log


async def test_an_answer_is_streamed_and_recorded(shop: Shop) -> None:
    ada = await shop.customer("ada")
    server = await asyncio.to_thread(shop.serve)
    async with shop.http.post(f"{server.url}/ask", params={"prompt": PROMPT}) as answer:
        assert answer.status == 401  # who asks?
    asked = {"params": {"prompt": PROMPT}, "headers": {"X-Customer-Id": ada}}
    async with shop.http.post(f"{server.url}/ask", **asked) as answer:
        assert answer.status == 401
    assert await shop.ask(server, ada) == (200, PROMPT + " ")
    await asyncio.wait_for(shop.counted(ada, 6), 30)


async def test_who_signs_up_pays_for_themselves(shop: Shop) -> None:
    server = await asyncio.to_thread(shop.serve)
    form = {"name": "Eve", "email": "eve@example.com"}
    async with shop.http.post(f"{server.url}/sign-up", json=form) as answer:
        assert answer.status in (200, 201)
        cookies = {one.key: one.value for one in answer.cookies.values()}
    async with shop.http.post(f"{server.url}/ask", params={"prompt": PROMPT}, cookies=cookies) as answer:
        assert (answer.status, await answer.text()) == (200, PROMPT + " ")
    async with shop.http.post(f"{server.url}/sign-up", json=form) as answer:
        assert (answer.status, answer.cookies) == (409, {})
    [eve] = await shop.montra.list_customers()
    for typo in ({**form, "email": "eve@"}, {**form, "email": " "}, {**form, "name": ""}):
        async with shop.http.post(f"{server.url}/sign-up", json=typo) as answer:
            assert (answer.status, answer.cookies) == (422, {})
    for kind in ("text/plain", "application/x-www-form-urlencoded"):  # from a form of another site
        form_of_another = {
            "data": json.dumps({**form, "email": "mallory@example.com"}),
            "headers": {"Content-Type": kind},
        }
        async with shop.http.post(f"{server.url}/sign-up", **form_of_another) as answer:
            assert (answer.status in (415, 422), answer.cookies) == (True, {})
    assert len(await shop.montra.list_customers()) == 1
    await asyncio.wait_for(shop.counted(eve.id, 6), 30)


async def test_kill_9_loses_nothing_and_nothing_counts_twice(shop: Shop) -> None:
    ada = await shop.customer("ada")
    shop.sandbox.add_fault(kind="status", status=503, share=1, path="/usage")
    server = await asyncio.to_thread(shop.serve)
    for _ in range(5):
        assert (await shop.ask(server, ada))[0] == 200
    await asyncio.wait_for(shop.stored(5), 30)
    server.process.kill()
    await asyncio.to_thread(server.process.wait)
    assert await shop.used(ada) == 0

    shop.sandbox.clear_faults()
    shop.sandbox.add_fault(kind="drop_after", times=2, path="/usage")  # counted, and the answer is lost
    await asyncio.to_thread(shop.serve)  # nobody asks it anything: it sends what the first one has left
    await asyncio.wait_for(shop.counted(ada, 30), 30)


async def test_a_burst_does_not_overrun_the_limit(shop: Shop) -> None:
    ada = await shop.customer("ada")
    server = await asyncio.to_thread(shop.serve)
    long = " ".join(["w"] * 230)
    answers = await asyncio.gather(*(shop.ask(server, ada, long) for _ in range(20)))
    passed = [status for status, _ in answers].count(200)
    assert {status for status, _ in answers} == {200, 402}
    assert 1 <= passed <= 4
    await asyncio.wait_for(shop.counted(ada, 230 * passed), 30)


@pytest.mark.parametrize("shop", [example_app], indirect=True)
async def test_what_else_the_example_serves(shop: Shop) -> None:
    ada = await shop.customer("ada")
    server = await asyncio.to_thread(shop.serve)

    async def get(path: str) -> tuple[int, Any]:
        async with shop.http.get(server.url + path, headers=session_headers("metered", ada)) as answer:
            return answer.status, await answer.json()

    assert await get("/quota") == (200, {"allowed": True, "remaining": 1000, "source": "fresh"})
    await shop.ask(server, ada)
    await asyncio.wait_for(shop.counted(ada, 6), 30)
    status, quota = await get("/quota")
    assert (status, quota["remaining"]) == (200, 994)
    status, health = await get("/health")
    assert (status, health["waiting"], health["parked"], health["circuit"]) == (200, 0, 0, "closed")

    assert (await get("/reports"))[0] == 403
    pro = await shop.montra.create_pricing_model(name="Pro")
    await shop.montra.create_feature(name="Single sign-on", slug="sso", pricing_model_id=pro.id)
    await shop.montra.create_subscription(ada, pro.id)
    paid = {"customer_id": ada, "customer_email": "ada@example.com"}
    body = json.dumps({"id": "evt_1", "type": "checkout.completed", "data": paid}).encode()
    signed = {"Montra-Signature": sign(body, SECRET)}
    async with shop.http.post(f"{server.url}/webhooks/montra", data=body, headers=signed) as answer:
        assert answer.status == 200
    assert (await get("/reports"))[0] == 200
