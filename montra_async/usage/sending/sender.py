"""Claims requests, sends them and settles them, within one event loop. Knows the outbox only through two functions."""

from __future__ import annotations

import asyncio
import logging
import math
import random as random_numbers
import time
from collections.abc import Awaitable, Callable, Sequence

import attrs

from ..errors import OutboxError
from ..events import Outcome, Settlement, UsageRequest
from ..logs import OccasionalLog
from ..outbox import Exchange
from .circuit import CircuitState, exponential_pause
from .dispatcher import Dispatcher, Report
from .flow import FlowControl, retry_delay
from .verdicts import Signal, Verdict, describe, settlement_of

_SETTLE_LINGER = 0.05  # seconds that a settlement waits for others while requests are under way
_CLAIM_LINGER = 0.005  # seconds between two claims that got less than they asked for
_FLUSH_POLL = 0.05
_PREFETCH = 0.5  # seconds at the current pace for which requests are claimed ahead
_AHEAD = 0.1  # seconds at the current goodput for which requests are claimed ahead without a pace
_MOST_AHEAD = 256
_HANDED_BACK_AFTER = 2.0  # seconds of a pause that are worth leaving claimed requests to other processes
_FIRST_EXCHANGE_PAUSE = 0.05
_LONGEST_EXCHANGE_PAUSE = 5.0
_SHORTEST_SLEEP = 0.001

ExchangeFunction = Callable[[Sequence[Settlement], int, bool], Awaitable[Exchange]]
RenewFunction = Callable[[Sequence[UsageRequest]], Awaitable[list[UsageRequest]]]


@attrs.frozen(kw_only=True)
class SenderState:
    """What a sender is doing.

    Attributes:
        concurrency: number of requests that may be under way at once, now.
        in_flight: number of requests that are under way.
        claimed: number of requests that are claimed and not sent yet.
        circuit: `closed`; `open` while the service is down; `half_open` while one request finds out.
        paused_for: seconds until the next request is sent, because the service asked for it or is down; 0 if not.
        rate: requests per second that a rate limit of the service seems to allow; None without one.
        sent: number of attempts.
        delivered: number of requests that the service has counted.
        refused: number of requests that the service will never accept.
        failed: number of attempts that failed and are repeated.
        last_error: the last failed attempt, in one line; None before the first.
    """

    concurrency: int
    in_flight: int
    claimed: int
    circuit: CircuitState
    paused_for: float
    rate: float | None
    sent: int
    delivered: int
    refused: int
    failed: int
    last_error: str | None


class Sender:
    """Claims requests, sends them, and settles what became of them.

    All methods but `state` are called on the loop that `run` runs on.

    Args:
        report: sends one request, and raises what `Montra.report_usage` raises.
        exchange: settles and claims, as `Outbox.exchange` does.
        renew: renews claims, as `Outbox.renew` does. Needed with `renew_after`. Default: None.
        renew_after: seconds after which a claim must be renewed before its request is sent. Default: None, claims don't
            expire.
        concurrency: maximum number of requests under way at once. Default: 32.
        request_timeout: seconds within which `report` ends by itself. It is cancelled some time later. Default: 10.
        stale_after: seconds after which a claimed request is handed back instead of sent. Default: never.
        observe: told of every attempt that has ended, after it was settled. Must not block. Default: None.
        poll_interval: seconds between looks into an idle outbox, to which other processes may have added. Default: 1.
        settle_timeout: seconds that the last settlements may take when it ends. Default: 5.
        clock: seconds, which never go back. Default: the monotonic clock.
        random: uniform random numbers in 0..1. Default: those of the module `random`.
    """

    def __init__(
        self,
        *,
        report: Report,
        exchange: ExchangeFunction,
        renew: RenewFunction | None = None,
        renew_after: float | None = None,
        concurrency: int = 32,
        request_timeout: float = 10.0,
        stale_after: float = math.inf,
        observe: Callable[[Settlement], None] | None = None,
        poll_interval: float = 1.0,
        settle_timeout: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random_numbers.random,
    ) -> None:
        self._exchange_function = exchange
        self._renew_function = renew
        self._observe = observe
        self._poll_interval = poll_interval
        self._settle_timeout = settle_timeout
        self._clock = clock
        self._random = random
        self._log = OccasionalLog(clock)
        self._flow = FlowControl(concurrency, random)
        self._dispatcher = Dispatcher(
            report=report,
            flow=self._flow,
            request_timeout=request_timeout,
            expires_after=None if renew is None else renew_after,
            stale_after=stale_after,
            ended=self._attempt_ended,
            stuck=self._poke,
            clock=clock,
            occasional_log=self._log,
        )
        self._settlements: list[Settlement] = []
        self._handed_back: list[Settlement] = []
        self._settle_at = math.inf
        self._claim_at = -math.inf
        self._exchange_not_before = -math.inf
        self._exchange_failures = 0
        self._empty_exchanges = 0
        self._exchanging: asyncio.Task[None] | None = None
        self._flushing = False
        self._woken = False
        self._sleeper: asyncio.Future[None] | None = None
        self._poked = False
        self._stop_at = math.inf
        self._ended: asyncio.Event | None = None
        self._delivered = self._refused = self._failed = 0
        self._last_error: str | None = None

    async def run(self) -> None:
        """Send until `stop` is called. When it is cancelled, it hands back what it has, and ends.

        Raises:
            asyncio.CancelledError: it was cancelled.
        """
        self._ended = asyncio.Event()
        try:
            while self._stop_at == math.inf:
                await self._safe_turn()
            await self._drain()
        except asyncio.CancelledError:
            self._stop_at = -math.inf
            await self._drain()
            raise
        finally:
            self._ended.set()

    def wake(self) -> None:
        """Events were appended: claim soon."""
        self._woken = True
        self._claim_at = min(self._claim_at, self._clock())
        self._poke()

    def flush(self, on: bool) -> None:
        """Claim sums whose window is still open, while it is on.

        Args:
            on: whether it is on.
        """
        self._flushing = on
        self.wake()

    async def stop(self, timeout: float) -> None:
        """Claim nothing more, wait for what is under way, and hand back the rest. Returns when `run` has ended.

        Args:
            timeout: seconds that what is under way may take.
        """
        self._stop_at = min(self._stop_at, self._clock() + timeout)
        self._poke()
        if self._ended is not None:
            await self._ended.wait()

    @property
    def state(self) -> SenderState:
        """What it is doing. Any thread may ask."""
        now = self._clock()
        return SenderState(
            concurrency=self._flow.limit,
            in_flight=self._flow.in_flight,
            claimed=len(self._dispatcher.queue),
            circuit=self._flow.circuit.state,
            paused_for=self._flow.paused_for(now),
            rate=self._flow.pacer.rate(now),
            sent=self._dispatcher.attempts,
            delivered=self._delivered,
            refused=self._refused,
            failed=self._failed,
            last_error=self._last_error,
        )

    # One turn: exchange with the outbox, renew claims, or sleep

    async def _safe_turn(self) -> None:
        try:
            await self._turn()
        except Exception as error:
            self._log.write(logging.ERROR, "bug", "sending usage failed unexpectedly", exc_info=error)
            self._exchange_failed()
            await self._sleep(self._exchange_not_before - self._clock())

    async def _turn(self) -> None:
        now = self._clock()
        self._poked = False
        self._dispatcher.pump()
        self._dispatcher.cancel_overdue(now)
        if self._dispatcher.is_stale(now):
            self._hand_back()
        elif self._dispatcher.must_renew(now):
            await self._renew(now)
            return
        paused_for = self._flow.paused_for(now)
        if paused_for > _HANDED_BACK_AFTER:
            self._hand_back()
        limit = self._claimable(paused_for, now)
        exchange_in = self._exchange_at(limit, now) - now
        self._note_activity(now)
        if exchange_in <= 0:
            await self._exchange(limit)
        else:
            await self._sleep(min(exchange_in, paused_for or math.inf, self._poll_interval))

    def _claimable(self, paused_for: float, now: float) -> int:
        """How many requests to claim: what is sent soon, and nothing that another process may send sooner."""
        circuit, waiting = self._flow.circuit.state, len(self._dispatcher.queue)
        if paused_for > 0 or circuit == "half_open":
            return 0
        if circuit == "open":
            return 0 if waiting else 1
        goodput = math.ceil(self._flow.pacer.goodput.rate(now) * _AHEAD)
        target = max(2 * self._flow.limit, min(_MOST_AHEAD, goodput))
        rate = self._flow.pacer.rate(now)
        if rate is not None:
            target = min(target, max(1, math.ceil(rate * _PREFETCH)))
        return target - waiting if waiting <= target // 2 else 0

    def _exchange_at(self, limit: int, now: float) -> float:
        """When the next exchange is due."""
        at = self._claim_at if limit else math.inf
        if self._handed_back:
            at = now
        elif self._settlements:
            at = min(at, self._settle_at if self._dispatcher.under_way else now)
        return max(at, self._exchange_not_before)

    def _note_activity(self, now: float) -> None:
        """Goodput is measured while there is work, or it would be the rate at which usage is recorded."""
        has_work = bool(self._dispatcher.under_way or self._dispatcher.queue) or self._claim_at <= now
        self._flow.pacer.goodput.set_active(has_work, now)

    async def _exchange(self, limit: int, timeout: float | None = None) -> None:
        """Settle and claim, in a task of its own: what it claims must not be lost when `run` is cancelled."""
        self._exchanging = asyncio.get_running_loop().create_task(self._exchange_now(limit))
        await asyncio.wait([self._exchanging], timeout=timeout)

    async def _exchange_now(self, limit: int) -> None:
        settlements, handed_back = self._settlements, self._handed_back
        self._settlements, self._handed_back, self._settle_at = [], [], math.inf
        self._woken = False
        started = self._clock()
        try:
            exchanged = await self._exchange_function([*settlements, *handed_back], limit, self._flushing)
        except BaseException as error:
            self._settlements = [*settlements, *self._settlements]
            self._handed_back = [*handed_back, *self._handed_back]
            self._settle_at = started
            self._exchange_failed()
            self._log_outbox(error)
            return
        now = self._clock()
        self._exchange_failures = 0
        self._exchange_not_before = now + (_CLAIM_LINGER if len(exchanged.requests) < limit else 0.0)
        self._claim_at = self._next_claim(exchanged, limit, now)
        self._dispatcher.add(exchanged.requests, started)
        if self._stop_at != math.inf:
            self._hand_back()
        self._dispatcher.pump()
        if self._observe is not None:
            for settlement in settlements:
                self._tell(self._observe, settlement)

    def _next_claim(self, exchanged: Exchange, limit: int, now: float) -> float:
        """When to claim again, if nothing wakes it."""
        if self._woken:
            return now
        poll = min(self._poll_interval, _FLUSH_POLL) if self._flushing else self._poll_interval
        due = poll if exchanged.next_due is None else min(poll, max(0.0, exchanged.next_due))
        if not limit:
            return min(self._claim_at, now + due)
        self._empty_exchanges = 0 if exchanged.requests else self._empty_exchanges + 1
        if self._empty_exchanges:  # what is due may be out of reach: don't ask for it all the time
            due = max(due, exponential_pause(self._empty_exchanges, first=_CLAIM_LINGER, maximum=poll))
        return now + due

    def _exchange_failed(self) -> None:
        self._exchange_failures += 1
        pause = exponential_pause(self._exchange_failures, first=_FIRST_EXCHANGE_PAUSE, maximum=_LONGEST_EXCHANGE_PAUSE)
        self._exchange_not_before = self._clock() + pause * (0.5 + 0.5 * self._random())

    def _log_outbox(self, error: BaseException) -> None:
        if isinstance(error, OutboxError):
            self._log.write(logging.WARNING, "outbox", "the outbox of usage can't be used; trying again: %s", error)
        elif isinstance(error, Exception):
            self._log.write(logging.ERROR, "outbox", "the outbox of usage failed unexpectedly", exc_info=error)

    async def _renew(self, now: float) -> None:
        """Renew the claims of everything in the queue, and drop what others have claimed meanwhile."""
        assert self._renew_function is not None
        if self._exchange_not_before > now:
            await self._sleep(self._exchange_not_before - now)
            return
        waiting = list(self._dispatcher.queue)
        self._dispatcher.queue.clear()
        try:
            renewed = await self._renew_function([request for _, request in waiting])
        except BaseException as error:
            self._dispatcher.queue.extendleft(reversed(waiting))
            self._exchange_failed()
            if not isinstance(error, Exception):
                raise
            self._log_outbox(error)
            return
        self._exchange_failures = 0
        self._dispatcher.add(renewed, now)

    def _hand_back(self) -> None:
        """Let others send what is claimed and was never sent."""
        self._handed_back += [Settlement(request, Outcome.RETRY) for request in self._dispatcher.remove_all()]

    async def _sleep(self, seconds: float) -> None:
        """Sleep until something happens, at most some seconds."""
        if self._poked:
            self._poked = False
            return
        loop = asyncio.get_running_loop()
        self._sleeper = loop.create_future()
        timer = loop.call_later(max(_SHORTEST_SLEEP, seconds), self._poke)
        try:
            await self._sleeper
        finally:
            timer.cancel()
            self._sleeper = None

    def _poke(self) -> None:
        if self._sleeper is None:
            self._poked = True
        elif not self._sleeper.done():
            self._sleeper.set_result(None)

    # What became of attempts

    def _attempt_ended(self, request: UsageRequest, verdict: Verdict, started: float) -> None:
        now = self._clock()
        changed = self._flow.ended(request.id, verdict, started, now)
        delay = 0.0
        if verdict.outcome is Outcome.DELIVERED:
            self._delivered += 1
        else:
            delay = self._note_failure(request, verdict)
        if changed is not None:
            self._log.write(logging.WARNING, changed, "%s; last error: %s", changed, self._last_error)
        if not self._settlements:
            self._settle_at = now + _SETTLE_LINGER
            self._poke()
        elif not self._dispatcher.under_way or (
            self._claim_at <= now and len(self._dispatcher.queue) <= self._flow.limit
        ):
            self._poke()
        self._settlements.append(settlement_of(request, verdict, delay))

    def _note_failure(self, request: UsageRequest, verdict: Verdict) -> float:
        """Count a failed attempt. Returns the seconds until the request may be claimed again."""
        self._last_error = describe(verdict)
        if verdict.outcome is Outcome.REFUSED:
            self._refused += 1
            return 0.0
        self._failed += 1
        if verdict.signal is Signal.BLOCKED:
            message = "usage can't be sent, and waits: is the API key valid, and base_url right? %s"
            self._log.write(logging.WARNING, "blocked", message, self._last_error)
        return retry_delay(verdict, request.attempts, self._random)

    def _tell(self, observe: Callable[[Settlement], None], settlement: Settlement) -> None:
        try:
            observe(settlement)
        except Exception as error:
            self._log.write(logging.ERROR, "observer", "an observer of usage failed", exc_info=error)

    # The end

    async def _drain(self) -> None:
        """Wait for what is under way, settle it, and hand back the rest."""
        self._dispatcher.close()
        self._hand_back()
        try:
            await self._finish_exchange()
            while self._dispatcher.under_way and self._clock() < self._stop_at:
                await self._drain_turn()
        finally:
            for attempt in await self._dispatcher.cancel():
                sent = attempt.worker is not None
                self._settlements.append(Settlement(attempt.request, Outcome.RETRY, sent=sent))
            self._hand_back()
            await self._settle_rest()

    async def _drain_turn(self) -> None:
        now = self._clock()
        self._poked = False
        self._dispatcher.cancel_overdue(now)
        exchange_in = self._exchange_at(0, now) - now
        left = self._stop_at - now
        if exchange_in <= 0:
            await self._exchange(0, left)
            await self._finish_exchange()
        else:
            await self._sleep(min(exchange_in, left, self._poll_interval))

    async def _finish_exchange(self) -> None:
        if self._exchanging is not None and not self._exchanging.done():
            await asyncio.wait([self._exchanging], timeout=self._settle_timeout)

    async def _settle_rest(self) -> None:
        """Settle everything that is left, within the time-out. What stays unsettled is sent again, with its key."""
        until = self._clock() + self._settle_timeout
        await self._finish_exchange()
        while (self._settlements or self._handed_back) and (left := until - self._clock()) > 0:
            if self._exchanging is not None and not self._exchanging.done():
                break  # the outbox hangs
            if self._exchange_failures:
                await asyncio.sleep(min(left, max(0.0, self._exchange_not_before - self._clock())))
            await self._exchange(0, left)
        if self._exchanging is not None and not self._exchanging.done():
            self._exchanging.cancel()
            await asyncio.wait([self._exchanging], timeout=self._settle_timeout)
        if unsettled := len(self._settlements) + len(self._handed_back):
            message = "%d requests of usage could not be settled in the outbox; they are sent again later"
            self._log.write(logging.WARNING, "unsettled", message, unsettled)
