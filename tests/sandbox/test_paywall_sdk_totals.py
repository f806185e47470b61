"""Each caller's total time-out applies to shared calls, too. A shared call runs as long as it has waiters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from montra_async import Timeout
from montra_async.paywall import AuthClient, BillingClient, PaywallError
from montra_async.paywall.single_flight import Flight, SingleFlight

from .paywall_server import PaywallServer, paywall_server


@pytest.fixture
async def server() -> AsyncIterator[PaywallServer]:
    async with paywall_server() as running:
        yield running


async def _timed_out(call: Any) -> PaywallError:
    """A time-out of this caller: without it, the call would have succeeded."""
    with pytest.raises(PaywallError) as caught:
        await call
    assert caught.value.code == "timeout"
    return caught.value


async def test_refresh_and_replay_share_one_total_time_out(server: PaywallServer) -> None:
    """Each request takes less than the total time-out, all together take more."""
    server.seconds = {"refresh": 0.25, "user": 0.25}
    async with AuthClient("pw", server.url) as auth, BillingClient("pw", server.url, timeout=0.6) as billing:
        await auth._store_session(server.session("ada", ends_in=1))
        server.lifetime = 1  # every token is as good as ended
        server.refuses = True
        error = await _timed_out(billing.for_user(auth=auth).list_purchases())
        assert "0.6 s" in error.message
        assert error.call is not None
    assert server.asked == ["POST refresh", "GET user", "POST refresh"]


async def test_a_caller_that_joins_a_slow_call_keeps_its_own_time_out(server: PaywallServer) -> None:
    server.seconds["user-state"] = 0.8
    async with BillingClient("pw", server.url, timeout=20) as billing:
        ada = billing.for_user(email="ada@example.com")
        patient = asyncio.create_task(ada.get_user())
        await asyncio.sleep(0.05)
        error = await _timed_out(ada.with_options(timeout=0.2).get_user())
        assert (error.sent, error.call is not None) == (True, True)
        assert (await patient).purchases[0].id == "ada"
    assert server.count("user-state") == 1


async def test_a_short_time_out_does_not_affect_other_callers(server: PaywallServer) -> None:
    """The first caller has timed out. The second caller gets the response of the same request."""
    server.seconds["user-state"] = 0.5
    async with BillingClient("pw", server.url, timeout=20) as billing:
        ada = billing.for_user(email="ada@example.com")
        hasty = asyncio.create_task(_timed_out(ada.with_options(timeout=0.2).get_user()))
        await asyncio.sleep(0.05)
        assert (await ada.get_user()).purchases[0].id == "ada"
        await hasty
    assert server.count("user-state") == 1


async def test_a_call_without_waiters_is_cancelled(server: PaywallServer) -> None:
    server.seconds["user-state"] = 20
    async with BillingClient("pw", server.url, timeout=0.1) as billing:
        ada = billing.for_user(email="ada@example.com")
        await asyncio.gather(*(_timed_out(ada.get_user()) for _ in range(5)))
        for _ in range(20):
            await asyncio.sleep(0)
        assert billing._caches.flights._tasks == set()
    assert server.count("user-state") == 1


@pytest.mark.parametrize("call", ["refresh", "checkout", "bootstrap", "anonymous"])
async def test_every_shared_call_has_the_callers_time_out(server: PaywallServer, call: str) -> None:
    server.seconds = {"refresh": 0.6, "start-checkout": 0.6, "bootstrap": 0.6, "signin": 0.6}
    async with AuthClient("pw", server.url) as auth, BillingClient("pw", server.url) as billing:
        await auth._store_session(server.session("ada"))
        ada = billing.for_user(email="ada@example.com")
        begin: dict[str, Any] = {
            "refresh": lambda total: auth.with_options(timeout=total).refresh(),
            "checkout": lambda total: ada.with_options(timeout=total).create_checkout(1, idempotency_key="k"),
            "bootstrap": lambda total: ada.with_options(timeout=total).bootstrap(),
            "anonymous": lambda total: auth.with_options(timeout=total).sign_in_anonymously(),
        }
        hasty = asyncio.create_task(_timed_out(begin[call](0.15)))
        await asyncio.sleep(0.03)
        patient = asyncio.create_task(begin[call](20))
        await asyncio.sleep(0.03)
        hasty_too = asyncio.create_task(_timed_out(begin[call](0.15)))
        await asyncio.gather(hasty, hasty_too)
        assert await patient is not None
    assert len(server.asked) == 1


async def test_calls_with_different_settings_are_not_shared(server: PaywallServer) -> None:
    """A short read time-out does not affect callers with another one."""
    server.seconds["user-state"] = 0.4
    async with BillingClient("pw", server.url, max_attempts=1) as billing:
        ada = billing.for_user(email="ada@example.com")
        hasty = asyncio.create_task(_timed_out(ada.with_options(timeout=Timeout(read=0.1)).get_user()))
        await asyncio.sleep(0.02)
        assert (await ada.get_user()).purchases[0].id == "ada"
        await hasty


async def test_a_pause_longer_than_the_latest_deadline_is_not_made() -> None:
    """`Retry-After` is longer than any caller waits, so the response is returned at once."""

    async def busy(_: web.BaseRequest) -> web.Response:
        return web.json_response({"code": "slow_down"}, status=429, headers={"Retry-After": "30"})

    runner = web.ServerRunner(web.Server(busy))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with (
        BillingClient("pw", f"http://127.0.0.1:{runner.addresses[0][1]}", timeout=10) as billing,
        AuthClient("pw", f"http://127.0.0.1:{runner.addresses[0][1]}", timeout=10) as auth,
    ):
        await auth._store_session(PaywallServer().session("ada"))
        ada = billing.for_user(email="ada@example.com")
        for call in (ada.get_user(), ada.bootstrap(), billing.for_user(auth=auth).list_purchases()):
            with pytest.raises(PaywallError) as caught:
                await call
            assert (caught.value.code, caught.value.retry_after) == ("slow_down", 30)
    await runner.cleanup()


async def test_each_caller_gets_its_own_error() -> None:
    """A shared error would collect the frames, and so the local variables, of all callers."""
    flights = SingleFlight()

    async def make(_: Flight) -> None:
        await asyncio.sleep(0)
        raise PaywallError("no", "words", status=400, sent=True) from OSError("cause")

    results = await asyncio.gather(*(flights.run("k", make) for _ in range(3)), return_exceptions=True)
    assert len({id(one) for one in results}) == 3
    for one in results:
        assert isinstance(one, PaywallError)
        assert (one.code, one.status, one.sent, str(one.__cause__)) == ("no", 400, True, "cause")


@pytest.mark.parametrize("cancel_when_abandoned", [True, False])
async def test_cancellation_at_any_step_leaves_no_task(cancel_when_abandoned: bool) -> None:
    """No task and no unretrieved exception is left (`-W error` and the loop's exception handler report them)."""
    problems: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    for steps in range(12):
        for fails in (False, True):
            flights = SingleFlight()

            async def make(_: Flight, fails: bool = fails) -> int:
                for _step in range(5):
                    await asyncio.sleep(0)
                if fails:
                    raise PaywallError("no", "words")
                return 1

            waiting = [
                asyncio.create_task(flights.run("k", make, total=9, cancel_when_abandoned=cancel_when_abandoned))
                for _ in range(3)
            ]
            for _ in range(steps):
                await asyncio.sleep(0)
            for one in waiting[: 1 + steps % 3]:
                one.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            for _ in range(9):
                await asyncio.sleep(0)
            assert (flights._in_progress, flights._tasks) == ({}, set())
    assert problems == []


async def test_a_call_that_is_not_cancelled_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("montra_async.paywall.single_flight.ABANDONED_GRACE", 0.05)
    flights, ended = SingleFlight(), asyncio.Event()

    async def make(_: Flight) -> None:
        try:
            await asyncio.sleep(600)
        finally:
            ended.set()

    with pytest.raises(PaywallError, match="timeout"):
        await flights.run("k", make, total=0.05, cancel_when_abandoned=False)
    assert not ended.is_set()
    await asyncio.wait_for(ended.wait(), 5)
    for _ in range(3):  # what happens once a task is done happens in the steps after it
        await asyncio.sleep(0)
    assert flights._in_progress == {}


def test_a_closed_loop_leaves_no_flight() -> None:
    flights = SingleFlight()

    async def leave() -> None:
        async def make(_: Flight) -> None:
            await asyncio.sleep(600)

        flights.start("k", make)
        await asyncio.sleep(0)

    async def work() -> int:
        async def make(_: Flight) -> int:
            return 1

        return await flights.run("k", make)

    asyncio.run(leave())
    assert asyncio.run(work()) == 1
    assert (flights._in_progress, flights._tasks) == ({}, set())


async def test_revalidation_is_retried_after_a_dead_connection() -> None:
    """Revalidation has no waiter, but it is retried like any other call."""
    asked: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        asked.append(request.path)
        if len(asked) == 2 and request.transport is not None:
            request.transport.close()
        return web.json_response({"settings": {"name": str(len(asked))}, "prices": []})

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with BillingClient("pw", f"http://127.0.0.1:{runner.addresses[0][1]}") as billing:
        now = [0.0]
        billing._caches.bootstraps.clock = lambda: now[0]
        await billing.bootstrap()
        now[0] += 301
        assert (await billing.bootstrap()).settings.name == "1"
        await asyncio.wait(billing._caches.flights._tasks, timeout=10)
        assert (await billing.bootstrap()).settings.name == "3"
    await runner.cleanup()
