"""Idempotency keys: a POST that is repeated with the same key gets the stored response.

The response of a successful request is stored in the same transaction as its effects. A failed request has no effects
and is not stored, so its key can be used again, also with a corrected body.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import attrs

from .database import Database
from .datetimes import format_datetime
from .json import canonical
from .operations import UploadedPart
from .problems import conflict

KEY_HEADER: str = "Idempotency-Key"
REPLAYED_HEADER: str = "Idempotent-Replayed"


@attrs.frozen(kw_only=True)
class KeyedRequest:
    """A request with an idempotency key.

    Attributes:
        key: the idempotency key.
        method: the HTTP method.
        path: the path below the API's prefix.
        fingerprint: a digest of method, path, body and files.
    """

    key: str
    method: str
    path: str
    fingerprint: str


def keyed_request(key: str, method: str, path: str, body: Any, parts: Sequence[UploadedPart]) -> KeyedRequest:
    """Compute the fingerprint of a request.

    Args:
        key: the idempotency key.
        method: the HTTP method.
        path: the path below the API's prefix.
        body: the parsed JSON body.
        parts: the uploaded files.
    """
    content = canonical(body)
    for part in parts:
        content += f"\0{part.name}\0{part.type}\0{hashlib.sha256(part.content).hexdigest()}"
    digest = hashlib.sha256(f"{method}\0{path}\0{content}".encode("utf-8", "surrogatepass")).hexdigest()
    return KeyedRequest(key=key, method=method, path=path, fingerprint=digest)


def find_stored_response(db: Database, scope: str, request: KeyedRequest) -> tuple[int, bytes] | None:
    """The stored status and body for this key; None when the key is new.

    Args:
        db: the database.
        scope: within what the key is unique.
        request: the request.

    Raises:
        Problem: 409 `idempotency_mismatch`, the key was used for another request.
    """
    row = db.one("SELECT * FROM idempotency_records WHERE scope = ? AND key = ?", scope, request.key)
    if row is None:
        return None
    if row["fingerprint"] != request.fingerprint:
        raise conflict(
            "idempotency_mismatch",
            f"this idempotency key was used for {row['method']} {row['path']} with other parameters",
        )
    return row["status"], row["body"]


def store_response(db: Database, scope: str, request: KeyedRequest, status: int, body: bytes, now: datetime) -> None:
    """Store the response of a successful request.

    Args:
        db: the database.
        scope: within what the key is unique.
        request: the request.
        status: the HTTP status.
        body: the response's body.
        now: the sandbox's time.
    """
    db.insert(
        "idempotency_records",
        scope=scope,
        key=request.key,
        method=request.method,
        path=request.path,
        fingerprint=request.fingerprint,
        status=status,
        body=body,
        created_at=format_datetime(now),
    )
