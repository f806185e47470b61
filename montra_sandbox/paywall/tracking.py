"""What the public client tells of its user interface: kept for the dashboard, as much as is of use."""

from __future__ import annotations

from typing import Any

from ..problems import Problem
from ..store import Row, pick
from ..wire import dumps, loads
from .context import Handler, PaywallContext

MAX_KEPT = 10_000
MAX_EVENT_SIZE = 16 * 1024


def track_events(context: PaywallContext) -> Any:
    """The client's own words count for little: whose session it is, is known better."""
    body, user = context.body, context.session_user
    user_id = context.said_id or body.get("user_id") if user is None else user["id"]
    visitor_id = context.visitor_id or body.get("visitor_id")
    for event in body["events"]:
        text = dumps(event)
        if len(text.encode()) > MAX_EVENT_SIZE:
            raise Problem(413, "event_too_large", f"an event has at most {MAX_EVENT_SIZE} bytes")
        context.store.insert(
            "paywall_tracked",
            paywall_id=context.paywall_id,
            user_id=user_id,
            visitor_id=visitor_id,
            event=text,
            created_at=context.now_text,
        )
    context.store.run(
        "DELETE FROM paywall_tracked WHERE paywall_id = ? AND id <= (SELECT id FROM paywall_tracked"
        " WHERE paywall_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
        *(context.paywall_id, context.paywall_id, MAX_KEPT),
    )
    return {"ok": True, "accepted": len(body["events"])}


def show(row: Row) -> dict[str, Any]:
    return {**loads(row["event"].encode()), **pick(row, "user_id", "visitor_id", "created_at")}


HANDLERS: dict[str, Handler] = {"track_events": track_events}
