"""Formats: tables for people, stable lines, JSON and CSV for programs; nothing from the service controls a terminal."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

import pytest

from montra_cli.cleaning import clean, clean_lines
from montra_cli.output.encoding import csv_line, to_json
from montra_cli.output.files import write_file
from montra_cli.output.text import plain

from .conftest import COMMAND, Cli

EVIL = "\x1b]0;owned\x07\x1b[31m[bold]Ada[/bold]\x9b2J\u202e\r\nB :smile:"
ESCAPES = re.compile(r"\x1b(?!\[[0-9;]*m)|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u202e]")

ESCAPED = re.compile(r"\x1b\[[0-9;]*m")


def test_a_terminal_gets_a_table_and_no_escapes_of_others(cli: Cli) -> None:
    cli.customer(name=EVIL)
    child = cli.terminal("customers", "list", columns=160)
    child.expect_exact("ada@example.com")
    text = str(child.before) + "ada@example.com" + str(child.read())
    assert "\\x1b]0;owned\\x07" in text
    assert "[bold]Ada[/bold]" in text.replace("\r\n", "")
    assert ESCAPES.search(text) is None
    assert "\x1b[32m" in text  # the status, in green
    child.wait()
    assert child.exitstatus == 0


def test_tables_fit_and_say_what_is_not_shown(cli: Cli) -> None:
    customer = cli.customer(name="Ada " * 20)
    child = cli.terminal("customers", "list", columns=60)
    text = str(child.read())
    assert all(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) <= 60 for line in text.split("\r\n") if "Not shown" not in line)
    assert customer in text
    assert "Not shown: " in text
    child = cli.terminal("customers", "list", "--columns", "id,created_at")
    text = str(child.read())
    assert "created_at" in text
    assert "Not shown" not in text


def test_no_color_and_one_object(cli: Cli) -> None:
    customer = cli.customer()
    child = cli.terminal("customers", "get", customer, NO_COLOR="1")
    text = str(child.read())
    assert customer in text
    assert "\x1b[3" not in text
    child = cli.terminal("customers", "list", TERM="dumb")
    assert str(child.read()).startswith("id\temail")


def test_an_empty_table_says_so(cli: Cli) -> None:
    assert "Nothing found." in str(cli.terminal("invoices", "list").read())
    assert cli.ok("invoices", "list").out.startswith("id\tamount_due")
    assert cli.ok("invoices", "list", "--json").json == []
    assert cli.ok("invoices", "list", "--jsonl").out == ""


def test_piped_lines_are_stable(cli: Cli) -> None:
    cli.customer(name=EVIL)
    header, row = cli.ok("customers", "list").out.splitlines()
    assert header.split("\t") == [
        *("id", "email", "name", "status", "created_at", "phone", "address", "invoicing_emails", "metadata")
    ]
    assert len(row.split("\t")) == len(header.split("\t"))
    assert ESCAPES.search(row) is None
    assert len(cli.ok("customers", "list", "--no-header").out.splitlines()) == 1
    assert cli.ok("customers", "list", "--json").json[0]["name"] == EVIL
    assert ESCAPES.search(cli.ok("customers", "list", "--json").out) is None


def test_nothing_of_a_customer_controls_the_terminal_behind_a_pipe(cli: Cli) -> None:
    customer = cli.customer(name=EVIL)
    for arguments in (("list",), ("list", "--csv"), ("list", "--jsonl"), ("get", customer), ("get", customer, "--csv")):
        assert ESCAPES.search(cli.ok("customers", *arguments).out) is None, arguments
    answer = cli.ok("api", "GET", f"/customers/{customer}").out
    assert ESCAPES.search(answer) is None
    assert json.loads(answer)["data"]["name"] == EVIL
    assert EVIL in cli.ok("customers", "list", "--csv-raw").raw.decode()


def test_one_object_has_the_same_columns_whatever_it_has(cli: Cli) -> None:
    few = cli.customer()
    made = cli.ok("customers", "create", "--name", "B", "--email", "b@b.co", "--phone", "1", "--json").json
    listed = cli.ok("customers", "list", "--csv").out.splitlines()[0]
    for one in (few, made["id"]):
        assert cli.ok("customers", "get", one, "--csv").out.splitlines()[0] == listed
        lines = cli.ok("customers", "get", one).out.splitlines()
        assert ",".join(line.partition("\t")[0] for line in lines) == listed
    assert cli.ok("customers", "get", few, "--columns", "id", "--no-header").out == f"{few}\n"


@pytest.mark.parametrize("columns", ["", " ", ","])
def test_no_column_is_refused(cli: Cli, columns: str) -> None:
    ran = cli.run("customers", "list", "--columns", columns)
    assert (ran.code, "--columns" in ran.err) == (2, True)


def test_csv_holds_no_formulas(cli: Cli) -> None:
    for number, name in enumerate(("=1+1", "+1", "-cmd|'x'!A", "@SUM(A1)", 'Ada, "the" first\n', "\uff1d1")):
        cli.customer(f"{number}@example.com", name)
    names = [
        row["name"]
        for row in csv.DictReader(io.StringIO(cli.ok("customers", "list", "--csv").raw.decode(), newline=""))
    ]
    assert names == ["'=1+1", "+1", "'-cmd|'x'!A", "'@SUM(A1)", 'Ada, "the" first\n', "'\uff1d1"]
    raw = csv.DictReader(io.StringIO(cli.ok("customers", "list", "--csv-raw").raw.decode(), newline=""))
    assert next(row["name"] for row in raw) == "=1+1"
    assert cli.run("customers", "list", "--csv", "--json").code == 2


@pytest.mark.parametrize("harmless", ["-5.20", "+358 40 123", "+1 (555) 010-0000", "2030-01-31", "a=b", ""])
def test_numbers_and_telephone_numbers_stay(harmless: str) -> None:
    assert next(csv.reader([csv_line([harmless, None])])) == [harmless, ""]


@pytest.mark.parametrize("formula", ["=A1", " =A1", "+A1", "-A1", "@A1", "\t=A1", "+1+cmd|' /C calc'!A0"])
def test_formulas_become_text(formula: str) -> None:
    assert next(csv.reader(io.StringIO(csv_line([formula]), newline=""))) == [f"'{formula}"]


def test_values_as_text() -> None:
    assert [plain(one) for one in (None, True, Decimal("1E+2"), Decimal("20.00"), 1.5, "a\tb\x1b")] == [
        *("", "true", "100", "20.00", "1.5", "a\\tb\\x1b")
    ]
    assert plain(datetime(2030, 1, 31, tzinfo=timezone.utc)) == "2030-01-31T00:00:00Z"
    assert plain(datetime(2030, 1, 31, tzinfo=timezone.utc).date()) == "2030-01-31"
    assert plain({"a": [1, Decimal("2.50")]}) == '{"a": [1, 2.50]}'
    assert clean("\ud800\u2028") == "\\ud800\\u2028"
    assert clean_lines("a\nb\r") == "a\nb\\r"
    assert to_json({"a": {}, "b": [], "c": {"d": [1]}}, indent=2).count("\n") == 8
    assert (
        to_json([datetime(2030, 1, 31, tzinfo=timezone.utc), Decimal("NaN"), "\x9b"])
        == '["2030-01-31T00:00:00Z", "NaN", "\\u009b"]'
    )


def test_files_are_written_at_once(tmp_path: Path) -> None:
    target = tmp_path / "a.csv"
    target.write_text("old")
    target.chmod(0o640)

    def broken() -> object:
        yield b"new"
        raise ValueError

    with pytest.raises(ValueError):
        write_file(str(target), broken())  # type: ignore[arg-type]
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
    write_file(str(target), [b"new"])
    assert (target.read_text(), target.stat().st_mode & 0o777) == ("new", 0o640)


def test_a_reader_that_ends_is_no_error(cli: Cli) -> None:
    for number in range(3):
        (cli.folder / "big.json").write_text(json.dumps({"a": "x" * 60_000}))
        cli.ok("customers", "create", "--name", "A", "--email", f"{number}@example.com", "--metadata", "@big.json")
    command = f"{sys.executable} -W error -m montra_cli customers list --jsonl | head -c 10; echo ${{PIPESTATUS[0]}}"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, env=cli.settings())
    assert run.stderr == ""
    assert run.stdout.splitlines()[-1].endswith("141")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_is_told(alone: Cli) -> None:
    with open("/dev/full", "wb") as full:
        run = subprocess.run(
            [*COMMAND, "help", "exit-codes"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=alone.settings(),
            timeout=60,
            check=False,
        )
    assert (run.returncode, run.stderr) == (
        1,
        "Error: what the command writes has no room: No space left on device\n",
    )


@pytest.mark.parametrize(
    "arguments", ["customers list --json", "help exit-codes", "--version", "--help", "config path"]
)
def test_a_closed_stdout_is_told(cli: Cli, arguments: str) -> None:
    command = [sys.executable, "-W", "error", "-m", "montra_cli", *arguments.split()]
    run = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command], capture_output=True, text=True, timeout=60, env=cli.settings()
    )
    assert (run.returncode, run.stderr) == (1, "Error: there is no stdout to write to: it was closed\n")


def test_closed_streams_that_are_not_needed_change_nothing(cli: Cli) -> None:
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "montra_cli",
        "export",
        "customers",
        "-o",
        str(cli.folder / "c.csv"),
    ]
    cli.customer()
    for closed in (">&-", "2>&-", "<&-", ">&- 2>&- <&-"):
        (cli.folder / "c.csv").unlink(missing_ok=True)
        run = subprocess.run(
            ["sh", "-c", f'exec "$@" {closed}', "sh", *command], capture_output=True, timeout=60, env=cli.settings()
        )
        assert (run.returncode, run.stdout) == (0, b"")
        assert "ada@example.com" in (cli.folder / "c.csv").read_text()


def test_ids_are_whole_on_a_narrow_terminal(cli: Cli) -> None:
    customer = cli.customer()
    for columns in (10, 17, 24, 25, 26, 40):
        text = str(cli.terminal("customers", "list", columns=columns, NO_COLOR="1").read())
        assert customer in "".join(ESCAPED.sub("", text).split()), (columns, text)
        child = cli.terminal("customers", "list", "--columns", "id,email", columns=columns, NO_COLOR="1")
        text = ESCAPED.sub("", str(child.read()))
        rows = [line.split(" ")[0] for line in text.split("\r\n")]
        assert customer in "".join(rows) or "\u2026" in text, (columns, text)


@pytest.mark.parametrize("more", [[], ["--json"], ["--jsonl"], ["--csv"]])
def test_columns_that_there_are_not_are_refused(cli: Cli, more: list[str]) -> None:
    refused = cli.run("customers", "list", "--columns", "id,emial", *more)  # nothing is found, and it is refused
    assert (refused.code, refused.out) == (2, "")
    made = cli.run("customers", "create", "--name", "A", "--email", "a@example.com", "--columns", "emial", *more)
    assert (made.code, cli.ok("customers", "list", "--jsonl").out) == (2, "")  # refused before it is carried out
    customer = cli.customer()
    for arguments in (["customers", "list"], ["customers", "get", customer], ["logs", "list"], ["events", "list"]):
        ran = cli.run(*arguments, "--columns", "id,emial", *more)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("Error: --columns: no emial; there are: "), ran.err
        cli.ok(*arguments, "--columns", "id", *more)
    cli.ok("customers", "get", customer, "--columns", "id,phone,metadata", *more)
    cli.ok("sandbox", "status", "--columns", "now", *more)


def test_columns_on_a_terminal(cli: Cli) -> None:
    cli.customer()
    child = cli.terminal("customers", "list", "--columns", "emial")
    assert "there are: id, " in str(child.read())
    child.wait()
    assert child.exitstatus == 2
    event = cli.ok("events", "list", "--jsonl").lines[0]["id"]
    child = cli.terminal("events", "show", event, "--columns", "type")
    assert "customer.created" in str(child.read())
    child.wait()
    assert child.exitstatus == 0
