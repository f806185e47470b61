"""`UsageReporter`: reports usage durably. Each call stores an event in an outbox; a thread sends it to the service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any, Literal, TypeVar

from ..client import Montra
from ..core import validation
from ..core.compat import Self
from ..core.concurrency import in_own_thread
from ..core.hints import AsyncOnly
from ..core.validation import Number
from .bulk import BulkReport, ProgressHook, ReportResult, SafeHook
from .construction import make_engine
from .engine import UsageEngine
from .errors import OutboxError
from .events import ParkedUsage, parked_ids
from .flush import Flush, seconds_of, wait_for_async, warn_of_undelivered, warn_of_unknown
from .observer import UsageObserver
from .outbox import Outbox
from .settings import DEDUPE_WINDOW, BacklogHook, Coalesce, ParkedHook, UsageStats
from .turns import Turns
from .writer import WhenFull

T = TypeVar("T")


class UsageReporter(AsyncOnly):
    """Reports usage through an outbox: recording needs no network, and nothing is lost or counted twice.

    `await record(...)` returns when the event is stored; a background thread sends it (`POST /usage`) and tries again
    until the service has counted it. What a crash leaves in a durable outbox is sent by another process, or after the
    next start. Create one reporter per process and keep it; it may be created at import time, used on any event loop,
    and works after a fork. Its threads start with the first event, or with `async with` or `start`.

    `async with` or `aclose()` sends what is left, for at most `exit_timeout`; the end of the interpreter and SIGTERM
    do so, too.

    Args:
        montra: the client that reports. Without `session=`, and with a function as `connector=` if any: requests are
            sent on an event loop of the reporter's own. Hooks of the client are called on its thread.
        outbox: where events wait. Default: `SqliteOutbox()`, a file of this user.
        send: whether this process sends. Default: True. With False, another process that shares the outbox sends, for
            example the command `montra-usage`.
        when_full: what happens to an event when the outbox is full. `raise` (the default): an `OutboxFullError`.
            `wait`: `record` waits until there is room. `drop_oldest`: the oldest events are deleted, counted and
            logged.
        coalesce: slugs of the meters whose events are added up before they are sent, or True for all meters. Default:
            none. Only meters that add amounts (`sum`) can be; events with metadata or a key of their own never are. A
            plan's limit that counts reports (`count`) sees one for many.
        coalesce_window: seconds for which a sum stays open for more events. Default: 1. The service sees an event up
            to this much later.
        verify_meters: whether to look up (`GET /meters`) that the meters in `coalesce` add amounts. Default: True.
            With False, you are sure of it, and `coalesce` must name them.
        concurrency: maximum number of requests under way at once. Default: 32. It adapts below that.
        request_timeout: seconds for one request. Default: 10.
        dedupe_window: seconds for which the service remembers idempotency keys. Default: 24 hours. A request that may
            have been counted and is older is parked, not sent again.
        exit_timeout: seconds for sending what is left at the end. Default: 5.
        max_age: seconds after which a waiting event is a backlog: a warning is logged once a minute, and `on_backlog`
            is called. Default: 60.
        handle_sigterm: whether SIGTERM sends what is left before it ends the process, if nothing else handles it.
            Default: True.
        on_parked: plain function that is called with each `ParkedUsage`. It runs on the reporter's thread.
        on_backlog: plain function that is called with `UsageStats` when there is a backlog. It runs on the reporter's
            thread.

    Raises:
        ConfigError: the client can't be used on another event loop, or the outbox can't work here.
        InvalidArgumentError: a setting is invalid.
    """

    def __init__(
        self,
        montra: Montra,
        outbox: Outbox | None = None,
        *,
        send: bool = True,
        when_full: WhenFull = "raise",
        coalesce: Coalesce = (),
        coalesce_window: float = 1.0,
        verify_meters: bool = True,
        concurrency: int = 32,
        request_timeout: float = 10.0,
        dedupe_window: float = DEDUPE_WINDOW,
        exit_timeout: float = 5.0,
        max_age: float = 60.0,
        handle_sigterm: bool = True,
        on_parked: ParkedHook | None = None,
        on_backlog: BacklogHook | None = None,
    ) -> None:
        self._engine: UsageEngine = make_engine(
            montra,
            outbox,
            send=send,
            when_full=when_full,
            coalesce=coalesce,
            coalesce_window=coalesce_window,
            verify_meters=verify_meters,
            concurrency=concurrency,
            request_timeout=request_timeout,
            dedupe_window=dedupe_window,
            exit_timeout=exit_timeout,
            max_age=max_age,
            handle_sigterm=handle_sigterm,
            on_parked=on_parked,
            on_backlog=on_backlog,
        )
        self._turns = Turns(self._engine.hand_over)
        self._engine.after_fork_in_child.append(self._turns.renew)

    async def record(
        self,
        customer_id: str,
        meter_slug: str,
        *,
        amount: Number = 1,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Record usage of a meter by a customer. Returns when the event is stored in the outbox.

        The reporter sends it in the background (`POST /usage`). A call that is cancelled may have been recorded.

        Args:
            customer_id: `cust_...`, at most 255 characters.
            meter_slug: slug of the meter, at most 255 characters.
            amount: number of units, at least 0, with or without a fraction. Default: 1.
            metadata: your own JSON object, at most 64 KiB. A `unique` meter counts the distinct values of
                `metadata["unique_key"]`.
            idempotency_key: 1 to 255 printable ASCII characters without spaces, e.g. the id of the job that used the
                tokens, so that recording it again does not count twice; a key of the reporter's by default.

        Raises:
            InvalidArgumentError: an argument is invalid.
            OutboxFullError: the outbox is full.
            OutboxError: the outbox can't be used. The event is not recorded.
            ConfigError: the outbox belongs to another API, can't work here, or is in use by another reporter.
            ReporterClosedError: the reporter is closed, and its outbox is not durable.
        """
        engine = self._engine
        await self._turns.record(engine.recorder.event(customer_id, meter_slug, amount, metadata, idempotency_key))

    def record_nowait(
        self,
        customer_id: str,
        meter_slug: str,
        *,
        amount: Number = 1,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Record usage without waiting. The event is stored some milliseconds later; a crash before that loses it.

        Any thread may call it. While the outbox can't be used, events wait in memory, at most 100,000.

        Args:
            customer_id: `cust_...`, at most 255 characters.
            meter_slug: slug of the meter, at most 255 characters.
            amount: number of units, at least 0, with or without a fraction. Default: 1.
            metadata: your own JSON object, at most 64 KiB. A `unique` meter counts the distinct values of
                `metadata["unique_key"]`.
            idempotency_key: 1 to 255 printable ASCII characters without spaces; a key of the reporter's by default.

        Raises:
            InvalidArgumentError: an argument is invalid.
            OutboxFullError: too many events wait in memory, because the outbox is full or can't be used.
            ReporterClosedError: the reporter is closed, and its outbox is not durable.
        """
        engine = self._engine
        engine.hand_over_nowait(engine.recorder.event(customer_id, meter_slug, amount, metadata, idempotency_key))

    async def report_usage_many(
        self,
        items: Iterable[Mapping[str, Any]],
        *,
        on_progress: ProgressHook | None = None,
        timeout: float | None = None,
    ) -> list[ReportResult]:
        """Report many items and wait until the service has counted them (`POST /usage` for each). For scripts.

        Each item goes under its own idempotency key, also on meters that are coalesced. `items` is read in a thread.

        Args:
            items: dicts with the arguments of `record`; a generator is read as needed.
            on_progress: plain function that takes two numbers of items: those recorded, and those settled. It is
                called on the event loop, at least every half second. If it raises, that is logged, and it is not
                called again.
            timeout: seconds to wait after the last item was recorded; the items left are `waiting`. Default: no limit.

        Returns:
            One `ReportResult` for each item, in their order.

        Raises:
            InvalidArgumentError: `items` is no iterable of dicts, or `on_progress` is a coroutine function.
        """
        hook = None if on_progress is None else partial(_post, asyncio.get_running_loop(), SafeHook(on_progress))
        bulk = BulkReport(self._engine, hook, timeout)
        try:
            return await in_own_thread("montra-usage-bulk", bulk.run, items)
        finally:
            bulk.cancelled = True

    async def start(self) -> None:
        """Open the outbox, look up meters, and begin to send what an earlier process left. `async with` does so.

        Raises:
            ConfigError: the outbox belongs to another API or can't work here, or a meter in `coalesce` can't be added.
            OutboxError: the outbox can't be used.
            MontraError: the meters can't be looked up.
        """
        await wait_for_async(self._engine.start())
        if problem := await in_own_thread("montra-usage-lookup", self._engine.verify_meters):
            raise problem

    async def flush(self, timeout: float = 30.0) -> int:
        """Send what was recorded before this call, sums whose window is open included.

        Call it before a billing period ends: the service counts usage in the period in which it arrives.

        Args:
            timeout: seconds to wait. Default: 30. An outbox that hangs may take 5 more.

        Returns:
            The number of events in the outbox that are not sent; 0 when all that were recorded before are.

        Raises:
            OutboxError: the outbox can't be used, or hangs: a disk, or Redis.
        """
        flush = Flush(self._engine, timeout)
        try:
            while True:
                left = flush.left(await wait_for_async(flush.look(), flush.patience))
                if not left or flush.is_over():
                    return left
                await asyncio.sleep(flush.pause())
        finally:
            flush.end()

    @asynccontextmanager
    async def invocation(self, timeout: float = 2.0) -> AsyncGenerator[None, None]:
        """For functions that are frozen after each invocation, as on AWS Lambda: send before the block ends.

        Args:
            timeout: seconds to wait for the service at the end. Default: 2. What is left then stays in the outbox; a
                warning says what that means, or that the outbox could not be asked.
        """
        try:
            yield
        finally:
            try:
                warn_of_undelivered(await self.flush(timeout), self._engine)
            except OutboxError as error:
                warn_of_unknown(error)

    async def stats(self) -> UsageStats:
        """Count what was recorded, sent and parked, and what waits.

        Raises:
            OutboxError: the outbox can't be used.
        """
        return self._engine.stats(await wait_for_async(self._engine.look()))

    async def list_parked(self, *, limit: int = 100, after: str | None = None) -> list[ParkedUsage]:
        """List requests that are not sent any more, the oldest first: refused, or maybe counted and too old.

        Args:
            limit: maximum number, 1 to 1000. Default: 100.
            after: the id of the last one of the page before. Default: begin with the oldest.

        Raises:
            OutboxError: the outbox can't be used.
        """
        limit = validation.whole("limit", limit, minimum=1, maximum=1000)
        return await self._run(lambda outbox: outbox.list_parked(limit, after))

    async def retry_parked(self, ids: Sequence[str] | Literal["all"]) -> int:
        """Send parked requests again, each under the key that it had.

        An `ambiguous` one is counted twice if it was counted before and the service has forgotten its key.

        Args:
            ids: their ids, or "all".

        Returns:
            The number of requests.

        Raises:
            OutboxError: the outbox can't be used.
        """
        chosen = parked_ids(ids)
        count = await self._run(lambda outbox: outbox.retry_parked(chosen))
        self._engine.wake_sender()
        return count

    async def drop_parked(self, ids: Sequence[str] | Literal["all"]) -> int:
        """Delete parked requests. They are not counted, unless they were before.

        Args:
            ids: their ids, or "all".

        Returns:
            The number of requests.

        Raises:
            OutboxError: the outbox can't be used.
        """
        chosen = parked_ids(ids)
        return await self._run(lambda outbox: outbox.drop_parked(chosen))

    async def _run(self, job: Callable[[Outbox], T]) -> T:
        return await wait_for_async(self._engine.call(job))

    def add_observer(self, observer: UsageObserver) -> None:
        """Tell an object of every event, for example an `Access`.

        Args:
            observer: its methods are called by any thread, and must not block.
        """
        self._engine.add_observer(observer)

    def remove_observer(self, observer: UsageObserver) -> None:
        """Stop telling an object.

        Args:
            observer: what was given to `add_observer`.
        """
        self._engine.accounts.observers.remove(observer)

    async def aclose(self, timeout: float | None = None) -> int:
        """Send what is left, for a time, and close the outbox.

        With a durable outbox, `record` still works afterwards; what it stores is sent after the next start.

        Args:
            timeout: seconds for sending; 0 sends nothing more. Default: `exit_timeout`.

        Returns:
            The number of events that were not sent.
        """
        return await self._close(self._engine.settings.exit_timeout if timeout is None else seconds_of(timeout))

    async def _close(self, seconds: float) -> int:
        return await in_own_thread("montra-usage-close", self._engine.close, seconds)

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:  # nobody has the reporter who could close it
            await self._close(0.0)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<UsageReporter {getattr(self, '_engine', '')!r}>"


def _post(loop: asyncio.AbstractEventLoop, hook: ProgressHook, recorded: int, settled: int) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended, and with it the call
        loop.call_soon_threadsafe(hook, recorded, settled)
