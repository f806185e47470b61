"""One span for each call of the user's: from its arguments to its result, whatever requests it needs."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

from opentelemetry import context as otel_context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from ..core.current_operation import OPERATION, Operation, Work
from ..core.deprecation import is_async_generator_function, is_coroutine_function
from ..core.http.endpoints import EndpointTable
from ..usage.sending.verdicts import DUPLICATE_CODES
from . import attributes as names
from .recorder import Recorder, guarded

_LINKS: ContextVar[tuple[Link, ...]] = ContextVar("montra_telemetry_links", default=())
"""What work in the background was started by."""

_USAGE = "report_usage"


class RunningOperation:
    """A call that is under way.

    Args:
        recorder: makes the span.
        service: name of the service.
        name: name of the call.
        endpoints: methods and path templates of the call.

    Attributes:
        recorder: as given.
        attempts: number of requests so far.
        request_id: id of the last response; None without one.
        replayed: whether the last response had been stored under the call's idempotency key.
        open_streams: number of responses that are still being read.
    """

    def __init__(self, recorder: Recorder, service: str, name: str, endpoints: list[tuple[str, str]]) -> None:
        self.recorder: Recorder = recorder
        self.attempts: int = 0
        self.request_id: str | None = None
        self.replayed: bool = False
        self.open_streams: int = 0
        self.service: str = service
        self.endpoints: list[tuple[str, str]] = endpoints
        self._name = name
        self._began = time.perf_counter()
        self._error: BaseException | None = None
        self._returned = False
        self._ended = False
        links = _LINKS.get()
        known: dict[str, AttributeValue] = {names.SERVICE: service, names.OPERATION_NAME: name}
        if links:
            known[names.BACKGROUND] = True
        self.span: Span = recorder.tracer.start_span(
            f"{service}.{name}", kind=SpanKind.INTERNAL, attributes=known, links=links
        )
        self.context: Context = trace.set_span_in_context(self.span)

    @guarded
    def joined(self, other: Operation | None) -> None:
        """It waits for a request that another call has begun. The other one may be of a client without telemetry."""
        self.span.set_attribute(names.JOINED, True)
        if isinstance(other, RunningOperation):
            self.span.add_link(other.span.get_span_context())

    @guarded
    def retried(self, pause: float, reason: str) -> None:
        """Another attempt follows.

        Args:
            pause: seconds until then.
            reason: status of the response, or class of the error.
        """
        self.span.add_event("montra.retry", {names.RETRY_PAUSE: round(pause, 3), names.RETRY_REASON: reason})

    def returned(self, error: BaseException | None) -> None:
        """The call has returned, or raised. It ends here, unless its response is a stream.

        Args:
            error: what it raised; None for a result.
        """
        self._returned = True
        self._error = error
        if not self.open_streams or error is not None:
            self.end()

    def stream_ended(self, error: BaseException | None) -> None:
        """A response was read to its end, or closed.

        Args:
            error: why its connection broke; None if it did not.
        """
        self.open_streams -= 1
        self._error = self._error or error
        if self._returned and not self.open_streams:
            self.end()

    @guarded
    def end(self) -> None:
        """End the span. Safe to call twice."""
        if self._ended:
            return
        self._ended = True
        error, self._error = self._error, None  # its frames refer to this object
        labels = {names.SERVICE: self.service, names.OPERATION_NAME: self._name}
        if error is not None:
            labels[names.ERROR_TYPE] = names.error_type(error)
        self._end_span(error)
        self.recorder.operation_duration.record(time.perf_counter() - self._began, labels, self.context)
        self.recorder.operation_attempts.record(self.attempts, labels, self.context)
        if self._name == _USAGE and (self.replayed or getattr(error, "code", None) in DUPLICATE_CODES):
            self.recorder.usage.duplicates.add(1)

    def _end_span(self, error: BaseException | None) -> None:
        span = self.span
        if span.is_recording():
            span.set_attribute(names.ATTEMPTS, self.attempts)
            if self.request_id is not None:
                span.set_attribute(names.REQUEST_ID, self.request_id)
            if self.replayed:
                span.set_attribute(names.REPLAYED, True)
            if error is not None:
                span.set_attribute(names.ERROR_TYPE, names.error_type(error))
                if (code := names.error_code(error)) is not None:
                    span.set_attribute(names.ERROR_CODE, code)
                span.set_status(Status(StatusCode.ERROR))
        span.end()


@guarded
def begin(recorder: Recorder, service: str, name: str, endpoints: list[tuple[str, str]]) -> RunningOperation | None:
    """Begin a call; None when it is a part of one with the same endpoint, which has the span.

    Args:
        recorder: makes the span.
        service: name of the service.
        name: name of the call.
        endpoints: methods and path templates of the call.
    """
    outer = OPERATION.get()
    if isinstance(outer, RunningOperation) and outer.service == service and outer.endpoints[:1] == endpoints[:1]:
        return None
    return RunningOperation(recorder, service, name, endpoints)


@contextmanager
def current(operation: RunningOperation) -> Generator[None, None, None]:
    """Make a call the current one, and its span the current span."""
    token = OPERATION.set(operation)
    attached = otel_context.attach(operation.context)
    try:
        yield
    finally:
        otel_context.detach(attached)
        OPERATION.reset(token)


def as_operation(
    method: Callable[..., Any], service: str, name: str, endpoints: list[tuple[str, str]]
) -> Callable[..., Any]:
    """A coroutine function, or an asynchronous generator function, that is one operation.

    Args:
        method: of a client.
        service: name of the service.
        name: name of the call.
        endpoints: methods and path templates of the call.
    """
    if is_async_generator_function(method):
        return _iterating(method, service, name, endpoints)

    @wraps(method)
    async def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        try:
            work = method(self, *args, **kwargs)
        finally:
            del args, kwargs  # error reporters print the local variables of a traceback's frames
        recorder = recorder_of(self)
        operation = None if recorder is None else begin(recorder, service, name, endpoints)
        if operation is None:
            return await work
        error: BaseException | None = None
        try:
            with current(operation):
                return await work
        except BaseException as raised:
            error = raised
            raise
        finally:
            operation.returned(error)
            del error, work

    return call


def _iterating(
    method: Callable[..., Any], service: str, name: str, endpoints: list[tuple[str, str]]
) -> Callable[..., Any]:
    @wraps(method)
    async def iterate(self: Any, /, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        items: AsyncGenerator[Any, None] = method(self, *args, **kwargs)
        recorder = recorder_of(self)
        operation = None if recorder is None else begin(recorder, service, name, endpoints)
        error: BaseException | None = None
        try:
            while True:
                # Not between two items: the consumer's spans are no part of this.
                if operation is None:
                    item = await anext(items)
                else:
                    with current(operation):
                        item = await anext(items)
                yield item
        except StopAsyncIteration:
            return
        except GeneratorExit:  # the consumer wants no more
            raise
        except BaseException as raised:
            error = raised
            raise
        finally:
            await items.aclose()
            if operation is not None:
                operation.returned(error)
            del error

    return iterate


def recorder_of(client: Any) -> Recorder | None:
    """The recorder of a client; None when telemetry was taken off."""
    return getattr(client._transport, "telemetry_recorder", None)


def operations_of(kind: type, table: EndpointTable) -> dict[str, Any]:
    """The calls of a client's class, each as an operation.

    Args:
        kind: the class.
        table: the endpoints of its service.
    """
    calls = {name: (getattr(kind, name, None), endpoints) for name, endpoints in table.calls().items()}
    return {
        name: as_operation(method, table.service, name, endpoints)
        for name, (method, endpoints) in calls.items()
        if is_coroutine_function(method) or is_async_generator_function(method)
    }


def run_in_background(work: Work[Any], name: str | None) -> Coroutine[Any, Any, Any]:
    """Run work in a trace of its own that is linked with what has started it.

    Args:
        work: begins the work.
        name: service and name of the operation that it is; None if it makes calls that have names.
    """
    starter = trace.get_current_span().get_span_context()
    operation = OPERATION.get()
    recorder = operation.recorder if isinstance(operation, RunningOperation) else None
    return _in_background(work, name, recorder, (Link(starter),) if starter.is_valid else ())


async def _in_background(work: Work[Any], name: str | None, recorder: Recorder | None, links: tuple[Link, ...]) -> Any:
    otel_context.attach(Context())  # for good: this is a task of its own
    OPERATION.set(None)
    _LINKS.set(links)
    operation = None
    if name is not None and recorder is not None:
        service, _, call = name.partition(".")
        operation = begin(recorder, service, call, [])
    if operation is None:
        return await work()
    error: BaseException | None = None
    try:
        with current(operation):
            return await work()
    except BaseException as raised:
        error = raised
        raise
    finally:
        operation.returned(error)
        del error
