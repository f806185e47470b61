"""`montra export`: all customers, invoices or entries of the audit log as a file."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ..calls.call_catalog import CALLS
from ..command import Run, command, new_app
from ..failures import USAGE, CliError
from ..output.encoding import csv_line, to_json
from ..output.files import write_file
from ..output.progress import ProgressBar
from ..output.text import count_of

app: typer.Typer = new_app(
    "Customers, invoices or the audit log as CSV or JSON lines.",
    ("montra export customers -o customers.csv", "montra export audit-logs -o audit.jsonl"),
)

_TO = Annotated[
    str | None, typer.Option("-o", "--output", metavar="FILE", help="Write this file, at once (default: stdout).")
]
_FORMAT = Annotated[
    str | None, typer.Option("--format", metavar="csv|jsonl", help="Default: by the name of the file, else csv.")
]
_OTHER_FORMATS = (".json", ".yaml", ".yml", ".toml", ".xlsx", ".xls", ".tsv", ".parquet")
_RAW = Annotated[bool, typer.Option("--csv-raw", help="CSV with every text as it is, also what looks like a formula.")]


@command(
    app,
    "customers",
    examples=("montra export customers -o customers.csv", "montra export customers --format jsonl | jq .email"),
)
def customers(run: Run, to: _TO = None, output_format: _FORMAT = None, csv_raw: _RAW = False) -> None:
    """Export all customers."""
    with run.montra() as client:
        _export(run, "customers", client.list_customers(), to, output_format, raw=csv_raw)


@command(
    app,
    "invoices",
    examples=("montra export invoices -o invoices.csv", "montra export invoices --format jsonl -o invoices.jsonl"),
)
def invoices(run: Run, to: _TO = None, output_format: _FORMAT = None, csv_raw: _RAW = False) -> None:
    """Export all invoices."""
    with run.montra() as client:
        _export(run, "invoices", client.list_invoices(), to, output_format, raw=csv_raw)


@command(
    app,
    "audit-logs",
    examples=(
        "montra export audit-logs -o audit.jsonl",
        "montra export audit-logs --resource-type subscription -o audit.csv",
    ),
)
def audit_logs(
    run: Run,
    to: _TO = None,
    output_format: _FORMAT = None,
    csv_raw: _RAW = False,
    event_type: Annotated[str | None, typer.Option(metavar="TYPE", help="Only this type of event.")] = None,
    resource_type: Annotated[str | None, typer.Option(metavar="TYPE", help="Only this type of resource.")] = None,
) -> None:
    """Export the audit log, newest entry first, page by page: its size does not matter."""
    with run.montra() as client:
        total = client.list_audit_logs(event_type=event_type, resource_type=resource_type, limit=1).meta.total
        entries = client.iter_audit_logs(event_type=event_type, resource_type=resource_type)
        _export(run, "audit-logs", entries, to, output_format, raw=csv_raw, total=total)


def _export(
    run: Run,
    what: str,
    found: Iterable[Any],
    to: str | None,
    given: str | None,
    *,
    raw: bool,
    total: int | None = None,
) -> None:
    if given is None and to is not None and to.lower().endswith(_OTHER_FORMATS):
        raise CliError(f"--output: {to} would be CSV; name it .csv or .jsonl, or say --format", USAGE)
    kind = given or ("jsonl" if to is not None and to.lower().endswith((".jsonl", ".ndjson")) else "csv")
    if kind not in ("csv", "jsonl"):
        raise CliError("--format: csv or jsonl", USAGE)
    known = len(found) if isinstance(found, list) else total
    counter = _Counter()
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(ProgressBar(f"Exporting {what}", known)) if to is not None else None
        rows = counter.counted((one.to_dict() for one in found), bar)
        columns = _COLUMNS[what]
        is_shown = sys.stdout.isatty() if to is None else _is_terminal(to)
        lines = _csv(rows, columns, raw=raw, one_line=is_shown) if kind == "csv" else _jsonl(rows)
        if to is None:
            sys.stdout.writelines(lines)
        else:
            write_file(to, (line.encode() for line in lines))
    if to is not None:
        run.output.note(f"Wrote {count_of(counter.count, 'record')} to {to}.")


def _is_terminal(path: str) -> bool:
    """Whether a path is a terminal, e.g. /dev/stdout. A FIFO is not opened: that would wait for its reader."""
    try:
        if not Path(path).is_char_device():
            return False
        with Path(path).open("wb", buffering=0) as file:
            return file.isatty()
    except OSError:
        return False


_COLUMNS = {
    "customers": CALLS["customers"]["list"].columns,
    "invoices": CALLS["invoices"]["list"].columns,
    "audit-logs": CALLS["audit-logs"]["iter"].columns,  # `list` has the columns of a page of it
}
"""The fields of one object of each export."""


class _Counter:
    def __init__(self) -> None:
        self.count = 0

    def counted(self, rows: Iterable[dict[str, Any]], bar: ProgressBar | None) -> Iterator[dict[str, Any]]:
        """The rows, counted; shows how far they are."""
        for row in rows:
            yield row
            self.count += 1
            if bar is not None and self.count % 50 == 0:
                bar.update(self.count)


def _csv(rows: Iterable[dict[str, Any]], columns: Iterable[str], *, raw: bool, one_line: bool) -> Iterator[str]:
    names = list(columns)
    yield csv_line(names)
    for row in rows:
        yield csv_line([row.get(name) for name in names], raw=raw, one_line=one_line)


def _jsonl(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        yield f"{to_json(row)}\n"
