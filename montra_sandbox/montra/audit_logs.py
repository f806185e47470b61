"""The audit log. `MerchantContext.record_event` writes it."""

from __future__ import annotations

from typing import Any

from ..database import Row, pick
from ..json import loads
from .merchant_context import MerchantContext, Page, operation

_FILTERS = ("event_type", "resource_type")


@operation("list_audit_logs")
def list_audit_logs(context: MerchantContext) -> Page:
    """GET /audit-logs.

    Newest first.
    """
    query = context.query
    limit, offset = query.get("limit", 50), query.get("offset", 0)
    filters = {name: query[name] for name in _FILTERS if name in query}
    where = " AND ".join(["merchant_id = ?", *(f"{name} = ?" for name in filters)])
    values = (context.merchant_id, *filters.values())
    total = context.db.value(f"SELECT count(*) FROM audit_logs WHERE {where}", *values)
    rows = context.db.all(
        f"SELECT * FROM audit_logs WHERE {where} ORDER BY sequence DESC LIMIT ? OFFSET ?",
        *values,
        limit,
        offset,
    )
    return Page([_serialize(row) for row in rows], {"total": total, "limit": limit, "offset": offset})


def _serialize(row: Row) -> dict[str, Any]:
    names = ("id", "event_type", "resource_type", "resource_id", "created_at")
    return {**pick(row, *names), "payload": loads(row["payload"].encode())}
