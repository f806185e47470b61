"""The arguments of the command `montra-usage`, and what it says about an outbox that can't be found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from montra_async import Montra
from montra_async.usage import UsageReporter
from montra_async.usage.engine import UsageEngine
from montra_async.usage.outbox import OutboxSettings
from montra_async.usage.sqlite.sqlite_outbox import SqliteOutbox
from montra_async.usage.worker import main
from montra_sync import Montra as SyncMontra
from montra_sync.usage import UsageReporter as SyncUsageReporter

from .sink import Sink, running_sink

BASE_URL = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONTRA_API_KEY", "sk_test_x")
    monkeypatch.setenv("MONTRA_BASE_URL", BASE_URL)


@pytest.fixture
def outbox(tmp_path: Path) -> str:
    """An empty outbox."""
    empty = SqliteOutbox(tmp_path / "usage.db")
    empty.open(OutboxSettings(base_url=BASE_URL))
    empty.close()
    return empty.path


@pytest.mark.parametrize(
    "command", [["status"], ["parked"], ["parked", "--retry", "all"], ["send", "--once"]], ids=" ".join
)
def test_looking_at_no_outbox_creates_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert main(["--outbox", str(tmp_path / "typo" / "usage.db"), *command]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"montra-usage: no such outbox: {tmp_path / 'typo' / 'usage.db'}\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("after", [False, True], ids=["before the command", "after the command"])
def test_common_options_before_and_after_the_command(
    outbox: str, capsys: pytest.CaptureFixture[str], after: bool
) -> None:
    common = ["--outbox", outbox, "--log-level", "error"]
    assert main(["status", *common] if after else [*common, "status"]) == 0
    assert '"waiting": 0' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["send", "--timeout", "3"], "only with --once"),
        (["send", "--once", "--timeout", "nan"], "a number of seconds, more than 0"),
        (["send", "--once", "--timeout", "soon"], "a number of seconds, more than 0"),
        (["send", "--concurrency", "0"], "1 to 1000, not '0'"),
        (["send", "--concurrency", "many"], "1 to 1000, not 'many'"),
        (["parked", "--limit", "1001"], "1 to 1000, not '1001'"),
    ],
)
def test_wrong_usage_is_explained(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert said in err
    assert "invalid _" not in err


@pytest.mark.parametrize("choice", ["--retry", "--drop"])
def test_requests_that_are_not_parked(outbox: str, capsys: pytest.CaptureFixture[str], choice: str) -> None:
    assert main(["--outbox", outbox, "parked", choice, "nosuch", "17", "17"]) == 3
    assert "montra-usage: 2 of 2 are not parked\n" in capsys.readouterr().err
    assert main(["--outbox", outbox, "parked", choice, "all"]) == 3
    assert "montra-usage: no request is parked\n" in capsys.readouterr().err


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
    """The service that the command sends to."""
    with running_sink() as running:
        monkeypatch.setenv("MONTRA_BASE_URL", running.base_url)
        yield running


@pytest.fixture
def closings(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the closing of each reporter was given."""
    given: list[float] = []
    close = UsageEngine.close

    def noted(engine: UsageEngine, timeout: float) -> int:
        given.append(timeout)
        return close(engine, timeout)

    monkeypatch.setattr(UsageEngine, "close", noted)
    return given


def record(sink: Sink, path: Path) -> list[str]:
    """Leave an event in an outbox. Returns the arguments that send it."""
    with SyncUsageReporter(SyncMontra("sk_test_x", sink.base_url), SqliteOutbox(path), send=False) as usage:
        usage.record("cust_1", "api-tokens", amount=3)
    return ["--outbox", str(path), "send", "--once"]


def test_no_time_is_added_to_the_time_out_of_sending_once(sink: Sink, tmp_path: Path, closings: list[float]) -> None:
    arguments = record(sink, tmp_path / "usage.db")
    sink.faults(seconds=600)
    closings.clear()
    assert main([*arguments, "--timeout", "0.3"]) == 3
    assert closings[0] == 0, "the time was over when the reporter was closed"


def test_closing_has_the_rest_of_the_time_out_of_sending_once(
    sink: Sink, tmp_path: Path, closings: list[float]
) -> None:
    arguments = record(sink, tmp_path / "usage.db")
    closings.clear()
    assert main([*arguments, "--timeout", "60"]) == 0
    assert sink.total() == 3
    assert closings[0] == 5, "there is enough time for what was recorded meanwhile"


async def test_a_reporter_is_closed_within_a_time_of_its_own(sink: Sink, tmp_path: Path, closings: list[float]) -> None:
    sink.faults(down=True)
    async with Montra("sk_test_x", sink.base_url) as montra:
        usage = UsageReporter(montra, SqliteOutbox(tmp_path / "usage.db"))
        await usage.record("cust_1", "api-tokens")
        assert await usage.aclose(0) == 1
        await usage.aclose()
    with SyncMontra("sk_test_x", sink.base_url) as client:
        sync = SyncUsageReporter(client, SqliteOutbox(tmp_path / "usage.db"))
        sync.record("cust_1", "api-tokens")
        assert sync.close(0.25) == 2
        sync.close()
    assert closings == [0, 5, 0.25, 5]
