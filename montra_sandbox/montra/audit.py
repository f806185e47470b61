"""The audit log."""

from __future__ import annotations

from typing import Any

from ..context import Context, Handler, Page
from ..store import Row, pick
from ..wire import loads


def show(row: Row) -> dict[str, Any]:
    names = ("id", "event_type", "resource_type", "resource_id", "created_at")
    return {**pick(row, *names), "payload": loads(row["payload"].encode())}


def list_audit_logs(context: Context) -> Page:
    """Newest first."""
    query = context.query
    limit, offset = query.get("limit", 50), query.get("offset", 0)
    filters = {name: query[name] for name in ("event_type", "resource_type") if name in query}
    where = " AND ".join(["merchant_id = ?", *(f"{name} = ?" for name in filters)])
    values = (context.merchant_id, *filters.values())
    total = context.store.value(f"SELECT count(*) FROM audit_logs WHERE {where}", *values)
    rows = context.store.all(
        f"SELECT * FROM audit_logs WHERE {where} ORDER BY sequence DESC LIMIT ? OFFSET ?",
        *values,
        limit,
        offset,
    )
    return Page([show(row) for row in rows], {"total": total, "limit": limit, "offset": offset})


HANDLERS: dict[str, Handler] = {"list_audit_logs": list_audit_logs}
