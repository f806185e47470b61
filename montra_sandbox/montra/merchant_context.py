"""What a handler of the Montra service gets: the merchant, the time, the validated request and the open transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from ..database import Database, Row
from ..datetimes import format_datetime
from ..ids import new_id
from ..json import dumps, omit_none
from ..operations import OperationRegistry, UploadedPart
from ..problems import not_found
from ..webhook_queue import queue_event

WEBHOOK_EVENT_TYPES: frozenset[str] = frozenset(
    {
        "checkout.completed",
        "usage.limit_reached",
        "invoice.created",
        "subscription.created",
        "subscription.updated",
        "subscription.paused",
        "subscription.resumed",
        "subscription.canceled",
        "customer.created",
        "customer.updated",
        "refund.created",
    }
)
"""The events that are sent as webhooks. All others are only written to the audit log."""

NO_DATA: object = object()
"""Returned by handlers whose response has no `data`."""


@attrs.frozen
class BareResponse:
    """Returned by handlers whose response has no envelope.

    Attributes:
        value: the JSON of the response.
    """

    value: Any


@attrs.frozen
class Page:
    """Returned by handlers whose response has `meta` beside `data`.

    Attributes:
        data: the items.
        meta: the position in the whole list.
    """

    data: list[Any]
    meta: Mapping[str, int]


@attrs.frozen(kw_only=True)
class MerchantContext:
    """One request, or one scheduled step, of one merchant, inside one transaction.

    Attributes:
        db: the database, with an open transaction.
        merchant_id: whose request it is.
        now: the sandbox's time; for a scheduled step the time at which it is due.
        origin: the sandbox's address, `http://127.0.0.1:4242`.
        path: the path parameters.
        query: the query parameters.
        body: the JSON body; empty when there is none.
        part: the uploaded file, if any.
    """

    db: Database
    merchant_id: str
    now: datetime
    origin: str
    path: Mapping[str, str] = attrs.field(factory=dict[str, str])
    query: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    body: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    part: UploadedPart | None = None

    @property
    def now_text(self) -> str:
        """`now` as the database stores it."""
        return format_datetime(self.now)

    def get_or_404(self, table: str, what: str, row_id: str) -> Row:
        """A row of this merchant. Another merchant's row does not exist for this one.

        Args:
            table: the table's name.
            what: the kind of resource, in words, for the message.
            row_id: the row's `id`.

        Raises:
            Problem: 404.
        """
        row = self.db.one(f"SELECT * FROM {table} WHERE id = ? AND merchant_id = ?", row_id, self.merchant_id)
        if row is None:
            raise not_found(what, row_id)
        return row

    def list_rows(self, table: str) -> list[Row]:
        """All rows of this merchant, oldest first.

        Args:
            table: the table's name.
        """
        return self.db.all(f"SELECT * FROM {table} WHERE merchant_id = ? ORDER BY created_at, rowid", self.merchant_id)

    def record_event(self, event_type: str, resource_id: str, payload: Mapping[str, Any]) -> None:
        """Write a change to the audit log and queue its webhooks, in the transaction of the change.

        Args:
            event_type: the resource type and what happened, such as `refund.created`.
            resource_id: the id of the changed resource.
            payload: the resource's JSON; fields that are None are left out.
        """
        payload = omit_none(payload)
        self.db.insert(
            "audit_logs",
            id=new_id("log"),
            sequence=self.db.next_number("audit_logs"),
            merchant_id=self.merchant_id,
            event_type=event_type,
            resource_type=event_type.partition(".")[0],
            resource_id=resource_id,
            payload=dumps(payload),
            created_at=self.now_text,
        )
        if event_type in WEBHOOK_EVENT_TYPES:
            queue_event(self.db, self.merchant_id, event_type, payload, self.now, self.subscribed_endpoints(event_type))

    def subscribed_endpoints(self, event_type: str) -> list[str]:
        """The ids of the merchant's endpoints that want an event.

        Args:
            event_type: the event's type.
        """
        rows = self.db.all(
            "SELECT endpoint.id FROM webhook_endpoints endpoint, json_each(endpoint.events) wanted"
            " WHERE endpoint.merchant_id = ? AND endpoint.enabled AND wanted.value IN ('*', ?) GROUP BY endpoint.id",
            self.merchant_id,
            event_type,
        )
        return [row["id"] for row in rows]


operation: OperationRegistry[MerchantContext] = OperationRegistry()
"""Decorates the handlers of the Montra service: `@operation("create_refund")`."""
