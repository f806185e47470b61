"""Webhooks out: signed, retried with exponential back-off until a 2xx, and listed."""

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

from .clock import to_text
from .problems import not_found
from .store import Row, pick
from .wire import loads
from .world import World

log = logging.getLogger("montra_sandbox")

SIGNATURE = "Montra-Signature"
MOST_ATTEMPTS = 12
_TIMEOUT = aiohttp.ClientTimeout(total=10)
_AT_ONCE = 10
_LOOK_EVERY = 0.5
_READ = 16 * 1024
_MOST_WORDS = 300

_DETAILS = """
SELECT delivery.*, event.type AS event_type, event.body, paywall.id AS paywall_id,
  coalesce(endpoint.url, paywall.webhook_url) AS url, coalesce(endpoint.secret, paywall.webhook_secret) AS secret
FROM deliveries delivery JOIN events event ON event.id = delivery.event_id
LEFT JOIN webhook_endpoints endpoint ON endpoint.id = delivery.endpoint_id
LEFT JOIN paywalls paywall ON paywall.id = delivery.endpoint_id"""


def signature(body: bytes, secret: str) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _signatures(row: Row, body: bytes) -> dict[str, str]:
    """The paywall service signs in two ways, and not at all without a secret."""
    if row["secret"] is None:
        return {}
    signed = signature(body, row["secret"])
    if row["paywall_id"] is None:
        return {SIGNATURE: signed}
    return {"X-Signature": signed, "X-Monetize-Signature": f"sha256={signed}"}


def pause_after(attempts: int) -> timedelta:
    """Pure: 1, 2, 4, ... seconds, at most an hour."""
    return timedelta(seconds=min(3600, 2 ** min(attempts - 1, 12)))


class Deliveries:
    """Sends what is due, in the background. Only to this machine, unless told otherwise."""

    def __init__(self, world: World, *, anywhere: bool = False) -> None:
        self._world = world
        self._anywhere = anywhere
        self._one_round = asyncio.Lock()
        self._stopping = False

    def start(self) -> None:
        # Only the status of an answer counts: its body is never unpacked, and little of it is ever read.
        self._session = aiohttp.ClientSession(
            timeout=_TIMEOUT, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, read_bufsize=_READ
        )
        self._task = asyncio.create_task(self._run(), name="montra-sandbox-deliveries")

    async def stop(self) -> None:
        self._stopping = True  # Python 3.11's wait_for may swallow a cancellation
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._session.close()

    async def settle(self) -> None:
        """Return when everything that is due has been tried."""
        async with self._one_round:
            self._world.catch_up()
            while due := self._due():
                await asyncio.gather(*(self._send(row) for row in due))

    def all(self, most: int = -1) -> list[dict[str, Any]]:
        """All deliveries, or the latest ones, newest first."""
        rows = self._world.store.all(f"{_DETAILS} ORDER BY delivery.sequence DESC LIMIT ?", most)
        return [_show(row) for row in rows]

    def replay(self, delivery_id: str) -> dict[str, Any]:
        """Send a delivery again, now, whatever became of it.

        Raises:
            Problem: 404.
        """
        store = self._world.store
        with store.transaction():
            store.update(
                "deliveries",
                delivery_id,
                status="pending",
                attempts=0,
                next_attempt_at=to_text(self._world.clock.now()),
            )
            row = store.one(f"{_DETAILS} WHERE delivery.id = ?", delivery_id)
        if row is None:
            raise not_found("delivery", delivery_id)
        self._world.changed.set()
        return _show(row)

    async def _run(self) -> None:
        while not self._stopping:
            self._world.changed.clear()
            try:
                await self.settle()
            except Exception:
                log.exception("the webhook deliveries failed; they go on")
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._world.changed.wait(), _LOOK_EVERY)

    def _due(self) -> list[Row]:
        return self._world.store.all(
            f"{_DETAILS} WHERE delivery.status = 'pending' AND delivery.next_attempt_at <= ?"
            " ORDER BY delivery.sequence LIMIT ?",
            to_text(self._world.clock.now()),
            _AT_ONCE,
        )

    async def _send(self, row: Row) -> None:
        if row["url"] is None:
            self._note(row, "canceled", error="the endpoint was deleted")
        elif not (self._anywhere or is_here(row["url"])):
            self._note(
                row, "blocked", error="not an address of this machine; start with --deliver-anywhere to allow it"
            )
        else:
            await self._post(row)

    async def _post(self, row: Row) -> None:
        body = row["body"].encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "montra-sandbox",
            "Accept-Encoding": "identity",
            **_signatures(row, body),
        }
        try:
            async with self._session.post(row["url"], data=body, headers=headers, allow_redirects=False) as answer:
                status: int | None = answer.status
                error = None if 200 <= answer.status < 300 else f"answered {answer.status}"
                if not answer.content.at_eof():
                    answer.close()
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as failure:
            status, error = None, _words(failure)
        if error is None:
            self._note(row, "succeeded", status)
        else:
            self._note(row, "failed" if row["attempts"] + 1 >= MOST_ATTEMPTS else "pending", status, error)

    def _note(self, row: Row, outcome: str, status: int | None = None, error: str | None = None) -> None:
        attempts = row["attempts"] + 1
        later = to_text(self._world.clock.now() + pause_after(attempts)) if outcome == "pending" else None
        with self._world.store.transaction() as store:
            store.update(
                "deliveries",
                row["id"],
                status=outcome,
                attempts=attempts,
                next_attempt_at=later,
                last_status=status,
                last_error=error,
            )


def _words(failure: Exception) -> str:
    reason = failure.os_error.strerror if isinstance(failure, aiohttp.ClientConnectorError) else None
    return (reason or str(failure) or type(failure).__name__)[:_MOST_WORDS]


def is_here(url: str) -> bool:
    """Does a URL lead to this machine?"""
    try:
        host = URL(url).host or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _show(row: Row) -> dict[str, Any]:
    names = (
        "id",
        "event_id",
        "event_type",
        "endpoint_id",
        "url",
        "status",
        "attempts",
        "next_attempt_at",
        "last_status",
        "last_error",
        "created_at",
    )
    return {**pick(row, *names), "body": loads(row["body"].encode())}
