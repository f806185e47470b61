"""Idempotency keys: the same POST again replays the stored answer.

What succeeded is stored, in the same transaction as its effects. What failed left nothing behind, so it is not stored:
the same key may be used again, also with a corrected body.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import attrs

from .clock import to_text
from .context import UploadedPart
from .problems import conflict
from .store import Store
from .wire import canonical

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"


@attrs.frozen(kw_only=True)
class Keyed:
    """A request with a key, and what tells it from another one."""

    key: str
    method: str
    path: str
    fingerprint: str


def keyed(key: str, method: str, path: str, body: Any, parts: Sequence[UploadedPart]) -> Keyed:
    content = canonical(body)
    for part in parts:
        content += f"\0{part.name}\0{part.type}\0{hashlib.sha256(part.content).hexdigest()}"
    digest = hashlib.sha256(f"{method}\0{path}\0{content}".encode("utf-8", "surrogatepass")).hexdigest()
    return Keyed(key=key, method=method, path=path, fingerprint=digest)


def replay(store: Store, scope: str, request: Keyed) -> tuple[int, bytes] | None:
    """The stored status and body of this very request; None when the key is new.

    Raises:
        Problem: 409, the key belongs to another request.
    """
    row = store.one("SELECT * FROM idempotency_records WHERE scope = ? AND key = ?", scope, request.key)
    if row is None:
        return None
    if row["fingerprint"] != request.fingerprint:
        raise conflict(
            "idempotency_mismatch",
            f"this idempotency key was used for {row['method']} {row['path']} with other parameters",
        )
    return row["status"], row["body"]


def remember(store: Store, scope: str, request: Keyed, status: int, body: bytes, now: datetime) -> None:
    store.insert(
        "idempotency_records",
        scope=scope,
        key=request.key,
        method=request.method,
        path=request.path,
        fingerprint=request.fingerprint,
        status=status,
        body=body,
        created_at=to_text(now),
    )
