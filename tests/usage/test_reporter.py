"""`UsageReporter` of both packages against the sandbox: what is recorded is counted, exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import decimal
import inspect
import logging
import sqlite3
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given, strategies as st

import montra_async.usage
import montra_sync.usage
from montra_async import ConfigError, InvalidArgumentError, Montra
from montra_async.usage import (
    MemoryOutbox,
    OutboxError,
    OutboxFullError,
    RedisOutbox,
    ReporterClosedError,
    SqliteOutbox,
    UsageReporter,
)
from montra_async.usage.bulk import CHUNK

from ..contract_watch import WatchedSandbox
from ..scripted import scripted_server
from .reporters import make_async, make_sync

MAKERS = {"async": make_async, "sync": make_sync}


def maker(request: pytest.FixtureRequest, folder: Path) -> Any:
    kind, outbox = request.param.split(" ")

    def make(base_url: str, given: Any = None, **settings: Any) -> Any:
        made = given
        if given is None and outbox == "sqlite":
            made = SqliteOutbox(folder / "usage.db")
        elif given is None and outbox == "redis":
            made = RedisOutbox(request.getfixturevalue("redis").url)
        return MAKERS[kind](base_url, made, **settings)

    return make


@pytest.fixture(params=["async memory", "async sqlite", "async redis", "sync memory", "sync sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Makes reporters of both packages, with each kind of outbox."""
    return maker(request, tmp_path)


@pytest.fixture(params=["async sqlite", "sync redis"])
def make_durable(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Makes reporters with outboxes that survive."""
    return maker(request, tmp_path)


@pytest.fixture
async def customer(montra: Montra) -> str:
    """A customer with two meters."""
    model = await montra.create_pricing_model(name="Pro")
    for slug, aggregation in (("api-tokens", "sum"), ("calls", "count"), ("seats", "max")):
        await montra.create_meter(model.id, name=slug, slug=slug, aggregation=aggregation)
    customer = await montra.create_customer(name="Ada", email="ada@example.com")
    await montra.create_subscription(customer.id, pricing_model_id=model.id)
    return customer.id


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(4000):
        if holds():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never held")


async def used(montra: Montra, customer: str, slug: str = "api-tokens") -> Decimal:
    return Decimal(str((await montra.check_entitlement(customer, slug)).usage))


async def test_what_is_recorded_is_counted(make: Any, sandbox: WatchedSandbox, montra: Montra, customer: str) -> None:
    async with make(sandbox.base_url) as usage:
        await asyncio.gather(*(usage.record(customer, "api-tokens", amount=i) for i in range(50)))
        await usage.record(customer, "api-tokens", amount=Decimal("0.25"), metadata={"model": "gpt-4"})
        usage.record_nowait(customer, "api-tokens", amount=0.5)
        assert await usage.flush() == 0
        stats = await usage.stats()
    assert await used(montra, customer) == Decimal("1225.75")
    assert (stats.stored, stats.delivered, stats.waiting, stats.failed) == (52, 52, 0, 0)


async def test_leaving_the_block_sends_what_is_left(
    make: Any, sandbox: WatchedSandbox, montra: Montra, customer: str
) -> None:
    async with make(sandbox.base_url) as usage:
        for _ in range(20):
            usage.record_nowait(customer, "api-tokens")
    assert await used(montra, customer) == 20


async def test_a_job_that_is_reported_twice_counts_once(
    make: Any, sandbox: WatchedSandbox, montra: Montra, customer: str
) -> None:
    async with make(sandbox.base_url, coalesce=["api-tokens"]) as usage:
        for _ in range(3):
            await usage.record(customer, "api-tokens", amount=7, idempotency_key="job-1")
    assert await used(montra, customer) == 7


async def test_sums_are_exact_and_sent_as_one(
    make: Any, sandbox: WatchedSandbox, montra: Montra, customer: str
) -> None:
    amounts = [Decimal("0.1"), Decimal("0.2"), 3, 0.7, Decimal("1E+2")] * 40
    async with make(sandbox.base_url, coalesce=["api-tokens"], coalesce_window=60) as usage:
        await asyncio.gather(*(usage.record(customer, "api-tokens", amount=one) for one in amounts))
        assert await usage.flush() == 0
        stats = await usage.stats()
    assert await used(montra, customer) == Decimal("4160.0")
    assert stats.delivered == 200
    assert stats.requests <= 4, "one for each number of decimals, perhaps cut by the first exchange"


async def test_events_with_metadata_are_never_added_up(make: Any, sandbox: WatchedSandbox, customer: str) -> None:
    async with make(sandbox.base_url, coalesce=True) as usage:
        for model in ("a", "b"):
            await usage.record(customer, "api-tokens", metadata={"model": model})
        assert await usage.flush() == 0
        assert (await usage.stats()).requests == 2


@pytest.mark.parametrize("slug", ["calls", "seats", "missing"])
async def test_only_meters_that_add_are_coalesced(make: Any, sandbox: WatchedSandbox, customer: str, slug: str) -> None:
    usage = make(sandbox.base_url, coalesce=["api-tokens", slug])
    with pytest.raises(ConfigError, match=f"coalesce: {slug}: "):
        await usage.start()
    await asyncio.gather(*(usage.record(customer, "calls") for _ in range(5)))
    assert await usage.flush() == 0
    assert (await usage.stats()).requests == 5
    await usage.aclose()


async def test_coalescing_all_leaves_the_other_meters_alone(make: Any, sandbox: WatchedSandbox, customer: str) -> None:
    async with make(sandbox.base_url, coalesce=True, coalesce_window=60) as usage:
        await asyncio.gather(*(usage.record(customer, slug) for slug in ("calls", "seats") for _ in range(5)))
        assert await usage.flush() == 0
        assert (await usage.stats()).requests == 10


async def test_what_the_service_refuses_is_parked(
    make: Any, sandbox: WatchedSandbox, montra: Montra, customer: str
) -> None:
    told: list[Any] = []
    async with make(sandbox.base_url, on_parked=told.append) as usage:
        await usage.record("cust_nobody", "api-tokens", amount=3, metadata={"a": 1}, idempotency_key="job-9")
        await usage.record(customer, "api-tokens", amount=2)
        assert await usage.flush() == 0
        (parked,) = await usage.list_parked()
        assert (parked.customer_id, parked.amount, parked.metadata) == ("cust_nobody", 3, {"a": 1})
        assert (parked.key, parked.reason, parked.status, parked.code) == ("job-9", "refused", 404, "not_found")
        assert parked.message
        await until(lambda: len(told) == 1)
        assert told[0].id == parked.id
        assert (await usage.stats()).refused == (await usage.stats()).parked == 1

        assert await usage.retry_parked([parked.id]) == 1
        assert await usage.flush() == 0
        (parked,) = await usage.list_parked()
        assert parked.key == "job-9"
        for wrong in (None, "1"):
            with pytest.raises(InvalidArgumentError):
                await usage.drop_parked(wrong)
        assert await usage.drop_parked("all") == 1
        assert await usage.list_parked() == []
    assert await used(montra, customer) == 2


async def test_parked_requests_are_listed_in_pages(make: Any, sandbox: WatchedSandbox, customer: str) -> None:
    async with make(sandbox.base_url) as usage:
        for i in range(7):
            await usage.record(f"cust_nobody_{i}", "api-tokens")
        assert await usage.flush() == 0
        seen: list[str] = []
        after = None
        while page := await usage.list_parked(limit=3, after=after):
            seen += [one.customer_id for one in page]
            after = page[-1].id
    assert sorted(seen) == [f"cust_nobody_{i}" for i in range(7)]


async def test_flush_tells_what_is_left(make: Any, unused_base_url: str) -> None:
    usage = make(unused_base_url, exit_timeout=0.05)
    await usage.record("cust_1", "api-tokens")
    await usage.record("cust_1", "api-tokens")
    assert await usage.flush(0.2) == 2
    stats = await usage.stats()
    assert stats.waiting == 2
    assert stats.oldest_age > 0
    assert "connect" in str(stats.last_error).lower()
    assert await usage.aclose() == 2


@pytest.mark.parametrize("kind", MAKERS)
async def test_a_flush_may_have_any_time(kind: str, sandbox: WatchedSandbox, customer: str) -> None:
    async with MAKERS[kind](sandbox.base_url) as usage:
        await usage.record(customer, "api-tokens")
        assert await usage.flush(1e12) == 0


class HangingOutbox(MemoryOutbox):
    """An outbox whose disk hangs until `released` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()
        self.released.set()

    def counts(self) -> Any:
        assert self.released.wait(60)
        return super().counts()


@pytest.mark.parametrize("kind", MAKERS)
async def test_an_outbox_that_hangs_holds_nobody_without_end(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    sandbox: WatchedSandbox,
    montra: Montra,
    customer: str,
) -> None:
    monkeypatch.setattr("montra_async.usage.flush._GRACE", 0.1)
    outbox = HangingOutbox()
    usage = MAKERS[kind](sandbox.base_url, outbox)
    await usage.start()
    outbox.released.clear()
    with pytest.raises(OutboxError, match=r"the outbox did not respond within 0\.\d+ s"):
        await asyncio.wait_for(usage.flush(0.1), 30)
    async with usage.invocation(0.1):  # what it has done is done, so it does not fail
        usage.record_nowait(customer, "api-tokens")
    assert "it can't be told what waits in the outbox: the outbox did not respond within" in caplog.text
    with pytest.raises(ZeroDivisionError):
        async with usage.invocation(0.1):
            raise ZeroDivisionError
    outbox.released.set()
    assert await usage.flush() == 0
    assert await usage.aclose() == 0
    assert await used(montra, customer) == 1


async def test_an_outage_loses_nothing(make: Any, sandbox: WatchedSandbox, montra: Montra, customer: str) -> None:
    sandbox.watch.answers = False
    for kind in ("drop_before", "drop_after"):
        sandbox.add_fault(kind=kind, path="/usage", times=3)
    sandbox.add_fault(kind="status", status=503, path="/usage", times=3)
    async with make(sandbox.base_url) as usage:
        await asyncio.gather(*(usage.record(customer, "api-tokens") for _ in range(30)))
        assert await usage.flush() == 0
    assert await used(montra, customer) == 30


class Watcher:
    """An observer that counts."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, Any]] = []

    def recorded(self, customer_id: str, meter_slug: str, amount: Any) -> None:
        self.seen.append(("recorded", meter_slug, amount))

    def failed(self, customer_id: str, meter_slug: str, amount: Any) -> None:
        self.seen.append(("failed", meter_slug, amount))

    def delivered(self, customer_id: str, meter_slug: str, amount: Any) -> None:
        self.seen.append(("delivered", meter_slug, amount))

    def given_up(self, customer_id: str, meter_slug: str, amount: Any) -> None:
        self.seen.append(("given_up", meter_slug, amount))


async def test_observers_are_told(make: Any, sandbox: WatchedSandbox, customer: str) -> None:
    watcher = Watcher()
    async with make(sandbox.base_url) as usage:
        usage.add_observer(watcher)
        await usage.record(customer, "api-tokens", amount=Decimal("1.5"))
        usage.record_nowait("cust_nobody", "calls")
        assert await usage.flush() == 0
        usage.remove_observer(watcher)
        await usage.record(customer, "api-tokens", amount=9)
    assert sorted(watcher.seen) == [
        ("delivered", "api-tokens", Decimal("1.5")),
        ("given_up", "calls", 1),
        ("recorded", "api-tokens", Decimal("1.5")),
        ("recorded", "calls", 1),
    ]


async def test_a_full_outbox_is_told(make: Any, unused_base_url: str) -> None:
    watcher = Watcher()
    usage = make(unused_base_url, MemoryOutbox(max_events=2), exit_timeout=0.05)
    usage.add_observer(watcher)
    await usage.record("cust_1", "api-tokens")
    await usage.record("cust_1", "api-tokens")
    with pytest.raises(OutboxFullError, match="2 of 2"):
        await usage.record("cust_1", "api-tokens", amount=5)
    assert watcher.seen[-1] == ("failed", "api-tokens", 5)
    assert (await usage.stats()).failed == 1
    await usage.aclose()


async def test_the_oldest_are_dropped_for_new_ones(
    make: Any, unused_base_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    usage = make(unused_base_url, MemoryOutbox(max_events=3), when_full="drop_oldest", send=False)
    for amount in range(10):
        await usage.record("cust_1", "api-tokens", amount=amount)
    stats = await usage.stats()
    assert (stats.waiting, stats.dropped, stats.stored) == (3, 7, 10)
    assert [one.message for one in caplog.records if "dropped" in one.message], "never silent"
    await usage.aclose()


async def test_recording_waits_for_room(make: Any, sandbox: WatchedSandbox, montra: Montra, customer: str) -> None:
    async with make(sandbox.base_url, MemoryOutbox(max_events=5), when_full="wait") as usage:
        await asyncio.gather(*(usage.record(customer, "api-tokens") for _ in range(100)))
    assert await used(montra, customer) == 100


async def test_many_items_with_what_became_of_each(
    make: Any, sandbox: WatchedSandbox, montra: Montra, customer: str
) -> None:
    count = CHUNK + 100
    one = {"customer_id": customer, "meter_slug": "api-tokens"}
    items: list[dict[str, Any]] = [{**one, "amount": i} for i in range(count)]
    items[3]["customer_id"] = "cust_nobody"
    items[4]["amount"] = -1
    items[5] = {"customer": customer}
    items[6]["idempotency_key"] = items[7]["idempotency_key"] = "same"
    items[7]["amount"] = 6
    seen: list[tuple[int, int]] = []
    async with make(sandbox.base_url, coalesce=["api-tokens"]) as usage:
        results = await usage.report_usage_many(
            (dict(one) for one in items), on_progress=lambda recorded, settled: seen.append((recorded, settled))
        )
    assert [one.index for one in results] == list(range(count))
    assert {i: one.status for i, one in enumerate(results) if one.status != "delivered"} == {
        3: "refused",
        4: "invalid",
        5: "invalid",
    }
    assert "not_found" in results[3].message
    assert "amount" in results[4].message
    assert "customer" in results[5].message
    assert results[6].idempotency_key == results[7].idempotency_key == "same"
    assert await used(montra, customer) == sum(range(count)) - 3 - 4 - 5 - 7
    assert seen[-1] == (count, count)
    assert seen == sorted(seen)


async def test_many_items_end_with_their_time(make: Any, unused_base_url: str) -> None:
    usage = make(unused_base_url, exit_timeout=0.05)
    items = [{"customer_id": "cust_1", "meter_slug": "api-tokens"}] * 3
    results = await usage.report_usage_many(items, timeout=0.05)
    assert [one.status for one in results] == ["waiting"] * 3
    assert all(one.idempotency_key for one in results)
    await usage.aclose()


async def test_an_invocation_sends_before_it_ends(
    make: Any, sandbox: WatchedSandbox, montra: Montra, customer: str
) -> None:
    usage = make(sandbox.base_url, coalesce=["api-tokens"], coalesce_window=60)
    async with usage.invocation():
        await usage.record(customer, "api-tokens", amount=4)
    assert await used(montra, customer) == 4
    await usage.aclose()


async def test_an_invocation_says_what_its_end_means(
    make: Any, unused_base_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    usage = make(unused_base_url, exit_timeout=0.05)
    async with usage.invocation(0.05):
        await usage.record("cust_1", "api-tokens")
    assert [one.message for one in caplog.records if "RedisOutbox" in one.message]
    await usage.aclose()


async def test_after_closing_memory_takes_no_events(make: Any, sandbox: WatchedSandbox, customer: str) -> None:
    usage = make(sandbox.base_url, MemoryOutbox())
    await usage.record(customer, "api-tokens")
    assert await usage.aclose() == 0
    with pytest.raises(ReporterClosedError):
        await usage.record(customer, "api-tokens")
    with pytest.raises(ReporterClosedError):
        usage.record_nowait(customer, "api-tokens")


async def test_after_closing_a_durable_outbox_keeps_events_for_the_next_start(
    make_durable: Any, sandbox: WatchedSandbox, montra: Montra, customer: str
) -> None:
    usage = make_durable(sandbox.base_url)
    await usage.record(customer, "api-tokens")
    assert await usage.aclose() == 0
    await usage.record(customer, "api-tokens")
    assert await used(montra, customer) == 1
    await usage.start()
    assert await usage.flush() == 0
    assert await usage.aclose() == 0
    assert await used(montra, customer) == 2


async def test_a_reporter_can_be_started_again(
    make: Any, sandbox: WatchedSandbox, montra: Montra, customer: str
) -> None:
    usage = make(sandbox.base_url)
    for _ in range(3):
        await usage.start()
        await usage.record(customer, "api-tokens")
        assert await usage.aclose() == 0
        assert await usage.aclose() == 0
    assert await used(montra, customer) == 3


async def test_a_backlog_is_told(
    make: Any, unused_base_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("montra_async.usage.backlog._WATCH_SECONDS", 0.01)
    told = threading.Event()
    usage = make(unused_base_url, exit_timeout=0.05, max_age=0.001, on_backlog=lambda stats: told.set())
    await usage.record("cust_1", "api-tokens")
    assert await asyncio.to_thread(told.wait, 20)
    assert [one.message for one in caplog.records if "the oldest for" in one.message]
    await usage.aclose()


async def test_a_hook_that_fails_is_logged(
    make: Any, sandbox: WatchedSandbox, montra: Montra, customer: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError("of the hook")

    async with make(sandbox.base_url, on_parked=fail) as usage:
        await usage.record("cust_nobody", "api-tokens")
        await usage.record(customer, "api-tokens")
        assert await usage.flush() == 0
    assert await used(montra, customer) == 1
    assert [one for one in caplog.records if "hook" in one.message and one.levelno == logging.ERROR]


async def test_recording_on_several_loops_and_threads(sandbox: WatchedSandbox, montra: Montra, customer: str) -> None:
    """One reporter for everybody: the loops end, the reporter goes on."""
    usage = make_async(sandbox.base_url)

    def on_a_loop_of_its_own() -> None:
        async def record() -> None:
            await asyncio.gather(*(usage.record(customer, "api-tokens") for _ in range(20)))

        asyncio.run(record())

    def nowait() -> None:
        for _ in range(20):
            usage.record_nowait(customer, "api-tokens")

    await asyncio.gather(*(asyncio.to_thread(one) for one in (on_a_loop_of_its_own, nowait) * 4))
    assert await usage.aclose() == 0
    assert await used(montra, customer) == 160


async def test_a_cancelled_call_harms_nobody(sandbox: WatchedSandbox, montra: Montra, customer: str) -> None:
    """All that were recorded in one turn are stored together: one that is cancelled must not take the others along."""
    usage = make_async(sandbox.base_url)
    tasks = [asyncio.ensure_future(usage.record(customer, "api-tokens")) for _ in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[1::2] == [None] * 10
    assert await usage.aclose() == 0
    assert 10 <= await used(montra, customer) <= 20


ARGUMENTS = st.fixed_dictionaries(
    {
        "customer_id": st.one_of(
            st.text(max_size=4), st.sampled_from(["cust_1", "c-1", "\ud800", " ", "é"]), st.none()
        ),
        "meter_slug": st.one_of(st.text(max_size=4), st.sampled_from(["api-tokens", "\ud800"]), st.integers()),
        "amount": st.one_of(
            st.integers(), st.floats(), st.decimals(), st.booleans(), st.sampled_from([2**53, 10**64, Decimal("1e-64")])
        ),
        "metadata": st.one_of(
            st.none(), st.just([]), st.dictionaries(st.text(max_size=3), st.one_of(st.floats(), st.text(max_size=3)))
        ),
        "idempotency_key": st.one_of(st.none(), st.text(max_size=3), st.just("k" * 256), st.just("job-1")),
    }
)


@given(ARGUMENTS)
def test_arguments_are_checked_as_by_report_usage(arguments: dict[str, Any]) -> None:
    async def outcome(call: Any) -> str:
        try:
            await call(arguments.pop("customer_id"), arguments.pop("meter_slug"), **arguments)
        except InvalidArgumentError as error:
            return error.parameter
        return ""

    async def both() -> tuple[str, str]:
        async with Montra("sk_test_x", "http://127.0.0.1:1", max_attempts=1) as montra:
            usage = UsageReporter(montra, MemoryOutbox(), send=False)
            sent: list[Any] = []
            montra._send = lambda request, decode: _keep(sent, request)  # type: ignore[assignment,method-assign]
            copied = dict(arguments)
            theirs = await outcome(montra.report_usage)
            arguments.update(copied)
            ours = await outcome(usage.record)
            await usage.aclose()
            return theirs, ours

    theirs, ours = asyncio.run(both())
    assert bool(theirs) == bool(ours), (theirs, ours)


async def _keep(sent: list[Any], request: Any) -> None:
    sent.append(request)


@pytest.mark.parametrize(
    "settings",
    [
        {"when_full": "block"},
        {"concurrency": 0},
        {"request_timeout": -1},
        {"coalesce": "api-tokens"},
        {"coalesce_window": 0},
        {"dedupe_window": 5},
        {"on_parked": "print"},
        {"send": "yes"},
    ],
)
def test_settings_are_checked(make: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        make("http://127.0.0.1:1", **settings)
    assert caught.value.parameter == next(iter(settings))


async def test_a_client_of_one_loop_is_refused() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ConfigError, match="event loop"):
            UsageReporter(Montra("sk_test_x", session=session), MemoryOutbox())


def test_a_claim_must_outlast_its_request() -> None:
    outbox = RedisOutbox("redis://127.0.0.1:1", claim_ttl=30)
    with pytest.raises(ConfigError, match="request_timeout: less than half"):
        UsageReporter(Montra("sk_test_x"), outbox, request_timeout=15)
    UsageReporter(Montra("sk_test_x"), outbox, request_timeout=14)


def test_the_environment_names_the_outbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    montra = Montra("sk_test_x")
    monkeypatch.setenv("MONTRA_OUTBOX", str(tmp_path / "here.db"))
    assert repr(UsageReporter(montra)._engine._outbox) == f"<SqliteOutbox {tmp_path / 'here.db'}>"
    monkeypatch.setenv("MONTRA_OUTBOX", "redis://:secret-password@127.0.0.1:1/0")
    assert isinstance(UsageReporter(montra)._engine._outbox, RedisOutbox)
    monkeypatch.setenv("MONTRA_OUTBOX", "postgres://:secret-password@127.0.0.1:1/0")
    with pytest.raises(ConfigError, match="not a URL") as caught:
        UsageReporter(montra)
    assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [], "nothing is created before the first event, nor a folder of a URL's name"


@pytest.mark.parametrize("outbox", ["usage.db", object(), 5])
def test_what_is_no_outbox_is_refused(outbox: Any) -> None:
    with pytest.raises(ConfigError, match="outbox"):
        UsageReporter(Montra("sk_test_x"), outbox)


def test_the_twin_has_the_same_face() -> None:
    renamed = {"aclose": "close", "__aenter__": "__enter__", "__aexit__": "__exit__"}
    ours, theirs = montra_async.usage.UsageReporter, montra_sync.usage.UsageReporter
    for name, value in vars(ours).items():
        if not inspect.isfunction(value) or (name.startswith("_") and name not in ("__init__", *renamed)):
            continue
        twin = vars(theirs)[renamed.get(name, name)]
        mine, other = inspect.signature(value), inspect.signature(twin)
        assert list(mine.parameters) == list(other.parameters), name
        assert [one.default for one in mine.parameters.values()] == [
            one.default for one in other.parameters.values()
        ], name
    assert set(montra_async.usage.__all__) == set(montra_sync.usage.__all__)


@pytest.fixture
async def unused_base_url() -> str:
    """Nobody listens there."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return f"http://127.0.0.1:{port}"


async def test_a_sender_that_has_died_is_replaced(
    sandbox: WatchedSandbox, montra: Montra, customer: str, caplog: pytest.LogCaptureFixture
) -> None:
    usage = make_async(sandbox.base_url)
    await usage.record(customer, "api-tokens")
    assert await usage.flush() == 0
    first = usage._engine._sender_thread
    first.sender.run = None  # what it awaits is running already; break the loop instead
    first._loop.call_soon_threadsafe(_raise)
    await until(lambda: not first.is_alive())
    await usage.record(customer, "api-tokens")
    assert await usage.flush() == 0
    assert await used(montra, customer) == 2
    await usage.aclose()
    assert [one for one in caplog.records if "has failed" in one.message]


def _raise() -> None:
    raise SystemExit("of a callback")


class BadObserver(Watcher):
    """Raises whatever it is told."""

    def recorded(self, customer_id: str, meter_slug: str, amount: Any) -> None:
        raise RuntimeError("of an observer")

    delivered = given_up = failed = recorded


async def test_an_observer_that_raises_harms_nobody(
    make: Any, sandbox: WatchedSandbox, montra: Montra, customer: str, caplog: pytest.LogCaptureFixture
) -> None:
    watcher = Watcher()
    async with make(sandbox.base_url) as usage:
        usage.add_observer(BadObserver())
        usage.add_observer(watcher)
        await asyncio.gather(*(usage.record(customer, "api-tokens") for _ in range(20)))
        await usage.record("cust_nobody", "api-tokens")
        assert await usage.flush() == 0
        stats = await usage.stats()
    assert (stats.delivered, stats.refused) == (20, 1)
    assert await used(montra, customer) == 20
    assert len(watcher.seen) == 42
    assert [one for one in caplog.records if "an observer" in one.message]


async def test_observers_hear_of_an_event_before_it_is_delivered(
    make: Any, sandbox: WatchedSandbox, customer: str
) -> None:
    watcher = Watcher()
    async with make(sandbox.base_url) as usage:
        usage.add_observer(watcher)
        for _ in range(200):
            usage.record_nowait(customer, "api-tokens")
            recorded = sum(one[0] == "recorded" for one in list(watcher.seen))
            assert recorded >= sum(one[0] == "delivered" for one in list(watcher.seen))
        assert await usage.flush() == 0


@pytest.mark.parametrize("coalesce", [(), ["api-tokens"]])
async def test_amounts_are_exact_whatever_the_decimal_context_is(
    make: Any, sandbox: WatchedSandbox, montra: Montra, customer: str, coalesce: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decimal.DefaultContext, "prec", 3)  # of threads that are started from now on
    async with make(sandbox.base_url, coalesce=coalesce) as usage:
        await usage.record(customer, "api-tokens", amount=Decimal("123456.78"))
        await usage.record(customer, "api-tokens", amount=Decimal("0.01"))
        assert await usage.flush() == 0
    assert await used(montra, customer) == Decimal("123456.79")


async def test_many_items_end_although_another_process_sends_them(
    make_durable: Any, sandbox: WatchedSandbox, montra: Montra, customer: str
) -> None:
    usage = make_durable(sandbox.base_url)
    other = make_durable(sandbox.base_url)  # stands for another process
    await usage.start()
    await asyncio.to_thread(getattr(usage, "reporter", usage)._engine.stop_sending, 5)
    await other.start()
    items = [{"customer_id": customer, "meter_slug": "api-tokens"}] * 50 + [
        {"customer_id": "cust_nobody", "meter_slug": "api-tokens"}
    ]
    results = await usage.report_usage_many(items)
    assert [one.status for one in results] == ["unknown"] * 50 + ["refused"]
    assert "not_found" in results[-1].message
    assert await used(montra, customer) == 50
    await usage.aclose()
    await other.aclose()


async def test_two_bulk_reports_may_share_a_key(make: Any, sandbox: WatchedSandbox, customer: str) -> None:
    item = {"customer_id": customer, "meter_slug": "api-tokens", "idempotency_key": "job"}
    async with make(sandbox.base_url) as usage:
        both = await asyncio.gather(*(usage.report_usage_many([item]) for _ in range(2)))
    assert [[one.status for one in results] for results in both] == [["delivered"]] * 2


@pytest.mark.parametrize("items", [{"customer_id": "c", "meter_slug": "m"}, "cust_1"])
async def test_many_items_are_a_list(make: Any, unused_base_url: str, items: Any) -> None:
    usage = make(unused_base_url)
    with pytest.raises(InvalidArgumentError, match="items"):
        await usage.report_usage_many(items)
    await usage.aclose()


async def test_one_outbox_for_two_reporters_is_refused(sandbox: WatchedSandbox, customer: str, tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "usage.db")
    first, second = (make_async(sandbox.base_url, outbox) for _ in range(2))
    await first.record(customer, "api-tokens")
    with pytest.raises(ConfigError, match="another reporter"):
        await second.record(customer, "api-tokens")
    await first.aclose()
    await second.record(customer, "api-tokens")  # one after the other is fine
    await second.aclose()


async def test_flush_after_closing_does_not_wait(make_durable: Any, sandbox: WatchedSandbox, customer: str) -> None:
    usage = make_durable(sandbox.base_url)
    await usage.record(customer, "api-tokens")
    await usage.aclose()
    await usage.record(customer, "api-tokens")
    assert await usage.flush(100_000) == 1
    await usage.aclose()


@pytest.mark.parametrize("timeout", ["x", None, -1, float("inf")])
async def test_time_outs_are_checked(make: Any, unused_base_url: str, timeout: Any) -> None:
    usage = make(unused_base_url)
    with pytest.raises(InvalidArgumentError, match="timeout"):
        await usage.flush(timeout)
    await usage.aclose()


@pytest.mark.parametrize(
    ("column", "value"), [("metadata", "no JSON"), ("metadata", "[1]"), ("units", "many"), ("recorded_at", 1e300)]
)
async def test_what_can_not_be_read_in_the_file_stops_nothing_else(
    sandbox: WatchedSandbox, montra: Montra, customer: str, tmp_path: Path, column: str, value: Any
) -> None:
    usage = make_async(sandbox.base_url, SqliteOutbox(tmp_path / "usage.db"), send=False)
    for _ in range(9):
        await usage.record(customer, "api-tokens", metadata={"a": 1})
    await usage.record("cust_nobody", "api-tokens", metadata={"a": 1})
    await usage.aclose()
    with contextlib.closing(sqlite3.connect(tmp_path / "usage.db")) as db:
        db.execute(f"UPDATE event SET {column} = ? WHERE id = 10", (value,))
        db.commit()
    async with make_async(sandbox.base_url, SqliteOutbox(tmp_path / "usage.db")) as other:
        await other.flush(5)
        await until(lambda: other._engine.accounts.counters.refused == 1)
        (parked,) = await other.list_parked()
        assert parked.customer_id == "cust_nobody"
        assert parked.metadata == (None if column == "metadata" else {"a": 1})
        assert (column == "units") == (parked.amount != parked.amount)
    assert await used(montra, customer) == 9


def contents(folder: Path) -> list[bytes]:
    return [one.read_bytes() for one in folder.iterdir()]


async def test_no_file_of_an_outbox_holds_the_key(tmp_path: Path) -> None:
    key = "sk_test_0123456789abcdef"
    body = b'{"success":false,"error":{"code":"refused","message":"not with %s, Bearer %s"}}' % ((key.encode(),) * 2)
    async with scripted_server() as server, Montra(key, server.url) as montra:
        server.says([b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n" % len(body) + body])
        async with UsageReporter(montra, SqliteOutbox(tmp_path / "usage.db")) as usage:
            await usage.record("cust_1", "api-tokens", metadata={"kind": "chat"})
            assert await usage.flush(60) == 0
            [parked] = await usage.list_parked()
            assert "not with" in parked.message
            files = contents(tmp_path)
        files += contents(tmp_path)
        assert key.encode() in server.heads[0], "it was sent"
    assert any(b"cust_1" in one for one in files)
    assert not any(b"0123456789abcdef" in one for one in files)
