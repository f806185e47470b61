"""Sends queued webhooks: signed, retried with exponential back-off until a 2xx response, and listed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import logging
from datetime import timedelta
from typing import Any

import aiohttp
from yarl import URL

from .database import Row, pick
from .datetimes import format_datetime
from .json import loads
from .problems import not_found
from .world import World

_log = logging.getLogger("montra_sandbox")

SIGNATURE_HEADER: str = "Montra-Signature"
MAX_ATTEMPTS: int = 12
_TIMEOUT = aiohttp.ClientTimeout(total=10)
_CONCURRENCY = 10
_POLL_INTERVAL = 0.5
_READ_BUFFER_SIZE = 16 * 1024
_MAX_ERROR_LENGTH = 300
_MAX_BACKOFF = 3600

_SELECT = """
SELECT delivery.*, event.type AS event_type, event.body, paywall.id AS paywall_id,
  coalesce(endpoint.url, paywall.webhook_url) AS url, coalesce(endpoint.secret, paywall.webhook_secret) AS secret
FROM deliveries delivery JOIN events event ON event.id = delivery.event_id
LEFT JOIN webhook_endpoints endpoint ON endpoint.id = delivery.endpoint_id
LEFT JOIN paywalls paywall ON paywall.id = delivery.endpoint_id"""


class WebhookSender:
    """Sends due deliveries in a background task.

    Args:
        world: the state.
        deliver_anywhere: also send to other machines; by default only to loopback addresses.
    """

    def __init__(self, world: World, *, deliver_anywhere: bool = False) -> None:
        self._world = world
        self._deliver_anywhere = deliver_anywhere
        self._round_lock = asyncio.Lock()
        self._is_stopping = False

    def start(self) -> None:
        """Start the background task."""
        # Only the status of a response counts: its body is not decompressed, and only its first bytes are read.
        self._session = aiohttp.ClientSession(
            timeout=_TIMEOUT,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=_READ_BUFFER_SIZE,
        )
        self._task = asyncio.create_task(self._run(), name="montra-sandbox-webhooks")

    async def stop(self) -> None:
        """Cancel the background task and close its connections."""
        self._is_stopping = True  # wait_for of Python 3.11 can swallow the cancellation
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._session.close()

    async def send_due(self) -> None:
        """Run due scheduled steps, and attempt all due deliveries."""
        async with self._round_lock:
            self._world.run_due()
            while due := self._due():
                await asyncio.gather(*(self._attempt(row) for row in due))

    def list_deliveries(self, limit: int = -1) -> list[dict[str, Any]]:
        """Deliveries, newest first.

        Args:
            limit: how many; -1 for all.
        """
        rows = self._world.db.all(f"{_SELECT} ORDER BY delivery.sequence DESC LIMIT ?", limit)
        return [_serialize(row) for row in rows]

    def replay(self, delivery_id: str) -> dict[str, Any]:
        """Make a delivery due again, whatever its status; returns it.

        Args:
            delivery_id: the delivery.

        Raises:
            Problem: 404.
        """
        world = self._world
        with world.db.transaction() as db:
            now = format_datetime(world.clock.now())
            db.update("deliveries", delivery_id, status="pending", attempts=0, next_attempt_at=now)
            row = db.one(f"{_SELECT} WHERE delivery.id = ?", delivery_id)
        if row is None:
            raise not_found("delivery", delivery_id)
        world.changed.set()
        return _serialize(row)

    async def _run(self) -> None:
        while not self._is_stopping:
            self._world.changed.clear()
            try:
                await self.send_due()
            except Exception:
                _log.exception("sending webhooks failed; the sandbox tries again")
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._world.changed.wait(), _POLL_INTERVAL)

    def _due(self) -> list[Row]:
        return self._world.db.all(
            f"{_SELECT} WHERE delivery.status = 'pending' AND delivery.next_attempt_at <= ?"
            " ORDER BY delivery.sequence LIMIT ?",
            format_datetime(self._world.clock.now()),
            _CONCURRENCY,
        )

    async def _attempt(self, row: Row) -> None:
        if row["url"] is None:
            self._store_result(row, "canceled", error="the endpoint was deleted")
        elif not (self._deliver_anywhere or is_local_url(row["url"])):
            error = "not an address of this machine; start with --deliver-anywhere to allow it"
            self._store_result(row, "blocked", error=error)
        else:
            await self._post(row)

    async def _post(self, row: Row) -> None:
        body = row["body"].encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "montra-sandbox",
            "Accept-Encoding": "identity",
            **_signature_headers(row, body),
        }
        try:
            async with self._session.post(row["url"], data=body, headers=headers, allow_redirects=False) as response:
                status: int | None = response.status
                error = None if 200 <= response.status < 300 else f"answered {response.status}"
                if not response.content.at_eof():
                    response.close()
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as failure:
            status, error = None, _error_message(failure)
        if error is None:
            self._store_result(row, "succeeded", status)
        else:
            self._store_result(row, "failed" if row["attempts"] + 1 >= MAX_ATTEMPTS else "pending", status, error)

    def _store_result(self, row: Row, result: str, status: int | None = None, error: str | None = None) -> None:
        attempts = row["attempts"] + 1
        next_attempt = self._world.clock.now() + retry_delay(attempts) if result == "pending" else None
        with self._world.db.transaction() as db:
            db.update(
                "deliveries",
                row["id"],
                status=result,
                attempts=attempts,
                next_attempt_at=None if next_attempt is None else format_datetime(next_attempt),
                last_status=status,
                last_error=error,
            )


def retry_delay(attempts: int) -> timedelta:
    """The pause after a failed attempt: 1, 2, 4, ... seconds, at most one hour.

    Args:
        attempts: how many attempts were made, from 1.
    """
    return timedelta(seconds=min(_MAX_BACKOFF, 2 ** min(attempts - 1, 12)))


def is_local_url(url: str) -> bool:
    """Whether a URL leads to this machine: `localhost` or a loopback address.

    Args:
        url: the URL.
    """
    try:
        host = URL(url).host or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _signature_headers(row: Row, body: bytes) -> dict[str, str]:
    """The paywall service signs in two headers, and not at all without a secret."""
    if row["secret"] is None:
        return {}
    signature = hmac.new(row["secret"].encode(), body, hashlib.sha256).hexdigest()
    if row["paywall_id"] is None:
        return {SIGNATURE_HEADER: signature}
    return {"X-Signature": signature, "X-Monetize-Signature": f"sha256={signature}"}


def _error_message(failure: Exception) -> str:
    reason = failure.os_error.strerror if isinstance(failure, aiohttp.ClientConnectorError) else None
    return (reason or str(failure) or type(failure).__name__)[:_MAX_ERROR_LENGTH]


def _serialize(row: Row) -> dict[str, Any]:
    names = (
        *("id", "event_id", "event_type", "endpoint_id", "url", "status", "attempts", "next_attempt_at"),
        *("last_status", "last_error", "created_at"),
    )
    return {**pick(row, *names), "body": loads(row["body"].encode())}
