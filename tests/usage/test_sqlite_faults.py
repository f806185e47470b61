"""An `SqliteOutbox` whose file, disk or neighbours are broken."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from montra_async.usage.errors import OutboxError
from montra_async.usage.sqlite import sqlite_errors
from montra_async.usage.sqlite.disk_reserve import SIZE
from montra_async.usage.sqlite.sqlite_errors import DiskFullError
from montra_async.usage.sqlite.sqlite_outbox import SqliteOutbox

from .outbox_helpers import ManualClock, delivered, drain, event, retry, settings, summable

Make = Callable[..., SqliteOutbox]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage.db"


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[SqliteOutbox] = []

    def opened(path: Path, **arguments: Any) -> SqliteOutbox:
        outbox = SqliteOutbox(path, **{"timeout": 0.3, **arguments})
        made.append(outbox)
        outbox.open(settings())
        return outbox

    yield opened
    for outbox in made:
        outbox.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 20 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if _mount("-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder)):
        pytest.skip("this user can't mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mount(*arguments: str) -> bool:
    """Whether it failed."""
    command = shutil.which("mount")
    return command is None or subprocess.run([command, *arguments], capture_output=True).returncode != 0


def _other_process(code: str, *arguments: object) -> None:
    """Run code elsewhere: in this process, closing a file would end the locks that SQLite has on it."""
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True, timeout=30)


def _overwrite(path: Path, offset: int, size: int) -> None:
    code = (
        "import os, sys; f = open(sys.argv[1], 'r+b'); f.seek(int(sys.argv[2])); f.write(b'\\xa5' * int(sys.argv[3]))"
    )
    _other_process(code, path, offset, size)


def _errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


class TestDiskFull:
    def test_what_was_recorded_is_sent_with_the_reserved_space(self, small_disk: Path, make: Make) -> None:
        outbox = make(small_disk / "usage.db")
        stored = 0
        with pytest.raises(OutboxError, match="no space left"):
            while True:
                outbox.append([event(metadata='{"x": "' + "y" * 500 + '"}') for _ in range(100)])
                stored += 100
        _fill(small_disk)
        assert outbox.counts().events == stored
        claimed = outbox.exchange([], 64)
        assert not (small_disk / "usage.db.reserve").exists()
        got = len(claimed.requests)
        while claimed.requests:
            claimed = outbox.exchange(delivered(*claimed.requests), 64)
            got += len(claimed.requests)
        assert got == stored
        assert outbox.counts()[:4] == (0, 0, 0, 0)

    @pytest.mark.parametrize("filled_by", ["events", "others"])
    def test_a_new_process_sends_with_the_reserved_space(self, small_disk: Path, make: Make, filled_by: str) -> None:
        recorder = make(small_disk / "usage.db")
        recorder.append([event() for _ in range(300)])
        stored = 300
        if filled_by == "events":
            with pytest.raises(OutboxError, match="no space left"):
                while True:
                    recorder.append([event(metadata='{"x": "' + "y" * 500 + '"}') for _ in range(100)])
                    stored += 100
        _fill(small_disk)
        recorder.close()
        _fill(small_disk)
        assert (small_disk / "usage.db.reserve").exists()
        sender = make(small_disk / "usage.db")
        assert not (small_disk / "usage.db.reserve").exists()
        assert sender.counts().events == stored
        assert len(drain(sender)) == stored

    def test_the_space_is_reserved_again_when_there_is_room(self, small_disk: Path, make: Make) -> None:
        outbox = make(small_disk / "usage.db")
        outbox.append([event()])
        _fill(small_disk)
        with pytest.raises(OutboxError, match="no space left"):
            while True:
                outbox.append([event()] * 100)
        drain(outbox)
        assert not (small_disk / "usage.db.reserve").exists()
        with pytest.raises(OutboxError, match="needed for sending"):
            outbox.append([event()])
        (small_disk / "filler").unlink()
        outbox.append([event()])
        assert (small_disk / "usage.db.reserve").stat().st_size == SIZE
        assert outbox.counts().events > 0

    def test_no_room_for_the_reserve_at_the_beginning(self, small_disk: Path, make: Make) -> None:
        _fill(small_disk, leave=SIZE + 500_000)
        outbox = make(small_disk / "usage.db")
        with pytest.raises(OutboxError, match="needed for sending"):
            outbox.append([event()])
        (small_disk / "filler").unlink()
        outbox.append([event()])
        assert len(drain(outbox)) == 1

    def test_no_room_at_all(self, small_disk: Path, make: Make) -> None:
        _fill(small_disk)
        with pytest.raises(OutboxError, match="no space left"):
            make(small_disk / "usage.db")

    def test_nothing_is_stored_when_sqlite_has_no_room(self, path: Path, make: Make) -> None:
        """On any machine: SQLite's own limit of pages gives the same error."""
        outbox = make(path)
        outbox.append([event()])
        connection: Any = outbox._connection
        connection._file.db.execute("PRAGMA max_page_count = 20")
        with pytest.raises(OutboxError, match="no space left"):
            outbox.append([event() for _ in range(3000)])
        assert outbox.counts().events == 1
        assert len(drain(outbox)) == 1


def _fill(folder: Path, leave: int = 0) -> None:
    with open(folder / "filler", "ab") as filler:
        while (free := os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize) > leave:
            filler.write(b"f" * min(65536, free - leave))
            filler.flush()


class TestReadOnly:
    def test_a_file_system_that_becomes_read_only(self, small_disk: Path, make: Make) -> None:
        outbox = make(small_disk / "usage.db")
        outbox.append([event()])
        outbox.before_fork()
        assert not _mount("--bind", str(small_disk), str(small_disk))
        assert not _mount("-o", "remount,bind,ro", str(small_disk))
        for _ in range(2):
            with pytest.raises(OutboxError, match=r"usage\.db"):
                outbox.append([event()])
        subprocess.run(["umount", str(small_disk)], check=True)
        outbox.append([event()])
        assert len(drain(outbox)) == 2

    def test_a_folder_that_may_not_be_written(self) -> None:
        program = (
            "import os, sys\n"
            "from montra_async.usage.sqlite.sqlite_outbox import SqliteOutbox\n"
            "from montra_async.usage.outbox import OutboxSettings\n"
            "from montra_async.usage.errors import OutboxError\n"
            "outbox = SqliteOutbox(sys.argv[1])\n"
            "if os.geteuid() == 0:\n    os.setuid(65534)\n"
            "try:\n    outbox.open(OutboxSettings(base_url='https://x'))\n"
            "except OutboxError as error:\n    assert 'permissions' in str(error), error\n"
            "else:\n    raise AssertionError\n"
        )
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o555)
            _other_process(program, Path(folder, "usage.db"))
            os.chmod(folder, 0o755)


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "meaning"),
        [
            (sqlite3.OperationalError("attempt to write a readonly database"), "read-only; check the permissions"),
            (sqlite3.OperationalError("disk I/O error"), "disk I/O error"),
            (OSError(errno.EDQUOT, "Disk quota exceeded"), "no space left on the disk"),
            (OSError(errno.EROFS, "Read-only file system"), "check the permissions"),
            (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        ],
    )
    def test_what_the_system_says(self, path: Path, make: Make, error: Exception, meaning: str) -> None:
        outbox = make(path)
        connection: Any = outbox._connection

        def fails(_: object) -> None:
            raise error

        with pytest.raises(OutboxError, match=meaning) as caught:
            connection.write(fails)
        assert str(path) in str(caught.value)
        outbox.append([event()])
        assert len(drain(outbox)) == 1

    def test_an_io_error_on_a_full_disk(self, path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        """As when the shared memory file can't grow."""
        monkeypatch.setattr(sqlite_errors, "free_space", lambda path: 1000)
        assert isinstance(
            sqlite_errors.translated(sqlite3.OperationalError("disk I/O error"), str(path)), DiskFullError
        )

        def unknown(path: str) -> int:
            raise OSError(errno.ENOENT, "gone")

        monkeypatch.setattr(sqlite_errors, "free_space", unknown)
        error = sqlite_errors.translated(sqlite3.OperationalError("disk I/O error"), str(path))
        assert not isinstance(error, DiskFullError)


class TestDamaged:
    def test_found_at_the_beginning(self, path: Path, make: Make, caplog: pytest.LogCaptureFixture) -> None:
        first = make(path)
        first.append([event() for _ in range(2000)])
        first.close()
        damaged = path.read_bytes()
        _overwrite(path, 4096 * 12, 4096 * 8)
        outbox = make(path)
        (aside,) = path.parent.glob("usage.db.damaged-*")
        assert len(aside.read_bytes()) == len(damaged)
        assert any(str(aside) in message for message in _errors(caplog))
        outbox.append([event()])
        assert len(drain(outbox)) == 1

    def test_found_later(self, path: Path, make: Make, caplog: pytest.LogCaptureFixture) -> None:
        outbox = make(path)
        outbox.append([event() for _ in range(2000)])
        claimed = outbox.exchange([], 1).requests
        outbox.before_fork()
        _overwrite(path, 0, os.stat(path).st_size)
        with pytest.raises(OutboxError, match="damaged"):
            outbox.append([event()])
        outbox.append([event()])
        (aside,) = path.parent.glob("usage.db.damaged-*")
        assert any(str(aside) in message for message in _errors(caplog))
        other = event()
        outbox.append([other])
        outbox.exchange(delivered(*claimed), 0)
        assert outbox.counts().events == 2, "a request of the old file is not one of the new file with the same number"
        assert len(drain(outbox)) == 2

    def test_found_by_one_of_two(self, path: Path, make: Make, caplog: pytest.LogCaptureFixture) -> None:
        one, two = make(path), make(path)
        one.append([event() for _ in range(500)])
        one.before_fork()
        two.before_fork()
        _overwrite(path, 0, os.stat(path).st_size)
        for outbox in (one, two):
            with pytest.raises(OutboxError, match="damaged"):
                outbox.append([event()])
        for outbox in (one, two):
            outbox.append([event()])
        assert len(list(path.parent.glob("usage.db.damaged-*"))) == 1
        assert two.counts().events == 2

    def test_names_of_damaged_files_do_not_collide(self, path: Path, make: Make) -> None:
        for _ in range(3):
            make(path).close()
            _overwrite(path, 0, os.stat(path).st_size)
        make(path)
        assert len(list(path.parent.glob("usage.db.damaged-*"))) == 3


class TestDeleted:
    @pytest.mark.parametrize("what", ["deleted", "replaced"])
    def test_noticed_at_the_commit(self, path: Path, make: Make, caplog: pytest.LogCaptureFixture, what: str) -> None:
        outbox = make(path)
        outbox.append([event(), event()])
        claimed = outbox.exchange([], 2).requests
        path.unlink()
        if what == "replaced":
            with closing(sqlite3.connect(path)) as db:
                db.execute("PRAGMA journal_mode = WAL")
        with pytest.raises(OutboxError, match=what):
            outbox.append([event()])
        outbox.append([event()])
        assert any(what in message for message in _errors(caplog))
        outbox.exchange(delivered(*claimed), 0)
        assert outbox.counts().events == 1
        assert outbox.renew(claimed) == []
        assert len(drain(outbox)) == 1

    def test_noticed_by_one_who_reads(self, path: Path, make: Make) -> None:
        outbox = make(path)
        for each in path.parent.glob("usage.db*"):
            each.unlink()
        with pytest.raises(OutboxError, match="deleted"):
            outbox.counts()
        assert outbox.counts().events == 0

    def test_the_lock_file(self, path: Path, make: Make, caplog: pytest.LogCaptureFixture) -> None:
        outbox = make(path)
        outbox.append([event()])
        (request,) = outbox.exchange([], 1).requests
        path.with_name("usage.db.lock").unlink()
        outbox.append([event()])
        assert any("lock file" in message for message in _errors(caplog))
        got = outbox.exchange([], 10).requests
        assert {each.key: each.ambiguous for each in got}[request.key], "others may think that its owner is dead"
        assert len(got) == 2


class TestLocked:
    def test_a_stranger_keeps_the_file_locked(self, path: Path, make: Make) -> None:
        outbox = make(path)
        with closing(sqlite3.connect(path, isolation_level=None)) as stranger:
            stranger.execute("BEGIN IMMEDIATE")
            with pytest.raises(OutboxError, match=r"locked for the whole 0\.3 s"):
                outbox.append([event()])
            assert outbox.counts().events == 0, "who reads waits for nobody"
            stranger.execute("ROLLBACK")
            outbox.append([event()])
            assert outbox.counts().events == 1

    def test_a_stranger_locks_before_it_is_opened(self, path: Path, make: Make) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as stranger:
            stranger.execute("BEGIN EXCLUSIVE")
            with pytest.raises(OutboxError, match="locked"):
                make(path)

    def test_another_process_keeps_the_mutex(self, path: Path, make: Make) -> None:
        outbox = make(path)
        program = (
            "import fcntl, os, sys\nfd = os.open(sys.argv[1], os.O_RDWR)\n"
            "fcntl.lockf(fd, fcntl.LOCK_EX, 1, 0)\nprint('held', flush=True)\nsys.stdin.read()"
        )
        command = [sys.executable, "-c", program, str(path) + ".lock"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            with pytest.raises(OutboxError, match="locked"):
                outbox.append([event()])
            holder.communicate(b"")
        outbox.append([event()])
        assert outbox.counts().events == 1

    def test_a_thread_of_this_process_keeps_the_mutex(self, path: Path, make: Make) -> None:
        outbox = make(path)
        locks: Any = outbox._connection._locks
        assert locks.acquire_mutex(0.0)
        with pytest.raises(OutboxError, match="locked"):
            outbox.append([event()])
        locks.release_mutex()
        outbox.append([event()])

    def test_a_file_system_without_locks(self, path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        outbox = make(path)

        def no_locks(*_: object) -> None:
            raise OSError(37, "No locks available")

        monkeypatch.setattr(fcntl, "lockf", no_locks)
        with pytest.raises(OutboxError, match="locks don't work"):
            outbox.append([event()])


class TestPowerCut:
    """What is on the disk when the machine stops: a copy of the files of an open outbox."""

    @pytest.mark.parametrize("damage", ["cut", "torn", "garbage behind"])
    def test_a_torn_end_of_the_log_loses_only_what_was_not_acknowledged(
        self, path: Path, tmp_path: Path, make: Make, damage: str
    ) -> None:
        clock = ManualClock()
        outbox = make(path, clock=clock)
        acknowledged = [event() for _ in range(50)]
        for each in acknowledged:
            outbox.append([each])
        wal = path.with_name("usage.db-wal")
        whole = wal.stat().st_size
        outbox.append([event() for _ in range(50)])
        after = tmp_path / "after"
        after.mkdir()
        code = "import shutil, sys; [shutil.copy(each, sys.argv[1]) for each in sys.argv[2:]]"
        _other_process(code, after, path, wal, str(path) + ".lock")
        copy = after / wal.name
        with open(copy, "r+b") as log:
            if damage == "cut":
                log.truncate(whole + 1000)
            elif damage == "torn":
                log.seek(whole + 2000)
                log.write(b"\xa5" * 500)
            else:
                log.truncate(whole)
                log.seek(whole)
                log.write(b"\xa5" * 9000)
        again = make(after / "usage.db", clock=clock)
        assert [request.key for request in drain(again)] == [each.key for each in acknowledged]

    def test_a_claim_that_was_on_disk_is_ambiguous_afterwards(self, path: Path, tmp_path: Path, make: Make) -> None:
        outbox = make(path)
        outbox.append([summable(), summable(), event()])
        claimed = outbox.exchange([], 10, flush=True).requests
        outbox.append([summable()])
        after = tmp_path / "after"
        after.mkdir()
        code = "import shutil, sys; [shutil.copy(each, sys.argv[1]) for each in sys.argv[2:]]"
        _other_process(code, after, path, str(path) + "-wal")
        again = make(after / "usage.db")
        got = {each.key: each for each in drain(again)}
        for request in claimed:
            assert got.pop(request.key) == request._replace(attempts=2, ambiguous=True)
        assert [each.ambiguous for each in got.values()] == [False]
        outbox.exchange([retry(request, sent=False) for request in claimed], 0)
