"""Store events and queue their webhook deliveries. `webhook_sender` sends them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from .database import Database
from .datetimes import format_datetime
from .ids import new_id
from .json import dumps


def queue_event(
    db: Database,
    merchant_id: str,
    event_type: str,
    data: Mapping[str, Any],
    now: datetime,
    endpoint_ids: Iterable[str],
    *,
    service: str = "montra",
) -> None:
    """Store an event and queue one delivery per endpoint, inside the caller's transaction.

    Args:
        db: the database.
        merchant_id: whose event it is.
        event_type: the `type` of the webhook's body.
        data: the `data` of the webhook's body.
        now: the event's `created_at`; deliveries are due at once.
        endpoint_ids: ids of webhook endpoints or of a paywall.
        service: `montra` or `paywall`.
    """
    event_id, created_at = new_id("evt"), format_datetime(now)
    body = dumps({"id": event_id, "type": event_type, "created_at": created_at, "data": data})
    db.insert(
        "events",
        id=event_id,
        merchant_id=merchant_id,
        service=service,
        type=event_type,
        body=body,
        created_at=created_at,
    )
    for endpoint_id in endpoint_ids:
        queue_delivery(db, merchant_id, event_id, endpoint_id, created_at)


def queue_delivery(db: Database, merchant_id: str, event_id: str, endpoint_id: str, due_at: str) -> None:
    """Queue a delivery of a stored event, inside the caller's transaction.

    Args:
        db: the database.
        merchant_id: whose event it is.
        event_id: the event.
        endpoint_id: the webhook endpoint, or the paywall.
        due_at: when it is due, as the database stores it.
    """
    db.insert(
        "deliveries",
        id=new_id("dlv"),
        sequence=db.next_number("deliveries"),
        merchant_id=merchant_id,
        event_id=event_id,
        endpoint_id=endpoint_id,
        status="pending",
        attempts=0,
        next_attempt_at=due_at,
        created_at=due_at,
    )
