"""The tasks that send claimed requests, as many at once and as fast as flow control allows."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from decimal import Decimal
from typing import Any, Protocol

import attrs

from ...core.errors import InvalidArgumentError, MontraError
from ..events import UsageRequest, amount_of, metadata_of
from ..logs import OccasionalLog
from .flow import FlowControl
from .verdicts import DELIVERED, INTERRUPTED, OVERDUE, Verdict, verdict_of

_GRACE = 5.0  # seconds for an attempt to end after its time-out, and again after it was cancelled
_SHORTEST_TIMER = 0.001


class Report(Protocol):
    """Sends one request: `Montra.report_usage` of a view that makes one attempt."""

    def __call__(
        self,
        customer_id: str,
        meter_slug: str,
        *,
        amount: int | Decimal,
        metadata: dict[str, Any] | None,
        idempotency_key: str,
    ) -> Awaitable[object]: ...


@attrs.define(eq=False)
class Attempt:
    """A request that was given to a worker.

    Attributes:
        request: the request.
        claimed_at: when it was claimed.
        started: when it was given to the worker.
        worker: the worker; None until it has begun, which is when the request may be on the wire.
    """

    request: UsageRequest
    claimed_at: float
    started: float
    worker: asyncio.Task[None] | None = None


class Dispatcher:
    """A pool of workers. They take requests from a queue, without a task or a timer for each of them.

    Args:
        report: sends one request.
        flow: says when the next request may be sent.
        request_timeout: seconds within which `report` ends by itself. It is cancelled some time later.
        expires_after: seconds after which a claim must be renewed before its request is sent. None: never.
        stale_after: seconds after which a claimed request is not sent: its process was suspended, and what may have
            been counted may be too old to be sent again.
        ended: told of every attempt that has ended, with its verdict, and when it was sent.
        stuck: called when the claims in the queue must be renewed.
        clock: seconds, which never go back.
        occasional_log: where errors are logged.
    """

    def __init__(
        self,
        *,
        report: Report,
        flow: FlowControl,
        request_timeout: float,
        expires_after: float | None,
        stale_after: float,
        ended: Callable[[UsageRequest, Verdict, float], None],
        stuck: Callable[[], None],
        clock: Callable[[], float],
        occasional_log: OccasionalLog,
    ) -> None:
        self.queue: deque[tuple[float, UsageRequest]] = deque()
        """When each request was claimed, and the request."""
        self.under_way: dict[int | str, Attempt] = {}
        self.attempts: int = 0
        self._report = report
        self._flow = flow
        self._longest_attempt = request_timeout + _GRACE
        self._expires_after = math.inf if expires_after is None else expires_after
        self._stale_after = stale_after
        self._on_ended = ended
        self._on_stuck = stuck
        self._clock = clock
        self._log = occasional_log
        self._closed = False
        self._workers: set[asyncio.Task[None]] = set()
        self._idle: list[asyncio.Future[Attempt]] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, requests: Iterable[UsageRequest], claimed_at: float) -> None:
        """Queue requests.

        Args:
            requests: claimed requests.
            claimed_at: when they were claimed, or their claims were renewed.
        """
        self.queue.extend([(claimed_at, request) for request in requests])

    def remove_all(self) -> list[UsageRequest]:
        """Empty the queue. Returns the requests that were in it; none of them was sent."""
        removed = [request for _, request in self.queue]
        self.queue.clear()
        return removed

    def is_stale(self, now: float) -> bool:
        """Whether the requests in the queue were claimed too long ago to be sent.

        Args:
            now: the time.
        """
        return bool(self.queue) and now - self.queue[0][0] >= self._stale_after

    def must_renew(self, now: float) -> bool:
        """Whether the claim of the first request in the queue is too old to send it."""
        return bool(self.queue) and now - self.queue[0][0] >= self._expires_after

    def pump(self) -> None:
        """Give requests to workers, as many as may be sent now. Sets a timer if more may be sent later."""
        while (attempt := self._take()) is not None:
            while self._idle:
                waiting = self._idle.pop()
                if not waiting.done():  # its worker was not cancelled
                    waiting.set_result(attempt)
                    break
            else:
                worker = asyncio.get_running_loop().create_task(self._work(attempt))
                self._workers.add(worker)
                worker.add_done_callback(self._worker_ended)

    def cancel_overdue(self, now: float) -> None:
        """Cancel attempts that have not ended long after their time-out."""
        for attempt in self.under_way.values():
            if now - attempt.started < self._longest_attempt:
                return  # they are in order
            if attempt.worker is not None:
                attempt.worker.cancel()

    def close(self) -> None:
        """Send nothing more. What is under way goes on."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def cancel(self) -> list[Attempt]:
        """Cancel what is under way, and end the workers.

        Returns:
            Attempts that were not begun, and those that did not end.
        """
        self.close()
        for worker in self._workers:
            worker.cancel()
        if self._workers:
            await asyncio.wait(set(self._workers), timeout=_GRACE)
        left = list(self.under_way.values())
        self.under_way.clear()
        return left

    def _take(self) -> Attempt | None:
        """The next request that may be sent now."""
        if not self.queue or self._closed:
            return None
        now = self._clock()
        delay = self._flow.delay(now)
        if delay > 0:
            if delay != math.inf:
                self._pump_in(delay)
            return None
        age = now - self.queue[0][0]
        if age >= self._expires_after or age >= self._stale_after:
            self._on_stuck()
            return None
        if self._flow.circuit.state == "open":  # the probe: a request that never failed says more of the service
            self.queue.rotate(-min(range(len(self.queue)), key=lambda index: self.queue[index][1].attempts))
        claimed_at, request = self.queue.popleft()
        self._flow.started()
        self.attempts += 1
        attempt = self.under_way[request.id] = Attempt(request, claimed_at, now)
        return attempt

    def _put_back(self, attempt: Attempt) -> None:
        del self.under_way[attempt.request.id]
        self.queue.appendleft((attempt.claimed_at, attempt.request))
        self._flow.withdrawn(attempt.started)
        self.attempts -= 1

    def _pump_in(self, delay: float) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time() + max(_SHORTEST_TIMER, delay)
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = loop.call_at(at, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        self.pump()

    async def _work(self, attempt: Attempt | None) -> None:
        """Send one request after the other."""
        loop = asyncio.get_running_loop()
        worker = asyncio.current_task()
        while not self._closed or attempt is not None:
            if attempt is not None and self._must_wait(attempt):
                self._put_back(attempt)
                attempt = self._take()
            while attempt is not None:
                attempt.worker = worker
                await self._send(attempt.request, attempt.started)
                attempt = self._take()
                if self.queue and not self._flow.is_full:
                    self.pump()
            if not self._closed:
                waiting: asyncio.Future[Attempt] = loop.create_future()
                self._idle.append(waiting)
                attempt = await waiting

    def _must_wait(self, attempt: Attempt) -> bool:
        """Whether a pause has begun since an attempt was given to a worker, or this process stood still."""
        now = self._clock()
        return self._flow.paused_for(now) > 0 or now - attempt.claimed_at >= self._stale_after

    async def _send(self, request: UsageRequest, started: float) -> None:
        verdict = INTERRUPTED
        try:
            amount, metadata = _body_of(request)
            await self._report(
                request.customer_id,
                request.meter_slug,
                amount=amount,
                metadata=metadata,
                idempotency_key=request.key,
            )
            verdict = DELIVERED
        except asyncio.CancelledError:
            verdict = INTERRUPTED if self._closed else OVERDUE
            raise
        except Exception as error:
            verdict = verdict_of(error)
            if not isinstance(error, MontraError):
                self._log.write(logging.ERROR, "report", "sending usage failed unexpectedly", exc_info=error)
        finally:
            if self.under_way.pop(request.id, None) is not None:  # else it was given up
                self._on_ended(request, verdict, started)

    def _worker_ended(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if not worker.cancelled() and (error := worker.exception()) is not None:
            self._log.write(logging.ERROR, "worker", "sending usage failed unexpectedly", exc_info=error)


def _body_of(request: UsageRequest) -> tuple[int | Decimal, dict[str, Any] | None]:
    """Amount and metadata of a request.

    Raises:
        InvalidArgumentError: what is stored can't be read.
    """
    units, metadata = request.units, request.metadata
    if metadata is None and request.scale == 0 and type(units) is int:
        return units, None
    try:
        return amount_of(units, request.scale), metadata_of(metadata)
    except (ArithmeticError, TypeError, ValueError):
        raise InvalidArgumentError("request", "its stored amount or metadata can't be read") from None
