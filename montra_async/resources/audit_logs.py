"""The audit log: every change that was made."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Any

import attrs

from ..core import validation
from ..core.client import BaseClient
from ..core.http.messages import RawResponse, Request
from ..core.models.model import Model
from . import responses

PAGE = 100
_MOST_SKIPPED = 3
"""Pages in a row of which nothing is given, because `total` says that all of it is new. Without a limit, one whose
`total` always grows would be read for ever."""


@attrs.frozen(kw_only=True)
class AuditLog(Model):
    """One change. `payload` is what changed, numbers with a fraction as floats."""

    id: str
    event_type: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    payload: dict[str, Any] | None = attrs.field(default=None, hash=False)
    created_at: datetime | None = None


@attrs.frozen(kw_only=True)
class PageMeta(Model):
    """Where a page stands: `total` entries in all, this page's `limit` and `offset`."""

    total: int | None = None
    limit: int | None = None
    offset: int | None = None


@attrs.frozen(kw_only=True)
class AuditLogPage(Model):
    """A page of the audit log, newest first."""

    data: list[AuditLog] = attrs.field(hash=False)
    meta: PageMeta = attrs.field(factory=PageMeta)


class AuditLogsApi(BaseClient):
    async def list_audit_logs(
        self,
        *,
        event_type: str | None = None,
        resource_type: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> AuditLogPage:
        """One page of the audit log (`GET /audit-logs`).

        Args:
            event_type: e.g. `customer.created`.
            resource_type: e.g. `customer`.
            limit: entries of the page, 50 by default.
            offset: entries to skip, 0 by default.
        """
        query = validation.query(
            event_type=validation.optional_text("event_type", event_type),
            resource_type=validation.optional_text("resource_type", resource_type),
            limit=validation.optional_whole("limit", limit, least=1),
            offset=validation.optional_whole("offset", offset),
        )
        return await self._send(self._request("GET", "/audit-logs", query), _read_page)

    async def iter_audit_logs(
        self, *, event_type: str | None = None, resource_type: str | None = None, page_size: int = PAGE
    ) -> AsyncGenerator[AuditLog, None]:
        """Every entry, newest first, page after page as you consume them (`GET /audit-logs`).

        At most one page is in memory. Entries written meanwhile push the older ones back; what was there at the start
        is given once, in order, and nothing newer. Breaking out of the loop stops fetching.

        Args:
            event_type: e.g. `customer.created`.
            resource_type: e.g. `customer`.
            page_size: entries fetched at a time.
        """
        validation.whole("page_size", page_size, least=1)
        given = pushed = skipped = 0
        at_start: int | None = None
        while True:
            page = await self.list_audit_logs(
                event_type=event_type, resource_type=resource_type, limit=page_size, offset=given + pushed
            )
            total = page.meta.total if page.meta.total is not None and page.meta.total >= 0 else None
            at_start = total if at_start is None else at_start
            came = 0 if total is None or at_start is None else max(0, total - at_start - pushed)
            skipped = skipped + 1 if came and came >= len(page.data) else 0
            if skipped > _MOST_SKIPPED:
                came = 0
            pushed += came
            for entry in page.data[came:]:
                yield entry
            given += max(0, len(page.data) - came)
            if not page.data or (given >= at_start if at_start is not None else len(page.data) < page_size):
                return


def _read_page(response: RawResponse, request: Request) -> AuditLogPage:
    payload = responses.read_envelope(response, request)
    page: dict[str, Any] = {"data": payload.get("data"), "meta": payload.get("meta")}
    return responses.read_as(page, response, request, AuditLogPage)
