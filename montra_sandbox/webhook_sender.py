"""Sends queued webhooks: signed, retried with exponential back-off until a 2xx response, and listed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import time
from datetime import timedelta
from typing import Any

import aiohttp
import attrs
from yarl import URL

from .database import Row, pick
from .datetimes import format_datetime
from .json import loads, plain_numbers
from .log import log
from .problems import not_found
from .world import World

SIGNATURE_HEADER: str = "Montra-Signature"
MAX_ATTEMPTS: int = 12
_TIMEOUT = aiohttp.ClientTimeout(total=10)
_CONCURRENCY = 10
_MAX_TAKEN = 1_000
_POLL_INTERVAL = 0.5
_READ_BUFFER_SIZE = 16 * 1024
_MAX_ERROR_LENGTH = 300
MAX_ANSWER: int = 2 * 1024
"""Most bytes of an answer that are kept."""
_ANSWER_TIMEOUT = 0.5
APP_SCHEME: str = "app:"
"""Begins the URL of an endpoint that is an application in this process: `app:/webhooks`."""
_MAX_BACKOFF = 3600

_SELECT = """
SELECT delivery.*, event.type AS event_type, event.body, paywall.id AS paywall_id,
  coalesce(endpoint.url, paywall.webhook_url) AS url, coalesce(endpoint.secret, paywall.webhook_secret) AS secret
FROM deliveries delivery JOIN events event ON event.id = delivery.event_id
LEFT JOIN webhook_endpoints endpoint ON endpoint.id = delivery.endpoint_id
LEFT JOIN paywalls paywall ON paywall.id = delivery.endpoint_id"""


@attrs.frozen(kw_only=True)
class PendingDelivery:
    """A delivery to an application in this process.

    Attributes:
        id: the delivery's id.
        endpoint_id: the endpoint, or the paywall.
        path: the path that is requested.
        body: the signed body.
        headers: the headers, with the signature.
        event_type: the event's type.
        epoch: the epoch of the state to which it belongs.
    """

    id: str
    endpoint_id: str
    path: str
    body: bytes = attrs.field(repr=False)
    headers: dict[str, str] = attrs.field(repr=False)
    event_type: str
    epoch: int


@attrs.frozen(kw_only=True)
class Answer:
    """What a receiver answered.

    Attributes:
        status: the HTTP status; None when there was no response.
        error: why there was none.
        body: the first 2 KiB of the response's body, as text; None without one.
        duration_ms: how long it took, in milliseconds.
    """

    status: int | None
    error: str | None = None
    body: str | None = None
    duration_ms: float = 0.0


class WebhookSender:
    """Sends due deliveries in a background task.

    Args:
        world: the state.
        deliver_anywhere: also send to other machines; by default only to loopback addresses.

    Attributes:
        deliver_anywhere: whether it also sends to other machines.
    """

    def __init__(self, world: World, *, deliver_anywhere: bool = False) -> None:
        self._world = world
        self.deliver_anywhere: bool = deliver_anywhere
        self._round_lock = asyncio.Lock()
        self._is_stopping = False
        self._taken: set[tuple[int, str]] = (
            set()
        )  # so that two callers, or one inside an application, don't make a delivery twice

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

    async def send_due(self, *, max_rounds: int | None = None) -> None:
        """Run due scheduled steps, and attempt all due deliveries.

        Args:
            max_rounds: how often deliveries may cause further ones; None for no limit.

        Raises:
            RuntimeError: they cause further ones more often.
        """
        rounds = 0
        while True:
            async with self._round_lock:
                self._world.run_due()
                last = self._world.db.value("SELECT max(sequence) FROM deliveries") or 0
                if not self._due():
                    return
                while due := [row for row in self._due() if row["sequence"] <= last]:
                    await asyncio.gather(*(self._attempt(row) for row in due))
            rounds += 1
            if max_rounds is not None and rounds > max_rounds:
                raise RuntimeError(f"{max_rounds} rounds of webhooks, and each caused further ones")

    def list_deliveries(self, limit: int = -1, *, event_id: str | None = None) -> list[dict[str, Any]]:
        """Deliveries, newest first.

        Args:
            limit: how many; -1 for all.
            event_id: only those of this event.
        """
        rows = self._world.db.all(
            f"{_SELECT} WHERE ? IS NULL OR delivery.event_id = ? ORDER BY delivery.sequence DESC LIMIT ?",
            *(event_id, event_id, limit),
        )
        return [_serialize(row) for row in rows]

    def take_for_apps(self) -> list[PendingDelivery]:
        """Take the due deliveries to applications in this process, in order. The caller makes and stores them."""
        epoch = self._world.epoch
        self._taken = {key for key in self._taken if key[0] == epoch}
        due = self._due(to_apps=True)
        taken = [_pending_delivery(row, epoch) for row in due if (epoch, row["id"]) not in self._taken]
        self._taken.update((epoch, delivery.id) for delivery in taken)
        return taken

    @property
    def is_delivering(self) -> bool:
        """Whether deliveries to applications are taken and not stored yet."""
        return any(epoch == self._world.epoch for epoch, _ in self._taken)

    def release(self, deliveries: list[PendingDelivery]) -> None:
        """Let deliveries be taken again that were taken and not made.

        Args:
            deliveries: the deliveries.
        """
        self._taken.difference_update((delivery.epoch, delivery.id) for delivery in deliveries)

    def store_answer(self, delivery: PendingDelivery, answer: Answer) -> None:
        """Store what an application in this process answered.

        Args:
            delivery: the delivery.
            answer: its answer.
        """
        self._taken.discard((delivery.epoch, delivery.id))
        row = self._world.db.one(f"{_SELECT} WHERE delivery.id = ?", delivery.id)
        if row is not None:
            self._store_answer(row, answer, delivery.epoch)

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
        world.notify()
        return _serialize(row)

    async def _run(self) -> None:
        while not self._is_stopping:
            self._world.changed.clear()
            try:
                await self.send_due()
            except Exception:
                log.exception("sending webhooks failed; the sandbox tries again")
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._world.changed.wait(), _POLL_INTERVAL)

    def _due(self, *, to_apps: bool = False) -> list[Row]:
        return self._world.db.all(
            f"{_SELECT} WHERE delivery.status = 'pending' AND delivery.next_attempt_at <= ?"
            " AND coalesce(endpoint.url, paywall.webhook_url, '') LIKE 'app:%' = ? ORDER BY delivery.sequence LIMIT ?",
            format_datetime(self._world.clock.now()),
            to_apps,
            _MAX_TAKEN if to_apps else _CONCURRENCY,
        )

    async def _attempt(self, row: Row) -> None:
        if row["url"] is None:
            self._store_result(row, "canceled", error="the endpoint was deleted")
        elif not (self.deliver_anywhere or is_local_url(row["url"])):
            error = "not an address of this machine; start with --deliver-anywhere to allow it"
            self._store_result(row, "blocked", error=error)
        else:
            await self._post(row)

    async def _post(self, row: Row) -> None:
        body, epoch = row["body"].encode(), self._world.epoch
        started = time.perf_counter()
        try:
            async with self._session.post(
                row["url"], data=body, headers=_headers(row, body), allow_redirects=False
            ) as response:
                duration = (time.perf_counter() - started) * 1000
                text = await _read_answer(response)
                answer = Answer(status=response.status, body=text, duration_ms=duration)
                if not response.content.at_eof():
                    response.close()
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as failure:
            duration = (time.perf_counter() - started) * 1000
            answer = Answer(status=None, error=_error_message(failure), duration_ms=duration)
        self._store_answer(row, answer, epoch)

    def _store_answer(self, row: Row, answer: Answer, epoch: int) -> None:
        if epoch != self._world.epoch:  # a reset came between: reproducible ids may name another delivery now
            return
        if answer.status is not None and 200 <= answer.status < 300 and answer.error is None:
            self._store_result(row, "succeeded", answer)
            return
        error = answer.error or f"answered {answer.status}"
        is_last = row["attempts"] + 1 >= MAX_ATTEMPTS
        self._store_result(row, "failed" if is_last else "pending", answer, error)

    def _store_result(self, row: Row, result: str, answer: Answer | None = None, error: str | None = None) -> None:
        self._world.metrics.count_delivery("retried" if result == "pending" else result)
        attempts = row["attempts"] + 1
        now = self._world.clock.now()
        next_attempt = now + retry_delay(attempts) if result == "pending" else None
        with self._world.db.transaction() as db:
            db.update(
                "deliveries",
                row["id"],
                status=result,
                attempts=attempts,
                next_attempt_at=None if next_attempt is None else format_datetime(next_attempt),
                last_status=answer and answer.status,
                last_error=error,
                duration_ms=answer and round(answer.duration_ms, 1),
                response_body=answer and answer.body,
                attempted_at=format_datetime(now),
            )
        self._world.live.publish("delivery", lambda: self._get(row["id"]))

    def _get(self, delivery_id: str) -> dict[str, Any]:
        row = self._world.db.one(f"{_SELECT} WHERE delivery.id = ?", delivery_id)
        return {} if row is None else _serialize(row)


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


async def _read_answer(response: aiohttp.ClientResponse) -> str | None:
    """The beginning of a response's body. It is for people only: a receiver that does not send it is not waited for."""
    chunks = bytearray()

    async def read() -> None:
        while len(chunks) < MAX_ANSWER and (chunk := await response.content.readany()):
            chunks.extend(chunk)

    with contextlib.suppress(aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError):
        await asyncio.wait_for(read(), _ANSWER_TIMEOUT)
    return answer_text(bytes(chunks))


def answer_text(body: bytes) -> str | None:
    """The beginning of a response's body as text; None without one.

    Args:
        body: the body, or its beginning.
    """
    return body[:MAX_ANSWER].decode("utf-8", "replace") or None


def _pending_delivery(row: Row, epoch: int) -> PendingDelivery:
    body = row["body"].encode()
    return PendingDelivery(
        id=row["id"],
        endpoint_id=row["endpoint_id"],
        path=row["url"].removeprefix(APP_SCHEME),
        body=body,
        headers=_headers(row, body),
        event_type=row["event_type"],
        epoch=epoch,
    )


def _headers(row: Row, body: bytes) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "User-Agent": "montra-sandbox",
        "Accept-Encoding": "identity",
        **_signature_headers(row, body),
    }


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
        *("last_status", "last_error", "created_at", "attempted_at", "duration_ms", "response_body"),
    )
    service = "montra" if row["paywall_id"] is None else "paywall"
    return {**pick(row, *names), "service": service, "body": plain_numbers(loads(row["body"].encode()))}
