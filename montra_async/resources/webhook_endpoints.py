"""Webhook endpoints: where Montra sends its events. Receiving them is in `montra_async.webhooks`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import attrs

from ..core import validation
from ..core.client import BaseClient
from ..core.models.model import Model
from ..core.redaction import mask
from .event_types import EVENT_TYPES, warn_of_unknown


@attrs.frozen(kw_only=True)
class WebhookEndpoint(Model):
    """An address that receives events. `secret` comes once, when the endpoint is created: keep it."""

    id: str
    url: str
    description: str | None = None
    events: list[str] | None = attrs.field(default=None, hash=False)
    enabled: bool | None = None
    secret: str | None = attrs.field(default=None, repr=mask)
    created_at: datetime | None = None


class WebhookEndpointsApi(BaseClient):
    async def list_webhooks(self) -> list[WebhookEndpoint]:
        """All webhook endpoints of the merchant, without their secrets (`GET /webhooks`)."""
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
        """Have events sent to an address (`POST /webhooks`). The answer's `secret` signs them; it is shown once.

        Args:
            url: where to.
            description: for you; may be empty.
            events: types such as `checkout.completed`; `["*"]`, the default, is all. A type that this SDK doesn't know
                is sent all the same, and logged as a warning: it may be new, or a slip.
            enabled: True by default.
            idempotency_key: your own key; one is made when you give none.
        """
        body = {"url": validation.text("url", url), **_fields("create_webhook", description, events, enabled)}
        return await self._post("/webhooks", body, WebhookEndpoint, idempotency_key)

    async def update_webhook(
        self,
        webhook_id: str,
        *,
        url: str | None = None,
        description: str | None = None,
        events: Sequence[str] | None = None,
        enabled: bool | None = None,
    ) -> WebhookEndpoint:
        """Change the fields that are given (`PATCH /webhooks/{id}`).

        Raises:
            NotFoundError: no such endpoint.
        """
        fields = _fields("update_webhook", description, events, enabled)
        body = {"url": validation.optional_text("url", url), **fields}
        return await self._patch(f"/webhooks/{validation.segment('webhook_id', webhook_id)}", body, WebhookEndpoint)

    async def delete_webhook(self, webhook_id: str) -> None:
        """Send nothing there any more (`DELETE /webhooks/{id}`).

        Raises:
            NotFoundError: no such endpoint.
        """
        await self._delete(f"/webhooks/{validation.segment('webhook_id', webhook_id)}")


def _fields(
    call: str, description: str | None, events: Sequence[str] | None, enabled: bool | None
) -> dict[str, object]:
    types = validation.texts("events", events)
    warn_of_unknown(types or (), EVENT_TYPES, where=call, service="montra")
    return {
        "description": validation.optional_description("description", description),
        "events": types,
        "enabled": validation.optional_flag("enabled", enabled),
    }
