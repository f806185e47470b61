"""The customer portal's address, and support tickets with files."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

from ..clock import to_text
from ..problems import Problem
from ..store import Row
from .context import Handler, PaywallContext
from .sessions import digest
from .users import by_email, by_external_id, normal, purchases_of

_PORTAL_OPEN = timedelta(hours=1)


def get_customer_portal(context: PaywallContext) -> Any:
    body = context.body
    user = context.session_user or by_email(context, body.get("email"))
    if user is None and context.owner:
        user = by_external_id(context, body.get("userMeta", {}).get("userId"))
    if context.config["acquiring"] == "freemius":
        raise Problem(403, "forbidden", "Freemius has no customer portal")
    if user is None or not purchases_of(context, user):
        raise Problem(403, "forbidden", "there is nothing to manage for this user")
    token = secrets.token_urlsafe(24)
    context.store.insert(
        "paywall_portals",
        token_hash=digest(token),
        user_id=user["id"],
        return_url=body.get("returnUrl"),
        expires_at=to_text(context.now + _PORTAL_OPEN),
    )
    return {"url": f"{context.origin}/portal/{token}"}


def create_ticket(context: PaywallContext) -> Any:
    body, user = context.body, context.session_user
    email = (None if user is None else user["email"]) or body.get("customer_email")
    if not email:
        raise Problem(400, "email_required", "say who asks: a session, or customer_email")
    context.store.insert(
        "paywall_tickets",
        paywall_id=context.paywall_id,
        user_id=None if user is None else user["id"],
        email=normal(email),
        subject=body["subject"],
        content=body["content"],
        status="open",
        created_at=context.now_text,
    )
    ticket_id = int(context.store.value("SELECT last_insert_rowid()"))
    for part in context.parts:
        context.store.insert(
            "paywall_ticket_files",
            ticket_id=ticket_id,
            name=part.name,
            type=part.type,
            size=len(part.content),
            content=part.content,
        )
    return {"ticket": {"id": ticket_id, "status": "open"}}


def show_ticket(ticket: Row, files: list[Row]) -> dict[str, Any]:
    names = ("id", "paywall_id", "user_id", "email", "subject", "content", "status", "created_at")
    shown = {name: ticket[name] for name in names}
    return {**shown, "files": [{name: one[name] for name in ("name", "type", "size")} for one in files]}


HANDLERS: dict[str, Handler] = {"get_customer_portal": get_customer_portal, "create_ticket": create_ticket}
