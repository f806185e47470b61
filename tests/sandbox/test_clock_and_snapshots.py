"""The clock as an object, snapshots, reproducible ids."""

from __future__ import annotations

import sqlite3
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from montra_async import Montra
from montra_sandbox import Problem, Sandbox
from montra_sandbox.database import Database, DatabaseCopy

NEW_YEAR = datetime(2026, 1, 1, tzinfo=timezone.utc)
FUTURE = datetime(2040, 5, 6, 7, 8, 9, tzinfo=timezone.utc)


def test_a_frozen_clock_stands_still_until_it_is_moved_or_let_go() -> None:
    with Sandbox() as sandbox:
        clock = sandbox.clock
        shown = clock.freeze()
        time.sleep(0.01)
        assert clock.is_frozen
        assert clock.now() == shown == sandbox.now()
        assert clock.advance(days=1) == shown + timedelta(days=1) == clock.now()
        assert clock.is_frozen
        clock.unfreeze()
        assert not clock.is_frozen
        assert shown + timedelta(days=1) <= clock.now() < shown + timedelta(days=1, minutes=10)
        clock.unfreeze()


@pytest.mark.parametrize("at", [NEW_YEAR, FUTURE])
def test_an_empty_sandbox_starts_at_any_time(at: datetime) -> None:
    with Sandbox(now=at, frozen=True) as sandbox:
        assert sandbox.now() == at
        assert sandbox.freeze(at - timedelta(days=400)) == at - timedelta(days=400)
    with Sandbox(now=at) as sandbox:
        assert at <= sandbox.now() < at + timedelta(minutes=10)


async def test_with_data_the_clock_only_moves_forward_and_runs_what_is_due(sandbox: Sandbox, montra: Montra) -> None:
    model = await montra.create_pricing_model(name="P", is_default=True)
    ada = await montra.create_customer(name="Ada", email="ada@example.com")
    subscription = await montra.create_subscription(ada.id, model.id)
    with pytest.raises(Problem, match="back only in an empty sandbox") as caught:
        sandbox.freeze(NEW_YEAR)
    assert caught.value.status == 409
    with pytest.raises(Problem, match="back only in an empty sandbox"):
        sandbox.start_at(NEW_YEAR)
    later = sandbox.now() + timedelta(days=32)
    assert sandbox.freeze(later) == later == sandbox.now()
    assert (await montra.get_subscription(subscription.id)).current_period_start == subscription.current_period_end


@pytest.mark.parametrize("wrong", ["soon", "x" * 200, datetime(2026, 1, 1), 5])
def test_the_clock_takes_aware_datetimes(wrong: object) -> None:
    with Sandbox() as sandbox:
        for control in (sandbox.freeze, sandbox.start_at):
            with pytest.raises(Problem, match="a datetime with a time zone"):
                control(wrong)  # type: ignore[arg-type]


def test_times_may_be_text() -> None:
    with Sandbox() as sandbox:
        assert sandbox.freeze("2030-01-01") == datetime(2030, 1, 1, tzinfo=timezone.utc)
        assert sandbox.advance(to="2030-01-02T00:00:00Z").day == 2
        assert sandbox.start_at("2031-01-01T00:00:00+00:00").year == 2031


def test_a_frozen_clock_survives_a_restart(tmp_path: Path) -> None:
    file = str(tmp_path / "state.db")
    with Sandbox(db=file) as sandbox:
        shown = sandbox.freeze(FUTURE)
    with Sandbox(db=file) as sandbox:
        assert (sandbox.now(), sandbox.clock.is_frozen) == (shown, True)
        sandbox.reset()
        assert not sandbox.clock.is_frozen


async def test_a_snapshot_brings_everything_back(sandbox: Sandbox, montra: Montra) -> None:
    ada = await montra.create_customer(name="Ada", email="ada@example.com")
    sandbox.add_fault(kind="rate_limit", path="/invoices", times=2)
    sandbox.freeze()
    shown, counts = sandbox.now(), sandbox.overview()["counts"]
    name = sandbox.snapshot()
    for _ in range(2):
        await montra.create_customer(name="Bob", email="bob@example.com")
        sandbox.clear_faults()
        sandbox.clock.unfreeze()
        sandbox.advance(days=40)
        sandbox.restore(name)
        assert [one.id for one in await montra.list_customers()] == [ada.id]
        assert (sandbox.now(), sandbox.overview()["counts"]) == (shown, counts)
        assert [fault["kind"] for fault in sandbox.faults()] == ["rate_limit"]
    sandbox.reset()
    assert await montra.list_customers() == []
    sandbox.restore(name)
    assert [one.id for one in await montra.list_customers()] == [ada.id]


def test_a_snapshot_of_a_file_and_its_codes(tmp_path: Path) -> None:
    with Sandbox(db=str(tmp_path / "state.db")) as sandbox:
        name = sandbox.snapshot("empty")
        sandbox.trigger("payment.completed")
        assert sandbox.overview()["counts"]["paywall_users"] == 1
        sandbox.restore(name)
        assert sandbox.overview()["counts"]["paywall_users"] == 0
        sandbox.trigger("payment.completed")


def test_a_restore_does_not_wait_for_another_process_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("montra_sandbox.database._BUSY_TIMEOUT", 0.2)
    file = str(tmp_path / "state.db")
    with Sandbox(db=file) as sandbox:
        name = sandbox.snapshot()
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Problem, match="another process writes"):
            sandbox.restore(name)
        other.execute("ROLLBACK")
        other.close()
        sandbox.restore(name)


def test_a_reset_sets_the_clock_as_at_the_start() -> None:
    with Sandbox(now=FUTURE, frozen=True) as sandbox:
        sandbox.advance(days=3)
        sandbox.reset()
        assert (sandbox.now(), sandbox.clock.is_frozen) == (FUTURE, True)


def test_advancing_to_a_time_is_exact() -> None:
    with Sandbox(frozen=True) as sandbox:
        to = sandbox.now() + timedelta(days=1, microseconds=7)
        sandbox.clock.unfreeze()
        assert to <= sandbox.advance(to=to) < to + timedelta(minutes=1)
        sandbox.freeze()
        to = sandbox.now() + timedelta(days=1)
        assert sandbox.advance(to=to) == to


def test_all_snapshots_together_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox() as sandbox:
        size = sandbox.call_in_server(lambda: sandbox._world.db.size)
        monkeypatch.setattr("montra_sandbox.controls.snapshots.MAX_SIZE", 2 * size)
        sandbox.snapshot("a")
        sandbox.snapshot("b")
        sandbox.snapshot("a")  # instead of the earlier one
        with pytest.raises(Problem, match="together have at most"):
            sandbox.snapshot("c")


def test_the_memory_of_each_snapshot_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[DatabaseCopy] = []
    closed: list[DatabaseCopy] = []
    make, close = Database.copy, DatabaseCopy.close

    def copy(self: Database) -> DatabaseCopy:
        made.append(make(self))
        return made[-1]

    def closing(self: DatabaseCopy) -> None:
        closed.append(self)
        close(self)

    monkeypatch.setattr(Database, "copy", copy)
    monkeypatch.setattr(DatabaseCopy, "close", closing)
    with Sandbox() as sandbox:
        for name in ("replaced", "deleted", "replaced", "left"):
            sandbox.snapshot(name)
        sandbox.delete_snapshot("deleted")
        assert closed == made[:2]
    assert closed == [*made[:2], made[2], made[3]]
    assert len(made) == 4


def test_a_snapshot_that_fails_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    opened: list[sqlite3.Connection] = []
    with Sandbox() as sandbox:

        def watched(*args: Any, **more: Any) -> sqlite3.Connection:
            opened.append(connect(*args, **more))
            return opened[-1]

        def fail(*_: Any) -> None:
            raise MemoryError

        def left_open() -> int:
            with pytest.raises(MemoryError):
                sandbox._snapshots.take("a")
            with pytest.raises(sqlite3.ProgrammingError, match="closed"):
                opened[0].execute("SELECT 1")
            return len(opened)

        monkeypatch.setattr(sqlite3, "connect", watched)
        monkeypatch.setattr(DatabaseCopy, "__init__", fail)
        assert sandbox.call_in_server(left_open) == 1
        assert sandbox.snapshots() == []


def test_snapshots_have_names_and_a_bound() -> None:
    with Sandbox() as sandbox:
        assert [sandbox.snapshot(), sandbox.snapshot("before-renewal"), sandbox.snapshot()] == [
            "1",
            "before-renewal",
            "2",
        ]
        assert sandbox.snapshot("1") == "1"
        assert sandbox.snapshots() == ["before-renewal", "2", "1"]
        sandbox.delete_snapshot("2")
        for control in (sandbox.restore, sandbox.delete_snapshot):
            with pytest.raises(Problem, match="no snapshot '2'"):
                control("2")
        for wrong in ("", "a b", "x" * 101, "../etc"):
            with pytest.raises(Problem, match="letters, digits"):
                sandbox.snapshot(wrong)
        while len(sandbox.snapshots()) < 50:
            sandbox.snapshot()
        with pytest.raises(Problem, match="50 snapshots"):
            sandbox.snapshot()


async def _ids(sandbox: Sandbox) -> list[str]:
    async with Montra(sandbox.api_key, sandbox.base_url) as montra:
        made = [await montra.create_customer(name="A", email=f"{i}@example.com") for i in range(3)]
        return [one.id for one in made]


async def test_seeded_ids_are_reproducible() -> None:
    async with Sandbox(id_seed=42) as sandbox:
        first = await _ids(sandbox)
        assert len(set(first)) == 3
        with pytest.raises(Problem, match="empty sandbox only"):
            sandbox.seed_ids(42)
        sandbox.reset()
        assert await _ids(sandbox) == first
        sandbox.reset()
        sandbox.seed_ids(43)
        assert await _ids(sandbox) != first
        sandbox.seed_ids(None)
        sandbox.reset()
        assert await _ids(sandbox) != await _fresh_ids()


async def _fresh_ids() -> list[str]:
    async with Sandbox() as sandbox:
        return await _ids(sandbox)


def test_controls_make_reproducible_ids_too() -> None:
    made = []
    for _ in range(2):
        with Sandbox(id_seed=5) as sandbox:
            made.append([(one["id"], one["data"]["id"]) for one in sandbox.trigger("customer.created")])
    assert made[0] == made[1]


async def test_a_snapshot_brings_the_next_ids_back() -> None:
    async with Sandbox(id_seed=7) as sandbox:
        name = sandbox.snapshot()
        first = await _ids(sandbox)
        sandbox.restore(name)
        assert await _ids(sandbox) == first


@pytest.mark.parametrize("seed", [1.0, "1", True, 2**64])
def test_only_whole_numbers_are_seeds(seed: object) -> None:
    with Sandbox() as sandbox, pytest.raises(Problem, match="whole number"):
        sandbox.seed_ids(seed)  # type: ignore[arg-type]


async def test_secrets_are_not_made_from_the_seed() -> None:
    secrets = []
    for _ in range(2):
        async with Sandbox(id_seed=1) as sandbox, Montra(sandbox.api_key, sandbox.base_url) as montra:
            secrets.append((await montra.create_webhook(url="http://127.0.0.1:9/")).secret)
    assert secrets[0] != secrets[1]
