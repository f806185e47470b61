"""Support tickets with files."""

from __future__ import annotations

from typing import Any

from ..database import Row, pick
from ..problems import Problem
from .paywall_context import PaywallContext, operation
from .users import normalize_email


@operation("create_ticket")
def create_ticket(context: PaywallContext) -> Any:
    """POST /support/ticket."""
    body, user = context.body, context.session_user
    email = (None if user is None else user["email"]) or body.get("customer_email")
    if not email:
        raise Problem(400, "email_required", "send a session or customer_email to say who asks")
    context.db.insert(
        "paywall_tickets",
        paywall_id=context.paywall_id,
        user_id=None if user is None else user["id"],
        email=normalize_email(email),
        subject=body["subject"],
        content=body["content"],
        status="open",
        created_at=context.now_text,
    )
    ticket_id = int(context.db.value("SELECT last_insert_rowid()"))
    for part in context.parts:
        context.db.insert(
            "paywall_ticket_files",
            ticket_id=ticket_id,
            name=part.name,
            type=part.type,
            size=len(part.content),
            content=part.content,
        )
    return {"ticket": {"id": ticket_id, "status": "open"}}


def serialize_ticket(ticket: Row, files: list[Row]) -> dict[str, Any]:
    """A ticket's JSON for the controls.

    Args:
        ticket: the ticket.
        files: its files.
    """
    names = ("id", "paywall_id", "user_id", "email", "subject", "content", "status", "created_at")
    return {**pick(ticket, *names), "files": [pick(file, "name", "type", "size") for file in files]}
