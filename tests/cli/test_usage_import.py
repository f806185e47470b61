"""Imports of usage: counted once, whatever interrupts them; what is refused is told by its line."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from itertools import count
from pathlib import Path

import pytest

from montra_async.core.limits import is_amount
from montra_async.usage.clocks import SystemClock, boot_seconds
from montra_cli.failures import CliError
from montra_cli.usage_import.importer import _pause
from montra_cli.usage_import.progress_file import ProgressFile
from montra_cli.usage_import.records import Layout, Record, key_of, read_records

from .conftest import Cli, control

IDENTITY = {"import": "i", "digest": "d", "target": "t"}


def write_lines(cli: Cli, customer: str, count: int) -> None:
    lines = [f"{customer},api-tokens,1,{number}" for number in range(count)]
    (cli.folder / "u.csv").write_text("\n".join(["customer_id,meter_slug,amount,metadata.job", *lines]) + "\n")


def progress_of(cli: Cli) -> Path:
    found = list(cli.folder.glob("u.*.progress"))
    assert len(found) == 1
    return found[0]


def test_each_line_counts_once(cli: Cli) -> None:
    customer = cli.plan()["customer"]
    write_lines(cli, customer, 30)
    with (cli.folder / "u.csv").open("a") as file:
        file.write(f'cust_none,api-tokens,1,\n{customer},api-tokens,-1,\n{customer},api-tokens\n"{customer},\n')
    ran = cli.run("usage", "import", "u.csv", "--rejects", "rejects.csv")
    assert ran.code == 3
    assert "30 lines counted" in ran.err
    assert "line 32: 404" in ran.err
    assert "line 33: amount" in ran.err
    assert cli.used(customer) == 30
    rejects = list(csv.DictReader(io.StringIO((cli.folder / "rejects.csv").read_text(), newline="")))
    assert [one["line"] for one in rejects] == ["32", "33", "34", "35"]
    again = cli.run("usage", "import", "u.csv")
    assert (again.code, "was imported completely" in again.err) == (3, True)
    assert cli.used(customer) == 30
    corrected = (cli.folder / "rejects.csv").read_text().splitlines()[:2]
    (cli.folder / "corrected.csv").write_text("\n".join(corrected).replace("cust_none", customer) + "\n")
    cli.ok("usage", "import", "corrected.csv")
    assert cli.used(customer) == 31
    cli.run("usage", "import", "u.csv", "--import-id", "second")
    assert cli.used(customer) == 61


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_an_import_goes_on_after_an_interruption(cli: Cli, end: int) -> None:
    customer = cli.plan()["customer"]
    write_lines(cli, customer, 300)
    control(cli.url, "POST", "/faults", {"kind": "latency", "seconds": 0.05, "share": 1.0, "path": "/usage"})
    control(cli.url, "DELETE", "/requests")
    process = cli.start("usage", "import", "u.csv", "--concurrency", "8")
    deadline = time.monotonic() + 30
    while len(control(cli.url, "GET", "/requests?method=POST&path=/usage")) < 30 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(end)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == (130 if end == signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in out
    control(cli.url, "DELETE", "/faults")
    assert 0 < cli.used(customer) < 300
    assert "300 lines were done" not in (ran := cli.ok("usage", "import", "u.csv")).err
    assert "going on" in ran.err or end == signal.SIGKILL
    assert cli.used(customer) == 300


def test_a_lost_network_stops_it_and_it_goes_on(cli: Cli) -> None:
    customer = cli.plan()["customer"]
    write_lines(cli, customer, 5)
    ran = cli.run("usage", "import", "u.csv", MONTRA_API_KEY="sk_test_wrong")
    assert (ran.code, "goes on" in ran.err) == (4, True)
    control(cli.url, "POST", "/faults", {"kind": "drop_after", "times": 2, "path": "/usage"})
    cli.ok("usage", "import", "u.csv")
    assert cli.used(customer) == 5


def test_jsonl_own_keys_and_other_names(cli: Cli) -> None:
    customer = cli.plan()["customer"]
    lines = [
        {"who": customer, "amount": 2.5, "metadata": {"a": 1}, "idempotency_key": "k1"},
        {"who": customer, "amount": 2.5, "metadata": {"a": 1}, "idempotency_key": "k1"},
        {"who": customer},
    ]
    text = "\n\n".join(json.dumps(one) for one in lines) + "\nnot json\n[1]\n"
    (cli.folder / "u.jsonl").write_text(text)
    options = ("--column", "customer_id=who", "--meter", "api-tokens")
    checked = cli.run("usage", "import", "u.jsonl", *options, "--dry-run", "--rejects", "r.jsonl")
    assert (checked.code, "3 lines can be sent" in checked.err, "api-tokens: 6" in checked.err) == (3, True, True)
    assert len((cli.folder / "r.jsonl").read_text().splitlines()) == 2
    assert cli.used(customer) == 0
    assert cli.run("usage", "import", "u.jsonl", *options).code == 3
    assert cli.ok("entitlements", "check", customer, "api-tokens", "--json").json["usage"] == 3.5


def test_a_progress_bar_on_a_terminal(cli: Cli) -> None:
    customer = cli.plan()["customer"]
    write_lines(cli, customer, 20)
    child = cli.terminal("usage", "import", "u.csv")
    text = str(child.read())
    child.wait()
    assert (child.exitstatus, "20/20" in text) == (0, True)


def test_a_file_that_has_changed_is_refused(cli: Cli) -> None:
    customer = cli.plan()["customer"]
    write_lines(cli, customer, 3)
    cli.ok("usage", "import", "u.csv")
    text = (cli.folder / "u.csv").read_text()
    (cli.folder / "u.csv").write_text(text.replace(",1,0", ",1,9"))
    ran = cli.run("usage", "import", "u.csv")
    assert (ran.code, "has changed" in ran.err) == (2, True)
    assert ("only the new lines" in ran.err, "counted again" in ran.err, "delete" in ran.err) == (True, True, False)
    assert cli.used(customer) == 3
    ran = cli.run("usage", "import", "u.csv", "--progress", progress_of(cli).name, "--import-id", "x")
    assert ran.code == 2


def test_lines_whose_keys_may_be_forgotten_are_left(cli: Cli) -> None:
    customer = cli.plan()["customer"]
    write_lines(cli, customer, 3)
    cli.ok("usage", "import", "u.csv")
    path = progress_of(cli)
    first = path.read_text().splitlines()[0]
    path.write_text(f"{first}\nc 3 {time.time() - 90_000!r}\nk 1\n")
    ran = cli.run("usage", "import", "u.csv")
    assert (ran.code, "2 lines may have been counted" in ran.err, ": 3, 4" in ran.err) == (3, True, True)
    assert cli.used(customer) == 3
    cli.ok("usage", "import", "u.csv", "--resend-uncertain")
    assert cli.used(customer) == 3  # the sandbox remembers the keys


@pytest.mark.parametrize("clock", ["wall", "boot"])
def test_a_key_that_may_be_forgotten_during_a_suspension_is_not_sent_again(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, clock: str
) -> None:
    """The laptop is closed while the answer to a line is lost; the service has counted it."""
    customer = cli.plan()["customer"]
    write_lines(cli, customer, 1)
    control(cli.url, "POST", "/faults", {"kind": "drop_after", "times": 1, "path": "/usage"})
    control(cli.url, "DELETE", "/requests")
    suspended = (0.0, 65.0)

    def read(real: Callable[[], float]) -> float:
        is_over = bool(control(cli.url, "GET", "/requests?method=POST&path=/usage"))
        return real() + suspended[is_over]

    real = {"wall": time.time, "boot": boot_seconds}[clock]
    monkeypatch.setattr(SystemClock, clock, lambda _: read(real))
    ran = cli.run("usage", "import", "u.csv", "--dedupe-window", "60")
    assert (ran.code, "1 line may have been counted" in ran.err, ": 2" in ran.err) == (3, True, True), ran.err
    assert len(control(cli.url, "GET", "/requests?method=POST&path=/usage")) == 1
    ran = cli.run("usage", "import", "u.csv", "--dedupe-window", "60", "--resend-uncertain")
    assert (ran.code, cli.used(customer)) == (0, 1)  # the sandbox remembers the key


def test_what_was_surely_not_counted_is_sent_again_after_a_suspension(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = cli.plan()["customer"]
    write_lines(cli, customer, 1)
    control(cli.url, "POST", "/faults", {"kind": "rate_limit", "times": 1, "retry_after": 0, "path": "/usage"})
    hours = count(step=3600.0)
    monkeypatch.setattr(SystemClock, "boot", lambda _: next(hours))
    cli.ok("usage", "import", "u.csv", "--dedupe-window", "60")
    assert cli.used(customer) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["missing.csv"],
        ["/dev/stdin"],
        ["a.csv", "--format", "xml"],
        ["a.csv", "--delimiter", "ab"],
        ["a.csv", "--column", "colour=red"],
        ["a.csv"],
        ["b.csv"],
        ["c.csv"],
        ["d.csv"],
    ],
)
def test_what_can_not_be_imported(alone: Cli, arguments: list[str]) -> None:
    (alone.folder / "a.csv").write_text("customer,amount\n")
    (alone.folder / "b.csv").write_text("")
    (alone.folder / "c.csv").write_text("customer_id,meter_slug,colour\n")
    (alone.folder / "d.csv").write_text("customer_id,meter_slug\n" + "x" * (1024 * 1024 + 1))
    ran = alone.run("usage", "import", *arguments)
    assert (ran.code, "Traceback" in ran.err) == (2, False)


def records_of(text: bytes, **layout: object) -> list[Record]:
    return list(read_records(io.BytesIO(text), Layout(**{"format": "csv", **layout})))  # type: ignore[arg-type]


def test_records_of_csv() -> None:
    head = b"\xef\xbb\xbfcustomer_id,meter_slug,amount,metadata,idempotency_key\n"
    good = b'c,m,,"{""a"": 1}",k\n\n"c\n2",m,1e2,,\n'
    found = records_of(head + good + b"c,m,x,,\nc,m,1,{,\nc,m,1,1,\nc,m,1,,a b\nc,\xff,1,,\n,m,1,,\n")
    assert [one.line for one in found] == [2, 4, 6, 7, 8, 9, 10, 11]
    assert found[0].usage is not None
    assert (found[0].usage.amount, found[0].usage.metadata, found[0].usage.idempotency_key) == (1, {"a": 1}, "k")
    assert [bool(one.problem) for one in found] == [False, False, True, True, True, True, True, True]
    assert records_of(b"customer_id;meter_slug;x\nc;m;1\n", delimiter=";", ignore_unknown=True)[0].usage
    with pytest.raises(CliError):
        records_of(b"customer_id,customer_id,meter_slug\n")


def problems_of(text: str, **layout: object) -> list[str]:
    return [one.problem for one in records_of(text.encode(), **layout)]


@pytest.mark.parametrize(
    "amount", ["1e9999999999", "1e99999999999999999999", "1e64", "1e-65", "1" * 500, "-1", "1e999"]
)
def test_amounts_that_can_not_be_sent_are_refused_by_their_line(alone: Cli, amount: str) -> None:
    (alone.folder / "u.jsonl").write_text(
        f'{{"customer_id": "c", "meter_slug": "m", "amount": 2}}\n'
        f'{{"customer_id": "c", "meter_slug": "m", "amount": {amount}}}\n'
    )
    (alone.folder / "u.csv").write_text(f"customer_id,meter_slug,amount\nc,m,2\nc,m,{amount}\n")
    for name, line in (("u.jsonl", 2), ("u.csv", 3)):
        ran = alone.run("usage", "import", name, "--dry-run", "--rejects", f"r-{name}")
        assert (ran.code, f"line {line}: " in ran.err, "m: 2\n" in ran.err) == (3, True, True), ran.err
        assert "Traceback" not in ran.err


def test_amounts_are_those_that_the_sdk_sends() -> None:
    nines = "9" * 64
    for text in ("0", "0e-99", "0e99", "-0", nines, f"1{nines}", f"{nines}.9", "1e63", "1e64", "1e-64", "9.9e-65"):
        (problem,) = problems_of(f"customer_id,meter_slug,amount\nc,m,{text}\n")
        assert (problem == "") is is_amount(Decimal(text)), text
        (problem,) = problems_of(f'{{"customer_id": "c", "meter_slug": "m", "amount": {text}}}', format="jsonl")
        assert (problem == "") is is_amount(Decimal(text)), text


def test_a_key_that_is_twice_is_refused() -> None:
    line = '{"customer_id": "c", "meter_slug": "m", "amount": "7", "amount": 8}'
    assert problems_of(line, format="jsonl") == ["not JSON that can be sent: the key 'amount' is there twice"]


def test_totals_are_exact(alone: Cli) -> None:
    (alone.folder / "u.csv").write_text(f"customer_id,meter_slug,amount\nc,m,{'9' * 39}\nc,m,1e-64\n")
    assert f"m: {'9' * 39}.{'0' * 63}1" in alone.ok("usage", "import", "u.csv", "--dry-run").err


def test_numbers_are_those_of_ascii() -> None:
    for text in ("1_000", "\u0661\u0662", "1e\u0663", "NaN", "Infinity", "0x10", "1,5", "1.2.3", "--1"):
        assert problems_of(f'customer_id;meter_slug;amount\nc;m;"{text}"\n', delimiter=";") == [
            "amount: a number, at least 0"
        ], text
        line = json.dumps({"customer_id": "c", "meter_slug": "m", "amount": text})
        assert problems_of(line, format="jsonl") == ["amount: a number, at least 0"], text
    for text in ("1", " 1.50 ", "+1", ".5", "5.", "1E3"):
        assert problems_of(f"customer_id,meter_slug,amount\nc,m,{text}\n") == [""], text


def nested(levels: int) -> str:
    return '{"a": ' * levels + "1" + "}" * levels


def test_deep_metadata_is_refused_by_its_line(alone: Cli) -> None:
    for levels, is_fine in ((63, True), (64, False), (500, False), (100_000, False)):
        line = f'{{"customer_id": "c", "meter_slug": "m", "metadata": {nested(levels)}}}\n'
        (alone.folder / "u.jsonl").write_text('{"customer_id": "c", "meter_slug": "m"}\n' + line)
        quoted = nested(levels).replace('"', '""')
        (alone.folder / "u.csv").write_text(f'customer_id,meter_slug,metadata\nc,m,\nc,m,"{quoted}"\n')
        for name, number in (("u.jsonl", 2), ("u.csv", 3)):
            ran = alone.run("usage", "import", name, "--dry-run")
            assert (ran.code, f"line {number}: " in ran.err) == ((0, False) if is_fine else (3, True)), ran.err
            assert "Traceback" not in ran.err
        assert problems_of(line, format="jsonl")[0].endswith("" if is_fine else "deeper than 64 levels")


def test_texts_that_can_not_be_sent_are_rejected(alone: Cli) -> None:
    (alone.folder / "u.jsonl").write_text(
        '{"customer_id": "\\ud800", "meter_slug": "m", "metadata": {"a": "\\ud801"}}\n'
    )
    ran = alone.run("usage", "import", "u.jsonl", "--dry-run", "--rejects", "r.jsonl")
    assert (ran.code, "line 1: " in ran.err, "Traceback" in ran.err) == (3, True, False)
    rejected = json.loads((alone.folder / "r.jsonl").read_text())
    assert (rejected["customer_id"], rejected["metadata"]) == ("\ud800", {"a": "\ud801"})
    head = "customer_id,meter_slug,metadata\n"
    assert problems_of(head + 'c,m,"{""a"": ""\\ud801""}"\n') == [
        "metadata: half a surrogate pair, which can't be sent"
    ]
    assert problems_of(head + 'c,m,"{""a"": ""\\ud83d\\ude00""}"\n') == [""]


def test_keys_are_the_same_in_each_import_of_the_same_line() -> None:
    one, two = records_of(b"customer_id,meter_slug\nc,m\nc,m\n")
    assert key_of(one, "a") == key_of(one, "a")
    assert len({key_of(one, "a"), key_of(two, "a"), key_of(one, "b")}) == 3


def test_the_progress_file_survives_a_torn_end(tmp_path: Path) -> None:
    path = tmp_path / "p"
    file = ProgressFile(path, IDENTITY)
    file.claim(500, 1.0)
    for number in (1, 2, 5):
        file.add(number)
    file.refuse(3, 4, "why\n")
    file.close()
    with path.open("ab") as torn:
        torn.write(b"k 7 8")
    file = ProgressFile(path, IDENTITY)
    assert (file.progress.done_up_to, file.progress.done, file.progress.refused) == (3, {5}, {3: (4, "why\n")})
    assert (file.progress.count, file.progress.claimed_up_to, file.progress.claimed_at(500)) == (4, 500, 1.0)
    assert file.progress.claimed_at(501) is None
    with pytest.raises(CliError, match="another import"):
        ProgressFile(path, IDENTITY)
    file.finish(2.0)
    file.close()
    assert path.stat().st_mode & 0o777 == 0o600
    file = ProgressFile(path, IDENTITY)
    assert file.progress.finished_at == 2.0
    file.close()
    with pytest.raises(CliError, match="another service"):
        ProgressFile(path, {**IDENTITY, "target": "x"})
    path.write_bytes(path.read_bytes() + b"z 1\n")
    with pytest.raises(CliError, match="damaged"):
        ProgressFile(path, IDENTITY)
    path.write_bytes(b"hello\n")
    with pytest.raises(CliError, match="not the progress"):
        ProgressFile(path, IDENTITY)
    with pytest.raises(CliError):
        ProgressFile(tmp_path / "no" / "p", IDENTITY)


@pytest.mark.parametrize(
    "content",
    [
        b'{"a": 1}\n{"b": 2}',
        b'{"import": "i", "digest": 1, "target": "t"}\nc 500 1.0\nk',
        b'{"import": "i", "digest": "d", "target": "t", "mine": 1}\nmy notes',
        b'{"import": "i", "digest": "d", "target": "x"}\nk 7 8',
        b'{"import": "mine"}',
        b'{"import": "tin"',
        b"[" * 100_000 + b"\n{",
        b"[1]\n{",
        b"hello",
        b"hello\nworld",
    ],
)
def test_the_file_of_something_else_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(content)
    if b"my notes" in content:  # ours at first, and then not
        path.write_bytes(content + b"\n{}")
    before = path.read_bytes()
    with pytest.raises(CliError):
        ProgressFile(path, IDENTITY)
    assert path.read_bytes() == before


def test_a_first_line_that_is_torn_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "p"
    ProgressFile(path, IDENTITY).close()
    whole = path.read_bytes()
    for length in (0, 1, 20, len(whole) - 1):
        path.write_bytes(whole[:length])
        ProgressFile(path, IDENTITY).close()
        assert path.read_bytes() == whole


def test_a_list_of_records_is_no_progress_file(cli: Cli) -> None:
    customer = cli.plan()["customer"]
    write_lines(cli, customer, 2)
    text = '{"customer_id": "c", "amount": 1}\n{"customer_id": "c", "amount": 2}'
    (cli.folder / "precious.jsonl").write_text(text)
    ran = cli.run("usage", "import", "u.csv", "--progress", "precious.jsonl")
    assert (ran.code, "not the progress" in ran.err, "left as it is" in ran.err) == (2, True, True)
    assert (cli.folder / "precious.jsonl").read_text() == text
    assert cli.used(customer) == 0


@contextmanager
def full_disk(path: Path, room: int) -> Iterator[None]:
    """Files can't grow beyond the size of one, and some bytes."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_the_progress_file_survives_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "p"
    file = ProgressFile(path, IDENTITY)
    file.claim(500, 1.0)
    file.add(3)
    file.add(45)
    with full_disk(path, 5):
        for job in (
            file.flush,
            lambda: file.refuse(7, 8, "why"),
            lambda: file.claim(1000, 2.0),
            lambda: file.finish(3.0),
        ):
            with pytest.raises(CliError, match="too large") as failed:
                job()
            assert "goes on" in failed.value.hint
    assert (file.progress.claimed_up_to, file.progress.finished_at, file.progress.is_done(7)) == (500, None, False)
    file.add(5)
    file.close()
    again = ProgressFile(path, IDENTITY)
    assert (again.progress.done, again.progress.refused, again.progress.claimed_up_to) == ({3, 5, 45}, {}, 500)
    again.close()
    other = tmp_path / "q"
    other.touch()
    with full_disk(other, 5), pytest.raises(CliError, match="too large"):
        ProgressFile(other, IDENTITY)
    ProgressFile(other, IDENTITY).close()


def test_nothing_follows_a_line_that_stays_torn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p"
    file = ProgressFile(path, IDENTITY)
    file.add(45)

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "ftruncate", fail)
        with full_disk(path, 3), pytest.raises(CliError, match="too large"):
            file.flush()
    with pytest.raises(CliError, match="torn"):
        file.close()
    assert path.read_bytes().endswith(b"\nk 4")
    again = ProgressFile(path, IDENTITY)
    assert (again.progress.done, again.progress.done_up_to) == (set(), 0)
    again.close()


def test_an_import_ends_when_progress_can_not_be_written_and_goes_on(cli: Cli) -> None:
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "prlimit"):
        pytest.skip("the limit of another process can't be set")
    customer = cli.plan()["customer"]
    write_lines(cli, customer, 300)
    control(cli.url, "POST", "/faults", {"kind": "latency", "seconds": 0.1, "share": 1.0, "path": "/usage"})
    # No coverage in this process: its data file could not be written, either.
    uncovered = dict.fromkeys(name for name in os.environ if name.startswith("COVERAGE_"))
    process = cli.start("usage", "import", "u.csv", "--concurrency", "4", **uncovered)
    deadline = time.monotonic() + 30
    while not (found := list(cli.folder.glob("u.*.progress"))) or b"\nd " not in found[0].read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (found[0].stat().st_size + 5,) * 2)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, "File too large" in out, "goes on" in out, "Traceback" in out) == (
        1,
        True,
        True,
        False,
    )
    control(cli.url, "DELETE", "/faults")
    assert cli.used(customer) < 300
    cli.ok("usage", "import", "u.csv")
    assert cli.used(customer) == 300


def test_pauses_grow_and_obey_the_service() -> None:
    assert 0.25 <= _pause(1, None) <= 0.5
    assert 10 <= _pause(20, None) <= 20
    assert _pause(1, 30) == 30
    assert _pause(1, 9999) == 60


def test_the_outbox_is_looked_at_and_decided_about(cli: Cli) -> None:
    assert cli.run("usage", "status").code == 5
    cli.plan()
    code = (
        "import asyncio\nfrom montra_async import Montra\nfrom montra_async.usage import UsageReporter\n"
        "async def main():\n"
        "    async with Montra('sk_test_sandbox') as montra, UsageReporter(montra) as usage:\n"
        "        await usage.record('cust_unknown', 'api-tokens', amount=3)\n"
        "        await usage.flush(20)\n"
        "asyncio.run(main())"
    )
    import subprocess
    import sys

    outbox = str(cli.folder / "usage.db")
    subprocess.run([sys.executable, "-c", code], env=cli.settings(MONTRA_OUTBOX=outbox), check=True, timeout=60)
    ran = cli.run("usage", "status", "--outbox", outbox, "--json")
    assert (ran.code, ran.json["parked"]) == (3, 1)
    parked = cli.ok("usage", "dead", "--json", MONTRA_OUTBOX=outbox).json
    assert (parked[0]["reason"], parked[0]["customer_id"]) == ("refused", "cust_unknown")
    cli.ok("usage", "retry", parked[0]["id"], "--outbox", outbox)
    assert cli.run("usage", "retry", "all", "--outbox", outbox).code == 3
    cli.ok("usage", "status", "--outbox", outbox)
    assert cli.run("usage", "dead", "--drop", "99", "--outbox", outbox).code == 7
    assert cli.run("usage", "dead", "--drop", "99", "--yes", "--outbox", outbox).code == 3
    ran = cli.run("usage", "status", "--outbox", "redis://user:hunter22@127.0.0.1:9/0")
    assert (ran.code, "hunter22" in ran.err) == (2, False)
    assert os.path.exists(outbox)
