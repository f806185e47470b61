"""Webhook endpoints. `webhook_sender` sends the webhooks."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from ..database import Row, pick
from ..ids import new_id
from ..json import dumps, loads, omit_none
from .merchant_context import NO_DATA, MerchantContext, operation

_UPDATABLE = ("url", "description", "enabled")


@operation("list_webhooks")
def list_webhooks(context: MerchantContext) -> Any:
    """GET /webhooks."""
    return [serialize(row) for row in context.list_rows("webhook_endpoints")]


@operation("create_webhook")
def create_webhook(context: MerchantContext) -> Any:
    """POST /webhooks."""
    body = context.body
    webhook_id = new_id("wh")
    secret = f"whsec_{secrets.token_hex(24)}"
    context.db.insert(
        "webhook_endpoints",
        id=webhook_id,
        merchant_id=context.merchant_id,
        url=body["url"],
        description=body.get("description"),
        events=dumps(body.get("events", ["*"])),
        enabled=body.get("enabled", True),
        secret=secret,
        created_at=context.now_text,
    )
    return {**_record_event(context, "webhook.created", webhook_id), "secret": secret}


@operation("update_webhook")
def update_webhook(context: MerchantContext) -> Any:
    """PATCH /webhooks/{webhook_id}."""
    webhook_id = _get(context, context.path["webhook_id"])["id"]
    context.db.update("webhook_endpoints", webhook_id, **_changes(context.body))
    return _record_event(context, "webhook.updated", webhook_id)


@operation("delete_webhook")
def delete_webhook(context: MerchantContext) -> Any:
    """DELETE /webhooks/{webhook_id}."""
    row = _get(context, context.path["webhook_id"])
    context.db.run("DELETE FROM webhook_endpoints WHERE id = ?", row["id"])
    context.record_event("webhook.deleted", row["id"], serialize(row))
    return NO_DATA


def serialize(row: Row) -> dict[str, Any]:
    """A webhook endpoint's JSON, without its secret."""
    fields = {"events": loads(row["events"].encode()), "enabled": bool(row["enabled"])}
    return omit_none({**pick(row, "id", "url", "description", "created_at"), **fields})


def _changes(body: Mapping[str, Any]) -> dict[str, Any]:
    changes = {name: body[name] for name in _UPDATABLE if name in body}
    return {**changes, "events": dumps(body["events"])} if "events" in body else changes


def _get(context: MerchantContext, webhook_id: str) -> Row:
    return context.get_or_404("webhook_endpoints", "webhook", webhook_id)


def _record_event(context: MerchantContext, event_type: str, webhook_id: str) -> dict[str, Any]:
    serialized = serialize(_get(context, webhook_id))
    context.record_event(event_type, webhook_id, serialized)
    return serialized
