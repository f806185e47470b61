"""Many calls of one kind: several at once, one result for each, in memory that does not grow with their number.

`BulkRun` knows no event loop of its own and no source of items: `run_all` drives it from asynchronous code, and
`montra_sync.facade` from synchronous code, where items are taken in the caller's thread.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)
from itertools import islice
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import attrs

from .api_response import ApiResponse
from .errors import AuthenticationError, InvalidArgumentError, RateLimitError, without_frames
from .redaction import bounded
from .type_guards import is_mapping
from .validation import idempotency_key, whole

T = TypeVar("T")

CONCURRENCY = 10
_MOST_CONCURRENT = 1000
_MAX_ROUNDS = 8
"""How often an item is sent again because the service had too many requests."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
"""Seconds for which nothing is sent after that, when the service does not say how long."""

_LONGEST_BATCH_KEY = 200

Items: TypeAlias = Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]
"""Items: a list, a generator, an asynchronous generator, ...; each with the arguments of one call."""


@attrs.frozen(kw_only=True, order=True)
class BulkResult(Generic[T]):
    """What became of one item. Results are sorted by `index`: `sorted(results)` is in the order of the items.

    Attributes:
        index: position of the item, from 0.
        item: the item, as it was given.
        status: `ok`: the call succeeded. `failed`: it did not, see `error`. `skipped`: it was not made, because the
            service had refused the key with an earlier item; `error` is that item's.
        value: the result of the call; None unless `ok`.
        error: why it failed or was skipped; None if `ok`.
        idempotency_key: the key it was sent with. Sent again with the same key, it can't take effect twice. None when
            it was not sent.
        replayed: whether the service says that it had carried the call out before, under the same key.
    """

    index: int
    item: Any = attrs.field(repr=False, order=False)
    status: Literal["ok", "failed", "skipped"] = attrs.field(order=False)
    value: T | None = attrs.field(default=None, order=False)
    error: Exception | None = attrs.field(default=None, order=False)
    idempotency_key: str | None = attrs.field(default=None, order=False)
    replayed: bool = attrs.field(default=False, order=False)

    def unwrap(self) -> T:
        """The result of the call.

        Raises:
            Exception: `error`, unless the call succeeded.
        """
        if self.error is not None:
            raise self.error
        value: Any = self.value
        return value  # type: ignore[no-any-return]


@attrs.frozen(kw_only=True)
class BulkProgress:
    """How far a bulk call is.

    Attributes:
        ok: number of items whose call succeeded.
        failed: number of items whose call did not.
        skipped: number of items that were not sent.
    """

    ok: int = 0
    failed: int = 0
    skipped: int = 0

    @property
    def done(self) -> int:
        """Number of items that have a result."""
        return self.ok + self.failed + self.skipped


BulkHook: TypeAlias = Callable[[BulkProgress], object]
"""A function that is called after each result, before it is yielded."""


class _Skipped(Exception):
    """An item is not sent, because the service has refused the key."""

    def __init__(self, error: AuthenticationError) -> None:
        super().__init__(error)
        self.error = error


class BulkRun(Generic[T]):
    """The calls of one bulk call that are in flight.

    Args:
        call: the method of a client that is called for each item.
        send: calls it: takes `call` and its arguments.
        concurrency: number of calls at the same time.
        batch_key: prefix of the idempotency keys; None for random keys.
        on_progress: called after each result.

    Raises:
        InvalidArgumentError: an argument is invalid.
    """

    def __init__(
        self,
        call: Callable[..., Awaitable[T]],
        send: Callable[..., Awaitable[ApiResponse[T]]],
        *,
        concurrency: int,
        batch_key: str | None,
        on_progress: BulkHook | None,
    ) -> None:
        self._concurrency = whole("concurrency", concurrency, minimum=1, maximum=_MOST_CONCURRENT)
        if batch_key is not None and len(idempotency_key(batch_key)) > _LONGEST_BATCH_KEY:
            raise InvalidArgumentError("batch_key", f"at most {_LONGEST_BATCH_KEY} characters")
        self._batch_key = batch_key
        self._on_progress = on_progress
        self._call, self._send = call, send
        parameters = inspect.signature(call).parameters
        self._names = frozenset(parameters)
        self._needed = [name for name, one in parameters.items() if one.default is one.empty]
        self._tasks: set[asyncio.Task[BulkResult[T]]] = set()
        self._count = 0
        self._progress = BulkProgress()
        self._paused_until = 0.0
        self._refused: AuthenticationError | None = None

    @property
    def free(self) -> int:
        """Number of items that can be started now."""
        return self._concurrency - len(self._tasks)

    @property
    def is_idle(self) -> bool:
        """Whether no call is in flight."""
        return not self._tasks

    def start(self, item: Any) -> None:
        """Begin the call of an item, in a task of the running event loop."""
        index = self._count
        self._count += 1
        self._tasks.add(asyncio.get_running_loop().create_task(self._result_of(index, item)))

    async def step(self, items: Iterable[Any]) -> list[BulkResult[T]]:
        """Start items, and wait for results: at least one, if anything is in flight."""
        for item in items:
            self.start(item)
        return await self.wait()

    async def wait(self, *others: asyncio.Future[Any]) -> list[BulkResult[T]]:
        """Wait until a call, or one of the other futures, is done. Returns the results that are there, in order."""
        waited: list[asyncio.Future[Any]] = [*self._tasks, *others]
        if not waited:
            return []
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        done = [task for task in self._tasks if task.done()]
        self._tasks.difference_update(done)
        return sorted(task.result() for task in done)

    def note(self, result: BulkResult[T]) -> BulkResult[T]:
        """Count a result and tell the hook, before the result is yielded."""
        counts = attrs.asdict(self._progress)
        counts[result.status] += 1
        self._progress = BulkProgress(**counts)
        if self._on_progress is not None:
            self._on_progress(self._progress)
        return result

    async def cancel(self) -> None:
        """Cancel the calls in flight, and wait for their end. They may have been carried out."""
        tasks = list(self._tasks)
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def cancel_soon(self) -> None:
        """Cancel the calls in flight without waiting; called on the event loop."""
        _ending.update(self._tasks)
        for task in self._tasks:
            task.add_done_callback(_ending.discard)
            task.cancel()

    async def _result_of(self, index: int, item: Any) -> BulkResult[T]:
        key: str | None = None
        try:
            arguments = self._arguments(item)
            key = arguments["idempotency_key"] = self._key_of(index, arguments.get("idempotency_key"))
            response = await self._response_to(arguments)
        except _Skipped as skipped:
            return BulkResult(index=index, item=item, status="skipped", error=skipped.error)
        except Exception as error:
            without_frames(error)  # the results are kept, and the frames hold the arguments
            if isinstance(error, AuthenticationError):
                self._refused = self._refused or error
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
        while True:
            await self._until_pause_is_over()
            if self._refused is not None:
                raise _Skipped(self._refused)
            try:
                return await self._send(self._call, **arguments)
            except RateLimitError as error:
                if round_number == _MAX_ROUNDS:
                    raise
                self._pause(error.retry_after, round_number)
            round_number += 1

    def _arguments(self, item: Any) -> dict[str, Any]:
        if not is_mapping(item):
            raise InvalidArgumentError("items", f"dicts with the arguments of a call, not {type(item).__name__}")
        if unknown := sorted(bounded(str(name), 40) for name in item.keys() - self._names):
            known = ", ".join(sorted(self._names))
            raise InvalidArgumentError("items", f"unknown: {', '.join(unknown[:5])}; known: {known}")
        if missing := [name for name in self._needed if name not in item]:
            raise InvalidArgumentError("items", f"missing: {', '.join(missing)}")
        return dict(item)

    def _key_of(self, index: int, own: Any) -> str:
        """The item's own key; else one that is the same whenever the same list is sent under the same batch key.

        It does not depend on the content: an item that was changed, or moved, since is refused by the service, which
        compares it with what it has had under the key. Otherwise it would take effect twice.
        """
        if own is None and self._batch_key is not None:
            return f"{self._batch_key}-{index}"
        return idempotency_key(own)

    def _pause(self, retry_after: float | None, round_number: int) -> None:
        """Let all items wait: the service has said that it has too many requests."""
        seconds = _FIRST_PAUSE * 2.0**round_number if retry_after is None else retry_after
        until = asyncio.get_running_loop().time() + min(seconds, _LONGEST_PAUSE)
        self._paused_until = max(self._paused_until, until)

    async def _until_pause_is_over(self) -> None:
        loop = asyncio.get_running_loop()
        while (left := self._paused_until - loop.time()) > 0:  # noqa: ASYNC110 - others prolong the pause meanwhile
            await asyncio.sleep(left)


_ending: set[asyncio.Task[Any]] = set()
"""Cancelled tasks: the event loop holds tasks only weakly."""


def items_of(items: Any) -> Any:
    """The items, unless they can't be iterated over as such.

    Raises:
        InvalidArgumentError: they can't.
    """
    if is_mapping(items) or isinstance(items, (str, bytes)) or not isinstance(items, (Iterable, AsyncIterable)):
        raise InvalidArgumentError("items", f"a list or generator of dicts, not {type(items).__name__}")
    return items  # pyright: ignore[reportUnknownVariableType]


async def run_all(run: BulkRun[T], items: Items) -> AsyncGenerator[BulkResult[T], None]:
    """Make the call of each item, and yield the results as they come.

    When the source of the items raises, what has been started is finished and yielded first. When the iteration ends
    early, or its task is cancelled, the calls in flight are cancelled.

    Args:
        run: the run, not begun.
        items: the items.
    """
    source = _AsyncSource(aiter(items)) if isinstance(items, AsyncIterable) else _Source(iter(items))
    try:
        while True:
            source.fill(run)
            if run.is_idle and source.pending is None:
                break
            for result in await run.wait(*([] if source.pending is None else [source.pending])):
                yield run.note(result)
        if source.error is not None:
            raise source.error
    finally:
        await source.cancel()
        await run.cancel()


class _Source:
    """Items of an ordinary iterable, which is assumed not to wait.

    Attributes:
        pending: gives the next item later; None when none is awaited.
        error: what the iterable has raised; None when it has not.
    """

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items
        self.pending: asyncio.Future[Any] | None = None
        self.error: Exception | None = None

    def fill(self, run: BulkRun[Any]) -> None:
        """Start as many items as there is room for."""
        if self.error is not None:
            return
        try:
            for item in islice(self._items, run.free):
                run.start(item)
        except Exception as error:
            self.error = error

    async def cancel(self) -> None:
        """Wait for no item any more."""


class _AsyncSource(_Source):
    """Items of an asynchronous iterable: the next one is awaited while calls are in flight."""

    def __init__(self, items: AsyncIterator[Any]) -> None:
        super().__init__(iter(()))
        self._later = items
        self._ended = False

    def fill(self, run: BulkRun[Any]) -> None:
        """Start the item that has come, and begin to wait for the next one when there is room for it."""
        if self.pending is not None and self.pending.done():
            self._take(run, self.pending)
            self.pending = None
        if self.pending is None and not self._ended and run.free:
            self.pending = asyncio.ensure_future(_next_of(self._later))

    def _take(self, run: BulkRun[Any], pending: asyncio.Future[Any]) -> None:
        try:
            found = pending.result()
        except Exception as error:
            self.error, self._ended = error, True
            return
        if found:
            run.start(found[0])
        else:
            self._ended = True

    async def cancel(self) -> None:
        """Wait for no item any more."""
        if self.pending is not None:
            self.pending.cancel()
            await asyncio.gather(self.pending, return_exceptions=True)


async def _next_of(items: AsyncIterator[Any]) -> list[Any]:
    """The next item in a list; an empty list at the end."""
    try:
        return [await anext(items)]
    except StopAsyncIteration:
        return []
