"""Many calls of one kind: several at once, one result for each, in memory that does not grow with their number.

`BulkRun` knows no source of items: `run_all` drives it from asynchronous code, and `montra_sync.facade` from
synchronous code, where items are taken in the caller's thread.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Mapping
from typing import Any, Generic, TypeGuard, TypeVar

import attrs

from .api_response import ApiResponse
from .bulk_items import AsyncItemSource, Items, ItemSource
from .bulk_results import BulkHook, BulkProgress, BulkResult
from .errors import (
    ApiError,
    AuthenticationError,
    CallInterruptedError,
    InvalidArgumentError,
    MontraError,
    RateLimitError,
    mark_uncertain,
    without_frames,
)
from .redaction import bounded
from .type_guards import is_mapping
from .validation import idempotency_key, plain_function, whole

T = TypeVar("T")

CONCURRENCY = 10
MOST_CONCURRENT = 1000
_MAX_ROUNDS = 8
"""How often an item is sent again because the service had too many requests."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
"""Seconds for which nothing is sent after that, when the service does not say how long. When it asks for more than the
longest, nothing more is sent at all."""

_LONGEST_BATCH_KEY = 200
_SECONDS_TO_END = 5.0


class _Skipped(Exception):
    """An item is not sent, because of what the service has said to another one."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error)
        self.error = error


class BulkRun(Generic[T]):
    """The calls of one bulk call that are in flight.

    Args:
        call: the method of a client that is called for each item.
        send: calls it: takes `call` and its arguments.
        pool_size: number of connections of the client. More calls at the same time would wait for one, and fail when
            the pool's time-out is over.
        concurrency: number of calls at the same time.
        batch_key: prefix of the idempotency keys; None for random keys.
        on_progress: called before each result is yielded.

    Attributes:
        problem: what the source of the items or `on_progress` has raised: no item is started any more. None when
            neither has.

    Raises:
        InvalidArgumentError: an argument is invalid.
    """

    def __init__(
        self,
        call: Callable[..., Awaitable[T]],
        send: Callable[..., Awaitable[ApiResponse[T]]],
        *,
        pool_size: int,
        concurrency: int,
        batch_key: str | None,
        on_progress: BulkHook | None,
    ) -> None:
        self._concurrency = min(whole("concurrency", concurrency, minimum=1, maximum=MOST_CONCURRENT), pool_size)
        if batch_key is not None and len(idempotency_key(batch_key)) > _LONGEST_BATCH_KEY:
            raise InvalidArgumentError("batch_key", f"at most {_LONGEST_BATCH_KEY} characters")
        self._batch_key = batch_key
        self._on_progress: BulkHook | None = plain_function("on_progress", on_progress)
        self._call, self._send = call, send
        self._parameters = _Parameters(call)
        self._tasks: dict[asyncio.Task[BulkResult[T]], tuple[int, Any]] = {}
        self._finished: deque[BulkResult[T]] = deque()
        self._count = 0
        self._progress = BulkProgress()
        self._paused_until = 0.0
        self._pausing: set[asyncio.Future[None]] = set()
        self._stopped_by: ApiError | None = None
        self._is_cancelled = False
        self.problem: Exception | None = None

    @property
    def room(self) -> int:
        """Number of items that can be started now."""
        if self.problem is not None:
            return 0
        return self._concurrency - len(self._tasks) - len(self._finished)

    @property
    def is_idle(self) -> bool:
        """Whether no call is in flight, and every result was taken."""
        return not self._tasks and not self._finished

    def start(self, item: Any) -> None:
        """Begin the call of an item, in a task of the running event loop."""
        index = self._count
        self._count += 1
        self._tasks[asyncio.get_running_loop().create_task(self._result_of(index, item))] = index, item

    def end_with(self, problem: Exception) -> None:
        """Start no item any more. What was started is finished."""
        if self.problem is None:
            self.problem = problem

    async def wait(self, *others: asyncio.Future[Any]) -> None:
        """Wait until there is a result to take, or one of the other futures is done."""
        if self._tasks or others:
            await asyncio.wait([*self._tasks, *others], return_when=asyncio.FIRST_COMPLETED)
            self._collect()

    async def step(self, items: Iterable[Any]) -> None:
        """Start items, and wait until there is a result to take, if anything is in flight."""
        for item in items:
            self.start(item)
        await self.wait()

    async def finish(self, items: Iterable[Any]) -> None:
        """Start items, and wait for the results of all: the event loop ends afterwards."""
        for item in items:
            self.start(item)
        while self._tasks:
            await self.wait()

    def next_result(self) -> BulkResult[T] | None:
        """Take the next result that is there, count it and tell the hook. None when there is none."""
        if not self._finished:
            return None
        result = self._finished.popleft()
        counts = attrs.asdict(self._progress)
        counts[result.status] += 1
        self._progress = BulkProgress(**counts)
        if self._on_progress is not None and self.problem is None:
            try:
                self._on_progress(self._progress)
            except Exception as error:
                self.end_with(error)  # and no result is lost
        return result

    def cancel(self) -> list[asyncio.Task[Any]]:
        """Cancel the calls in flight without waiting for their end. They may have been carried out.

        Called on the event loop. Returns their tasks.
        """
        self._is_cancelled = True
        tasks: list[asyncio.Task[Any]] = list(self._tasks)
        self._tasks.clear()
        self._finished.clear()
        _keep(tasks)
        for task in tasks:
            task.cancel()
        return tasks

    def _collect(self) -> None:
        """Turn calls that have ended into results to take, in the order of the items."""
        done = [(*about, task) for task, about in self._tasks.items() if task.done()]
        for index, item, task in done:
            del self._tasks[task]
            self._finished.append(_cancelled(index, item, None) if task.cancelled() else task.result())

    async def _result_of(self, index: int, item: Any) -> BulkResult[T]:
        key: str | None = None
        try:
            arguments = self._parameters.arguments_of(item)
            key = arguments["idempotency_key"] = self._key_of(index, arguments.get("idempotency_key"))
            response = await self._response_to(arguments)
        except _Skipped as skipped:
            return BulkResult(index=index, item=item, status="skipped", error=skipped.error)
        except asyncio.CancelledError:
            if self._is_cancelled:
                raise
            return _cancelled(index, item, key)
        except Exception as error:
            without_frames(error)  # the results are kept, and the frames hold the arguments
            if isinstance(error, AuthenticationError) or _asks_for_too_much(error):
                self._stop(error)
            sent_with = None if isinstance(error, InvalidArgumentError) else key
            return BulkResult(index=index, item=item, status="failed", error=error, idempotency_key=sent_with)
        return BulkResult(
            index=index,
            item=item,
            status="ok",
            value=response.data,
            idempotency_key=key,
            replayed=response.replayed,
        )

    async def _response_to(self, arguments: Mapping[str, Any]) -> ApiResponse[T]:
        """Send, and again after a pause when the service has too many requests."""
        round_number = 0
        uncertain = False
        while True:
            await self._until_pause_is_over()
            if self._stopped_by is not None:
                raise _Skipped(self._stopped_by)
            try:
                return await self._send(self._call, **arguments)
            except MontraError as error:
                if uncertain:
                    mark_uncertain(error)
                if not isinstance(error, RateLimitError) or round_number == _MAX_ROUNDS or _asks_for_too_much(error):
                    raise
                uncertain = error.may_have_executed
                self._pause(error.retry_after, round_number)
            round_number += 1

    def _key_of(self, index: int, own: Any) -> str:
        """The item's own key; else one that is the same whenever the same list is sent under the same batch key.

        It does not depend on the content: an item that was changed, or moved, since is refused by the service, which
        compares it with what it has had under the key. Otherwise it would take effect twice.
        """
        if own is None and self._batch_key is not None:
            return f"{self._batch_key}-{index}"
        return idempotency_key(own)

    def _stop(self, error: ApiError) -> None:
        """Send nothing any more: the service has refused the key, or wants to be left alone for long."""
        if self._stopped_by is None:
            self._stopped_by = error
        for pausing in self._pausing:
            _wake(pausing)

    def _pause(self, retry_after: float | None, round_number: int) -> None:
        """Let all items wait: the service has said that it has too many requests."""
        seconds = _FIRST_PAUSE * 2.0**round_number if retry_after is None else retry_after
        until = asyncio.get_running_loop().time() + min(seconds, _LONGEST_PAUSE)
        self._paused_until = max(self._paused_until, until)

    async def _until_pause_is_over(self) -> None:
        loop = asyncio.get_running_loop()
        while self._stopped_by is None and self._paused_until > loop.time():  # others prolong the pause meanwhile
            over: asyncio.Future[None] = loop.create_future()
            timer = loop.call_at(self._paused_until, _wake, over)
            self._pausing.add(over)
            try:
                await over
            finally:
                timer.cancel()
                self._pausing.discard(over)


class _Parameters:
    """What a call takes: the user's own, when a subclass of the client overrides it.

    Args:
        call: the call.
    """

    def __init__(self, call: Callable[..., Any]) -> None:
        parameters = inspect.signature(call).parameters.values()
        named = [one for one in parameters if one.kind not in {one.VAR_POSITIONAL, one.VAR_KEYWORD}]
        self._takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
        self._names = frozenset(one.name for one in named)
        self._needed = [one.name for one in named if one.default is one.empty]

    def arguments_of(self, item: Any) -> dict[str, Any]:
        """The arguments in an item.

        Raises:
            InvalidArgumentError: it has none, others, or too few.
        """
        if not is_mapping(item):
            raise InvalidArgumentError("items", f"dicts with the arguments of a call, not {type(item).__name__}")
        unknown = sorted(bounded(str(name), 40) for name in item.keys() - self._names)
        if unknown and not self._takes_any:
            known = ", ".join(sorted(self._names))
            raise InvalidArgumentError("items", f"unknown: {', '.join(unknown[:5])}; known: {known}")
        if missing := [name for name in self._needed if name not in item]:
            raise InvalidArgumentError("items", f"missing: {', '.join(missing)}")
        return dict(item)


async def run_all(run: BulkRun[T], items: Items) -> AsyncGenerator[BulkResult[T], None]:
    """Make the call of each item, and yield the results as they come.

    When the source of the items raises, or the hook, what has been started is finished and yielded first. When the
    iteration ends early, or its task is cancelled, the calls in flight are cancelled.

    Args:
        run: the run, not begun.
        items: the items.
    """
    source = AsyncItemSource(items) if isinstance(items, AsyncIterable) else ItemSource(items)
    try:
        while True:
            if run.problem is None:
                _fill(run, source)
            awaited = [source.awaited] if run.problem is None and source.awaited is not None else []
            if run.is_idle and not awaited:
                break
            await run.wait(*awaited)
            while (result := run.next_result()) is not None:
                yield result
        if run.problem is not None:
            raise run.problem
    finally:
        # All is cancelled before anything is awaited: whoever cancels this task again interrupts what it awaits.
        await _end_of([*run.cancel(), *source.close()])


def _fill(run: BulkRun[Any], source: ItemSource) -> None:
    """Start as many items as there is room for."""
    try:
        for item in source.take(run.room):
            run.start(item)
    except Exception as error:
        run.end_with(error)


async def _end_of(tasks: list[asyncio.Task[Any]]) -> None:
    """Wait until tasks end, for some seconds. They end by themselves when that is interrupted."""
    _keep(tasks)
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=_SECONDS_TO_END)
        for task in late:
            task.cancel()


def _keep(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Keep tasks that nothing else does until they end: the event loop holds tasks only weakly."""
    for task in tasks:
        _ending_tasks.add(task)
        task.add_done_callback(_ending_tasks.discard)


_ending_tasks: set[asyncio.Task[Any]] = set()


def _cancelled(index: int, item: Any, key: str | None) -> BulkResult[Any]:
    """The result of a call that was cancelled, but not by its run."""
    problem = "the call was cancelled by other code on its event loop (a hook, a trace, ...)"
    error = MontraError(problem) if key is None else CallInterruptedError(f"{problem}; it may have been carried out")
    return BulkResult(index=index, item=item, status="failed", error=error, idempotency_key=key)


def _asks_for_too_much(error: Exception) -> TypeGuard[RateLimitError]:
    """Whether the service asks for a pause that is longer than any that a bulk call makes."""
    return isinstance(error, RateLimitError) and (error.retry_after or 0.0) > _LONGEST_PAUSE


def _wake(pausing: asyncio.Future[None]) -> None:
    if not pausing.done():
        pausing.set_result(None)
