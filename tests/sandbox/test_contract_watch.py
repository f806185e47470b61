"""The watch that all tests rely on notices what is not as the contract says, without changing the clients."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.payload import BytesPayload

from montra_async import InvalidResponseError, Montra

from ..contract_watch import WatchedSandbox

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def broken(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Leaves required fields out of every response."""
    await handler(request)
    return web.json_response({"success": True, "data": {"id": "cust_1"}})


@web.middleware
async def opaque(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Hides the body of every response from middlewares."""
    response = await handler(request)
    assert isinstance(response, web.Response)
    body = response.body
    assert isinstance(body, bytes)
    return web.Response(body=BytesPayload(body), content_type="application/json")


class TamperedSandbox(WatchedSandbox):
    """Its responses go through another middleware before they are watched."""

    def __init__(self, tamper: Any) -> None:
        super().__init__()
        self._middlewares = (*self._middlewares, tamper)


async def test_a_response_that_breaks_the_contract_is_noticed() -> None:
    async with TamperedSandbox(broken) as sandbox, Montra(sandbox.api_key, sandbox.base_url) as montra:
        with pytest.raises(InvalidResponseError):
            await montra.create_customer(name="n", email="a@example.com")
        assert len(sandbox.watch.problems) >= 1
        assert all(problem.startswith("create_customer answer: ") for problem in sandbox.watch.problems)


async def test_a_body_that_is_not_seen_is_noticed() -> None:
    async with TamperedSandbox(opaque) as sandbox, Montra(sandbox.api_key, sandbox.base_url) as montra:
        await montra.create_customer(name="n", email="a@example.com")
        assert sandbox.watch.problems == ["create_customer answer: its body was not seen"]
        assert sandbox.watch.responses == []


@pytest.mark.parametrize(
    ("method", "path", "fields", "problem"),
    [
        ("POST", "/customers", {"json": {"name": "n", "email": "a@example.com"}}, "no idempotency key"),
        ("GET", "/customers?odd=1", {}, "unknown odd"),
        ("PATCH", "/nowhere", {}, "no operation PATCH"),
    ],
)
async def test_a_request_that_breaks_the_contract_is_noticed(
    method: str, path: str, fields: dict[str, Any], problem: str
) -> None:
    headers = {"User-Agent": "montra-python/test"}
    async with WatchedSandbox() as sandbox, aiohttp.ClientSession(headers=headers) as http:
        headers = {"Authorization": f"Bearer {sandbox.api_key}"}
        async with http.request(method, f"{sandbox.base_url}{path}", headers=headers, **fields):
            pass
        assert problem in str(sandbox.watch.problems)


async def test_a_response_broken_by_a_fault_is_not_the_services() -> None:
    async with WatchedSandbox() as sandbox, Montra(sandbox.api_key, sandbox.base_url, max_attempts=1) as montra:
        sandbox.add_fault(kind="malformed", body="truncated", times=1)
        with pytest.raises(InvalidResponseError):
            await montra.list_customers()
        await montra.list_customers()
        assert (len(sandbox.watch.requests), len(sandbox.watch.responses)) == (2, 1)
        assert sandbox.watch.problems == []


async def test_watched_clients_read_as_the_users_do(
    sandbox: WatchedSandbox, montra: Montra, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small response is read without waiting: `readany`, which waits, is never called."""
    await montra.list_customers()  # the connection is there: the response comes in one piece
    monkeypatch.delattr(aiohttp.StreamReader, "readany")
    await montra.list_customers()
    assert sandbox.watch.responses == ["list_customers"] * 2
    connection = montra._transport._connection
    assert (connection.session, connection.connector, connection.trace_configs) == (None, None, ())
