"""Hanging storages, repeated tokens, equal tokens of two users, and slow calls."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from montra_async import CallInfo, RequestTimeoutError
from montra_async.paywall import AuthClient, AuthSession, AuthUser, BillingClient, MemorySessionStorage, PaywallError

from ..scripted import scripted_server
from .paywall_server import PaywallServer, paywall_server

PATIENT = 20


@pytest.fixture
async def server() -> AsyncIterator[PaywallServer]:
    async with paywall_server() as running:
        yield running


class Hangs:
    async def load(self) -> dict[str, Any] | None:
        await asyncio.sleep(3600)
        return None

    async def save(self, session: dict[str, Any]) -> None:
        await asyncio.sleep(3600)

    async def clear(self) -> None:
        await asyncio.sleep(3600)


CALLS = ["get_session", "get_access_token", "update_password", "revoke_all_sessions", "refresh"]


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("closing", [False, True], ids=["total", "closing"])
async def test_a_hanging_storage_is_a_time_out(server: PaywallServer, name: str, closing: bool) -> None:
    auth = AuthClient("pw", server.url, storage=Hangs(), timeout=30 if closing else 0.2)
    arguments = ["long enough"] if name == "update_password" else []
    task = asyncio.ensure_future(getattr(auth, name)(*arguments))
    await asyncio.sleep(0.05)
    if closing:
        await auth.aclose()
    with pytest.raises(PaywallError) as caught:
        await asyncio.wait_for(task, PATIENT)
    assert caught.value.code == ("network_error" if closing else "timeout" if name == "refresh" else "storage_failed")
    assert server.asked == []


@pytest.mark.parametrize("name", ["get_user", "list_purchases", "get_balances"])
async def test_a_hanging_storage_is_a_time_out_of_other_calls(server: PaywallServer, name: str) -> None:
    auth = AuthClient("pw", server.url, storage=Hangs(), timeout=0.2)
    billing = BillingClient("pw", server.url, timeout=0.2).for_user(auth=auth)
    with pytest.raises(PaywallError, match="storage"):
        await asyncio.wait_for(getattr(billing, name)(), PATIENT)


@pytest.mark.parametrize("name", ["get_user", "list_purchases"])
async def test_a_call_that_waits_for_a_shared_refresh_ends_when_its_client_closes(
    server: PaywallServer, name: str
) -> None:
    server.seconds["refresh"] = 60
    auth = AuthClient("pw", server.url)
    await auth._store_session(server.session("ada", ends_in=1))
    billing = BillingClient("pw", server.url)
    task = asyncio.ensure_future(getattr(billing.for_user(auth=auth), name)())
    while "POST refresh" not in server.asked:  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0.01)
    await billing.aclose()
    with pytest.raises(PaywallError, match="closed"):
        await asyncio.wait_for(task, PATIENT)
    await auth.aclose()


async def test_repeated_tokens_do_not_cause_an_endless_loop() -> None:
    following = {"rA": "rB", "rB": "rA"}

    class Full(MemorySessionStorage):
        def load(self) -> dict[str, Any]:
            until = (datetime.now(timezone.utc) + timedelta(hours=1)).isoformat()
            return {"access_token": "A" * 20, "refresh_token": "rA", "expires_at": until, "user": {"id": "u"}}

        def save(self, session: dict[str, Any]) -> None:
            raise OSError(28, "No space left on device")

    async def answer(request: web.BaseRequest) -> web.Response:
        old = (await request.json())["refresh_token"]
        return web.json_response({"access_token": "B" * 20, "refresh_token": following[old], "expires_in": 3600})

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    auth = AuthClient("pw", f"http://127.0.0.1:{runner.addresses[0][1]}", storage=Full())
    await auth.refresh()
    await auth.refresh()
    assert await auth.with_storage(Full()).get_session() is not None
    await auth.aclose()
    await runner.cleanup()


async def test_users_with_the_same_refresh_token_are_distinct() -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        await request.read()
        await asyncio.sleep(0.05)
        return web.json_response({"access_token": "new", "refresh_token": "none", "expires_in": 3600})

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    auth = AuthClient("pw", f"http://127.0.0.1:{runner.addresses[0][1]}")
    views = {name: auth.with_storage(MemorySessionStorage()) for name in ("ann", "bob")}
    until = datetime.now(timezone.utc)
    for name, view in views.items():
        session = AuthSession(access_token=name, refresh_token="none", expires_at=until, user=AuthUser(id=name))
        await view._store_session(session)
    await asyncio.gather(*(view.refresh() for view in views.values()))
    for name, view in views.items():
        kept = await view.get_session()
        assert kept is not None
        assert kept.user == AuthUser(id=name)
    await auth.aclose()
    await runner.cleanup()


async def test_a_replaced_refresh_token_is_never_sent_again(server: PaywallServer) -> None:
    """A caller that arrives when the shared refresh ends uses its result."""
    server.seconds["refresh"] = 0.02
    auth = AuthClient("pw", server.url)
    for lag in range(8):
        server.asked.clear()
        storage = MemorySessionStorage()
        storage.save(server.session("ada", ends_in=1).to_dict())
        first = asyncio.ensure_future(auth.with_storage(storage).get_access_token())
        flights = auth._refreshes.flights._in_progress
        while not flights:  # noqa: ASYNC110 - each step of the loop counts
            await asyncio.sleep(0)
        [flight] = flights.values()
        while not flight.task.done():  # noqa: ASYNC110
            await asyncio.sleep(0)
        for _ in range(lag):
            await asyncio.sleep(0)
        assert await auth.with_storage(storage).get_access_token() == await first
        assert server.count("refresh") == 1
    await auth.aclose()


async def test_a_caller_does_not_join_a_call_older_than_its_time_out(server: PaywallServer) -> None:
    server.seconds["user-state"] = 60
    async with BillingClient("pw", server.url, timeout=0.3) as billing:
        ada = billing.for_user(email="ada@example.com")
        patient = asyncio.ensure_future(ada.with_options(timeout=50).get_user())
        await asyncio.sleep(0.5)
        server.seconds.clear()
        assert (await ada.get_user()).purchases[0].id == "ada"
        patient.cancel()


async def test_a_failed_refresh_shows_no_token(server: PaywallServer) -> None:
    auth = AuthClient("pw", "http://127.0.0.1:1", max_attempts=1)
    until = datetime.now(timezone.utc) + timedelta(seconds=1)
    await auth._store_session(AuthSession(access_token="canaryAccess", refresh_token="canaryRefresh", expires_at=until))
    with pytest.raises(PaywallError) as caught:
        await auth.get_access_token()
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "canary" not in shown


class SignedIn:
    def load(self) -> dict[str, Any]:
        user = {"id": "u1", "email": "a@example.com"}
        return {"access_token": "a1", "refresh_token": "r1", "expires_at": "2999-01-01T00:00:00Z", "user": user}

    def save(self, session: dict[str, Any]) -> None: ...

    def clear(self) -> None: ...


@pytest.mark.parametrize("name", ["update_password", "create_checkout"])
async def test_a_call_with_a_token_that_is_ended_by_closing_can_be_repeated(name: str) -> None:
    """Its attempts and its idempotency key are known."""
    async with scripted_server() as silent:
        silent.says([30.0])
        auth = AuthClient("pw", silent.url, storage=SignedIn())
        billing = BillingClient("pw", silent.url, auth=auth)
        if name == "update_password":
            client, task = auth, asyncio.ensure_future(auth.update_password("long enough"))
        else:
            client, task = billing, asyncio.ensure_future(billing.create_checkout(1, idempotency_key="k"))
        while not silent.connections:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        await client.aclose()
        with pytest.raises(PaywallError) as caught:
            await asyncio.wait_for(task, PATIENT)
        assert (caught.value.code, caught.value.attempts) == ("network_error", 1)
        assert caught.value.idempotency_key == ("k" if name == "create_checkout" else None)
        await billing.aclose()


async def test_a_closed_session_of_the_user_is_a_paywall_error() -> None:
    session = aiohttp.ClientSession()
    await session.close()
    auth = AuthClient("pw", "https://pay.example.com", storage=Hangs(), session=session)
    for call in (auth.get_session, auth.get_access_token, auth.refresh):
        with pytest.raises(PaywallError) as caught:
            await call()
        assert caught.value.code == "invalid_config"


async def test_a_storage_that_fails_with_a_time_out_of_a_client() -> None:
    class Remote(SignedIn):
        def load(self) -> dict[str, Any]:
            raise RequestTimeoutError("late", CallInfo(method="GET", path="/"))

    auth = AuthClient("pw", "https://pay.example.com", storage=Remote())
    with pytest.raises(PaywallError) as caught:
        await auth.get_session()
    assert caught.value.code == "storage_failed"
    await auth.aclose()
