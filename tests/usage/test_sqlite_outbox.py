"""What `SqliteOutbox` promises besides the rules of every outbox."""

from __future__ import annotations

import gc
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from montra_async.core.errors import ConfigError
from montra_async.usage.clocks import SystemClock, Timestamp, age
from montra_async.usage.construction import default_outbox
from montra_async.usage.errors import OutboxError, OutboxFullError
from montra_async.usage.events import Outcome, Settlement, units_of
from montra_async.usage.sqlite import sqlite_files
from montra_async.usage.sqlite.sqlite_claims import MAX_DELAY
from montra_async.usage.sqlite.sqlite_outbox import SqliteOutbox
from montra_async.usage.sqlite.sqlite_schema import MAX_SUM

from .outbox_helpers import START, ManualClock, delivered, drain, event, refused, retry, settings, summable

Open = Callable[..., SqliteOutbox]
HOUR = 3600.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage.db"


@pytest.fixture
def open_outbox(path: Path, clock: ManualClock) -> Iterator[Open]:
    opened: list[SqliteOutbox] = []

    def make(arguments: dict[str, Any] | None = None, **changes: Any) -> SqliteOutbox:
        outbox = SqliteOutbox(path, **{"clock": clock, **(arguments or {})})
        opened.append(outbox)
        outbox.open(settings(**changes))
        return outbox

    yield make
    for outbox in opened:
        outbox.close()


@pytest.fixture
def outbox(open_outbox: Open) -> SqliteOutbox:
    return open_outbox(coalesce_window=10.0, expires_after=24 * HOUR)


def claim(outbox: SqliteOutbox, limit: int = 100, **options: Any) -> Any:
    return outbox.exchange([], limit, **options).requests


class TestPath:
    def test_the_environment_chooses(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MONTRA_OUTBOX", str(tmp_path / "chosen.db"))
        assert SqliteOutbox().path == str(tmp_path / "chosen.db")
        monkeypatch.delenv("MONTRA_OUTBOX")
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        assert SqliteOutbox().path == str(tmp_path / "state" / "montra" / "usage.db")
        monkeypatch.setenv("XDG_STATE_HOME", "not/absolute")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert SqliteOutbox().path == str(tmp_path / ".local" / "state" / "montra" / "usage.db")

    @pytest.mark.parametrize("blank", ["", "   ", "\t"])
    def test_a_blank_variable_is_not_set(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
        monkeypatch.setenv("MONTRA_OUTBOX", blank)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        assert SqliteOutbox().path == str(tmp_path / "montra" / "usage.db")
        default: Any = default_outbox()
        assert default.path == str(tmp_path / "montra" / "usage.db")
        monkeypatch.delenv("MONTRA_OUTBOX")
        with pytest.raises(ConfigError, match="path: the path of a file"):
            SqliteOutbox(blank)

    @pytest.mark.parametrize("wrong", [5, 1.5, ["usage.db"], object()])
    def test_what_is_no_path(self, wrong: Any) -> None:
        with pytest.raises(ConfigError, match="path: the path of a file, not "):
            SqliteOutbox(wrong)

    def test_a_relative_path_stays_where_it_was(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        outbox = SqliteOutbox("here.db")
        monkeypatch.chdir("/")
        outbox.open(settings())
        outbox.close()
        assert (tmp_path / "here.db").exists()

    @pytest.mark.parametrize("wrong", ["", ":memory:", "a\0b", b""])
    def test_what_is_no_file_is_refused(self, wrong: Any) -> None:
        with pytest.raises(ConfigError, match="MemoryOutbox"):
            SqliteOutbox(wrong)

    def test_a_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="is a folder"):
            SqliteOutbox(tmp_path)

    @pytest.mark.parametrize(
        "wrong",
        [{"max_size": 10}, {"max_size": True}, {"timeout": 0}, {"timeout": float("nan")}, {"synchronous": "off"}],
    )
    def test_wrong_arguments_are_named(self, path: Path, wrong: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            SqliteOutbox(path, **wrong)


class TestFiles:
    def test_new_files_are_private_whatever_the_umask(self, tmp_path: Path, clock: ManualClock) -> None:
        before = os.umask(0)
        try:
            outbox = SqliteOutbox(tmp_path / "a" / "b" / "usage.db", clock=clock)
            outbox.open(settings())
            outbox.append([event()])
        finally:
            os.umask(before)
        folder = tmp_path / "a" / "b"
        names = ["usage.db", "usage.db-shm", "usage.db-wal", "usage.db.lock", "usage.db.reserve"]
        assert sorted(os.listdir(folder)) == names
        assert {stat.S_IMODE(os.stat(folder / name).st_mode) for name in names} == {0o600}
        assert {stat.S_IMODE(os.stat(each).st_mode) for each in (folder, folder.parent)} == {0o700}
        outbox.close()

    def test_existing_modes_are_kept(self, path: Path, open_outbox: Open) -> None:
        path.touch()
        path.chmod(0o640)
        path.parent.chmod(0o755)
        open_outbox().append([event()])
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755

    def test_all_names_of_a_file_share_its_locks(self, path: Path, clock: ManualClock, open_outbox: Open) -> None:
        link = path.with_name("link.db")
        link.symlink_to(path)
        linked = SqliteOutbox(link, clock=clock)
        linked.open(settings())
        linked.append([event()])
        first = claim(linked)
        assert claim(open_outbox()) == []
        linked.exchange(delivered(*first), 0)
        linked.close()
        assert link.is_symlink()
        assert not path.with_name("link.db.lock").exists()

    def test_a_lock_file_that_is_a_link_is_not_followed(self, path: Path, tmp_path: Path) -> None:
        path.with_name("usage.db.lock").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OutboxError, match=r"usage\.db"):
            SqliteOutbox(path).open(settings())
        assert not (tmp_path / "elsewhere").exists()

    def test_another_api_is_refused(self, outbox: SqliteOutbox, path: Path) -> None:
        with pytest.raises(ConfigError) as caught:
            SqliteOutbox(path).open(settings(base_url="https://other.test"))
        assert "https://other.test" in str(caught.value)
        assert "https://api.example.test" in str(caught.value)

    def test_a_newer_version_is_refused(self, outbox: SqliteOutbox, path: Path) -> None:
        outbox.close()
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA user_version = 99")
        with pytest.raises(ConfigError, match=r"version 99.*version 1"):
            outbox.open(settings())

    def test_a_database_of_somebody_else_is_left_alone(self, path: Path) -> None:
        with closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE theirs (x)")
        with pytest.raises(ConfigError, match="not an outbox"):
            SqliteOutbox(path).open(settings())
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]

    def test_a_file_of_somebody_else_is_not_renamed(self, path: Path) -> None:
        path.write_text("important notes " * 1000)
        for _ in range(2):
            with pytest.raises(ConfigError, match="not an outbox"):
                SqliteOutbox(path).open(settings())
        assert path.read_text().startswith("important notes")

    def test_file_systems_of_several_machines_are_refused(self, tmp_path: Path) -> None:
        mounts = tmp_path / "mountinfo"
        mounts.write_text(
            "22 1 8:1 / / rw - ext4 /dev/sda rw\n"
            "23 22 0:5 / /mnt/my\\040share rw shared:1 - nfs4 server:/x rw\n"
            "24 23 8:2 / /mnt/my\\040share/local rw - xfs /dev/sdb rw\n"
            "25 22 0:6 / /over rw - ext4 /dev/sdc rw\n26 22 0:7 / /over rw - cifs //x rw\nnonsense\n"
        )
        for refused_path in ("/mnt/my share/usage.db", "/over/usage.db"):
            with pytest.raises(ConfigError, match=r"nfs4|cifs"):
                sqlite_files.refuse_shared_file_system(refused_path, str(mounts))
        for good in ("/mnt/my share/local/usage.db", "/mnt/my sharex", "/usage.db"):
            sqlite_files.refuse_shared_file_system(good, str(mounts))
        sqlite_files.refuse_shared_file_system("/usage.db", str(tmp_path / "no such list"))

    def test_a_file_system_without_write_ahead_log_is_refused(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class WithoutWal(sqlite3.Connection):
            def execute(self, sql: str, *values: Any) -> Any:
                return super().execute(sql.replace("journal_mode = WAL", "journal_mode = DELETE"), *values)

        connect = sqlite3.connect
        monkeypatch.setattr(sqlite3, "connect", lambda *args, **names: connect(*args, factory=WithoutWal, **names))
        with pytest.raises(ConfigError, match="write-ahead log"):
            SqliteOutbox(path).open(settings())

    def test_no_locks_no_outbox(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("montra_async.usage.sqlite.owner_locks._FCNTL", None)
        with pytest.raises(ConfigError, match="fcntl"):
            SqliteOutbox(path).open(settings())


class TestAppend:
    @pytest.mark.parametrize("number", [1, 2, 255, 256, 257, 700])
    def test_groups_of_any_size_are_stored_in_their_order(self, outbox: SqliteOutbox, number: int) -> None:
        events = [event(units=units) for units in range(number)]
        outbox.append(events)
        assert [request.key for request in claim(outbox, 1000)] == [each.key for each in events]

    def test_values_come_back_as_they_were(self, outbox: SqliteOutbox) -> None:
        amounts = [0, 5, Decimal("0.001"), Decimal("1e-30"), 10**40, Decimal("12345678901234567890.5"), 2**53]
        events = [event("cust_\u00fc\U0001f600", *units_of(a)) for a in ()] + [
            event("cust_\u00fc\U0001f600", units_of(amount)[0], scale=units_of(amount)[1], metadata='{"a": "\\u0000"}')
            for amount in amounts
        ]
        outbox.append(events)
        got = claim(outbox)
        assert [(each.units, each.scale, each.metadata, each.customer_id) for each in got] == [
            (each.units, each.scale, each.metadata, each.customer_id) for each in events
        ]

    def test_all_or_none(self, outbox: SqliteOutbox) -> None:
        with pytest.raises(OutboxError, match="can't be stored"):
            outbox.append([event(), event("half a \ud800 pair")])
        with pytest.raises(OutboxError, match="can't be stored"):
            outbox.append([event(), event(units=2**70)])
        assert outbox.counts().events == 0
        outbox.append([event()])
        assert outbox.counts().events == 1

    def test_full(self, open_outbox: Open) -> None:
        outbox = open_outbox({"max_size": 2**20})
        stored = 0
        with pytest.raises(OutboxFullError, match="1048576"):
            while True:
                outbox.append([event(metadata='{"x": "' + "y" * 1000 + '"}') for _ in range(50)])
                stored += 50
        counts = outbox.counts()
        assert counts.events == stored
        assert counts.size <= 2**20
        assert outbox.drop_oldest(100) == 100
        outbox.append([event()])
        assert len(drain(outbox)) == stored - 100 + 1

    def test_not_open(self, outbox: SqliteOutbox, path: Path) -> None:
        outbox.close()
        outbox.close()
        for call in (
            lambda: outbox.append([event()]),
            lambda: outbox.exchange([], 1),
            outbox.counts,
            lambda: outbox.drop_oldest(1),
            lambda: outbox.list_parked(1),
            lambda: outbox.renew([]),
        ):
            with pytest.raises(OutboxError, match="not open"):
                call()
        assert repr(outbox) == f"<SqliteOutbox {path}>"


class TestSums:
    def test_events_of_a_window_are_one_request(self, outbox: SqliteOutbox, clock: ManualClock) -> None:
        first, *rest = [summable(units=units) for units in (3, 4, 5)]
        outbox.append([first])
        assert outbox.exchange([], 10) == ([], 10.0, [])
        outbox.append([*rest, summable("cust_2"), summable(scale=2), summable(meter_slug="other")])
        clock.advance(10)
        got = {request.key: request for request in claim(outbox)}
        assert len(got) == 4
        assert (got[first.key].units, got[first.key].events, got[first.key].recorded_at) == (12, 3, START)

    def test_the_key_of_a_sum_is_that_of_its_first_event(self, outbox: SqliteOutbox) -> None:
        events = [summable(recorded_at=START + number) for number in range(3)]
        outbox.append(events)
        (request,) = claim(outbox, flush=True)
        assert (request.key, request.recorded_at) == (events[0].key, START)

    def test_a_sum_never_changes_after_its_claim(self, outbox: SqliteOutbox) -> None:
        outbox.append([summable(units=1)])
        (one,) = claim(outbox, flush=True)
        outbox.append([summable(units=2)])
        (other,) = claim(outbox, flush=True)
        assert (other.units, other.key != one.key) == (2, True)
        outbox.exchange([retry(one, sent=False), retry(other, sent=True)], 0)
        outbox.append([summable(units=4)])
        again = {request.key: request.units for request in claim(outbox, flush=True)}
        assert (again.pop(one.key), again.pop(other.key), *again.values()) == (1, 2, 4)

    def test_what_must_go_alone_goes_alone(self, outbox: SqliteOutbox) -> None:
        alone = [event(), summable(metadata="{}"), summable(units=2**44 + 1), summable(units="7", scale=-1)]
        outbox.append([*alone, summable(), summable()])
        got = claim(outbox, flush=True)
        assert sorted(request.events for request in got) == [1, 1, 1, 1, 2]
        assert {each.key for each in alone} <= {request.key for request in got}

    def test_sums_are_closed_before_they_overflow(self, outbox: SqliteOutbox, path: Path, clock: ManualClock) -> None:
        outbox.append([summable(units=2**44)])
        assert claim(outbox) == []
        outbox.before_fork()
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("UPDATE request SET units = ?", (MAX_SUM,))
        outbox.append([summable(units=2**44) for _ in range(3)])
        assert claim(outbox) == []
        outbox.append([summable(units=5)])
        assert claim(outbox) == []
        clock.advance(10)
        assert sorted(request.units for request in claim(outbox)) == [5, MAX_SUM + 3 * 2**44]

    def test_exact_sums_of_large_amounts(self, outbox: SqliteOutbox) -> None:
        outbox.append([summable(units=2**44 - 1, scale=9) for _ in range(5000)])
        assert sum(request.units for request in drain(outbox)) == 5000 * (2**44 - 1)

    def test_a_backlog_is_summed_up_before_it_is_sent(self, outbox: SqliteOutbox) -> None:
        for _ in range(8):
            outbox.append([summable(f"cust_{number % 50}") for number in range(5000)])
        got = drain(outbox)
        assert sum(request.events for request in got) == 40_000
        assert len(got) <= 50 * 4

    def test_sums_behind_many_single_events_are_found(self, outbox: SqliteOutbox) -> None:
        outbox.append([event() for _ in range(3000)] + [summable() for _ in range(3)])
        got = drain(outbox)
        assert sorted(request.events for request in got) == [1] * 3000 + [3]

    def test_a_claim_of_more_than_one_step_loses_nothing(self, outbox: SqliteOutbox) -> None:
        outbox.append([event() for _ in range(2500)] + [summable(), event(), summable()])
        got = drain(outbox, limit=5000)
        assert sorted(request.events for request in got) == [1] * 2501 + [2]

    def test_a_wide_open_window_does_not_survive_a_clock_set_back(
        self, outbox: SqliteOutbox, clock: ManualClock
    ) -> None:
        outbox.append([summable()])
        assert claim(outbox) == []
        clock.set_wall(-30 * 24 * HOUR)
        assert len(claim(outbox)) == 1


class TestAmbiguous:
    """An attempt that may have been counted, and the time until it must not be repeated."""

    def test_surely_never_sent_never_expires(self, outbox: SqliteOutbox, clock: ManualClock) -> None:
        outbox.append([event()])
        for attempt in range(1, 4):
            (request,) = claim(outbox)
            assert (request.attempts, request.ambiguous) == (attempt, False)
            outbox.exchange([retry(request, sent=False)], 0)
            clock.advance(30 * 24 * HOUR)

    def test_maybe_counted_is_parked_when_it_is_too_old(self, outbox: SqliteOutbox, clock: ManualClock) -> None:
        outbox.append([event(units=15, scale=1, metadata='{"job": 1}')])
        (request,) = claim(outbox)
        outbox.exchange([retry(request, sent=True)], 0)
        clock.advance(24 * HOUR)
        (request,) = claim(outbox)
        assert (request.attempts, request.ambiguous) == (2, True)
        outbox.exchange([retry(request, sent=False)], 0)
        clock.advance(1)
        got = outbox.exchange([], 10)
        assert got.requests == []
        (parked,) = got.expired
        assert parked == outbox.list_parked(10)[0]
        assert (parked.reason, parked.status, parked.code, parked.attempts) == ("ambiguous", None, "", 2)
        assert (parked.amount, parked.metadata, parked.key) == (Decimal("1.5"), {"job": 1}, request.key)
        assert (parked.recorded_at.timestamp(), parked.parked_at.timestamp()) == (START, clock.wall())

    def test_the_time_counts_from_the_first_attempt_that_may_count(
        self, outbox: SqliteOutbox, clock: ManualClock
    ) -> None:
        outbox.append([event()])
        (request,) = claim(outbox)
        outbox.exchange([retry(request, sent=False)], 0)
        clock.advance(20 * HOUR)
        (request,) = claim(outbox)
        outbox.exchange([retry(request, sent=True)], 0)
        clock.advance(20 * HOUR)
        (request,) = claim(outbox)
        outbox.exchange([retry(request, sent=True)], 0)
        clock.advance(5 * HOUR)
        assert len(outbox.exchange([], 10).expired) == 1

    def test_a_clock_set_back_makes_nothing_younger(self, outbox: SqliteOutbox, clock: ManualClock) -> None:
        outbox.append([event()])
        (request,) = claim(outbox)
        outbox.exchange([retry(request, sent=True, delay=5)], 0)
        clock.set_wall(-30 * 24 * HOUR)
        clock.advance(25 * HOUR)
        assert len(outbox.exchange([], 10).expired) == 1

    def test_after_a_restart_only_the_wall_clock_counts(self, outbox: SqliteOutbox, clock: ManualClock) -> None:
        outbox.append([event()])
        (request,) = claim(outbox)
        outbox.exchange([retry(request, sent=True)], 0)
        outbox.close()
        clock.start = "second-boot"
        clock.boot_seconds = 5e9
        clock.wall_seconds += HOUR
        outbox.open(settings())
        assert len(claim(outbox)) == 1

    def test_the_first_attempt_counts_after_a_restart_of_the_machine_too(
        self, outbox: SqliteOutbox, clock: ManualClock
    ) -> None:
        outbox.append([event()])
        (request,) = claim(outbox)
        outbox.exchange([retry(request, sent=True)], 0)
        outbox.before_fork()
        clock.start = "second-boot"
        clock.boot_seconds = 5.0
        clock.wall_seconds += 20 * HOUR
        (request,) = claim(outbox)
        outbox.exchange([retry(request, sent=True)], 0)
        clock.advance(5 * HOUR)
        assert len(outbox.exchange([], 10).expired) == 1

    def test_a_clock_set_forward_parks_what_may_have_been_counted(
        self, outbox: SqliteOutbox, clock: ManualClock
    ) -> None:
        """Rather than counting it twice. What was surely never sent is sent."""
        outbox.append([event(), event()])
        maybe, never = claim(outbox)
        outbox.exchange([retry(maybe, sent=True), retry(never, sent=False)], 0)
        clock.set_wall(30 * 24 * HOUR)
        got = outbox.exchange([], 10)
        assert [one.key for one in got.expired] == [maybe.key]
        assert [one.key for one in got.requests] == [never.key]

    def test_an_unknown_start_of_the_machine(self, outbox: SqliteOutbox, clock: ManualClock) -> None:
        outbox.close()
        clock.start = ""
        outbox.open(settings())
        outbox.append([event()])
        clock.boot_seconds += 10 * 24 * HOUR
        assert outbox.counts().oldest_age == 0
        assert len(claim(outbox)) == 1

    def test_closing_hands_back_what_may_have_been_sent(self, outbox: SqliteOutbox) -> None:
        outbox.append([event()])
        (request,) = claim(outbox)
        outbox.close()
        outbox.open(settings())
        (again,) = claim(outbox)
        assert (again.key, again.attempts, again.ambiguous) == (request.key, 2, True)

    def test_retried_by_a_person_its_time_begins_anew(self, outbox: SqliteOutbox, clock: ManualClock) -> None:
        outbox.append([event()])
        (request,) = claim(outbox)
        outbox.exchange([retry(request, sent=True)], 0)
        clock.advance(25 * HOUR)
        (parked,) = outbox.exchange([], 10).expired
        assert outbox.retry_parked([parked.id]) == 1
        (again,) = claim(outbox)
        assert (again.key, again.ambiguous, again.recorded_at) == (request.key, True, START)
        outbox.exchange([retry(again, sent=False)], 0)
        clock.advance(23 * HOUR)
        assert len(claim(outbox)) == 1

    def test_age(self) -> None:
        then = Timestamp(1000.0, 50.0, 1)
        assert age(then, Timestamp(1010.0, 55.0, 1)) == 10
        assert age(then, Timestamp(900.0, 55.0, 1)) == 5
        assert age(then, Timestamp(900.0, 55.0, 2)) == 0
        assert age(then._replace(boot_number=0), Timestamp(900.0, 55.0, 0)) == 0

    def test_the_clocks_of_this_machine(self) -> None:
        clock = SystemClock()
        assert clock.wall() > START
        assert clock.boot() <= clock.boot()
        assert clock.boot_id() == clock.boot_id()


class TestExchange:
    def test_a_retry_waits_for_its_delay(self, outbox: SqliteOutbox, clock: ManualClock) -> None:
        outbox.append([event()])
        (request,) = claim(outbox)
        assert outbox.exchange([retry(request, sent=False, delay=30)], 10, flush=True) == ([], 30.0, [])
        clock.advance(29)
        assert outbox.exchange([], 10) == ([], 1.0, [])
        clock.advance(1)
        assert len(claim(outbox)) == 1

    def test_a_delay_is_bounded_and_survives_a_clock_set_back(self, outbox: SqliteOutbox, clock: ManualClock) -> None:
        outbox.append([event()])
        (request,) = claim(outbox)
        got = outbox.exchange([retry(request, sent=False, delay=1e9)], 10)
        assert got.next_due == MAX_DELAY
        clock.set_wall(-60)
        assert len(claim(outbox)) == 1, "due later than any delay allows: the clock was set back"

    def test_next_due(self, outbox: SqliteOutbox) -> None:
        assert outbox.exchange([], 10).next_due is None
        outbox.append([event(), event()])
        assert outbox.exchange([], 0).next_due == 0
        assert outbox.exchange([], 1).next_due == 0
        assert outbox.exchange([], 1).next_due is None

    def test_settling_twice_is_safe(self, outbox: SqliteOutbox) -> None:
        outbox.append([event(), event(), event()])
        one, two, three = claim(outbox)
        settlements = [*delivered(one), refused(two), retry(three, sent=False)]
        outbox.exchange(settlements, 0)
        (again,) = claim(outbox)
        outbox.exchange(settlements[:2], 0)
        counts = outbox.counts()
        assert (counts.events, counts.claimed, counts.parked) == (1, 1, 1)
        assert again.key == three.key

    def test_only_the_owner_settles(self, outbox: SqliteOutbox, open_outbox: Open) -> None:
        outbox.append([event(), event(), event()])
        requests = claim(outbox)
        stranger = open_outbox()
        stranger.exchange([*delivered(requests[0]), refused(requests[1]), retry(requests[2], sent=False)], 0)
        counts = stranger.counts()
        assert (counts.events, counts.claimed, counts.parked) == (3, 3, 0)
        assert outbox.renew(requests) == requests

    def test_never_more_than_the_limit(self, outbox: SqliteOutbox) -> None:
        outbox.append([event(), event()])
        outbox.exchange([retry(request, sent=False) for request in claim(outbox)], 0)
        outbox.append([event() for _ in range(5)])
        assert [request.attempts for request in claim(outbox, 3)] == [2, 2, 1]

    def test_hundreds_at_once(self, outbox: SqliteOutbox) -> None:
        outbox.append([event() for _ in range(700)])
        requests = claim(outbox, 700)
        assert len(requests) == 700
        outbox.exchange([retry(request, sent=False) for request in requests], 0)
        again = claim(outbox, 700)
        assert [each.key for each in again] == [each.key for each in requests]
        outbox.exchange(delivered(*again), 0)
        assert outbox.counts()[:2] == (0, 0)

    def test_renew_tells_what_is_still_claimed(self, outbox: SqliteOutbox) -> None:
        outbox.append([event(), event()])
        one, two = claim(outbox)
        outbox.exchange(delivered(one), 0)
        assert outbox.renew([one, two]) == [two]
        assert outbox.renew_after is None

    def test_claims_are_on_disk_even_if_records_need_not_be(self, open_outbox: Open) -> None:
        outbox = open_outbox({"synchronous": "normal"})
        file: Any = outbox._connection._file
        used: list[int] = []
        file.db.set_trace_callback(
            lambda sql: used.append(file.synchronous) if sql.startswith("COMMIT") else None,
        )
        outbox.append([event()])
        outbox.exchange([], 1)
        outbox.append([event()])
        assert used == ["normal", "full", "normal"]
        assert file.db.execute("PRAGMA synchronous").fetchone() == (1,)


class TestOwnersOfOneProcess:
    def test_each_outbox_is_an_owner(self, open_outbox: Open, clock: ManualClock) -> None:
        one, two = open_outbox(), open_outbox()
        one.append([event() for _ in range(4)])
        first, second = claim(one, 2), claim(two, 2)
        assert not {each.key for each in first} & {each.key for each in second}
        clock.advance(5)
        assert claim(two) == [], "looking for dead owners must not end the lock of a living one"
        two.close()
        clock.advance(5)
        got = one.exchange([], 10)
        assert {each.key for each in got.requests} == {each.key for each in second}
        assert all(each.ambiguous for each in got.requests)

    def test_one_looks_again_for_owners_that_may_die(self, open_outbox: Open, clock: ManualClock) -> None:
        one, two = open_outbox(), open_outbox()
        one.append([event()])
        claim(one)
        assert two.exchange([], 10).next_due == 1.0
        one.exchange(delivered(), 0)


class TestEnd:
    def test_one_that_is_forgotten_hands_back_its_requests(self, open_outbox: Open, path: Path) -> None:
        other = open_outbox()
        forgotten = SqliteOutbox(path)
        forgotten.open(settings())
        forgotten.append([event()])
        (request,) = claim(forgotten)
        del forgotten
        gc.collect()
        third = open_outbox()
        assert [each.key for each in claim(third)] == [request.key]
        assert other.counts().claimed == 1

    def test_a_failed_opening_leaves_nothing_open(self, path: Path) -> None:
        with closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE theirs (x)")
        before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
        outbox = SqliteOutbox(path)
        with pytest.raises(ConfigError):
            outbox.open(settings())
        with pytest.raises(OutboxError, match="not open"):
            outbox.append([event()])
        if before:
            assert set(os.listdir("/proc/self/fd")) == before


class TestParked:
    def test_refused_requests_are_kept_with_the_reason(self, outbox: SqliteOutbox) -> None:
        outbox.append([event(), event(), event()])
        requests = claim(outbox)
        outbox.exchange([refused(request) for request in requests], 0)
        first = outbox.list_parked(2)
        rest = outbox.list_parked(2, after=first[-1].id)
        assert [one.key for one in first + rest] == [request.key for request in requests]
        one = first[0]
        assert (one.reason, one.status, one.code, one.message) == (
            "refused",
            422,
            "no_such_meter",
            "There is no such meter.",
        )
        assert outbox.counts()[:4] == (0, 0, 0, 3)

    def test_retry_and_drop(self, outbox: SqliteOutbox) -> None:
        outbox.append([event() for _ in range(4)])
        requests = claim(outbox)
        outbox.exchange([refused(request) for request in requests], 0)
        ids = [one.id for one in outbox.list_parked(10)]
        assert outbox.drop_parked([ids[0], "x", "99999", "9" * 40, "-1", "\u0663"]) == 1
        assert outbox.retry_parked([ids[1], ids[1]]) == 1
        assert [each.key for each in claim(outbox)] == [requests[1].key]
        assert outbox.retry_parked() == 2
        assert {each.key for each in claim(outbox)} == {requests[2].key, requests[3].key}
        assert outbox.drop_parked() == 0
        assert outbox.retry_parked([]) == 0

    def test_texts_of_the_service_are_bounded(self, outbox: SqliteOutbox) -> None:
        outbox.append([event()])
        (request,) = claim(outbox)
        outbox.exchange([Settlement(request, Outcome.REFUSED, code="c" * 10**6, message="m" * 10**6)], 0)
        (parked,) = outbox.list_parked(1)
        assert len(parked.code) + len(parked.message) < 2100
        assert outbox.list_parked(0) == []
        assert outbox.list_parked(5, after="nonsense") == []


class TestCounts:
    def test_everything_is_counted(self, outbox: SqliteOutbox, clock: ManualClock) -> None:
        outbox.append([summable(recorded_at=START), summable(), event(), event(), event()])
        clock.advance(5)
        one, two, _ = claim(outbox)
        outbox.exchange([*delivered(one), refused(two)], 0)
        outbox.append([event(recorded_at=clock.wall())])
        counts = outbox.counts()
        assert counts[:4] == (4, 3, 1, 1)
        assert (counts.oldest_recorded_at, counts.oldest_age) == (START, 5.0)
        assert counts.size > 0

    def test_empty(self, outbox: SqliteOutbox) -> None:
        assert outbox.counts()[:6] == (0, 0, 0, 0, None, 0.0)

    def test_the_age_by_the_boot_clock(self, outbox: SqliteOutbox, clock: ManualClock) -> None:
        outbox.append([event()])
        clock.set_wall(-1000)
        clock.advance(5)
        assert outbox.counts().oldest_age == 5

    def test_drop_oldest_spares_what_is_claimed(self, outbox: SqliteOutbox) -> None:
        outbox.append([event(), summable(), summable()])
        (claimed,) = claim(outbox)
        outbox.append([event(), event(), event()])
        assert outbox.drop_oldest(0) == 0
        assert outbox.drop_oldest(1) == 2, "a sum is dropped as a whole"
        assert outbox.drop_oldest(2) == 2
        assert outbox.drop_oldest(100) == 1
        assert outbox.drop_oldest(100) == 0
        assert outbox.counts()[:3] == (1, 1, 1)
        outbox.exchange(delivered(claimed), 0)

    def test_dropping_many_requests(self, outbox: SqliteOutbox) -> None:
        outbox.append([event() for _ in range(1000)])
        outbox.exchange([retry(request, sent=False) for request in claim(outbox, 900)], 0)
        assert outbox.drop_oldest(950) == 950
        assert outbox.counts().events == 50


@pytest.mark.parametrize("flush", [False, True])
def test_the_oldest_event_may_be_one_that_is_behind_newer_sums(outbox: SqliteOutbox, flush: bool) -> None:
    outbox.append([event(recorded_at=START), summable(recorded_at=START + 1)])
    claim(outbox)
    claim(outbox, flush=flush)  # the sum, too, which has the lower number
    assert outbox.counts().oldest_recorded_at == START
