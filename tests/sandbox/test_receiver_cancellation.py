"""A delivery that is cancelled, or whose process ends, while it claims its event: the claim is released."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from montra_async.webhooks import AsyncStoreAdapter, Claim, MemoryStore, WebhookReceiver, store_access as access_module
from montra_async.webhooks.claims import StoreCall
from montra_async.webhooks.store_access import store_access, threads_of

from .test_receiver import SECRET, delivery
from .test_receiver_access import CoroutineStore, Threaded

ROTATION = [SECRET, "whsec_of_a_rotation"]


class SlowClaims(CoroutineStore):
    """The n-th claim takes effect and does not return. A release waits for `go_on`, which is set at first."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.claims_until_slow = n
        self.claiming, self.releasing = asyncio.Event(), asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def claim(self, key: str, token: str, claim_ttl: float) -> Claim:
        claim = self.memory.claim(key, token, claim_ttl)
        self.claims_until_slow -= 1
        if self.claims_until_slow == 0:
            self.claiming.set()
            await asyncio.sleep(60)
        return claim

    async def release(self, key: str, token: str) -> None:
        self.releasing.set()
        await self.go_on.wait()
        self.memory.release(key, token)


async def _begun(store: SlowClaims) -> asyncio.Task[Any]:
    """Return a delivery that is claiming its event."""
    receiver = WebhookReceiver(ROTATION, store=AsyncStoreAdapter(store))
    receiver.on("*")(lambda _: pytest.fail("handled without a claim"))
    task = asyncio.create_task(receiver._handle(*delivery()))
    await store.claiming.wait()
    return task


@pytest.mark.parametrize("n", [1, 2])
async def test_a_cancelled_delivery_releases_the_claims_of_all_secrets(n: int) -> None:
    store = SlowClaims(n)
    task = await _begun(store)
    assert len(store.memory._events) == n
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.memory._events == {}


def test_a_delivery_that_claims_its_event_as_the_loop_ends_releases_it() -> None:
    stores: list[SlowClaims] = []

    async def server() -> None:
        store = SlowClaims(2)
        stores.append(store)
        receiver = WebhookReceiver(ROTATION, store=AsyncStoreAdapter(store))
        receiver.on("*")(lambda _: pytest.fail("handled without a claim"))
        request = asyncio.ensure_future(receiver.handle(*delivery()))
        await store.claiming.wait()
        request.cancel()

    asyncio.run(server())
    assert stores[0].memory._events == {}


async def test_a_second_cancellation_does_not_stop_the_release() -> None:
    store = SlowClaims(2)
    store.go_on.clear()
    task = await _begun(store)
    cancellations = 0
    while not task.done():
        cancellations += task.cancel()
        await asyncio.sleep(0)
    assert task.cancelled()
    assert cancellations > 1
    assert len(store.memory._events) == 2
    store.go_on.set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert store.memory._events == {}


async def test_a_cancelled_delivery_does_not_wait_for_ever_for_a_store_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(access_module, "END_TIMEOUT", 0.01)
    store = SlowClaims(1)
    store.go_on.clear()
    task = await _begun(store)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(task), 60)
    assert task.cancelled()


async def test_a_cancelled_delivery_stays_cancelled_although_the_release_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(SlowClaims):
        async def release(self, key: str, token: str) -> None:
            raise OSError("away")

    task = await _begun(Broken(1))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gc.collect()
    assert caplog.text == ""  # asyncio would log an exception that was never retrieved


@pytest.mark.filterwarnings("error")
async def test_a_delivery_whose_coroutine_is_closed_ends() -> None:
    """At the end of a loop that is not run to its end, nothing can be awaited."""
    store = SlowClaims(1)
    receiver = WebhookReceiver(SECRET, store=AsyncStoreAdapter(store))
    receiver.on("*")(lambda _: pytest.fail("handled without a claim"))
    coroutine = receiver._handle(*delivery())
    coroutine.send(None)
    assert store.claiming.is_set()
    coroutine.close()
    assert not store.releasing.is_set()


@pytest.mark.parametrize("secrets", [SECRET, ROTATION])
async def test_a_delivery_that_is_cancelled_while_a_thread_claims_its_event(secrets: Any) -> None:
    claiming, go_on, released = threading.Event(), threading.Event(), threading.Event()
    n = 1 if secrets is SECRET else 2

    class Slow(Threaded):
        def claim(self, key: str, token: str, claim_ttl: float) -> Claim:
            claim = super().claim(key, token, claim_ttl)
            if len(self._events) == n:
                claiming.set()
                go_on.wait(60)
                self._events[key] = (token, 1e12)  # it takes effect after the delivery has released it
            return claim

        def release(self, key: str, token: str) -> None:
            super().release(key, token)
            if go_on.is_set():
                released.set()

    store = Slow(blocking=True)
    receiver = WebhookReceiver(secrets, store=store)
    receiver.on("*")(lambda _: pytest.fail("handled without a claim"))
    task = asyncio.create_task(receiver._handle(*delivery()))
    await asyncio.to_thread(claiming.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    assert await asyncio.to_thread(released.wait, 60)
    assert store._events == {}


def test_a_claim_that_a_thread_acquires_as_the_process_ends_is_released(tmp_path: Path) -> None:
    """No further thread can be started by then."""
    code = f"""
import asyncio, sys, time
from datetime import datetime, timezone
from montra_async.webhooks import SqliteStore, WebhookReceiver, sign
class Slow(SqliteStore):
    def claim(self, key, token, claim_ttl):
        print('claiming', flush=True)
        time.sleep(1)
        return super().claim(key, token, claim_ttl)
receiver = WebhookReceiver({SECRET!r}, store=Slow(sys.argv[1]))
receiver.on('*')(lambda _: None)
now = datetime.now(timezone.utc).isoformat()
body = ('{{"id": "evt_1", "type": "x.y", "created_at": "%s", "data": null}}' % now).encode()
async def server():
    task = asyncio.create_task(receiver.handle(body, {{'Montra-Signature': sign(body, {SECRET!r})}}))
    await asyncio.sleep(0.3)
asyncio.run(server())
"""
    path = tmp_path / "events.db"
    command = [sys.executable, "-c", code, str(path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr) == ("claiming\n", "")
    db = sqlite3.connect(path)
    assert db.execute("SELECT count(*) FROM montra_webhook_events").fetchone() == (0,)
    db.close()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("way", ["direct", "blocking"])
def test_a_process_that_ends_while_it_claims_an_event_releases_it(error: Any, n: int, way: str) -> None:
    class Interrupted(MemoryStore):
        def claim(self, key: str, token: str, claim_ttl: float) -> Claim:
            claim = super().claim(key, token, claim_ttl)
            if len(self._events) == n:
                raise error
            return claim

    store = Interrupted()
    receiver = WebhookReceiver(ROTATION, store=store)
    receiver.on("*")(lambda _: pytest.fail("handled without a claim"))
    with pytest.raises(error):
        if way == "direct":
            asyncio.run(receiver.handle(*delivery()))
        else:
            receiver.handle_blocking(*delivery())
    assert store._events == {}


async def test_a_cancelled_call_is_undone() -> None:
    """What `StoreCall.undo` promises, by itself."""
    store = SlowClaims(1)
    access = store_access(AsyncStoreAdapter(store))
    call = StoreCall(lambda store: store.claim("e", "a", 60), lambda store: store.release("e", "a"))
    task = asyncio.ensure_future(access.call(call))
    await store.claiming.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.memory._events == {}


async def test_a_call_that_is_cancelled_after_its_thread_has_ended_is_undone() -> None:
    """Whatever the loop has noticed of its end by then."""
    cancelled = 0
    for steps in range(5):
        store, undone = Threaded(blocking=True), threading.Event()

        def undo(store: Any, undone: threading.Event = undone) -> None:
            store.release("e", "a")
            undone.set()

        call = StoreCall(lambda store: store.claim("e", "a", 60), undo)
        threads = threads_of(store)
        task = asyncio.ensure_future(store_access(store).call(call))
        await asyncio.sleep(0)
        pool = threads._pool
        assert pool is not None
        pool.shutdown(wait=True)  # the thread has ended, and the loop has not noticed
        threads._pool = None
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        if await asyncio.wait((task,)) and task.cancelled():
            cancelled += 1
            assert await asyncio.to_thread(undone.wait, 5)
            assert store._events == {}
    assert cancelled > 1


@pytest.mark.filterwarnings("error")
async def test_an_undo_that_returns_a_coroutine_leaves_none_that_was_never_awaited() -> None:
    claiming, go_on = threading.Event(), threading.Event()

    class Slow(Threaded):
        def claim(self, key: str, token: str, claim_ttl: float) -> Claim:
            claiming.set()
            go_on.wait(60)
            return super().claim(key, token, claim_ttl)

    store, undone = Slow(blocking=True), threading.Event()

    def undo(_: Any) -> Any:
        undone.set()
        return CoroutineStore().release("e", "a")

    call = StoreCall(lambda store: store.claim("e", "a", 60), undo)
    task = asyncio.ensure_future(store_access(store).call(call))
    await asyncio.to_thread(claiming.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    assert await asyncio.to_thread(undone.wait, 60)
    pool = threads_of(store)._pool
    assert pool is not None
    pool.shutdown(wait=True)
    gc.collect()
