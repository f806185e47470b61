"""Exports: complete files, and streams for pipes."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from typing import Any

import attrs
import pytest

from montra_async import AuditLog, Customer, Invoice
from montra_async.core.models.model import Model

from .conftest import Cli, control


def test_customers_and_invoices(cli: Cli) -> None:
    ids = cli.plan()
    cli.customer("eve@example.com", "=Eve")
    cli.ok("invoices", "create", ids["customer"], "--amount-due", "20.10", "--due-date", "2999-01-31")
    ran = cli.ok("export", "customers", "-o", "c.csv")
    assert (ran.out, "Wrote 2 records to c.csv." in ran.err) == ("", True)
    rows = list(csv.DictReader(io.StringIO((cli.folder / "c.csv").read_text(), newline="")))
    assert [row["name"] for row in rows] == ["Ada", "'=Eve"]
    rows = list(csv.DictReader(io.StringIO(cli.ok("export", "customers", "--csv-raw").out)))
    assert rows[1]["name"] == "=Eve"
    invoice = json.loads(cli.ok("export", "invoices", "--format", "jsonl").out.splitlines()[-1])
    assert invoice["customer_id"] == ids["customer"]
    assert cli.run("export", "customers", "--format", "xml").code == 2


def test_the_audit_log_page_by_page(cli: Cli) -> None:
    cli.ok("sandbox", "demo", "--customers", "30", "--months", "2")
    total = cli.ok("audit-logs", "list", "--limit", "1", "--json").json["meta"]["total"]
    cli.ok("export", "audit-logs", "-o", "audit.jsonl")
    lines = records_of((cli.folder / "audit.jsonl").read_text())
    assert len({line["id"] for line in lines}) == total
    child = cli.terminal("export", "audit-logs", "-o", "audit.csv", "--resource-type", "customer")
    text = str(child.read())
    of_customers = [line for line in lines if line["resource_type"] == "customer"]
    assert len(of_customers) >= 30
    assert f"Wrote {len(of_customers)} records to audit.csv." in text
    assert table_of((cli.folder / "audit.csv").read_bytes()) == [cells_of(line, AuditLog) for line in of_customers]


def table_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def cells_of(record: dict[str, Any], model: type[Model]) -> dict[str, str]:
    """The cells of an object that JSON describes: those of a model's fields, in their order."""
    cells = {}
    for field in attrs.fields(model):
        if field.name == "_extra":
            continue
        value = record.get(field.name)
        if value is None:
            cells[field.name] = ""
        else:
            is_json = isinstance(value, (dict, list))
            cells[field.name] = json.dumps(value, default=float, ensure_ascii=False) if is_json else str(value)
    return cells


def records_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line, parse_float=Decimal) for line in text.splitlines()]


@pytest.mark.parametrize(("what", "model"), [("customers", Customer), ("invoices", Invoice), ("audit-logs", AuditLog)])
def test_every_cell_of_every_export(cli: Cli, what: str, model: type[Model]) -> None:
    ids = cli.plan()
    for number in range(3):
        cli.customer(f"c{number}@example.com", f'N\u00e4me,\n"{number}"')
        cli.ok("invoices", "create", ids["customer"], "--amount-due", f"{number}.10", "--due-date", "2999-01-31")
    expected = [cells_of(one, model) for one in records_of(cli.ok("export", what, "--format", "jsonl").out)]
    assert len(expected) >= 3
    ran = cli.ok("export", what, "-o", "all.csv", "--csv-raw")
    assert ran.err == f"Wrote {len(expected)} records to all.csv.\n"
    assert table_of((cli.folder / "all.csv").read_bytes()) == expected
    assert table_of(cli.ok("export", what).raw) == expected


def test_a_file_is_complete_or_as_before(cli: Cli) -> None:
    cli.customer()
    (cli.folder / "c.csv").write_text("before")
    control(cli.url, "POST", "/faults", {"kind": "status", "times": 3, "status": 500, "path": "/customers"})
    assert cli.run("export", "customers", "-o", "c.csv").code == 1
    assert (cli.folder / "c.csv").read_text() == "before"
    assert cli.run("export", "customers", "-o", "no/such/c.csv").code == 1


@pytest.mark.parametrize("name", ["c.ndjson", "c.txt"])
def test_the_name_decides_the_format(cli: Cli, name: str) -> None:
    cli.customer()
    cli.ok("export", "customers", "-o", name)
    assert (cli.folder / name).read_text().startswith("{" if name == "c.ndjson" else "id,")


def test_a_name_of_another_format_is_refused(cli: Cli) -> None:
    ran = cli.run("export", "customers", "-o", "c.json")
    assert (ran.code, "--format" in ran.err, (cli.folder / "c.json").exists()) == (2, True, False)
    cli.ok("export", "customers", "-o", "c.json", "--format", "jsonl")
    assert (cli.folder / "c.json").exists()


@pytest.mark.parametrize("more", [[], ["--csv-raw"], ["--format", "jsonl"], ["-o", "/dev/stdout"]])
def test_nothing_that_a_customer_writes_reaches_a_terminal_as_a_command(cli: Cli, more: list[str]) -> None:
    cli.customer("eve@example.com", "Eve\x1b]0;owned\x07\x9b31m\u202e")
    child = cli.terminal("export", "customers", *more)
    text = str(child.read())
    child.wait()
    assert ("Eve\\" in text, child.exitstatus) == (True, 0)
    assert not set(text) & set("\x1b\x07\x9b\u202e") or more[:1] == ["-o"], text
    assert "Eve\x1b" not in text
    if "--format" not in more:
        assert "Eve\x1b]0;" in cli.ok("export", "customers", "--csv-raw").out  # a program has what is there
        assert r"Eve\x1b]0;" in cli.ok("export", "customers").out  # a pipe may end on a terminal
