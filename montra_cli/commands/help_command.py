"""`montra help`: what is the same for all commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from ..command import Run, command, new_app
from ..failures import EXIT_CODES, USAGE, CliError
from ..settings import FIELDS

app: typer.Typer = new_app("Help about a topic.", no_args_is_help=False)

_OUTPUT = """On a terminal, results are tables as wide as it is. Piped, they are lines of fields separated by tabs that
begin with the names of the columns (--no-header leaves those out): always all fields, in the same order.

  --json           JSON, indented
  --jsonl          one JSON object per line, printed as soon as it is there
  --csv            CSV (RFC 4180). A text that a spreadsheet would take for a formula (it begins with =, +, - or @ and
                   is no number) begins with ', because customers choose their names
  --csv-raw        CSV with every text as it is, for programs
  --columns A,B    only these fields

Results are on stdout, everything else on stderr. Control characters in texts of the service are shown as escapes such
as \\x1b, in JSON as \\u001b, and never reach the terminal. NO_COLOR switches colours off. Amounts keep all digits;
times are in UTC."""

_INPUT = """  number           19.99
  datetime         2030-01-31T12:00:00Z, always with a time zone
  object           KEY=TEXT, KEY:=JSON (repeatable), a JSON object, or @FILE (@- for stdin)
  list of texts    the option once for each
  list of objects  KEY=VALUE,KEY=VALUE once for each, a JSON array, or @FILE
  file             a path, or - for stdin

In an update, a field that is not given keeps its value; --clear FIELD clears it, and so does an empty value."""


def _exit_codes() -> str:
    return "\n".join(f"  {code:<4} {text}" for code, text in EXIT_CODES.items())


def _environment() -> str:
    others = {
        "MONTRA_PROFILE": "the profile, if --profile is not given",
        "MONTRA_CONFIG": "path of the file of profiles, instead of montra/config.toml in $XDG_CONFIG_HOME or ~/.config",
        "MONTRA_OUTBOX": "path or URL of the outbox of recorded usage",
        "MONTRA_DEBUG": "show tracebacks, as --debug",
        "NO_COLOR": "no colours",
    }
    lines = [f"  {field.variable:<21}{field.help}" for field in FIELDS.values()]
    lines += [f"  {name:<21}{text}" for name, text in others.items()]
    return "\n".join([*lines, "", "An environment variable wins over the value of the profile."])


TOPICS: dict[str, tuple[str, Callable[[], str]]] = {
    "exit-codes": ("What a command's exit code means", _exit_codes),
    "environment": ("Environment variables", _environment),
    "output": ("Formats of results", lambda: _OUTPUT),
    "input": ("How values are written", lambda: _INPUT),
}


@command(app, examples=("montra help exit-codes", "montra help output", "montra customers create --help"))
def show_help(
    run: Run, topic: Annotated[str | None, typer.Argument(metavar="TOPIC", help=", ".join(TOPICS))] = None
) -> None:
    """Explain what is the same for all commands. Without a topic: list the topics."""
    if topic is None:
        print("\n".join(f"  montra help {name:<12} {title}" for name, (title, _) in TOPICS.items()))
        print("  montra --help            the commands; montra COMMAND --help: one of them")
    elif topic in TOPICS:
        print(TOPICS[topic][1]())
    else:
        raise CliError(f"TOPIC: one of {', '.join(TOPICS)}, not {topic!r}", USAGE)
