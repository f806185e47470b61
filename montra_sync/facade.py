"""What the generated facades have that can't be generated: by hand, as bases of theirs."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import AsyncIterable, Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from montra_async import CallInterruptedError, Customer, InvalidArgumentError, MontraError
from montra_async.core.api_response import ApiResponse, function_of, refuse
from montra_async.core.bulk_calls import CONCURRENCY, MOST_CONCURRENT, BulkRun
from montra_async.core.bulk_items import ItemSource, items_of
from montra_async.core.bulk_results import BulkHook, BulkResult
from montra_async.core.concurrency import DaemonThreads
from montra_async.core.deprecation import is_coroutine_function
from montra_async.core.twins import own_name

from .portal import has_loop, post, run

P = ParamSpec("P")
T = TypeVar("T")


class SyncOnly:
    """Base of what `with` takes. `async with` raises a `TypeError` that says so."""

    __slots__ = ()


if not TYPE_CHECKING:

    def _refuse_async_with(self: object, *_: Any) -> Any:
        name = own_name("montra_sync", self)
        twin = name.replace("montra_sync", "montra_async", 1)
        raise TypeError(f"{name} is synchronous: write `with`, or use {twin} in asynchronous code")

    SyncOnly.__aenter__ = _refuse_async_with
    SyncOnly.__aexit__ = None  # see `montra_async.core.hints`


class ClientFacade(SyncOnly):
    """Base of the facades of clients."""

    __slots__ = ()

    def with_raw_response(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> ApiResponse[T]:
        """Make a call, and return its result with status, headers and request id of the response.

            response = montra.with_raw_response(montra.get_customer, "cust_1")
            response.data.name, response.status, response.headers["x-ratelimit-remaining"], response.request_id

        The call is the same in every other way. An error has `status`, `headers` and `request_id`, too.

        Args:
            call: a method of this very client that returns one result: no iterator, stream or context manager.
            args: its positional arguments.
            kwargs: its keyword arguments.

        Raises:
            TypeError: `call` is something else.
        """
        facade: Any = self  # `_async` and `_view` are generated, each with its own type
        function = function_of(self, call)
        source = getattr(facade._async, call.__name__, None)
        if source is not None and not is_coroutine_function(source):
            raise refuse(call.__name__)
        client, transport = facade._async._recording()
        try:
            data = function(facade._view(client), *args, **kwargs)
        finally:  # error reporters print the local variables of frames, and a password may be among them
            del args, kwargs
        if inspect.isgenerator(data) or isinstance(data, AbstractContextManager):
            raise refuse(call.__name__)
        return ApiResponse(data=data, **transport.recorded())


class MontraFacade(ClientFacade):
    """Base of the facade of `Montra`."""

    __slots__ = ()

    def report_usage_many(
        self,
        items: Iterable[Mapping[str, Any]],
        *,
        concurrency: int = CONCURRENCY,
        batch_key: str | None = None,
        on_progress: BulkHook | None = None,
    ) -> Generator[BulkResult[bool], None, None]:
        """Report many usages, several at once (`POST /usage` for each).

        The calls are made now, and what is not sent when the process ends is lost. `UsageReporter.report_usage_many`
        takes the same items, writes them to an outbox first and delivers them in the background.

        Results come as calls end, each with the `index` of its item; `sorted(results)` is in order. An item that fails
        is a result, no exception, and does not stop the others. At most `concurrency` items and results are in memory.
        When the service has too many requests (429), all items wait for as long as it asks, and are sent again up to
        eight times. When it asks for more than a minute, or refuses the key, nothing more is sent: the remaining items
        are `skipped`. Ending the iteration early, or cancelling it, cancels the calls in flight. They, and those whose
        results were not yielded yet, may have been carried out: with a `batch_key` the same list can be sent again,
        for as long as the service remembers its keys (a day to a month).

        Args:
            items: dicts with the arguments of `report_usage`: a list or a generator; for the asynchronous client
                also an asynchronous one. The synchronous client iterates over it in the thread of the caller.
            concurrency: number of calls at the same time, 1 to 1000; never more than `pool_size`. Default: 10.
            batch_key: prefix of the idempotency keys, for example the name of the file: at most 200 printable ASCII
                characters without spaces. Item n then has the key `<batch_key>-<n>`, so that sending the same list
                again, after a crash for example, has no second effect; an item that was changed or moved is a
                `ConflictError`. Default: random keys. The `idempotency_key` of an item goes first.
            on_progress: function that is called with a `BulkProgress` before each result is yielded. What it raises
                ends the iteration, after the results of the calls in flight. Default: None.

        Raises:
            InvalidArgumentError: `concurrency` or `batch_key` is invalid. Invalid items are results.
        """
        return _bulk(self, "report_usage", items, concurrency, batch_key, on_progress)

    def create_customers(
        self,
        items: Iterable[Mapping[str, Any]],
        *,
        concurrency: int = CONCURRENCY,
        batch_key: str | None = None,
        on_progress: BulkHook | None = None,
    ) -> Generator[BulkResult[Customer], None, None]:
        """Create many customers, several at once (`POST /customers` for each).

        Results come as calls end, each with the `index` of its item; `sorted(results)` is in order. An item that fails
        is a result, no exception, and does not stop the others. At most `concurrency` items and results are in memory.
        When the service has too many requests (429), all items wait for as long as it asks, and are sent again up to
        eight times. When it asks for more than a minute, or refuses the key, nothing more is sent: the remaining items
        are `skipped`. Ending the iteration early, or cancelling it, cancels the calls in flight. They, and those whose
        results were not yielded yet, may have been carried out: with a `batch_key` the same list can be sent again,
        for as long as the service remembers its keys (a day to a month).

        Args:
            items: dicts with the arguments of `create_customer`: a list or a generator; for the asynchronous client
                also an asynchronous one. The synchronous client iterates over it in the thread of the caller.
            concurrency: number of calls at the same time, 1 to 1000; never more than `pool_size`. Default: 10.
            batch_key: prefix of the idempotency keys, for example the name of the file: at most 200 printable ASCII
                characters without spaces. Item n then has the key `<batch_key>-<n>`, so that sending the same list
                again, after a crash for example, has no second effect; an item that was changed or moved is a
                `ConflictError`. Default: random keys. The `idempotency_key` of an item goes first.
            on_progress: function that is called with a `BulkProgress` before each result is yielded. What it raises
                ends the iteration, after the results of the calls in flight. Default: None.

        Raises:
            InvalidArgumentError: `concurrency` or `batch_key` is invalid. Invalid items are results.
        """
        return _bulk(self, "create_customer", items, concurrency, batch_key, on_progress)


def _bulk(
    facade: Any,
    name: str,
    items: Iterable[Mapping[str, Any]],
    concurrency: int,
    batch_key: str | None,
    on_progress: BulkHook | None,
) -> Generator[BulkResult[Any], None, None]:
    """Begin a bulk call. It is checked now, not when the first result is asked for."""
    client = facade._async
    threads = _CallThreads(facade) if _is_overridden(facade, name) else None
    batch: BulkRun[Any] = BulkRun(
        getattr(client if threads is None else facade, name),
        client.with_raw_response if threads is None else threads.send,
        pool_size=client._pool_size,
        concurrency=concurrency,
        batch_key=batch_key,
        on_progress=on_progress,
    )
    if isinstance(items, AsyncIterable):
        raise InvalidArgumentError("items", f"a list or generator of dicts, not {type(items).__name__}")
    return _results(batch, ItemSource(items_of(items)), threads)


def _results(
    batch: BulkRun[Any], source: ItemSource, threads: _CallThreads | None
) -> Generator[BulkResult[Any], None, None]:
    """The results of a bulk call: the loop makes the calls, and this thread asks for the items."""
    is_at_end = not has_loop()  # then each `run` has a loop of its own, on which nothing can stay in flight
    try:
        while True:
            taken: list[Any] = []
            try:
                for item in source.take(batch.room):
                    taken.append(item)
            except Exception as error:
                batch.end_with(error)
            if not taken and batch.is_idle:
                break
            if not is_at_end and not has_loop():
                raise CallInterruptedError("the interpreter is shutting down: the calls in flight were cancelled")
            run(batch.finish if is_at_end else batch.step, taken)
            while (result := batch.next_result()) is not None:
                yield result
        if batch.problem is not None:
            raise batch.problem
    finally:
        if not batch.is_idle:  # nothing waits here: the generator may be collected in the thread of the loop
            post(batch.cancel)
        if threads is not None:
            threads.end()


def _is_overridden(facade: object, name: str) -> bool:
    """Whether a call is the user's own: of a subclass of the client."""
    owner = next(one for one in type(facade).__mro__ if name in vars(one))
    return owner.__module__.partition(".")[0] not in {"montra_sync", "montra_async"}


class _CallThreads:
    """Threads that make a user's own calls, which are blocking. Not the loop's: it looks names up in those.

    Args:
        facade: the client.
    """

    def __init__(self, facade: ClientFacade) -> None:
        self._facade = facade
        self._threads: DaemonThreads | None = None

    async def send(self, call: Callable[..., Any], /, **arguments: Any) -> ApiResponse[Any]:
        """Make a call. A call that has begun is not cancelled.

        Raises:
            MontraError: the interpreter is shutting down, which daemon threads can't outlast.
        """
        if not has_loop():
            raise MontraError(f"the interpreter is shutting down: no more calls of the overridden {call.__name__}")
        if self._threads is None:
            self._threads = DaemonThreads(MOST_CONCURRENT, "montra-bulk")
        context = contextvars.copy_context()
        work = partial(context.run, self._facade.with_raw_response, call, **arguments)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def end(self) -> None:
        """Let the threads end when their calls have."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
