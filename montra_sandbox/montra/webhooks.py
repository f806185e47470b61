"""Webhook endpoints. Sending is in `deliveries`."""

from __future__ import annotations

import secrets
from typing import Any

from ..context import NOTHING, Context, Handler, present
from ..store import Row, new_id, pick
from ..wire import dumps, loads


def show(row: Row) -> dict[str, Any]:
    shown = {"events": loads(row["events"].encode()), "enabled": bool(row["enabled"])}
    return present({**pick(row, "id", "url", "description", "created_at"), **shown})


def list_webhooks(context: Context) -> list[Any]:
    return [show(row) for row in context.mine("webhook_endpoints")]


def create_webhook(context: Context) -> Any:
    body = context.body
    webhook_id = new_id("wh")
    secret = f"whsec_{secrets.token_hex(24)}"
    context.store.insert(
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
    shown = _announce(context, "webhook.created", webhook_id)
    return {**shown, "secret": secret}


def update_webhook(context: Context) -> Any:
    webhook_id = _find(context)["id"]
    changes = {name: dumps(value) if name == "events" else value for name, value in context.body.items()}
    context.store.update("webhook_endpoints", webhook_id, **changes)
    return _announce(context, "webhook.updated", webhook_id)


def delete_webhook(context: Context) -> Any:
    row = _find(context)
    context.store.run("DELETE FROM webhook_endpoints WHERE id = ?", row["id"])
    context.record("webhook.deleted", row["id"], show(row))
    return NOTHING


def _find(context: Context) -> Row:
    return context.find("webhook_endpoints", "webhook", context.path["webhook_id"])


def _announce(context: Context, event_type: str, webhook_id: str) -> dict[str, Any]:
    shown = show(context.find("webhook_endpoints", "webhook", webhook_id))
    context.record(event_type, webhook_id, shown)
    return shown


HANDLERS: dict[str, Handler] = {
    "list_webhooks": list_webhooks,
    "create_webhook": create_webhook,
    "update_webhook": update_webhook,
    "delete_webhook": delete_webhook,
}
