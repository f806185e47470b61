"""`montra events`: what has happened in the sandbox, and its webhooks again."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..command import Run, command, new_app
from ..json_types import is_object
from ..sandbox.control_client import control_client, segment

app: typer.Typer = new_app(
    "List, show and replay events of the sandbox.",
    ("montra events list --type invoice.created", "montra events show evt_123", "montra events replay evt_123"),
)


@command(
    app,
    "list",
    output=True,
    examples=("montra events list", "montra events list --type invoice.created --limit 5 --json"),
)
def list_events(
    run: Run,
    event_type: Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Only this type.")] = None,
    limit: Annotated[int, typer.Option(help="How many, at most 1000.", min=1)] = 20,
) -> None:
    """List events, newest first."""
    events = control_client(run).get("/events", type=event_type, limit=limit)
    run.output.rows(events, ["created_at", "type", "id", "service", "deliveries"], empty="No events.")


@command(app, "show", output=True, examples=("montra events show evt_123", "montra events show evt_123 --json"))
def show(run: Run, event_id: Annotated[str, typer.Argument(metavar="EVENT_ID", help="The event.")]) -> None:
    """Show an event with its data and its deliveries."""
    event: dict[str, Any] = control_client(run).get(f"/events/{segment(event_id)}")
    if not run.output.is_for_people:
        run.output.one(event)
        return
    data = event.pop("data", {})
    deliveries = event.pop("deliveries", [])
    flat = {**event, **({f"data.{name}": value for name, value in data.items()} if is_object(data) else {})}
    run.output.one(flat, ["data", "deliveries"])
    run.output.without_columns().rows(deliveries, _DELIVERY, empty="No webhook endpoint has got it.")


@command(app, "replay", output=True, examples=("montra events replay evt_123",))
def replay(run: Run, event_id: Annotated[str, typer.Argument(metavar="EVENT_ID", help="The event.")]) -> None:
    """Send an event's webhooks again. Without an endpoint for it, nothing receives it: the command says so."""
    answer = control_client(run).post(f"/events/{segment(event_id)}/replay")
    deliveries: list[Any] = answer.get("deliveries", []) if is_object(answer) else answer
    if deliveries or run.output.format != "table":
        run.output.rows(deliveries, _DELIVERY)
    if not deliveries:
        run.output.note(
            "Nothing has received it: no webhook endpoint wants this event. `montra listen --forward-to URL` adds one."
        )


_DELIVERY = ["id", "event_type", "url", "status", "attempts", "last_status", "last_error", "duration_ms"]
