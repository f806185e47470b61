"""The audit log."""

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
"""Consecutive pages that are skipped because, by `total`, all of their entries are new. Without a limit, a log whose
`total` always grows would be read without end."""


@attrs.frozen(kw_only=True)
class AuditLog(Model):
    """An entry of the audit log: one change.

    Attributes:
        id: `log_...`.
        event_type: e.g. `customer.created`.
        resource_type: e.g. `customer`.
        resource_id: id of the changed object.
        payload: what changed; numbers with a fraction are floats.
        created_at: when it changed.
    """

    id: str
    event_type: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    payload: dict[str, Any] | None = None
    created_at: datetime | None = None


@attrs.frozen(kw_only=True)
class PageMeta(Model):
    """The position of a page in a list.

    Attributes:
        total: number of entries on all pages.
        limit: maximum number of entries of this page.
        offset: number of entries before this page.
    """

    total: int | None = None
    limit: int | None = None
    offset: int | None = None


@attrs.frozen(kw_only=True)
class AuditLogPage(Model):
    """A page of the audit log, newest entry first.

    Attributes:
        data: the entries.
        meta: the position of the page; its fields are None when the service does not say.
    """

    data: list[AuditLog]
    meta: PageMeta = attrs.field(factory=PageMeta)

    def _repr_html_(self) -> str:
        from ..core.models.html import models_table

        return models_table(self.data)


class AuditLogsApi(BaseClient):
    """Calls for the audit log."""

    async def list_audit_logs(
        self,
        *,
        event_type: str | None = None,
        resource_type: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> AuditLogPage:
        """Get one page of the audit log, newest entry first (`GET /audit-logs`).

        Args:
            event_type: e.g. `customer.created`; all types by default.
            resource_type: e.g. `customer`; all types by default.
            limit: maximum number of entries, at least 1; 50 by default.
            offset: number of entries to skip; 0 by default.
        """
        query = validation.query(
            event_type=validation.optional_text("event_type", event_type),
            resource_type=validation.optional_text("resource_type", resource_type),
            limit=validation.optional_whole("limit", limit, minimum=1),
            offset=validation.optional_whole("offset", offset),
        )
        return await self._send(self._request("GET", "/audit-logs", query), _read_page)

    async def iter_audit_logs(
        self, *, event_type: str | None = None, resource_type: str | None = None, page_size: int = PAGE
    ) -> AsyncGenerator[AuditLog, None]:
        """Iterate over the audit log, newest entry first (`GET /audit-logs`).

        Pages are fetched as they are consumed; at most one is in memory. Every entry that existed at the start is
        yielded once; entries written meanwhile are not. Breaking out of the loop stops fetching.

        Args:
            event_type: e.g. `customer.created`; all types by default.
            resource_type: e.g. `customer`; all types by default.
            page_size: number of entries per request, at least 1; 100 by default.
        """
        validation.whole("page_size", page_size, minimum=1)
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
