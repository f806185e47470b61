"""Events of the public client's user interface, stored for the controls."""

from __future__ import annotations

from typing import Any

from ..database import Row, pick
from ..json import dumps, loads
from ..problems import Problem
from .paywall_context import PaywallContext, operation

MAX_KEPT: int = 10_000
"""Events that are kept per paywall; the oldest are deleted."""
MAX_EVENT_SIZE: int = 16 * 1024
"""Largest size of one event, in bytes of JSON."""


@operation("track_events")
def track_events(context: PaywallContext) -> Any:
    """POST /events.

    The session's user wins over the ids in headers and body.
    """
    body, user = context.body, context.session_user
    user_id = context.header_user_id or body.get("user_id") if user is None else user["id"]
    visitor_id = context.visitor_id or body.get("visitor_id")
    for event in body["events"]:
        text = dumps(event)
        if len(text.encode()) > MAX_EVENT_SIZE:
            raise Problem(413, "event_too_large", f"an event has at most {MAX_EVENT_SIZE} bytes")
        context.db.insert(
            "paywall_tracked",
            paywall_id=context.paywall_id,
            user_id=user_id,
            visitor_id=visitor_id,
            event=text,
            created_at=context.now_text,
        )
    context.db.run(
        "DELETE FROM paywall_tracked WHERE paywall_id = ? AND id <= (SELECT id FROM paywall_tracked"
        " WHERE paywall_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
        *(context.paywall_id, context.paywall_id, MAX_KEPT),
    )
    return {"ok": True, "accepted": len(body["events"])}


def serialize_event(row: Row) -> dict[str, Any]:
    """A tracked event's JSON for the controls."""
    return {**loads(row["event"].encode()), **pick(row, "user_id", "visitor_id", "created_at")}
