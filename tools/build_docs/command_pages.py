"""Writes a page for each command of `montra`, from the command itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from montra_cli.app import SECTIONS, make_command

COMMON = ("--profile", "--debug", "--yes", "--json", "--jsonl", "--csv", "--csv-raw", "--columns", "--header", "--help")
"""Options of nearly all commands, which are described once."""
INTRO = """# All commands

Every command with its options, as `--help` shows them. [The guide](../cli.md) tells how they are used.

Nearly all commands have these options, too:

| option | |
|---|---|
"""


def command_pages() -> dict[str, str]:
    """The pages, by their path below `docs/`."""
    common: dict[str, str] = {}
    pages: dict[str, str] = {}
    for commands in SECTIONS.values():
        for name, summary in commands.items():
            parts = [f"# montra {name}", f"{_text(summary)}."]
            made = make_command(name)
            made.name = name
            parts += _parts(made, f"montra {name}", None, common, level=2)
            pages[f"commands/{name}.md"] = "\n\n".join(parts) + "\n"
    return {"commands/index.md": _index(common), **pages}


def _index(common: dict[str, str]) -> str:
    text = INTRO + "\n".join(f"| `{option}` | {text} |" for option, text in common.items()) + "\n"
    for title, commands in SECTIONS.items():
        rows = [f"| [`montra {name}`]({name}.md) | {_text(summary)} |" for name, summary in commands.items()]
        text += "\n".join([f"\n## {title}\n", "| command | |", "|---|---|", *rows]) + "\n"
    return text


def _parts(command: Any, path: str, parent: Any, common: dict[str, str], *, level: int) -> Iterator[str]:
    """The description of a command and of those below it."""
    context = command.context_class(command, info_name=path.rpartition(" ")[2] if parent else path, parent=parent)
    children = [
        (name, command.get_command(context, name)) for name in getattr(command, "list_commands", _none)(context)
    ]
    runs = not children or getattr(command, "invoke_without_command", False)
    if runs or parent is not None:
        if parent is not None:
            yield f"{'#' * level} {path}"
        yield from _paragraphs(command.help or "")
        usage = " ".join(command.collect_usage_pieces(context))
        yield f"```text\n{path} {usage}\n```"
        yield from _options(command, context, common)
        yield from _examples(command)
    else:
        yield from _examples(command)
    for name, child in children:
        yield from _parts(child, f"{path} {name}", context, common, level=level)


def _none(_: Any) -> list[str]:
    return []


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text.replace("\b", "").strip()):
        lines = paragraph.splitlines()
        yield f"```text\n{paragraph}\n```" if any(line.startswith("  ") for line in lines) else _text(" ".join(lines))


def _options(command: Any, context: Any, common: dict[str, str]) -> Iterator[str]:
    rows = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None:
            continue
        if any(option in COMMON for option in parameter.opts):
            common.setdefault(record[0], _text(record[1]))
        else:
            rows.append(f"| `{record[0].replace('|', chr(92) + '|')}` | {_text(record[1])} |")
    if rows:
        yield "\n".join(["| argument or option | |", "|---|---|", *rows])


def _examples(command: Any) -> Iterator[str]:
    text = (command.epilog or "").replace("\b", "").strip()
    lines = [line.strip() for line in text.splitlines() if line.strip() and line.strip() != "Examples:"]
    if lines:
        yield "```bash\n" + "\n".join(lines) + "\n```"


def _text(text: str) -> str:
    """A text of the command as Markdown."""
    return re.sub(r"([|<*_\[\]])", r"\\\1", " ".join(text.split()))
