"""Events are handled once, across threads, processes, crashes and stores."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from montra_async.webhooks import (
    PAYWALL,
    Claim,
    CustomerCreated,
    DeduplicationStore,
    MemoryStore,
    PaymentCompleted,
    RedisStore,
    SqliteStore,
    WebhookEvent,
    WebhookReceiver,
    WebhookStoreError,
)
from montra_async.webhooks.signature import sign

from .conftest import needs_redis

SECRET = "whsec_of_the_tests"


def delivery(kind: str = "customer.created", event_id: str = "evt_1", **more: Any) -> tuple[bytes, dict[str, str]]:
    data = {"id": "cust_1", "name": "Ada", "email": "ada@example.com"}
    now = datetime.now(timezone.utc).isoformat()
    body = json.dumps({"id": event_id, "type": kind, "created_at": now, "data": data, **more}).encode()
    return body, {"Montra-Signature": sign(body, SECRET), "X-Signature": sign(body, SECRET)}


# Stores


async def test_only_the_holder_of_a_claim_can_finish_it(store: DeduplicationStore) -> None:
    assert store.claim("e", "a", 60) is Claim.ACQUIRED
    assert store.claim("e", "b", 60) is Claim.IN_PROGRESS
    assert store.claim("other", "b", 60) is Claim.ACQUIRED
    assert not store.done("e", "b")
    store.release("e", "b")
    assert store.claim("e", "c", 60) is Claim.IN_PROGRESS
    assert store.renew("e", "a", 60)
    assert not store.renew("e", "b", 60)
    store.release("e", "a")
    assert store.claim("e", "c", 60) is Claim.ACQUIRED
    assert store.done("e", "c")
    assert store.claim("e", "d", 60) is Claim.DONE
    assert not store.renew("e", "c", 60)
    store.release("e", "c")
    assert store.claim("e", "d", 60) is Claim.DONE


async def test_a_claim_expires_after_its_ttl(store: DeduplicationStore) -> None:
    assert store.claim("e", "dead", 0.05) is Claim.ACQUIRED
    while store.claim("e", "next", 60) is Claim.IN_PROGRESS:  # noqa: ASYNC110 - time passes
        await asyncio.sleep(0.01)
    assert not store.done("e", "dead")
    assert store.done("e", "next")


async def test_done_events_are_forgotten_after_the_retention(tmp_path: Path) -> None:
    now = [1000.0]
    stores = (
        MemoryStore(clock=lambda: now[0], retention=100),
        SqliteStore(tmp_path / "e.db", clock=lambda: now[0], retention=100),
    )
    for one in stores:
        now[0] = 1000.0
        one.claim("e", "a", 10)
        one.done("e", "a")
        now[0] = 1099.0
        assert one.claim("e", "b", 10) is Claim.DONE
        now[0] = 1100.0
        assert one.claim("e", "b", 10) is Claim.ACQUIRED
    stores[1].close()


async def test_one_of_many_concurrent_claims_is_acquired(store: DeduplicationStore) -> None:
    with ThreadPoolExecutor(30) as threads:
        claims = list(threads.map(lambda i: store.claim("e", str(i), 60), range(30)))
    assert sorted(claim.value for claim in claims) == ["acquired"] + ["in_progress"] * 29


async def test_a_redis_store_made_from_a_url(redis_url: str) -> None:
    first, second = RedisStore(redis_url, prefix="p:"), RedisStore(redis_url, prefix="p:")
    assert first.claim("by address", "a", 60) is Claim.ACQUIRED
    assert second.claim("by address", "b", 60) is Claim.IN_PROGRESS
    for one in (first, second):
        one._client.close()


# Receiving


async def test_a_handler_is_called_once(store: DeduplicationStore) -> None:
    receiver = WebhookReceiver(SECRET, store=store)
    seen: list[Any] = []

    @receiver.on(CustomerCreated)
    async def created(event: CustomerCreated) -> None:
        seen.append(event.data.name)

    @receiver.on("customer.created", "customer.updated")
    def plain(event: WebhookEvent) -> None:
        seen.append(threading.current_thread() is threading.main_thread())

    @receiver.on("*")
    def everything(event: WebhookEvent) -> Any:
        return seen.append(event.type)

    replies = [await receiver.handle(*delivery()) for _ in range(3)]
    assert [(reply.status, json.loads(reply.body)["status"]) for reply in replies] == [
        *((200, "done"), (200, "duplicate"), (200, "duplicate")),
    ]
    assert seen == ["Ada", False, "customer.created"]


async def test_a_failed_event_is_handled_again(store: DeduplicationStore, caplog: pytest.LogCaptureFixture) -> None:
    receiver = WebhookReceiver(SECRET, store=store)
    outcomes: list[Any] = [ValueError("the database is away"), None]

    @receiver.on("customer.created")
    async def created(event: WebhookEvent) -> None:
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome

    assert [(await receiver.handle(*delivery())).status for _ in range(3)] == [500, 200, 200]
    assert outcomes == []
    assert "evt_1" in caplog.text
    assert "ada@example.com" not in caplog.text


async def test_a_duplicate_is_refused_while_the_event_is_being_handled(store: DeduplicationStore) -> None:
    receiver = WebhookReceiver(SECRET, store=store, claim_ttl=1.0)
    go, running = asyncio.Event(), [0, 0]

    @receiver.on("customer.created")
    async def created(_: WebhookEvent) -> None:
        running[0] += 1
        running[1] = max(running)
        await go.wait()
        running[0] -= 1

    first = asyncio.create_task(receiver.handle(*delivery()))
    while not running[0]:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    for _ in range(8):  # longer than the claim_ttl: it is renewed
        reply = await receiver.handle(*delivery())
        assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
        await asyncio.sleep(0.3)
    go.set()
    assert (await first).status == 200
    assert (await receiver.handle(*delivery())).status == 200
    assert running == [0, 1]


async def test_cancelling_the_request_does_not_cancel_the_handlers(store: DeduplicationStore) -> None:
    receiver = WebhookReceiver(SECRET, store=store)
    go, calls = asyncio.Event(), [0]

    @receiver.on("customer.created")
    async def created(_: WebhookEvent) -> None:
        calls[0] += 1
        await go.wait()

    request = asyncio.create_task(receiver.handle(*delivery()))
    while not calls[0]:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert (await receiver.handle(*delivery())).status == 503
    go.set()
    while (reply := await receiver.handle(*delivery())).status == 503:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert (json.loads(reply.body)["status"], calls) == ("duplicate", [1])


@pytest.mark.parametrize("plain", [False, True])
async def test_handlers_cancelled_by_the_end_of_the_loop_are_called_again(
    store: DeduplicationStore, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = WebhookReceiver(SECRET, store=store)
    calls: list[str] = []
    release = store.release

    def watched(key: str, token: str) -> None:
        calls.append("released")
        release(key, token)

    monkeypatch.setattr(store, "release", watched)

    @receiver.on("customer.created" if not plain else "never")
    async def coroutine(_: WebhookEvent) -> None:
        calls.append("begins")
        if len(calls) == 1:
            await asyncio.sleep(60)
        calls.append("ends")

    @receiver.on("customer.created" if plain else "never")
    def function(_: WebhookEvent) -> None:
        calls.append("begins")
        time.sleep(0.2)
        calls.append("ends")

    async def server() -> None:
        request = asyncio.create_task(receiver.handle(*delivery()))
        while not calls:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        request.cancel()

    await asyncio.to_thread(asyncio.run, server())
    first = ["begins", "ends", "released"] if plain else ["begins", "released"]  # a thread is waited for
    assert calls == first
    assert (await receiver.handle(*delivery())).status == 200
    assert calls == [*first, "begins", "ends"]


def test_handle_blocking(store: DeduplicationStore) -> None:
    """Handlers run where they were called: thread-locals and context variables are the caller's."""
    receiver = WebhookReceiver(SECRET, store=store, claim_ttl=1.5)
    seen: list[Any] = []

    @receiver.on("customer.created")
    def plain(_: WebhookEvent) -> None:
        time.sleep(3)  # blocks longer than the claim_ttl
        seen.append(threading.current_thread().name)

    @receiver.on("customer.created")
    async def coroutine(event: WebhookEvent) -> None:
        await asyncio.sleep(0)
        seen.append(event.id)

    threads: list[Any] = []
    statuses: list[int] = []

    def work() -> None:
        statuses.append(receiver.handle_blocking(*delivery()).status)

    for i in range(2):
        threads.append(threading.Thread(target=work, name=f"caller {i}"))
        threads[-1].start()
        time.sleep(2)
    for thread in threads:
        thread.join(20)
    assert (sorted(statuses), seen) == ([200, 503], ["caller 0", "evt_1"])
    assert receiver.handle_blocking(*delivery()).status == 200


async def test_blocking_below_a_running_loop(store: DeduplicationStore) -> None:
    receiver = WebhookReceiver(SECRET, store=store)
    seen: list[str] = []
    receiver.on("*")(lambda event: seen.append(event.type))
    assert receiver.handle_blocking(*delivery()).status == 200
    assert seen == ["customer.created"]


async def test_refused_deliveries(caplog: pytest.LogCaptureFixture) -> None:
    receiver = WebhookReceiver(
        [SECRET, "whsec_of_a_rotation"], store=MemoryStore(), max_body_size=500, max_age=timedelta(days=1)
    )
    receiver.on("*")(lambda _: pytest.fail("handled"))
    body, headers = delivery()
    old = delivery(created_at="2020-01-01T00:00:00Z")
    replies = {
        "no signature": await receiver.handle(body, {}),
        "another body": await receiver.handle(body.replace(b"Ada", b"Eve"), headers),
        "too large": await receiver.handle(b"x" * 501, headers),
        "no event": await receiver.handle(b"[]", {"Montra-Signature": sign(b"[]", SECRET)}),
        "too old": await receiver.handle(*old),
    }
    assert {name: reply.status for name, reply in replies.items()} == {
        "no signature": 401,
        "another body": 401,
        "too large": 413,
        "no event": 400,
        "too old": 400,
    }
    assert all(json.loads(reply.body)["detail"] for reply in replies.values())
    assert "Eve" not in caplog.text
    assert "ada@" not in caplog.text


async def test_events_without_a_handler_are_ignored() -> None:
    receiver = WebhookReceiver(SECRET, store=MemoryStore())
    receiver.on("checkout.completed")(lambda _: pytest.fail("handled"))
    assert json.loads((await receiver.handle(*delivery())).body)["status"] == "ignored"


async def test_a_store_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MemoryStore):
        def claim(self, key: str, token: str, claim_ttl: float) -> Claim:
            raise OSError("disk full")

    receiver = WebhookReceiver(SECRET, store=Broken())
    receiver.on("*")(lambda _: pytest.fail("handled without a claim"))
    assert (await receiver.handle(*delivery())).status == 500
    assert "disk full" in caplog.text


async def test_the_paywall_services_events() -> None:
    receiver = WebhookReceiver(SECRET, store=MemoryStore(), source=PAYWALL)
    seen: list[str] = []

    @receiver.on(PaymentCompleted)
    async def paid(event: PaymentCompleted) -> None:
        seen.append(event.type)

    assert (await receiver.handle(*delivery("payment.completed", data={}))).status == 200
    assert seen == ["payment.completed"]
    with pytest.raises(ValueError, match="is not an event of paywall"):
        receiver.on(CustomerCreated)


@pytest.mark.parametrize("secret", ["", [], ["", "x"], None])
def test_a_receiver_needs_a_secret(secret: Any) -> None:
    with pytest.raises(ValueError, match="no webhook secret"):
        WebhookReceiver(secret, store=MemoryStore())
    with pytest.raises(ValueError, match="which events"):
        WebhookReceiver(SECRET, store=MemoryStore()).on()


@pytest.mark.parametrize("store", ["events.db", MemoryStore, None])
def test_a_receiver_needs_a_store(store: Any) -> None:
    with pytest.raises(TypeError, match="SqliteStore"):
        WebhookReceiver(SECRET, store=store)


def test_an_unknown_event_type_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    receiver = WebhookReceiver(SECRET, store=MemoryStore())
    receiver.on("customer.created", "*")(print)
    assert caplog.text == ""
    receiver.on("checkout.complete")(print)
    assert "'checkout.complete' of montra; did you mean 'checkout.completed'?" in caplog.text


def test_without_its_extra_redis_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ImportError, match=r"pip install 'montra\[redis\]'"):
        RedisStore("redis://127.0.0.1:9")


# Crashes


WORKER = """
import sys, time
from montra_async.webhooks import RedisStore, SqliteStore, WebhookReceiver
where, mode, log = sys.argv[1:]
store = RedisStore(where) if where.startswith('redis:') else SqliteStore(where)
receiver = WebhookReceiver('whsec_of_the_tests', store=store, claim_ttl=2)
@receiver.on('*')
def handle(event):
    with open(log, 'a') as file:
        file.write(mode + '\\n')
    if mode == 'hang':
        print('handling', flush=True)
        time.sleep(60)
body = sys.stdin.buffer.read()
from montra_async.webhooks.signature import sign
print(receiver.handle_blocking(body, {'Montra-Signature': sign(body, 'whsec_of_the_tests')}).status, flush=True)
"""


def _worker(where: str, mode: str, log: Path, body: bytes) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "error", "-c", WORKER, where, mode, str(log)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(body)
    process.stdin.close()
    return process


def _said(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    with process.stdout as out:
        said = out.read().decode().strip()
    assert process.wait(30) == 0
    return said


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("redis", marks=needs_redis)])
def test_a_process_that_dies_while_handling(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Killed while handling: refused until the claim expires, then handled by the next delivery, and never again."""
    where = str(tmp_path / "events.db") if kind == "sqlite" else request.getfixturevalue("redis_url")
    body, _ = delivery(event_id=f"evt_{kind}_{os.getpid()}_{time.time_ns()}")
    log = tmp_path / "log"
    first = _worker(where, "hang", log, body)
    assert first.stdout is not None
    assert first.stdout.readline() == b"handling\n"
    assert _said(_worker(where, "second", log, body)) == "503"
    first.send_signal(signal.SIGKILL)
    first.wait(20)
    first.stdout.close()
    for _ in range(50):
        if _said(_worker(where, "second", log, body)) == "200":
            break
    assert log.read_text().split() == ["hang", "second"]
    assert _said(_worker(where, "third", log, body)) == "200"
    assert log.read_text().split() == ["hang", "second"]


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("redis", marks=needs_redis)])
def test_one_of_many_processes_handles_an_event(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    where = str(tmp_path / "events.db") if kind == "sqlite" else request.getfixturevalue("redis_url")
    body, _ = delivery(event_id=f"evt_many_{kind}_{time.time_ns()}")
    log = tmp_path / "log"
    workers = [_worker(where, "work", log, body) for _ in range(4)]
    assert {_said(one) for one in workers} <= {"200", "503"}
    assert log.read_text().split() == ["work"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_store_that_was_used_before_a_fork(tmp_path: Path) -> None:
    code = f"""
import os, warnings
warnings.simplefilter('ignore', DeprecationWarning)
from montra_async.webhooks import SqliteStore
store = SqliteStore({str(tmp_path / "e.db")!r})
print(store.claim('e', 'parent', 60).value)
if (pid := os.fork()) == 0:
    claims = [store.claim(one, 'child', 60).value for one in 'ef']
    os._exit(0 if claims == ['in_progress', 'acquired'] else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(store.done('e', 'parent'), store.claim('f', 'p', 60).value)
store.close()
"""
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert (run.stdout.split(), run.stderr) == (["acquired", "0", "True", "in_progress"], "")


# When things go wrong around it


async def test_a_handler_that_took_longer_than_its_claims_ttl_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The clock jumps, as it does for a machine that was asleep: somebody else has the event by now."""
    now = [0.0]
    store = MemoryStore(clock=lambda: now[0])
    receiver = WebhookReceiver(SECRET, store=store)

    @receiver.on("*")
    async def sleeper(_: WebhookEvent) -> None:
        now[0] += 3600
        assert store.claim(*store._events, "somebody else", 60) is Claim.ACQUIRED

    assert (await receiver.handle(*delivery())).status == 200
    assert "longer than its claim's TTL" in caplog.text
    assert store.done(*store._events, "somebody else")


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_renewal_that_fails_is_tried_again(caplog: pytest.LogCaptureFixture, blocking: bool) -> None:
    class Shaky(MemoryStore):
        renewals = 0

        def renew(self, key: str, token: str, claim_ttl: float) -> bool:
            self.renewals += 1
            if self.renewals == 1:
                raise OSError("the network is away")
            return super().renew(key, token, claim_ttl)

    store = Shaky()
    receiver = WebhookReceiver(SECRET, store=store, claim_ttl=0.9)

    @receiver.on("*")
    def slow(_: WebhookEvent) -> None:
        while store.renewals < 3:
            time.sleep(0.01)

    if blocking:
        assert receiver.handle_blocking(*delivery()).status == 200
    else:
        assert (await receiver.handle(*delivery())).status == 200
    assert "the network is away" in caplog.text


async def test_a_handler_that_exits_the_process_releases_the_event(store: DeduplicationStore) -> None:
    receiver = WebhookReceiver(SECRET, store=store)

    @receiver.on("*")
    def leave(_: WebhookEvent) -> None:
        raise SystemExit(3)

    for _ in range(2):
        with pytest.raises(SystemExit):
            receiver.handle_blocking(*delivery())


async def test_a_sqlite_store_that_is_closed_opens_again(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "events.db")
    assert repr(store) == f"<SqliteStore {tmp_path / 'events.db'}>"
    store.claim("e", "a", 60)
    store.close()
    store.close()
    assert store.claim("e", "b", 60) is Claim.IN_PROGRESS
    with pytest.raises(ValueError, match="no"):
        store._run(_failing)
    assert store.done("e", "a")
    store.close()


def _failing(db: Any, _: float) -> None:
    db.execute("DELETE FROM montra_webhook_events")
    raise ValueError("no")


async def test_a_sqlite_store_that_can_not_be_opened(caplog: pytest.LogCaptureFixture) -> None:
    receiver = WebhookReceiver(SECRET, store=SqliteStore("/no/such/folder/events.db"))
    receiver.on("*")(lambda _: pytest.fail("handled without a claim"))
    assert (await receiver.handle(*delivery())).status == 500
    assert "unable to open" in caplog.text


async def test_a_file_that_is_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    path.write_text("no database, but long enough to be looked at" * 100)
    store = SqliteStore(path)
    for _ in range(2):
        with pytest.raises(WebhookStoreError, match="not a database"):
            store.claim("e", "a", 60)
    path.unlink()
    assert store.claim("e", "a", 60) is Claim.ACQUIRED
    store.close()
