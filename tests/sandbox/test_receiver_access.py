"""How a receiver calls its store: directly, in threads, or on an event loop; and how claims are renewed."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from montra_async import ConfigError
from montra_async.webhooks import (
    AsyncStoreAdapter,
    Claim,
    MemoryStore,
    RedisStore,
    SqliteStore,
    WebhookEvent,
    WebhookReceiver,
    WebhookStoreError,
    claims,
    processing,
    renewal,
)
from montra_async.webhooks.claims import StoreCall
from montra_async.webhooks.store_access import store_access, threads_of

from .conftest import needs_redis
from .test_receiver import SECRET, delivery


class CoroutineStore:
    """A store with coroutine functions that notes the event loop of each call."""

    def __init__(self) -> None:
        self.memory = MemoryStore()
        self.loops: list[asyncio.AbstractEventLoop] = []

    async def _pause(self) -> None:
        self.loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)

    async def claim(self, key: str, token: str, claim_ttl: float) -> Claim:
        await self._pause()
        return self.memory.claim(key, token, claim_ttl)

    async def renew(self, key: str, token: str, claim_ttl: float) -> bool:
        await self._pause()
        return self.memory.renew(key, token, claim_ttl)

    async def done(self, key: str, token: str, *, forever: bool = False) -> bool:
        await self._pause()
        return self.memory.done(key, token, forever=forever)

    async def release(self, key: str, token: str) -> None:
        await self._pause()
        self.memory.release(key, token)


# Stores with coroutine functions


async def test_a_coroutine_store_runs_on_the_loop_of_the_receiver() -> None:
    store = CoroutineStore()
    receiver = WebhookReceiver(SECRET, store=AsyncStoreAdapter(store), claim_ttl=0.9)
    outcomes: list[Exception | None] = [ValueError("no"), None]

    @receiver.on("*")
    async def handler(_: WebhookEvent) -> None:
        while len(store.loops) < 4:  # noqa: ASYNC110 - claimed, and renewed three times
            await asyncio.sleep(0.01)
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome

    assert [(await receiver.handle(*delivery())).status for _ in range(3)] == [500, 200, 200]
    assert set(store.loops) == {asyncio.get_running_loop()}


def test_a_coroutine_store_is_never_used_on_another_loop() -> None:
    store = CoroutineStore()
    receiver = WebhookReceiver(SECRET, store=AsyncStoreAdapter(store))
    receiver.on("*")(lambda _: None)

    async def handle() -> int:
        return (await receiver.handle(*delivery())).status

    assert asyncio.run(handle()) == 200
    calls = len(store.loops)
    with pytest.raises(ConfigError, match="belongs to another event loop"):
        asyncio.run(handle())
    assert len(store.loops) == calls


async def test_an_adapter_belongs_to_the_loop_that_is_running_when_it_is_created() -> None:
    receiver = WebhookReceiver(SECRET, store=AsyncStoreAdapter(CoroutineStore()))
    receiver.on("*")(lambda _: None)

    async def handle() -> int:
        return (await receiver.handle(*delivery())).status

    with pytest.raises(ConfigError, match="belongs to another event loop"):
        await asyncio.to_thread(asyncio.run, handle())
    assert await handle() == 200


async def test_a_coroutine_store_is_refused_where_nothing_can_be_awaited() -> None:
    pytest.importorskip("django")
    pytest.importorskip("flask")
    from montra_sync.frameworks.django import webhook_view
    from montra_sync.frameworks.flask import webhook_blueprint

    receiver = WebhookReceiver(SECRET, store=AsyncStoreAdapter(CoroutineStore()))
    receiver.on("*")(lambda _: None)
    for use in (
        lambda: receiver.handle_blocking(*delivery()),
        lambda: receiver.handle_blocking(b"no event", {}),
        lambda: webhook_view(receiver),
        lambda: webhook_blueprint("/webhooks", receiver),
    ):
        with pytest.raises(ConfigError, match="can't use an AsyncStoreAdapter"):
            use()


@pytest.mark.parametrize("given", [CoroutineStore, MemoryStore(), "redis://:password@h", None])
def test_an_adapter_takes_stores_with_coroutine_functions_only(given: Any) -> None:
    with pytest.raises(TypeError, match="needs coroutine functions"):
        AsyncStoreAdapter(given)


def test_a_receiver_says_which_adapter_a_coroutine_store_needs() -> None:
    store: Any = CoroutineStore()
    with pytest.raises(TypeError, match=r"CoroutineStore has coroutine functions: give AsyncStoreAdapter\(store\)"):
        WebhookReceiver(SECRET, store=store)


@pytest.mark.parametrize("coroutine", ["claim", "renew", "done", "release"])
def test_a_store_with_plain_and_coroutine_functions_is_refused(coroutine: str) -> None:
    class Mixed(MemoryStore):
        pass

    setattr(Mixed, coroutine, getattr(CoroutineStore, coroutine))
    with pytest.raises(TypeError, match=f"store: {coroutine} of Mixed are coroutine functions, its other methods"):
        WebhookReceiver(SECRET, store=Mixed())
    with pytest.raises(TypeError, match="needs coroutine functions"):
        AsyncStoreAdapter(Mixed())  # type: ignore[arg-type]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("way", ["direct", "in threads", "blocking"])
@pytest.mark.parametrize("method", ["claim", "done", "release"])
async def test_a_plain_method_that_returns_a_coroutine_is_a_failure_of_the_store(
    method: str, way: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A decorator may hide that a function is a coroutine function: its coroutine is not taken for True."""
    monkeypatch.setattr(claims, "RETRY_DELAYS", ())
    store: Any = Threaded(blocking=way == "in threads")
    function = getattr(CoroutineStore(), method)
    setattr(store, method, lambda *args, forever=False: function(*args))
    receiver = WebhookReceiver(SECRET, store=store)
    handled: list[str] = []

    @receiver.on("*")
    def handler(event: WebhookEvent) -> None:
        handled.append(event.id)
        if method == "release":
            raise ValueError("no")

    reply = receiver.handle_blocking(*delivery()) if way == "blocking" else await receiver.handle(*delivery())
    expected = {
        "claim": (500, "the store failed", 0),
        "done": (200, "handled, but could not be recorded", 1),
        "release": (500, "the store failed", 1),
    }
    assert (reply.status, json.loads(reply.body)["detail"], len(handled)) == expected[method]
    assert "a method of Threaded returned an awaitable instead of its result" in caplog.text
    gc.collect()  # a coroutine that was never awaited would be reported here


async def test_a_coroutine_function_that_returns_a_coroutine_is_a_failure_of_the_store() -> None:
    class Nested(CoroutineStore):
        async def claim(self, key: str, token: str, claim_ttl: float) -> Claim:
            return super().claim(key, token, claim_ttl)  # type: ignore[return-value]

    access = store_access(AsyncStoreAdapter(Nested()))
    with pytest.raises(WebhookStoreError, match="a method of Nested returned an awaitable"):
        await access.call(StoreCall(lambda store: store.claim("e", "a", 60)))


def test_the_retention_of_an_adapter_is_compared_with_max_age() -> None:
    short = AsyncStoreAdapter(CoroutineStore(), retention=timedelta(days=6))
    with pytest.raises(ConfigError, match="forgets events after"):
        WebhookReceiver(SECRET, store=short)
    WebhookReceiver(SECRET, store=short, max_age=timedelta(days=5))
    assert repr(short) == "<AsyncStoreAdapter of CoroutineStore>"


class AsyncRedisStore:
    """What a user writes on redis.asyncio."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def claim(self, key: str, token: str, claim_ttl: float) -> Claim:
        if await self.client.set(key, token, nx=True, px=round(claim_ttl * 1000)):
            return Claim.ACQUIRED
        return Claim.DONE if await self.client.get(key) == b"done" else Claim.IN_PROGRESS

    async def renew(self, key: str, token: str, claim_ttl: float) -> bool:
        return await self.client.get(key) == token.encode() and await self.client.pexpire(key, round(claim_ttl * 1000))

    async def done(self, key: str, token: str, *, forever: bool = False) -> bool:
        if await self.client.get(key) != token.encode():
            return False
        return bool(await self.client.set(key, "done", ex=None if forever else 30 * 24 * 3600))

    async def release(self, key: str, token: str) -> None:
        if await self.client.get(key) == token.encode():
            await self.client.delete(key)


@needs_redis
async def test_a_store_on_redis_asyncio(redis_url: str) -> None:
    from redis import asyncio as async_redis

    async with async_redis.from_url(redis_url) as client:
        await client.flushall()
        receiver = WebhookReceiver(SECRET, store=AsyncStoreAdapter(AsyncRedisStore(client), retention=30 * 24 * 3600))
        handled: list[str] = []
        entered, go = asyncio.Event(), asyncio.Event()

        @receiver.on("*")
        async def handler(event: WebhookEvent) -> None:
            entered.set()
            await go.wait()
            handled.append(event.id)

        first = asyncio.create_task(receiver.handle(*delivery()))
        await entered.wait()
        assert (await receiver.handle(*delivery())).status == 503
        go.set()
        assert (await first).status == (await receiver.handle(*delivery())).status == 200
        assert handled == ["evt_1"]


# Stores with plain methods


class Threaded(MemoryStore):
    """Notes the thread of each call."""

    def __init__(self, blocking: bool) -> None:
        super().__init__()
        self.blocking = blocking  # type: ignore[misc]
        self.threads: set[int] = set()

    def claim(self, key: str, token: str, claim_ttl: float) -> Claim:
        self.threads.add(threading.get_ident())
        return super().claim(key, token, claim_ttl)

    def done(self, key: str, token: str, *, forever: bool = False) -> bool:
        self.threads.add(threading.get_ident())
        return super().done(key, token, forever=forever)


@pytest.mark.parametrize("blocking", [False, True])
async def test_only_a_store_that_blocks_is_called_in_threads(blocking: bool) -> None:
    store = Threaded(blocking)
    receiver = WebhookReceiver(SECRET, store=store)

    @receiver.on("*")
    async def handler(_: WebhookEvent) -> None:
        pass

    assert (await receiver.handle(*delivery())).status == 200
    assert (threading.get_ident() in store.threads) is not blocking
    store.threads.clear()
    assert receiver.handle_blocking(*delivery(event_id="evt_2")).status == 200
    assert store.threads == {threading.get_ident()}


def test_a_store_that_says_nothing_is_taken_for_one_that_blocks(tmp_path: Path) -> None:
    stores = [SqliteStore(tmp_path / "events.db"), RedisStore("redis://127.0.0.1:1")]
    assert [getattr(one, "blocking", True) for one in stores] == [True, True]
    assert MemoryStore.blocking is False


def test_receivers_with_the_same_store_share_its_threads(tmp_path: Path) -> None:
    """One application may have a receiver for each of its thousands of tenants."""
    first, second = SqliteStore(tmp_path / "events.db"), SqliteStore(tmp_path / "events.db")
    assert threads_of(first) is threads_of(first)
    assert threads_of(first) is not threads_of(second)

    class Unhashable(MemoryStore):
        __hash__ = None  # type: ignore[assignment]

    assert threads_of(Unhashable()) is threads_of(Unhashable())


def test_blocking_deliveries_start_neither_a_loop_nor_a_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processing, "renewals", renewal.ClaimRenewals())
    receiver = WebhookReceiver(SECRET, store=Threaded(blocking=True))
    handled: list[str] = []
    receiver.on("*")(lambda event: handled.append(event.id))
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def counted(thread: threading.Thread) -> None:
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", counted)
    monkeypatch.setattr(asyncio, "new_event_loop", lambda: pytest.fail("an event loop was made"))
    for i in range(50):
        assert receiver.handle_blocking(*delivery(event_id=f"evt_{i}")).status == 200
    assert len(handled) == 50
    assert [one.name for one in started] == ["montra-webhook-renewal"]


async def test_coroutine_functions_see_the_context_of_a_blocking_delivery() -> None:
    """Also below a running loop, where they need another thread; plain functions stay in the calling thread."""
    import contextvars

    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant")
    tenant.set("acme")
    receiver = WebhookReceiver(SECRET, store=MemoryStore())
    seen: list[Any] = []

    @receiver.on("*")
    async def coroutine(_: WebhookEvent) -> None:
        await asyncio.sleep(0)
        seen.append((tenant.get(), threading.current_thread() is threading.main_thread()))

    @receiver.on("*")
    def plain(_: WebhookEvent) -> None:
        seen.append((tenant.get(), threading.current_thread() is threading.main_thread()))

    assert receiver.handle_blocking(*delivery()).status == 200
    assert seen == [("acme", False), ("acme", True)]
    seen.clear()

    @receiver.on("*")
    async def failing(_: WebhookEvent) -> None:
        raise ValueError("no")

    assert receiver.handle_blocking(*delivery(event_id="evt_2")).status == 500


# Renewals of blocking deliveries


def test_a_store_that_hangs_does_not_delay_the_renewals_of_another() -> None:
    hanging, over = threading.Event(), threading.Event()

    class Hanging(Threaded):
        def renew(self, key: str, token: str, claim_ttl: float) -> bool:
            hanging.set()
            over.wait(60)
            return super().renew(key, token, claim_ttl)

    class Renewed(Threaded):
        renewals = 0

        def renew(self, key: str, token: str, claim_ttl: float) -> bool:
            assert hanging.wait(60)
            self.renewals += 1
            if self.renewals == 3:
                over.set()
            return super().renew(key, token, claim_ttl)

    receivers = [
        WebhookReceiver(SECRET, store=Hanging(blocking=True), claim_ttl=0.9),
        WebhookReceiver(SECRET, store=Renewed(blocking=True), claim_ttl=0.9),
    ]
    statuses: list[int] = []
    for receiver in receivers:
        receiver.on("*")(lambda _: over.wait(60) or pytest.fail("no renewals"))
    threads = [
        threading.Thread(target=lambda one=one: statuses.append(one.handle_blocking(*delivery()).status))
        for one in receivers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert statuses == [200, 200]


def test_the_thread_that_renews_ends_when_there_are_no_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    own = renewal.ClaimRenewals()
    monkeypatch.setattr(processing, "renewals", own)
    receiver = WebhookReceiver(SECRET, store=MemoryStore(), claim_ttl=0.06)
    receiver.on("*")(lambda _: None)
    for i in range(2):  # it is started again when it is needed again
        assert receiver.handle_blocking(*delivery(event_id=f"evt_{i}")).status == 200
        for _ in range(3000):
            if not own._running:
                break
            time.sleep(0.01)
        assert not own._running


def test_a_claim_is_renewed_in_a_forked_child(tmp_path: Path) -> None:
    """The parent's thread does not exist there, and the parent's claims are not the child's."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    code = f"""
import os, sys, threading, time
from datetime import datetime, timezone
from montra_async.webhooks import SqliteStore, WebhookReceiver, renewal, sign
store = SqliteStore(sys.argv[1])
def handle(name, seconds):
    receiver = WebhookReceiver({SECRET!r}, store=store, claim_ttl=1.5)
    receiver.on('*')(lambda _: time.sleep(seconds))
    now = datetime.now(timezone.utc).isoformat()
    body = ('{{"id": "%s", "type": "x.y", "created_at": "%s", "data": null}}' % (name, now)).encode()
    return receiver.handle_blocking(body, {{'Montra-Signature': sign(body, {SECRET!r})}}).status
thread = threading.Thread(target=handle, args=('of the parent', 5))
thread.start()
while not renewal.renewals._active:
    time.sleep(0.01)
if (pid := os.fork()) == 0:
    code = 9
    try:
        mine = threading.Thread(target=handle, args=('of the child', 4))
        mine.start()
        time.sleep(2.5)  # longer than the claim's TTL
        active = len(renewal.renewals._active)
        code = 0 if (handle('of the child', 0), active) == (503, 1) else 1
        mine.join()
    finally:
        os._exit(code)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
thread.join()
store.close()
"""
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", code, str(tmp_path / "e.db")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr) == ("0\n", "")


def test_a_delivery_is_handled_where_no_thread_can_be_started(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At the end of the interpreter, say: its claim is not renewed, which most claims never need."""
    monkeypatch.setattr(processing, "renewals", renewal.ClaimRenewals())

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    receiver = WebhookReceiver(SECRET, store=MemoryStore())
    receiver.on("*")(lambda _: None)
    assert receiver.handle_blocking(*delivery()).status == 200
    assert "can't be renewed" in caplog.text


def test_a_renewal_that_is_running_while_the_event_is_marked_has_not_lost_the_claim(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(processing, "renewals", renewal.ClaimRenewals())
    renewing, marked, evaluated = threading.Event(), threading.Event(), threading.Event()
    results: list[Any] = []

    class Overlapping(Threaded):
        def renew(self, key: str, token: str, claim_ttl: float) -> bool:
            renewing.set()
            marked.wait(60)
            return super().renew(key, token, claim_ttl)

        def done(self, key: str, token: str, *, forever: bool = False) -> bool:
            done = super().done(key, token, forever=forever)
            marked.set()
            evaluated.wait(60)
            return done

    next_renewal = renewal.next_renewal

    def watched(claim: Any, renewed: Any, event: str) -> float:
        results.append(renewed)
        seconds = next_renewal(claim, renewed, event)
        evaluated.set()
        return seconds

    monkeypatch.setattr(renewal, "next_renewal", watched)
    receiver = WebhookReceiver(SECRET, store=Overlapping(blocking=True), claim_ttl=0.06)
    receiver.on("*")(lambda _: renewing.wait(60))
    assert receiver.handle_blocking(*delivery()).status == 200
    assert results[0] is False
    assert caplog.text == ""


async def test_a_renewal_on_the_loop_that_is_running_while_the_event_is_marked_has_not_lost_the_claim(
    caplog: pytest.LogCaptureFixture,
) -> None:
    renewing, marked, renewed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class Overlapping(CoroutineStore):
        async def renew(self, key: str, token: str, claim_ttl: float) -> bool:
            renewing.set()
            await marked.wait()
            renewed.set()
            return self.memory.renew(key, token, claim_ttl)

        async def done(self, key: str, token: str, *, forever: bool = False) -> bool:
            done = self.memory.done(key, token, forever=forever)
            marked.set()
            await renewed.wait()
            return done

    receiver = WebhookReceiver(SECRET, store=AsyncStoreAdapter(Overlapping()), claim_ttl=0.06)

    @receiver.on("*")
    async def handler(_: WebhookEvent) -> None:
        await renewing.wait()

    assert (await receiver.handle(*delivery())).status == 200
    assert renewed.is_set()
    assert caplog.text == ""


def test_a_renewal_that_fails_after_the_delivery_is_not_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(processing, "renewals", renewal.ClaimRenewals())
    renewing, over = threading.Event(), threading.Event()

    class Late(Threaded):
        def renew(self, key: str, token: str, claim_ttl: float) -> bool:
            renewing.set()
            over.wait(60)
            raise OSError("away")

    store = Late(blocking=True)
    receiver = WebhookReceiver(SECRET, store=store, claim_ttl=0.06)
    receiver.on("*")(lambda _: renewing.wait(60))
    assert receiver.handle_blocking(*delivery()).status == 200
    over.set()
    pool = threads_of(store)._pool
    assert pool is not None
    pool.shutdown(wait=True)
    assert caplog.text == ""


# Durations


@pytest.mark.parametrize("unit", [lambda seconds: seconds, lambda seconds: timedelta(seconds=seconds)])
def test_every_duration_is_a_timedelta_or_seconds(unit: Any, tmp_path: Path) -> None:
    stores = [
        MemoryStore(retention=unit(3600)),
        SqliteStore(tmp_path / "events.db", retention=unit(3600), timeout=unit(3)),
        RedisStore("redis://127.0.0.1:1", retention=unit(3600), timeout=unit(3)),
        AsyncStoreAdapter(CoroutineStore(), retention=unit(3600)),
    ]
    assert [one.retention for one in stores] == [3600] * 4
    for one in stores:
        receiver = WebhookReceiver(SECRET, store=one, max_age=unit(3000), clock_skew=unit(600), claim_ttl=unit(5))
        assert receiver._claim_ttl == 5
        with pytest.raises(ConfigError, match="forgets events after 3600 s; `max_age` and `clock_skew` need 3601 s"):
            WebhookReceiver(SECRET, store=one, max_age=unit(3000), clock_skew=unit(601))
