"""`montra plans`: plans as code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..cleaning import clean
from ..command import Run, command, new_app
from ..failures import DIFFERENT, USAGE, CliError
from ..output.files import write_file
from ..output.text import count_of, plain
from ..plans.changes import Change, find_changes, find_namesakes, kept_objects, leave_out, unknown_values
from ..plans.plans_file import parse_toml, refuse_other_formats
from ..plans.schema import plans_of_file
from ..sandbox.lines import coloured

app: typer.Typer = new_app(
    "Plans as code: pricing models with their products, meters, features and, in a sandbox, limits.",
    ("montra plans pull -o plans.toml", "montra plans diff plans.toml", "montra plans apply plans.toml"),
)

_FILE = Annotated[str, typer.Argument(metavar="FILE", help="A TOML file; - for stdin.")]
_PRUNE = Annotated[bool, typer.Option("--prune", help="Delete what is not in the file, as far as the API can.")]
_NAMESAKES = (
    "nothing was written: a file can't tell these apart. Give one another name at the service, or leave all but one out"
    " with --without ID:"
)
_SIGNS = {"create": ("+", "32"), "update": ("~", "33"), "limit": ("~", "33"), "delete": ("-", "31")}


@command(
    app,
    "pull",
    asks=True,
    examples=("montra plans pull > plans.toml", "montra plans pull -o plans.toml"),
)
def pull(
    run: Run,
    to: Annotated[str | None, typer.Option("-o", "--output", metavar="FILE", help="Write this file.")] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Leave out a pricing model, product, meter or feature; may be repeated."),
    ] = None,
) -> None:
    """Print the plans of the service as a file, e.g. to copy them to another one.

    A file that exists with other content is only replaced after a question. Objects of the same name, which a file
    can't tell apart, are refused with their ids: give one another name at the service, or leave it out.
    """
    from ..plans.service import fetch_plans, find_sandbox, to_toml

    if to is not None:
        refuse_other_formats("--output", to)
    with run.montra() as client:
        plans = leave_out(fetch_plans(client, find_sandbox(run)), without or ())
    if found := find_namesakes(plans):
        raise CliError("\n  ".join([_NAMESAKES, *found]), USAGE)
    lines = to_toml(plans)
    if to is None:
        sys.stdout.writelines(lines)
    else:
        content = "".join(lines).encode()
        if _has_other_content(to, content):
            run.confirm(f"Replace {to}, which has other content?", place="file")
        write_file(to, [content])
        run.output.note(f"Wrote {to}.")


@command(
    app,
    "diff",
    examples=(
        "montra plans diff plans.toml",
        "montra plans diff plans.toml --prune",
        "montra plans diff plans.toml --json",
    ),
    output=True,
)
def diff(run: Run, file: _FILE, prune: _PRUNE = False) -> None:
    """Show what `apply` would change. Exit code 0: nothing. 3: there are changes, or some that the API can't make.

    Pricing models and products are found by name, meters and features by slug. A field that is not in the file is
    not compared.
    """
    from ..plans.service import fetch_plans, find_sandbox

    wanted = plans_of_file(parse_toml(file))
    sandbox = find_sandbox(run)
    with run.montra() as client:
        present = fetch_plans(client, sandbox)
    changes = find_changes(wanted, present, prune=prune, has_limits=sandbox is not None)
    if run.output.format in ("json", "jsonl", "csv"):
        run.output.rows([_row(one) for one in changes])
    else:
        _print_changes(changes)
        _note_unknown(run, changes)
        if not prune:
            _note_kept(run, kept_objects(wanted, present))
    if changes:
        raise typer.Exit(DIFFERENT)


@command(
    app,
    "apply",
    asks=True,
    examples=(
        "montra plans apply plans.toml",
        "montra plans apply plans.toml --yes",
        "montra plans apply plans.toml --prune",
    ),
)
def apply(run: Run, file: _FILE, prune: _PRUNE = False) -> None:
    """Make the service like a file: shows the changes, and asks. Nothing is deleted without --prune.

    It may be interrupted and done again: what is there is not created a second time. Exit code 3: all was done except
    what the API can't do.
    """
    from ..plans.apply import Applier
    from ..plans.service import fetch_plans, find_sandbox

    wanted = plans_of_file(parse_toml(file))
    sandbox = find_sandbox(run)
    with run.montra() as client:
        present = fetch_plans(client, sandbox)
        changes = find_changes(wanted, present, prune=prune, has_limits=sandbox is not None)
        possible = [one for one in changes if one.action != "impossible"]
        _print_changes(changes)
        _note_unknown(run, possible)
        if possible:
            run.confirm(f"Make {count_of(len(possible), 'change')}?")
            applier = Applier(client, sandbox, present)
            for done, change in enumerate(possible):
                try:
                    applier.apply(change)
                except Exception:
                    run.output.note(f"{done} of {count_of(len(possible), 'change')} made; {change.title} has failed.")
                    raise
            run.output.note(f"{count_of(len(possible), 'change')} made.")
    if len(possible) < len(changes):
        left = count_of(len(changes) - len(possible), "difference")
        raise CliError(f"{left} can't be removed by the API, see above", DIFFERENT)


def _has_other_content(path: str, content: bytes) -> bool:
    """Whether there is a regular file whose content would be lost."""
    file = Path(path)
    return file.is_file() and file.read_bytes() != content


def _print_changes(changes: list[Change]) -> None:
    if not changes:
        print("No changes.")
    for change in changes:
        if change.action == "impossible":
            print(coloured(f"! {clean(change.title)}: can't be changed: {clean(change.reason)}", "31"))
        else:
            sign, colour = _SIGNS[change.action]
            print(coloured(f"{sign} {clean(change.title)}", colour))
        for name, value in change.after.items():
            before = change.before.get(name)
            text = plain(value) or '""'
            print(f"    {name}: " + (text if before is None else f"{plain(before)} -> {text}"))
    sys.stdout.flush()


def _note_unknown(run: Run, changes: list[Change]) -> None:
    """Before something is changed: what the service refuses leaves the changes before it made."""
    if found := unknown_values(changes):
        run.output.note("\n".join(["The service may refuse this:", *(f"  {one}" for one in found[:20])]))


def _note_kept(run: Run, kept: list[str]) -> None:
    if kept:
        shown = "\n".join(f"  {one}" for one in kept[:20])
        more = f"\n  and {len(kept) - 20} more" if len(kept) > 20 else ""
        run.output.note(f"Not in the file, and kept:\n{shown}{more}")


def _row(change: Change) -> dict[str, Any]:
    return {
        "action": change.action,
        "kind": change.kind.name,
        "pricing_model": change.plan,
        "name": change.name,
        "before": change.before,
        "after": change.after,
        "reason": change.reason or None,
    }
