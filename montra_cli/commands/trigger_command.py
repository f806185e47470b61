"""`montra trigger`: causes an event in the sandbox."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..calls.values import parse_json
from ..command import Run, command, new_app
from ..failures import USAGE, CliError
from ..sandbox.control_client import control_client

app: typer.Typer = new_app("Cause an event in the sandbox.", no_args_is_help=False)


@command(
    app,
    output=True,
    examples=(
        "montra trigger --list",
        "montra trigger checkout.completed",
        "montra trigger checkout.completed --set data.amount=5 --set email=ada@example.com",
    ),
)
def trigger(
    run: Run,
    event: Annotated[str | None, typer.Argument(metavar="EVENT", help="Type of the event.")] = None,
    fields: Annotated[
        list[str], typer.Option("--set", metavar="FIELD=VALUE|FIELD:=JSON", help="A field of its data; repeatable.")
    ] = [],  # noqa: B006 - typer copies it
    service: Annotated[
        str | None, typer.Option(metavar="montra|paywall", help="When both services have such an event.")
    ] = None,
    show_list: Annotated[bool, typer.Option("--list", help="List the events and their fields.")] = False,
) -> None:
    """Do what really causes an event, so that its objects exist, and its webhooks are sent."""
    controls = control_client(run)
    if show_list:
        known = controls.get("/triggers")
        if run.output.format not in ("json", "jsonl"):
            known = [{**one, "fields": ", ".join(one.get("fields") or {})} for one in known]
        run.output.rows(known, ["event", "service", "fields", "description"])
        return
    if event is None:
        raise CliError("EVENT: name one, or list them with --list", USAGE)
    body = {"event": event, "service": service, "fields": parse_fields(fields)}
    events = controls.post("/trigger", body)["events"]
    run.output.rows(events, ["type", "id", "service", "created_at", "deliveries"])


def parse_fields(texts: list[str]) -> dict[str, Any]:
    """`data.amount=5` as a field: what is JSON is what it looks like, all else is text. `amount:=5` must be JSON.

    Args:
        texts: what was given.

    Raises:
        CliError: a text has no `=`, or no JSON after `:=`.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.removeprefix("data.")
        if not name or not equals:
            raise CliError(f"--set: FIELD=VALUE, not {text!r}", USAGE)
        if name.endswith(":"):  # FIELD:=JSON, as in other commands
            found[name[:-1]] = parse_json(name[:-1], value)
            continue
        try:
            parsed: Any = parse_json(name, value)
        except CliError:
            parsed = value
        found[name] = value if isinstance(parsed, str) else parsed
    return found
