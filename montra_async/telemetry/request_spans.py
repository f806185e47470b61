"""One span for each request: `TracedTransport` is what a client's transport becomes."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from importlib import import_module
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue
from yarl import URL

from ..core.current_operation import OPERATION
from ..core.errors import NetworkError
from ..core.headers import is_replayed
from ..core.http.failover import Route
from ..core.http.messages import AttemptResult, RawResponse, Request
from ..core.http.transport import Transport
from ..core.options import CallOptions, check_headers
from ..core.redaction import scrub
from . import attributes as names
from .operation_spans import RunningOperation
from .recorder import Recorder, guarded

if TYPE_CHECKING:
    from ..core.http.sessions import LoopSession


def _suppressing() -> Callable[[], AbstractContextManager[None]]:
    """A function whose context managers have those who instrument aiohttp leave our requests alone."""
    try:
        utils = import_module("opentelemetry.instrumentation.utils")
    except ImportError:  # then there is nobody who does
        return nullcontext
    suppress: Callable[[], AbstractContextManager[None]] = (
        utils.suppress_instrumentation
    )  # that of HTTP alone is not known to older ones
    return suppress


_suppress_instrumentation = _suppressing()

_SENDING: ContextVar[_Sending | None] = ContextVar("montra_telemetry_sending", default=None)


class Attempt:
    """One request.

    Args:
        recorder: makes the span.
        transport: sends it.
        request: the request.
        url: where it goes.
        mirror: whether that is the mirror.
    """

    def __init__(self, recorder: Recorder, transport: Transport, request: Request, url: URL, mirror: bool) -> None:
        operation = OPERATION.get()
        self.operation: RunningOperation | None = operation if isinstance(operation, RunningOperation) else None
        self._recorder = recorder
        self._transport = transport
        self._secrets = request.secrets
        self._began = time.perf_counter()
        self._stopped: tuple[int, float] | None = None
        self._ended = False
        self._pid = os.getpid()
        table = transport.endpoints()
        endpoint = None if table is None else table.find(request.method, request.path)
        known: dict[str, AttributeValue] = {names.HTTP_METHOD: request.method}
        if endpoint is not None:
            known[names.URL_TEMPLATE] = endpoint.template
        known[names.SERVER_ADDRESS] = url.host or ""
        if url.port is not None:
            known[names.SERVER_PORT] = url.port
        self._labels = dict(known)
        if request.attempts > 1:
            known[names.HTTP_RESEND_COUNT] = request.attempts - 1
        if mirror:
            known[names.MIRROR] = True
        name = request.method if endpoint is None else f"{request.method} {endpoint.template}"
        self._span = recorder.tracer.start_span(name, kind=SpanKind.CLIENT, attributes=known)
        self.context: Context = trace.set_span_in_context(self._span)
        if self.operation is not None:
            self.operation.attempts += 1

    def _scrub(self, text: str) -> str:
        return scrub(self._transport.scrub(text), *self._secrets)

    @guarded
    def stop(self) -> None:
        """The attempt is over, and what it was is not known yet."""
        self._stopped = (time.time_ns(), time.perf_counter())

    @guarded
    def responded(self, response: RawResponse) -> None:
        """A response has arrived. The attempt ends, unless the response is a stream.

        Args:
            response: the response.
        """
        self._labels[names.HTTP_STATUS] = response.status
        replayed = is_replayed(response.headers)
        request_id = names.request_id(response.request_id, self._scrub)
        if self.operation is not None:
            self.operation.request_id, self.operation.replayed = request_id, replayed
        if self._span.is_recording():
            self._span.set_attribute(names.HTTP_STATUS, response.status)
            if request_id is not None:
                self._span.set_attribute(names.REQUEST_ID, request_id)
            if replayed:
                self._span.set_attribute(names.REPLAYED, True)
        if response.stream is not None:
            if self.operation is not None:
                self.operation.open_streams += 1
            response.stream.watch(self)
        else:
            self._end(str(response.status) if response.status >= 400 else None)

    @guarded
    def failed(self, error: BaseException, cause: BaseException | None = None) -> None:
        """There is no response.

        Args:
            error: why, as the caller is told.
            cause: what has caused it.
        """
        if self._span.is_recording() and not self._ended:
            phase = getattr(error, "phase", None)
            if isinstance(phase, str):
                self._span.set_attribute(names.ERROR_PHASE, phase)
            if cause is not None:
                self._span.set_attribute(names.ERROR_CAUSE, names.error_type(cause))
        self._end(names.error_type(error))

    @guarded
    def ended(self, complete: bool, error: NetworkError | None) -> None:
        """The response, a stream, has ended.

        Args:
            complete: whether it was read to its end.
            error: why its connection broke; None if it did not.
        """
        if os.getpid() != self._pid:  # a forked child, where the stream is not
            return
        if self._span.is_recording():
            self._span.set_attribute(names.STREAM_COMPLETE, complete)
        self._end(None if error is None else names.error_type(error))
        if self.operation is not None:
            self.operation.stream_ended(error)

    def _end(self, problem: str | None) -> None:
        if self._ended:
            return
        self._ended = True
        at, clock = self._stopped or (None, time.perf_counter())
        if problem is not None:
            self._labels[names.ERROR_TYPE] = problem
            self._span.set_attribute(names.ERROR_TYPE, problem)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end(at)
        self._recorder.request_duration.record(clock - self._began, self._labels, self.context)


class _Sending:
    """One call's attempts. The last one may be waiting for what becomes known of it later."""

    __slots__ = ("attempt",)

    def __init__(self) -> None:
        self.attempt: Attempt | None = None


class TracedTransport(Transport):
    """A transport whose requests are spans."""

    __slots__ = ()

    async def send(self, request: Request, options: CallOptions) -> RawResponse:
        """See `Transport.send`."""
        sending = _Sending()
        token = _SENDING.set(sending)
        try:
            return await super().send(request, options)
        except BaseException as error:
            if sending.attempt is not None:
                sending.attempt.failed(error)
            raise
        finally:
            _SENDING.reset(token)

    async def _attempt(self, session: LoopSession, request: Request, options: CallOptions, route: Route) -> RawResponse:
        sending = _SENDING.get()
        recorder: Recorder | None = getattr(self, "telemetry_recorder", None)
        attempt = None if sending is None or recorder is None else _begin(recorder, self, request, route)
        if sending is None or attempt is None:
            return await super()._attempt(session, request, options, route)
        sending.attempt = attempt
        token = otel_context.attach(attempt.context)
        try:
            with _suppress_instrumentation():
                response = await super()._attempt(session, request, options, route)
        except BaseException:
            attempt.stop()
            raise
        finally:
            otel_context.detach(token)
        attempt.responded(response)
        sending.attempt = None
        return response

    def _failure(self, error: Exception, request: Request, route: Route) -> AttemptResult:
        result = super()._failure(error, request, route)
        sending = _SENDING.get()
        if sending is not None and sending.attempt is not None and result.failure is not None:
            sending.attempt.failed(result.failure.error, result.failure.cause)
            sending.attempt = None
        return result

    def _pause(
        self, request: Request, options: CallOptions, result: AttemptResult, route: Route, remaining: float
    ) -> float | None:
        pause = super()._pause(request, options, result, route, remaining)
        operation = OPERATION.get()
        if pause is not None and isinstance(operation, RunningOperation):
            response, failure = result.response, result.failure
            error = "" if failure is None else names.error_type(failure.error)
            operation.retried(pause, error if response is None else str(response.status))
        return pause


@guarded
def _begin(recorder: Recorder, transport: Transport, request: Request, route: Route) -> Attempt:
    """Begin an attempt, and put the trace context into its headers."""
    url = route.url(request.url)
    attempt = Attempt(recorder, transport, request, url, route.mirror is not None)
    _inject(request, attempt.context)
    return attempt


@guarded
def _inject(request: Request, context: Context) -> None:
    """Put the trace context, and whatever else the user's propagator sends, into the request's headers.

    Those of an earlier attempt are replaced. Headers of the client's own are not.
    """
    carrier: dict[str, Any] = {}
    propagate.inject(carrier, context=context)
    request.headers.update(check_headers(carrier))
