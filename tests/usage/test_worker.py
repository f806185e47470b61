"""The arguments of the command `montra-usage`, and what it says about an outbox that can't be found."""

from __future__ import annotations

from pathlib import Path

import pytest

from montra_async.usage.outbox import OutboxSettings
from montra_async.usage.sqlite.sqlite_outbox import SqliteOutbox
from montra_async.usage.worker import main

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
