"""`montra usage`: reports usage, imports files of it, and shows what waits in the outbox."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..calls.builder import group_app
from ..command import Run, command
from ..failures import DIFFERENT, USAGE, CliError
from ..output.text import count_of

if TYPE_CHECKING:
    from ..usage_import.records import Layout

app: typer.Typer = group_app("usage")

_OUTBOX = Annotated[
    str | None,
    typer.Option(
        "--outbox", metavar="PATH", help="An SQLite file (default: $MONTRA_OUTBOX, which may also name a Redis)."
    ),
]
_NAME = Annotated[str, typer.Option("--name", help="Name of the outbox in Redis.")]


@command(
    app,
    "import",
    examples=(
        "montra usage import usage.csv",
        "montra usage import usage.jsonl --rejects rejected.jsonl --concurrency 32",
        "montra usage import usage.csv --column customer_id=customer --meter api-tokens --dry-run",
    ),
)
def import_usage(
    run: Run,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file of CSV with a header, or of JSON lines.")],
    layout_format: Annotated[
        str | None,
        typer.Option("--format", metavar="csv|jsonl", help="Default: by the name of the file, else by its content."),
    ] = None,
    delimiter: Annotated[str, typer.Option(help="Between the fields of CSV.")] = ",",
    column: Annotated[
        list[str], typer.Option(metavar="FIELD=NAME", help="The name of a field in the file; repeatable.")
    ] = [],  # noqa: B006 - typer copies it
    meter: Annotated[str | None, typer.Option(metavar="SLUG", help="Meter of the lines without one.")] = None,
    ignore_unknown: Annotated[bool, typer.Option("--ignore-unknown", help="Ignore unknown columns.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only read the file, and send nothing.")] = False,
    rejects: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the lines that were refused, with the reason.")
    ] = None,
    concurrency: Annotated[int, typer.Option(help="How many lines are sent at once.", min=1, max=256)] = 16,
    progress: Annotated[
        str | None, typer.Option(metavar="FILE", help="Where progress is kept (default: beside the file).")
    ] = None,
    import_id: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Import a file with the same content once more, under this name.")
    ] = None,
    dedupe_window: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long the service remembers idempotency keys.", min=60)
    ] = 24 * 3600.0,
    resend_uncertain: Annotated[
        bool, typer.Option("--resend-uncertain", help="Send lines that may have been counted before the window.")
    ] = False,
) -> None:
    """Report each line of a file, once. Ctrl-C, a crash or a lost network stop it; the same command goes on.

    Columns: customer_id, meter_slug, amount (1 by default), idempotency_key, metadata (JSON) or metadata.NAME.
    Without keys of its own, each line gets one that is made of the file's content and the line's number. Progress is
    kept in FILE.<id>.progress. Exit code 3: lines were refused, or left because they may have been counted.
    """
    from ..usage_import.run import ImportOptions, check_file, import_file

    layout = _layout(file, layout_format, delimiter, column, meter, ignore_unknown=ignore_unknown)
    if dry_run:
        check_file(run, file, layout, rejects)
        return
    options = ImportOptions(layout, rejects, concurrency, progress, import_id, dedupe_window, resend_uncertain)
    import_file(run, file, options)


@command(app, "status", output=True, examples=("montra usage status", "montra usage status --outbox usage.db --json"))
def status(run: Run, outbox: _OUTBOX = None, name: _NAME = "default") -> None:
    """Show what waits in the outbox. Exit code 3 if requests are parked; `montra-usage` sends."""
    with _open(run, outbox, name) as reporter:
        import attrs

        stats = attrs.asdict(reporter.stats())
        run.output.one(stats)
        if stats["parked"]:
            run.output.note("Parked requests need a decision: montra usage dead")
            raise typer.Exit(DIFFERENT)


@command(
    app,
    "dead",
    output=True,
    asks=True,
    examples=("montra usage dead", "montra usage dead --drop 17 --drop 18", "montra usage dead --drop all --yes"),
)
def dead(
    run: Run,
    outbox: _OUTBOX = None,
    name: _NAME = "default",
    drop: Annotated[
        list[str], typer.Option("--drop", metavar="ID|all", help="Delete it: it will not be counted; repeatable.")
    ] = [],  # noqa: B006 - typer copies it
    limit: Annotated[int, typer.Option(help="List at most this many.", min=1, max=1000)] = 100,
) -> None:
    """List parked requests: the service has refused them, or may have counted them. --drop deletes.

    Exit code 3 if not all that --drop names are parked.
    """
    with _open(run, outbox, name) as reporter:
        if drop:
            run.confirm(f"Delete {_what(drop)}? It will not be counted.", place="outbox")
            _tell(run, "dropped", drop, reporter.drop_parked(_ids(drop)))
            return
        import attrs

        columns = ["id", "reason", "customer_id", "meter_slug", "amount", "events", "status", "code", "message", "key"]
        rows = [attrs.asdict(one) for one in reporter.list_parked(limit=limit)]
        run.output.rows(rows, columns, empty="Nothing is parked.")


@command(app, "retry", examples=("montra usage retry 17 18", "montra usage retry all"))
def retry(
    run: Run,
    ids: Annotated[list[str], typer.Argument(metavar="ID|all", help="Ids of `montra usage dead`, or all.")],
    outbox: _OUTBOX = None,
    name: _NAME = "default",
) -> None:
    """Send parked requests again, each under its key. A process with a reporter, or `montra-usage`, sends them.

    Exit code 3 if not all of these are parked.
    """
    with _open(run, outbox, name) as reporter:
        _tell(run, "retried", ids, reporter.retry_parked(_ids(ids)))


def _layout(
    file: str,
    given: str | None,
    delimiter: str,
    columns: list[str],
    meter: str | None,
    *,
    ignore_unknown: bool,
) -> Layout:
    from ..usage_import.records import FIELDS, Layout

    found = given or _format_of(file)
    if found not in ("csv", "jsonl"):
        raise CliError("--format: csv or jsonl", USAGE)
    if file.lower().endswith(".tsv") and delimiter == ",":
        delimiter = "\t"
    delimiter = "\t" if delimiter == "\\t" else delimiter
    if len(delimiter) != 1:
        raise CliError("--delimiter: one character", USAGE)
    names: dict[str, str] = {}
    for text in columns:
        field, equals, name = text.partition("=")
        if field not in FIELDS or not equals or not name:
            raise CliError(f"--column: FIELD=NAME with one of {', '.join(FIELDS)}", USAGE)
        names[field] = name
    return Layout("csv" if found == "csv" else "jsonl", delimiter, names, meter, ignore_unknown)


def _format_of(file: str) -> str:
    """The format by the name of a file; by its first character if the name says nothing."""
    name = file.lower()
    if name.endswith((".csv", ".tsv")):
        return "csv"
    if name.endswith((".jsonl", ".ndjson", ".json")) or not Path(file).is_file():  # a FIFO would lose what is read
        return "jsonl"
    try:
        with Path(file).open("rb") as opened:
            start = opened.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError:
        return "jsonl"  # to be told when it is opened
    return "jsonl" if start.startswith((b"{", b"[")) else "csv"


def _open(run: Run, outbox: str | None, name: str) -> Any:
    """A reporter that sends nothing, on an outbox that exists."""
    from ..outbox import open_outbox

    return open_outbox(run, outbox, name)


def _ids(given: Sequence[str]) -> Any:
    return "all" if list(given) == ["all"] else list(dict.fromkeys(given))


def _what(given: Sequence[str]) -> str:
    return "all parked requests" if list(given) == ["all"] else count_of(len(set(given)), "parked request")


def _tell(run: Run, done: str, given: Sequence[str], count: int) -> None:
    run.output.note(f"{count_of(count, 'request')} {done}.")
    wanted = 1 if list(given) == ["all"] else len(set(given))
    if count < wanted:
        raise CliError("not all of these are parked" if list(given) != ["all"] else "nothing is parked", DIFFERENT)
