"""Stores: file modes, time-outs, forks, retention."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from montra_async import MontraError
from montra_async.webhooks import (
    Claim,
    MemoryStore,
    RedisStore,
    SqliteStore,
    WebhookReceiver,
    WebhookStoreError,
    sqlite_store,
)
from montra_async.webhooks.claims import StoreCall
from montra_async.webhooks.store_access import store_access

from .conftest import needs_redis
from .test_receiver import SECRET, delivery

unix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and modes of files")


def modes(folder: Path) -> dict[str, str]:
    return {one.name: oct(stat.S_IMODE(one.stat().st_mode)) for one in sorted(folder.iterdir())}


@pytest.fixture
def umask() -> Any:
    before = os.umask(0)
    yield
    os.umask(before)


@unix
async def test_a_new_file_is_readable_by_its_owner_only(tmp_path: Path, umask: None) -> None:
    store = SqliteStore(tmp_path / "events.db")
    store.claim("e", "a", 60)
    assert modes(tmp_path) == {"events.db": "0o600", "events.db-shm": "0o600", "events.db-wal": "0o600"}
    store.close()


@unix
async def test_a_new_file_is_created_with_its_final_mode(
    tmp_path: Path, umask: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, str]] = []
    connect = sqlite3.connect

    def watched(*args: Any, **more: Any) -> sqlite3.Connection:
        seen.append(modes(tmp_path))
        return connect(*args, **more)

    monkeypatch.setattr(sqlite_store.sqlite3, "connect", watched)
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    store = SqliteStore(tmp_path / "link.db")
    store.claim("e", "a", 60)
    assert seen[0]["real.db"] == "0o600"
    store.close()


@unix
@pytest.mark.parametrize("mode", [0o640, 0o400 | 0o200])
async def test_the_mode_of_an_existing_file_is_not_changed(tmp_path: Path, umask: None, mode: int) -> None:
    path = tmp_path / "events.db"
    path.touch(mode)
    store = SqliteStore(path)
    store.claim("e", "a", 60)
    assert set(modes(tmp_path).values()) == {oct(mode)}
    store.close()


@pytest.mark.parametrize("path", ["", ":memory:", "a\0b"])
def test_paths_that_are_not_files(path: str) -> None:
    with pytest.raises(ValueError, match="MemoryStore"):
        SqliteStore(path)


async def test_the_file_stays_the_same_when_the_working_directory_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = SqliteStore("events.db")
    store.claim("e", "a", 60)
    store.close()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert store.claim("e", "b", 60) is Claim.IN_PROGRESS
    store.close()


# Waiting


class Clock:
    """A clock that only `sleep` advances."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1e9 + self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def locked(tmp_path: Path) -> Any:
    """A file in which another connection keeps a transaction open."""
    path = tmp_path / "events.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("PRAGMA journal_mode = WAL")
    other.execute("BEGIN IMMEDIATE")
    yield path, other
    other.close()


@pytest.mark.parametrize("opened_before", [False, True])
async def test_the_time_out_of_a_locked_file(
    locked: tuple[Path, sqlite3.Connection], opened_before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = locked
    clock = Clock()
    store = SqliteStore(path, timeout=5, clock=clock.time)
    if opened_before:
        other.execute("COMMIT")
        store.claim("e", "a", 600)
        other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(sqlite_store, "time", clock)
    uses: list[Callable[[], Any]] = [
        lambda: store.claim("e", "b", 60),
        lambda: store.renew("e", "a", 60),
        lambda: store.done("e", "a"),
        lambda: store.release("e", "a"),
    ]
    for use in uses:
        clock.slept.clear()
        with pytest.raises(WebhookStoreError, match="locked for the whole 5 s") as caught:
            use()
        assert isinstance(caught.value, MontraError)
        assert 4 < sum(clock.slept) <= 5
    other.execute("COMMIT")
    assert store.claim("e", "b", 60) is (Claim.IN_PROGRESS if opened_before else Claim.ACQUIRED)
    store.close()


async def test_waiting_for_a_thread_counts_as_waiting(locked: tuple[Path, sqlite3.Connection]) -> None:
    path, _ = locked
    store = SqliteStore(path, timeout=0.2)
    access = store_access(store)
    uses = [access.call(StoreCall(lambda store: store.claim("e", "a", 60))) for _ in range(40)]  # and four threads
    results = await asyncio.wait_for(asyncio.gather(*uses, return_exceptions=True), 30)
    assert {type(one) for one in results} == {WebhookStoreError}
    store.close()


async def test_a_claim_that_is_acquired_after_the_response_is_released() -> None:
    """Otherwise the next deliveries of the event would be refused until the claim expires."""
    acquiring, responded, released = threading.Event(), threading.Event(), threading.Event()

    class Slow(MemoryStore):
        blocking = True
        timeout = 0.1

        def claim(self, key: str, token: str, claim_ttl: float) -> Claim:
            acquiring.set()
            responded.wait(60)
            return super().claim(key, token, claim_ttl)

        def release(self, key: str, token: str) -> None:
            super().release(key, token)
            released.set()

    store = Slow()
    receiver = WebhookReceiver(SECRET, store=store)
    receiver.on("*")(lambda _: pytest.fail("handled without a claim"))
    assert (await receiver.handle(*delivery())).status == 500
    assert acquiring.is_set()
    responded.set()
    assert await asyncio.to_thread(released.wait, 60)
    assert store._events == {}


async def test_a_lock_that_is_released_in_time(locked: tuple[Path, sqlite3.Connection]) -> None:
    path, other = locked
    store = SqliteStore(path, timeout=30)
    claim = asyncio.create_task(asyncio.to_thread(store.claim, "e", "a", 60))
    await asyncio.sleep(0.2)
    assert not claim.done()
    other.execute("COMMIT")
    assert await claim is Claim.ACQUIRED
    store.close()


@pytest.mark.parametrize("kind", [SqliteStore, RedisStore])
@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "5", True, 1e30])
def test_invalid_durations(kind: Any, seconds: Any) -> None:
    for name in ("timeout", "retention"):
        with pytest.raises(ValueError, match=name):
            kind("redis://127.0.0.1:1/0", **{name: seconds})
    with pytest.raises(ValueError, match="retention"):
        MemoryStore(retention=seconds)
    with pytest.raises(ValueError, match="claim_ttl"):
        WebhookReceiver(SECRET, store=MemoryStore(), claim_ttl=seconds)


# Forks


def run(code: str, *args: object, timeout: float = 100) -> str:
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", code, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert done.stderr == ""
    return done.stdout


FORK = """
import os, sys, threading, time
from montra_async.core import forks
from montra_async.webhooks import SqliteStore, WebhookStoreError

def child(work):
    if (pid := os.fork()) == 0:
        code = 99
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def claimed(store, name):
    return store.claim(name, 'token', 6000).value
"""


@unix
def test_a_fork_while_a_thread_is_inside_a_transaction(tmp_path: Path) -> None:
    """The fork waits for it; the child, the parent and the thread go on."""
    code = f"""{FORK}
store = SqliteStore(sys.argv[1])
inside = threading.Event()
def slow(db, now):
    db.execute("INSERT INTO montra_webhook_events VALUES ('slow', 'thread', ?)", (now + 60,))
    inside.set()
    time.sleep(0.5)
claimed(store, 'before')
thread = threading.Thread(target=lambda: store._run(slow))
thread.start()
inside.wait()
wanted = ['acquired', 'in_progress', 'in_progress']
print(child(lambda: [claimed(store, one) for one in ('child', 'before', 'slow')] != wanted))
thread.join()
print([claimed(store, one) for one in ('parent', 'child', 'slow')])
print(child(lambda: claimed(store, 'again') != 'acquired'))
store.close()
"""
    assert run(code, tmp_path / "events.db").splitlines() == ["0", "['acquired', 'in_progress', 'in_progress']", "0"]


@unix
def test_a_fork_does_not_wait_for_a_file_that_others_keep_locked(tmp_path: Path) -> None:
    """A thread that waits for somebody else's lock holds nothing: the fork passes."""
    code = f"""{FORK}
import sqlite3
store = SqliteStore(sys.argv[1], timeout=60)
claimed(store, 'before')
script = '''
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute('BEGIN IMMEDIATE')
print('locked', flush=True)
sys.stdin.read()
db.close()
'''
import subprocess
other = subprocess.Popen([sys.executable, '-c', script, sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
other.stdout.readline()
thread = threading.Thread(target=lambda: print(claimed(store, 'waiting')))
thread.start()
time.sleep(0.3)
began = time.monotonic()
print(child(lambda: 0), time.monotonic() - began < 5)
other.stdin.close()
other.wait()
other.stdout.close()
thread.join()
store.close()
"""
    assert run(code, tmp_path / "events.db").split() == ["0", "True", "acquired"]


@unix
def test_a_transaction_that_does_not_end_makes_the_store_unusable_in_the_child_only(tmp_path: Path) -> None:
    """After a bounded wait the fork happens: the child is told at once instead of waiting for nobody's lock."""
    code = f"""{FORK}
forks.FORK_TIMEOUT = 0.2
store, other = SqliteStore(sys.argv[1]), SqliteStore(sys.argv[2])
inside, over = threading.Event(), threading.Event()
def endless(db, now):
    inside.set()
    over.wait()
thread = threading.Thread(target=lambda: store._run(endless))
thread.start()
inside.wait()
def work():
    try:
        claimed(store, 'child')
    except WebhookStoreError as error:
        print(error, flush=True)
    return claimed(other, 'child') != 'acquired'
print(child(work))
over.set()
thread.join()
print(claimed(store, 'parent'), claimed(other, 'child'))
store.close(), other.close()
"""
    lines = run(code, tmp_path / "events.db", tmp_path / "other.db").splitlines()
    assert lines == [
        f"{tmp_path}/events.db: this process was forked while the file was being written",
        "0",
        "acquired in_progress",
    ]


HAMMER = f"""{FORK}
store, again = SqliteStore(sys.argv[1], timeout=30), SqliteStore(sys.argv[1], timeout=30)
over = threading.Event()
def hammer(one, name):
    i = 0
    while not over.is_set():
        i += 1
        assert claimed(one, f'{{name}} {{i}}') == 'acquired'
threads = [threading.Thread(target=hammer, args=((store, again)[i % 2], str(i))) for i in range(4)]
[thread.start() for thread in threads]
codes = {{child(lambda: claimed(store, f'child {{i}}') != 'acquired' or claimed(again, f'child {{i}}') != 'in_progress')
         for i in range(int(sys.argv[2]))}}
over.set()
[thread.join() for thread in threads]
print(codes, [claimed(store, f'child {{i}}') for i in range(int(sys.argv[2]))].count('in_progress'))
store.close(), again.close()
"""


@unix
def test_many_forks_while_threads_are_writing(tmp_path: Path) -> None:
    assert run(HAMMER, tmp_path / "events.db", 12).strip() == "{0} 12"


@unix
@pytest.mark.hostile
def test_very_many_forks_while_threads_are_writing(tmp_path: Path) -> None:
    assert run(HAMMER, tmp_path / "events.db", 200, timeout=600).strip() == "{0} 200"


@unix
def test_a_fork_without_the_hooks_of_python(tmp_path: Path) -> None:
    """A server written in C forks without Python's hooks: the child leaves the inherited connection alone."""
    code = f"""{FORK}
store = SqliteStore(sys.argv[1])
claimed(store, 'before')
forks._stores.discard(store)
print(child(lambda: [claimed(store, one) for one in ('before', 'child')] != ['in_progress', 'acquired']))
print(claimed(store, 'child'))
store.close()
"""
    assert run(code, tmp_path / "events.db").split() == ["0", "in_progress"]


# Remembering


async def test_events_without_a_date_are_never_forgotten(tmp_path: Path) -> None:
    now = [1000.0]
    stores: list[Any] = [
        MemoryStore(clock=lambda: now[0], retention=100),
        SqliteStore(tmp_path / "e.db", clock=lambda: now[0], retention=100),
        SqliteStore(tmp_path / "f.db", clock=lambda: now[0], retention=None),
    ]
    for one in stores:
        now[0] = 1000.0
        one.claim("e", "a", 10)
        assert one.done("e", "a", forever=one.retention is not None)
        now[0] = 1e15
        assert one.claim("e", "b", 10) is Claim.DONE
        if isinstance(one, SqliteStore):
            one.close()


@needs_redis
async def test_redis_keeps_events_without_a_date(redis_url: str) -> None:
    import redis

    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        store = RedisStore(client, retention=100)
        for name, forever in (("dated", False), ("undated", True)):
            store.claim(name, "a", 60)
            assert store.done(name, "a", forever=forever)
        forgetting_nothing = RedisStore(client, retention=None)
        forgetting_nothing.claim("kept", "a", 60)
        assert forgetting_nothing.done("kept", "a")
        assert 90 <= client.ttl("montra:webhook:dated") <= 100  # type: ignore[operator]
        assert client.ttl("montra:webhook:undated") == client.ttl("montra:webhook:kept") == -1


async def test_a_redis_that_does_not_respond() -> None:
    pytest.importorskip("redis")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = RedisStore(f"redis://127.0.0.1:{silent.getsockname()[1]}/0?socket_timeout=1", timeout=0.2)
        claim = StoreCall(lambda store: store.claim("e", "a", 60))
        with pytest.raises(WebhookStoreError, match="no response from RedisStore within"):
            await asyncio.wait_for(store_access(store).call(claim), 20)
        with pytest.raises(WebhookStoreError, match="TimeoutError"):
            store.claim("e", "a", 60)
        store._client.close()


def test_clients_that_are_not_a_redis() -> None:
    redis = pytest.importorskip("redis.asyncio")
    for wrong in (redis.Redis(), 5, None, object()):
        with pytest.raises(TypeError, match=r"client: a redis\.Redis, or a URL"):
            RedisStore(wrong)


async def test_the_cost_of_a_claim_in_memory_is_constant() -> None:
    """However many events are recorded."""
    now = [0.0]
    store = MemoryStore(clock=lambda: now[0])
    swept: list[int] = []
    sweep = store._sweep

    def watched(at: float) -> None:
        before = store._events
        sweep(at)
        if store._events is not before:
            swept.append(len(before))

    store._sweep = watched  # type: ignore[method-assign]
    for i in range(5_000):
        store.claim(f"e{i}", "a", 60)
    assert sum(swept) < 3 * 5_000
    now[0] = 100
    for i in range(15_000):
        now[0] += 1
        store.claim(f"f{i}", "a", 60)
    assert len(store._events) < 1_000


async def test_claims_are_renewed_while_handlers_occupy_all_threads_of_the_loop(store: Any) -> None:
    """Otherwise a claim would expire while its handler runs, and another process would handle the event."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    receiver = WebhookReceiver(SECRET, store=store, claim_ttl=0.9)
    renewed, release = threading.Event(), [0]
    renew = store.renew

    def watched(key: str, token: str, claim_ttl: float) -> bool:
        found: bool = renew(key, token, claim_ttl)
        release[0] += 1
        if release[0] == 3:
            renewed.set()
        return found

    store.renew = watched

    @receiver.on("*")
    def slow(_: Any) -> None:
        if not renewed.wait(60):
            raise TimeoutError("the claim was not renewed")

    assert (await receiver.handle(*delivery())).status == 200


async def test_a_store_that_is_garbage_collected_closes_its_file(tmp_path: Path) -> None:
    """Also after a failure: no cycle of frames keeps it."""
    gc.disable()
    try:
        store = SqliteStore(tmp_path / "events.db")
        store.claim("e", "a", 60)
        with pytest.raises(WebhookStoreError):
            await _broken(store)
        alive = weakref.ref(store)
        del store
        for _ in range(1000):
            if alive() is None:
                break
            await asyncio.sleep(0.01)  # a thread lets go of it
        assert alive() is None
        assert not (tmp_path / "events.db-wal").exists()  # the last connection has tidied up
    finally:
        gc.enable()


async def _broken(one: SqliteStore) -> None:
    await store_access(one).call(StoreCall(lambda store: store._run(lambda db, _: db.execute("nonsense"))))
