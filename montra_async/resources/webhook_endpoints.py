"""Webhook endpoints: the addresses that receive Montra's events. `montra_async.webhooks` handles received events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import attrs

from ..core import validation
from ..core.client import BaseClient
from ..core.models.model import Model
from ..core.redaction import mask
from ..core.validation import UNSET, Unset
from .event_types import EVENT_TYPES, warn_of_unknown


@attrs.frozen(kw_only=True)
class WebhookEndpoint(Model):
    """An address that receives events.

    Attributes:
        id: `wh_...`.
        url: the address.
        description: description for people.
        events: event types that it receives; `["*"]` means all.
        enabled: whether events are sent.
        secret: `whsec_...`, the key that events are signed with. Only `create_webhook` returns it: store it. The repr
            does not show it.
        created_at: when it was created.
    """

    id: str
    url: str
    description: str | None = None
    events: list[str] | None = None
    enabled: bool | None = None
    secret: str | None = attrs.field(default=None, repr=mask)
    created_at: datetime | None = None


class WebhookEndpointsApi(BaseClient):
    """Calls for webhook endpoints."""

    async def list_webhooks(self) -> list[WebhookEndpoint]:
        """List all webhook endpoints of the merchant, without their secrets (`GET /webhooks`)."""
        return await self._get("/webhooks", list[WebhookEndpoint])

    async def create_webhook(
        self,
        *,
        url: str,
        description: str | None = None,
        events: Sequence[str] | None = None,
        enabled: bool | None = None,
        idempotency_key: str | None = None,
    ) -> WebhookEndpoint:
        """Create a webhook endpoint (`POST /webhooks`). The result's `secret` is not shown again.

        Args:
            url: the address that receives events.
            description: description for people; may be empty.
            events: event types such as `checkout.completed`; `["*"]`, the default, means all. A type that this SDK
                does not know is sent all the same, and logged as a warning.
            enabled: whether events are sent; True by default.
            idempotency_key: 1 to 255 printable ASCII characters without spaces; a random key by default.
        """
        body = {
            "url": validation.text("url", url),
            "description": validation.optional_description("description", description),
            "events": None if events is None else _event_types("create_webhook", events),
            "enabled": validation.optional_flag("enabled", enabled),
        }
        return await self._post("/webhooks", body, WebhookEndpoint, idempotency_key)

    async def update_webhook(
        self,
        webhook_id: str,
        *,
        url: str | Unset = UNSET,
        description: str | Unset | None = UNSET,
        events: Sequence[str] | Unset = UNSET,
        enabled: bool | Unset = UNSET,
    ) -> WebhookEndpoint:
        """Change the given fields of a webhook endpoint (`PATCH /webhooks/{id}`).

        A field that is not given keeps its value. None clears a field.

        Args:
            webhook_id: `wh_...`.
            url: the address that receives events. Can't be cleared.
            description: description for people; may be empty.
            events: event types; `["*"]` means all. Replaces the old list. Can't be cleared.
            enabled: whether events are sent. Can't be cleared.

        Raises:
            NotFoundError: the endpoint does not exist.
        """
        body = validation.patch_body(
            url=validation.patch_field("url", url, validation.text),
            description=validation.patch_field(
                "description", description, validation.optional_description, can_be_cleared=True
            ),
            events=validation.patch_field("events", events, lambda _, types: _event_types("update_webhook", types)),
            enabled=validation.patch_field("enabled", enabled, validation.flag),
        )
        return await self._patch(f"/webhooks/{validation.segment('webhook_id', webhook_id)}", body, WebhookEndpoint)

    async def delete_webhook(self, webhook_id: str) -> None:
        """Delete a webhook endpoint (`DELETE /webhooks/{id}`).

        Args:
            webhook_id: `wh_...`.

        Raises:
            NotFoundError: the endpoint does not exist.
        """
        await self._delete(f"/webhooks/{validation.segment('webhook_id', webhook_id)}")


def _event_types(method: str, events: Sequence[str]) -> list[str]:
    types = validation.texts("events", events) or []
    warn_of_unknown(types, EVENT_TYPES, where=method, service="montra")
    return types
