"""What a handler gets: the open transaction, who is asking, the time, and the checked request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeAlias

import attrs

from .clock import to_text
from .problems import not_found
from .store import Row, Store, new_id
from .wire import dumps

EVENT_TYPES = frozenset(
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
"""What webhooks are sent for. Every other change is in the audit log only."""


def present(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that have a value: an empty optional field is left out of an answer, it is not sent as null."""
    return {name: value for name, value in fields.items() if value is not None}


@attrs.frozen(kw_only=True)
class UploadedPart:
    """A file that came with a multipart request."""

    name: str
    type: str
    content: bytes


@attrs.frozen(kw_only=True)
class Context:
    """One request, or one thing that happens by itself, of one merchant, inside one transaction."""

    store: Store
    merchant_id: str
    now: datetime
    origin: str
    path: Mapping[str, str] = attrs.field(factory=dict[str, str])
    query: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    body: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    part: UploadedPart | None = None

    @property
    def now_text(self) -> str:
        return to_text(self.now)

    def at(self, moment: datetime) -> Context:
        return attrs.evolve(self, now=moment)

    def find(self, table: str, what: str, row_id: str) -> Row:
        """A row of this merchant; another merchant's is as good as none.

        Raises:
            Problem: 404.
        """
        row = self.store.one(f"SELECT * FROM {table} WHERE id = ? AND merchant_id = ?", row_id, self.merchant_id)
        if row is None:
            raise not_found(what, row_id)
        return row

    def mine(self, table: str) -> list[Row]:
        """All rows of this merchant, oldest first."""
        return self.store.all(
            f"SELECT * FROM {table} WHERE merchant_id = ? ORDER BY created_at, rowid", self.merchant_id
        )

    def record(self, event_type: str, resource_id: str, payload: Mapping[str, Any]) -> None:
        """Write a change to the audit log and queue its webhooks. Commits, or vanishes, with the change itself."""
        payload = present(payload)
        resource_type = event_type.partition(".")[0]
        self.store.insert(
            "audit_logs",
            id=new_id("log"),
            sequence=self.store.next_number("audit_logs"),
            merchant_id=self.merchant_id,
            event_type=event_type,
            resource_type=resource_type,
            resource_id=resource_id,
            payload=dumps(payload),
            created_at=self.now_text,
        )
        if event_type in EVENT_TYPES:
            self._queue(event_type, payload)

    def _queue(self, event_type: str, payload: Mapping[str, Any]) -> None:
        event_id = new_id("evt")
        body = dumps({"id": event_id, "type": event_type, "created_at": self.now_text, "data": payload})
        self.store.insert(
            "events", id=event_id, merchant_id=self.merchant_id, type=event_type, body=body, created_at=self.now_text
        )
        endpoints = self.store.all(
            "SELECT endpoint.id FROM webhook_endpoints endpoint, json_each(endpoint.events) wanted"
            " WHERE endpoint.merchant_id = ? AND endpoint.enabled AND wanted.value IN ('*', ?) GROUP BY endpoint.id",
            self.merchant_id,
            event_type,
        )
        for endpoint in endpoints:
            self.store.insert(
                "deliveries",
                id=new_id("dlv"),
                sequence=self.store.next_number("deliveries"),
                merchant_id=self.merchant_id,
                event_id=event_id,
                endpoint_id=endpoint["id"],
                status="pending",
                attempts=0,
                next_attempt_at=self.now_text,
                created_at=self.now_text,
            )


Handler: TypeAlias = Callable[[Context], Any]
"""Returns what goes into `data`; `NOTHING` for an answer without it; `Bare` for one without an envelope."""


@attrs.frozen
class Bare:
    """An answer that is not wrapped in the envelope."""

    value: Any


@attrs.frozen
class Page:
    """A list with metadata beside it."""

    data: list[Any]
    meta: Mapping[str, int]


NOTHING = object()
