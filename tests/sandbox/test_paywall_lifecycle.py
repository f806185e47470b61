"""Paywall clients and event loops: cancellation, several loops, background revalidation."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator

import pytest

from montra_async.paywall import ApiGatewayClient, AuthClient, BillingClient, PaywallError
from montra_sandbox import Sandbox

from ..conftest import struck
from ..processes import run_program


@pytest.fixture
async def billing(sandbox: Sandbox) -> AsyncIterator[BillingClient]:
    async with BillingClient(sandbox.paywall_id, sandbox.url, sandbox.api_key, pool_size=2) as client:
        user = client.for_user(email="ada@example.com", user_id="ada")
        await user.create_checkout(101)
        await user.credit_tokens("gpt-4", 97)
        yield user


def _count(sandbox: Sandbox) -> int:
    [user] = sandbox.paywall_users(sandbox.paywall_id)
    [balance] = user["balances"]
    return int(balance["count"])


async def _cancelled_while_paying(billing: BillingClient, sandbox: Sandbox, amount: int) -> None:
    async def work() -> None:
        async with billing.metered(type="gpt-4", amount=amount):
            sandbox.add_fault(kind="latency", seconds=0.2)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await struck(sandbox)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_debit_after_the_work_survives_a_cancellation(billing: BillingClient, sandbox: Sandbox) -> None:
    assert _count(sandbox) == 100

    await _cancelled_while_paying(billing, sandbox, 5)
    assert _count(sandbox) == 95


async def test_a_cancelled_debit_that_fails_is_reported(
    billing: BillingClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    await _cancelled_while_paying(billing, sandbox, 500)
    assert "insufficient" in caplog.text


async def test_cancelled_work_is_not_debited(billing: BillingClient, sandbox: Sandbox) -> None:
    async def work() -> None:
        async with billing.metered(type="gpt-4", amount=5):
            await asyncio.sleep(30)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert _count(sandbox) == 100


async def test_a_cancelled_stream_releases_its_connection(billing: BillingClient, sandbox: Sandbox) -> None:
    sandbox.set_provider(sandbox.paywall_id, "openai", events=["x"] * 1000, pause=0.01)
    gateway = ApiGatewayClient(billing=billing)

    async def listen() -> None:
        async with await gateway.call("openai") as answer:
            async for _ in answer.iter_sse():
                pass

    for _ in range(4):  # more than the pool has places
        task = asyncio.create_task(listen())
        started = len(sandbox.streams())
        while len(sandbox.streams()) == started:  # noqa: ASYNC110 - the sandbox has no event for it
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (await billing.debit_tokens("gpt-4", 1)).count == 95
    assert not any(one["finished"] for one in sandbox.streams())


async def test_closing_the_client_ends_a_stream(billing: BillingClient, sandbox: Sandbox) -> None:
    sandbox.set_provider(sandbox.paywall_id, "openai", events=["x"] * 1000, pause=0.01)
    answer = await ApiGatewayClient(billing=billing).call("openai")
    events = answer.iter_sse()
    await anext(events)
    await billing.aclose()
    with pytest.raises(PaywallError) as caught:
        async for _ in events:
            pass
    assert caught.value.code == "network_error"


async def test_an_unclosed_stream_of_a_closed_loop_logs_nothing(sandbox: Sandbox) -> None:
    code = f"""
import asyncio, gc
from montra_async.paywall import ApiGatewayClient, AuthClient
kept = []
async def main():
    auth = AuthClient({sandbox.paywall_id!r}, {sandbox.url!r})
    await auth.sign_in_anonymously()
    kept.append(await ApiGatewayClient({sandbox.paywall_id!r}, {sandbox.url!r}, auth=auth).call('openai'))
for _ in range(2):
    asyncio.run(main())
kept.clear()
gc.collect()
print('done')
"""
    sandbox.set_provider(sandbox.paywall_id, "openai", events=["x"] * 100, pause=0.05)
    assert await asyncio.to_thread(run_program, code, sandbox.base_url) == "done"


async def test_a_refresh_completes_after_its_caller_is_cancelled(sandbox: Sandbox) -> None:
    """The response replaces both tokens, so it must be stored even if nobody waits for it."""
    async with AuthClient(sandbox.paywall_id, sandbox.url) as auth:
        before = await auth.sign_in_anonymously()
        sandbox.add_fault(kind="latency", seconds=0.2)
        task = asyncio.create_task(auth.refresh())
        await asyncio.sleep(0)
        await struck(sandbox)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(500):
            if await auth.get_session() != before:
                break
            await asyncio.sleep(0.01)
        after = await auth.get_session()
        assert after is not None
        assert after.access_token != before.access_token
        assert await auth.refresh() is not None


async def test_a_stale_bootstrap_is_returned_while_it_is_revalidated(billing: BillingClient, sandbox: Sandbox) -> None:
    now = [1000.0]
    billing._caches.bootstraps.clock = lambda: now[0]
    asked: list[str] = []
    client = billing.for_user(email="ada@example.com")
    first = await client.bootstrap()
    now[0] += 299
    sandbox.set_paywall(sandbox.paywall_id, name="New name")
    assert (await client.bootstrap()).settings.name == "Demo paywall"
    now[0] += 2
    sandbox.add_fault(kind="latency", seconds=0.05)
    assert (await client.bootstrap()).settings.name == "Demo paywall"
    await struck(sandbox)
    while (await client.bootstrap()).settings.name == "Demo paywall":
        asked.append("waiting")
        await asyncio.sleep(0.01)
    assert asked
    now[0] += 301
    sandbox.add_fault(kind="status", status=500, share=1)
    client = client.with_options(max_attempts=1)
    assert (await client.bootstrap()).settings.name == "New name"  # and the failure behind it is nobody's
    await asyncio.sleep(0.05)
    now[0] += 3600
    with pytest.raises(PaywallError, match="injected_fault"):
        await client.bootstrap()
    assert first.version == "1"


async def test_an_unchanged_bootstrap_is_not_sent_again(billing: BillingClient, sandbox: Sandbox) -> None:
    now = [1000.0]
    billing._caches.bootstraps.clock = lambda: now[0]
    first = await billing.bootstrap()
    assert first.user is not None
    assert not first.user.has_active_subscription
    now[0] += 301
    await billing.bootstrap()
    for _ in range(100):
        if billing._caches.bootstraps.get(((await billing._principal()).cache_key, None), max_age=1) is not None:
            break
        await asyncio.sleep(0.01)
    later = await billing.bootstrap()
    assert (later.version, later.prices) == (first.version, first.prices)


async def test_one_client_through_several_loops(sandbox: Sandbox) -> None:
    def use(client: BillingClient) -> list[int]:
        async def both() -> int:
            first, second = await asyncio.gather(client.get_prices(force=True), client.get_prices(force=True))
            return len(first) + len(second)

        return [asyncio.run(both()) for _ in range(3)]

    client = BillingClient(sandbox.paywall_id, sandbox.url, sandbox.api_key)
    assert await asyncio.to_thread(use, client) == [8, 8, 8]
    gc.collect()


async def test_caches_are_separate_per_sandbox(sandbox: Sandbox) -> None:
    async with Sandbox() as other, BillingClient(other.paywall_id, other.url, other.api_key) as client:
        await client.for_user(email="bob@example.com").create_checkout(101)
        assert sandbox.paywall_users(sandbox.paywall_id) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_after_a_fork_parent_and_child_both_work(served: str) -> None:
    """Through the facade, with a stream open in the parent: the child leaves it alone."""
    code = f"""
import os, warnings
warnings.simplefilter('ignore', DeprecationWarning)
from montra_sync.paywall import ApiGatewayClient, AuthClient, BillingClient
origin = {served.removesuffix("/api/v1")!r}
billing = BillingClient('pw_sandbox', origin, 'sk_test_sandbox')
auth = AuthClient('pw_sandbox', origin)
auth.sign_in_anonymously()
answer = ApiGatewayClient('pw_sandbox', origin, auth=auth).call('openai')
events = answer.iter_sse()
first = next(events).data
if (pid := os.fork()) == 0:
    status = 1
    try:
        status = 0 if billing.get_prices(force=True) and auth.get_access_token() else 2
    finally:
        os._exit(status)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), len([first, *events]), len(billing.get_prices(force=True)))
"""
    assert run_program(code, served) == "0 5 4"
