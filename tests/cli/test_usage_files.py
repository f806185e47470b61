"""What happens to the files of an import: the input stays, and no line of it is lost silently."""

from __future__ import annotations

import csv
import io
import json
import os

import pytest

from .conftest import Cli
from .test_usage_import import progress_of, write_lines


@pytest.mark.parametrize("link", ["same", "symlink", "hardlink"])
@pytest.mark.parametrize("option", ["--rejects", "--progress"])
def test_the_input_is_not_overwritten(cli: Cli, link: str, option: str) -> None:
    customer = cli.plan()["customer"]
    write_lines(cli, customer, 3)
    before = (cli.folder / "u.csv").read_bytes() + b"no line end"
    (cli.folder / "u.csv").write_bytes(before)
    if link == "symlink":
        (cli.folder / "r.csv").symlink_to("u.csv")
    elif link == "hardlink":
        os.link(cli.folder / "u.csv", cli.folder / "r.csv")
    name = "./u.csv" if link == "same" else "r.csv"
    for more in ([], ["--dry-run"]) if option == "--rejects" else ([],):
        ran = cli.run("usage", "import", "u.csv", option, name, *more)
        assert (ran.code, "would overwrite" in ran.err) == (2, True)
    assert (cli.folder / "u.csv").read_bytes() == before
    assert cli.used(customer) == 0


def test_other_files_are_not_changed_either(cli: Cli) -> None:
    write_lines(cli, cli.plan()["customer"], 1)
    for content in (b"notes\nwithout an end", b"one line", b"[1]\nx"):
        (cli.folder / "notes").write_bytes(content)
        assert cli.run("usage", "import", "u.csv", "--progress", "notes").code == 2
        assert (cli.folder / "notes").read_bytes() == content
    assert cli.run("usage", "import", "u.csv", "--progress", "p", "--rejects", "p").code == 2


def rejects_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize(
    ("before", "wrong", "behind", "line"),
    [
        (3, '"', 3000, 6),
        (3, '"{0},api-tokens,1,a', 20, 6),
        (3, '{0},api-tokens,1,"a', 20, 6),
        (3, '"{0}\n",api-tokens,"1,a', 20, 7),
        (3, '"\n{0},api-tokens,1,"x"', 20, 6),
        (3, '{0},"api-tokens\n"', 20, 6),
    ],
)
def test_a_quotation_mark_that_is_not_closed_hides_nothing(
    cli: Cli, before: int, wrong: str, behind: int, line: int
) -> None:
    customer = cli.plan()["customer"]
    good = f"{customer},api-tokens,1,"
    lines = ["customer_id,meter_slug,amount,metadata.job", *[good] * (before + 1), wrong.format(customer)]
    (cli.folder / "u.csv").write_text("\n".join([*lines, *[good] * behind]) + "\n")
    for more in (["--dry-run"], []):
        ran = cli.run("usage", "import", "u.csv", *more)
        assert (ran.code, f"line {line}: a quotation mark opens here" in ran.err) == (2, True), ran.err
        assert ("Nothing" in ran.err, "Traceback" in ran.err) == (True, False)
    assert cli.used(customer) == 0


def test_rejects_keep_what_could_not_be_parsed(alone: Cli) -> None:
    wrong = ['"c"x,m,1', "c,m", "c,m,1,extra,\u00e9", "c,m,-1", '"c,m,1']
    (alone.folder / "u.csv").write_text("\n".join(["customer_id,meter_slug,amount", *wrong]))
    ran = alone.run("usage", "import", "u.csv", "--dry-run", "--rejects", "r.csv")
    assert (ran.code, "5 refused lines" in ran.err) == (3, True)
    found = rejects_of((alone.folder / "r.csv").read_text())
    assert [one["raw_line"] for one in found] == [*wrong[:3], "", wrong[4]]
    assert [(one["customer_id"], one["amount"]) for one in found] == [("", "")] * 3 + [("c", "-1"), ("", "")]
    ran = alone.run("usage", "import", "r.csv", "--dry-run", "--rejects", "s.csv")
    assert "0 lines can be sent" in ran.err
    assert "line 2: customer_id: missing; raw_line is not read: fill in the fields themselves" in ran.err
    assert "line 5: amount: a number, at least 0\n" in ran.err
    assert [one["raw_line"] for one in rejects_of((alone.folder / "s.csv").read_text())] == [*wrong[:3], "", wrong[4]]
    (alone.folder / "u.jsonl").write_bytes(b'{"customer_id": \n[1]\n\xff\n')
    alone.run("usage", "import", "u.jsonl", "--dry-run", "--rejects", "r.jsonl")
    rows = [json.loads(line) for line in (alone.folder / "r.jsonl").read_text().splitlines()]
    assert [row["raw_line"] for row in rows] == ['{"customer_id": ', "[1]", "\udcff"]
    ran = alone.run("usage", "import", "r.jsonl", "--dry-run")
    assert (ran.code, "unknown" in ran.err, "raw_line is not read" in ran.err) == (3, False, True)
    filled = [{**row, "customer_id": "c", "meter_slug": "m"} for row in rows[:2]]
    (alone.folder / "f.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in filled))
    assert "2 lines can be sent" in alone.ok("usage", "import", "f.jsonl", "--dry-run").err


def test_a_first_line_that_is_not_csv(alone: Cli) -> None:
    (alone.folder / "u.csv").write_bytes(b"customer_id,meter_slug\rc,m\r")
    ran = alone.run("usage", "import", "u.csv", "--dry-run")
    assert (ran.code, "the first line is not CSV" in ran.err) == (2, True)


def test_lines_that_are_appended_are_imported_alone(cli: Cli) -> None:
    customer = cli.plan()["customer"]
    write_lines(cli, customer, 3)
    cli.ok("usage", "import", "u.csv")
    for count in (5, 9):
        write_lines(cli, customer, count)
        ran = cli.ok("usage", "import", "u.csv")
        assert ("lines behind" in ran.err, cli.used(customer)) == (True, count)
        assert "was imported completely" in cli.ok("usage", "import", "u.csv").err
        assert cli.used(customer) == count
    write_lines(cli, customer, 11)
    assert cli.run("usage", "import", "u.csv", "--meter", "x").code == 2  # other options
    write_lines(cli, customer, 8)
    assert cli.run("usage", "import", "u.csv").code == 2
    assert progress_of(cli).read_text().count("\nx ") == 2
    assert cli.used(customer) == 9


def test_a_last_line_that_has_grown_is_a_change(cli: Cli) -> None:
    customer = cli.plan()["customer"]
    path = cli.folder / "u.csv"
    path.write_text(f"customer_id,meter_slug,amount\n{customer},api-tokens,1")
    cli.ok("usage", "import", "u.csv")
    before = path.read_text()
    path.write_text(before + "2\n")
    assert cli.run("usage", "import", "u.csv").code == 2
    path.write_text(before + f"\n{customer},api-tokens,5\n")
    cli.ok("usage", "import", "u.csv")
    assert cli.used(customer) == 6


def test_a_copy_is_not_counted_and_says_so(cli: Cli) -> None:
    customer = cli.plan()["customer"]
    write_lines(cli, customer, 30)
    assert "counted before" not in cli.ok("usage", "import", "u.csv").err
    (cli.folder / "copy.csv").write_bytes((cli.folder / "u.csv").read_bytes())
    ran = cli.ok("usage", "import", "copy.csv")
    assert ("0 lines counted in" in ran.err, "30 lines had been counted before" in ran.err) == (True, True), ran.err
    assert cli.used(customer) == 30


@pytest.mark.parametrize("name", ["neg.rej", "usage", "usage.txt"])
def test_the_content_decides_the_format_when_the_name_does_not(alone: Cli, name: str) -> None:
    for content in (
        b"customer_id,meter_slug\nc,m\n",
        b'\xef\xbb\xbf"customer_id","meter_slug"\nc,m\n',
        b'\n {"customer_id": "c", "meter_slug": "m"}\n',
        b'\xef\xbb\xbf{"customer_id": "c", "meter_slug": "m"}\n',
    ):
        (alone.folder / name).write_bytes(content)
        assert "1 line can be sent" in alone.ok("usage", "import", name, "--dry-run").err


def test_a_file_of_rejects_has_the_format_of_the_file(alone: Cli) -> None:
    (alone.folder / "u.csv").write_text("customer_id,meter_slug,amount\nc,m,-1\n")
    alone.run("usage", "import", "u.csv", "--dry-run", "--rejects", "neg.rej")
    ran = alone.run("usage", "import", "neg.rej", "--dry-run")
    assert (ran.code, "line 2: amount" in ran.err) == (3, True), ran.err
