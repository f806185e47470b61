"""What the generated facades have that can't be generated: by hand, as bases of theirs."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from itertools import islice
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from montra_async import Customer, InvalidArgumentError
from montra_async.core.api_response import ApiResponse, function_of, refuse
from montra_async.core.bulk import CONCURRENCY, BulkHook, BulkResult, BulkRun, items_of, run_all
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

    SyncOnly.__aenter__ = SyncOnly.__aexit__ = _refuse_async_with


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
        When the service refuses the key, nothing more is sent: the remaining items are `skipped`. When it has too many
        requests (429), all items wait for as long as it asks. Ending the iteration early, or cancelling it, cancels
        the calls in flight, which may have been carried out: with a `batch_key` the same list can be sent again.

        Args:
            items: dicts with the arguments of `report_usage`: a list or a generator; for the asynchronous client
                also an asynchronous one. The synchronous client iterates over it in the thread of the caller.
            concurrency: number of calls at the same time, 1 to 1000; more than `pool_size` only wait. Default: 10.
            batch_key: prefix of the idempotency keys, for example the name of the file: at most 200 printable ASCII
                characters without spaces. Item n then has the key `<batch_key>-<n>`, so that sending the same list
                again, after a crash for example, has no second effect; an item that was changed or moved is a
                `ConflictError`. Default: random keys. The `idempotency_key` of an item goes first.
            on_progress: function that is called with a `BulkProgress` before each result is yielded. What it raises
                ends the iteration. Default: None.

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
        When the service refuses the key, nothing more is sent: the remaining items are `skipped`. When it has too many
        requests (429), all items wait for as long as it asks. Ending the iteration early, or cancelling it, cancels
        the calls in flight, which may have been carried out: with a `batch_key` the same list can be sent again.

        Args:
            items: dicts with the arguments of `create_customer`: a list or a generator; for the asynchronous client
                also an asynchronous one. The synchronous client iterates over it in the thread of the caller.
            concurrency: number of calls at the same time, 1 to 1000; more than `pool_size` only wait. Default: 10.
            batch_key: prefix of the idempotency keys, for example the name of the file: at most 200 printable ASCII
                characters without spaces. Item n then has the key `<batch_key>-<n>`, so that sending the same list
                again, after a crash for example, has no second effect; an item that was changed or moved is a
                `ConflictError`. Default: random keys. The `idempotency_key` of an item goes first.
            on_progress: function that is called with a `BulkProgress` before each result is yielded. What it raises
                ends the iteration. Default: None.

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
    call = getattr(client, name)
    batch: BulkRun[Any] = BulkRun(
        call, client.with_raw_response, concurrency=concurrency, batch_key=batch_key, on_progress=on_progress
    )
    if isinstance(items, AsyncIterable):
        raise InvalidArgumentError("items", f"a list or generator of dicts, not {type(items).__name__}")
    return _results(batch, iter(items_of(items)))


def _results(batch: BulkRun[Any], items: Iterator[Any]) -> Generator[BulkResult[Any], None, None]:
    """The results of a bulk call: the loop makes the calls, and this thread asks for the items."""
    if not has_loop():  # at the interpreter's end, each `run` has a loop of its own
        yield from run(_all_of, batch, items)
        return
    problem: Exception | None = None
    try:
        while True:
            taken: list[Any] = []
            try:
                for item in islice(items, 0 if problem else batch.free):
                    taken.append(item)
            except Exception as error:
                problem = error
            if not taken and batch.is_idle:
                break
            for result in run(batch.step, taken):
                yield batch.note(result)
        if problem is not None:
            raise problem
    finally:
        if not batch.is_idle:  # nothing waits here: the generator may be collected in the thread of the loop
            post(batch.cancel_soon)


async def _all_of(batch: BulkRun[Any], items: Iterator[Any]) -> list[BulkResult[Any]]:
    return [one async for one in run_all(batch, items)]
