"""One span for each webhook, and a counter by what became of it."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import json
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

from opentelemetry import context as otel_context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from ..webhooks.processing import Delivery, Reply
from ..webhooks.receiver import WebhookReceiver
from . import attributes as names
from .recorder import Recorder, guarded

SOURCE = "montra.webhook.source"
EVENT_TYPE = "montra.webhook.event_type"
OUTCOME = "montra.webhook.outcome"

_OUTCOMES = {"done": "handled", "duplicate": "duplicate", "ignored": "ignored", "in_progress": "in_progress"}
"""What became of a delivery, by the status in the body of its reply. Others have failed, or were refused."""


class _Observed:
    """A delivery that is being handled."""

    def __init__(self, recorder: Recorder, receiver: WebhookReceiver) -> None:
        self._recorder = recorder
        self._source = receiver._source
        self._began = time.perf_counter()
        self._type: str | None = None
        self._span: Span = recorder.tracer.start_span(
            "montra.webhook", kind=SpanKind.INTERNAL, attributes={SOURCE: self._source.name}
        )
        self.context: Context = trace.set_span_in_context(self._span)

    @guarded
    def verified(self, event_type: str) -> None:
        """The signature is right. A type that is not known may be anything."""
        self._type = event_type if event_type in self._source.events else "other"
        self._span.set_attribute(EVENT_TYPE, self._type)

    @guarded
    def ended(self, reply: Reply | None, error: BaseException | None) -> None:
        """There is a reply, or handling was interrupted."""
        outcome, problem = ("interrupted", names.error_type(error)) if error is not None else outcome_of(reply)
        labels = {SOURCE: self._source.name, OUTCOME: outcome}
        if self._type is not None:
            labels[EVENT_TYPE] = self._type
        if problem is not None:
            labels[names.ERROR_TYPE] = problem
            self._span.set_attribute(names.ERROR_TYPE, problem)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.set_attribute(OUTCOME, outcome)
        if reply is not None:
            self._span.set_attribute(names.HTTP_STATUS, reply.status)
        self._span.end()
        self._recorder.webhook_events.add(1, labels, self.context)
        self._recorder.webhook_duration.record(time.perf_counter() - self._began, labels, self.context)


_OBSERVED: ContextVar[_Observed | None] = ContextVar("montra_telemetry_delivery", default=None)


def outcome_of(reply: Reply | None) -> tuple[str, str | None]:
    """What became of a delivery, and what was wrong with it; None if nothing was.

    Args:
        reply: the response to it.
    """
    status = "" if reply is None else str(json.loads(reply.body)["status"])
    if status in _OUTCOMES:
        return _OUTCOMES[status], None
    return "failed" if reply is None or reply.status >= 500 else "refused", status


def traced_methods(kind: type[WebhookReceiver]) -> dict[str, Any]:
    """The methods of a receiver's class with which deliveries are spans.

    Args:
        kind: the class.
    """
    handle, handle_blocking, too_large, verify = kind._handle, kind.handle_blocking, kind.too_large, kind._verify

    @wraps(handle)
    async def traced(self: WebhookReceiver, raw_body: bytes, headers: Mapping[str, str]) -> Reply:
        with _observed(self) as replies:
            replies.append(await handle(self, raw_body, headers))
            return replies[0]

    @wraps(handle_blocking)
    def traced_blocking(self: WebhookReceiver, raw_body: bytes, headers: Mapping[str, str]) -> Reply:
        with _observed(self) as replies:
            replies.append(handle_blocking(self, raw_body, headers))
            return replies[0]

    @wraps(too_large)
    def refused(self: WebhookReceiver) -> Reply:
        if _OBSERVED.get() is not None:
            reply: Reply = too_large(self)
            return reply
        with _observed(self) as replies:  # an adapter knows the size of a body that it does not read
            replies.append(too_large(self))
            return replies[0]

    @wraps(verify)
    def verified(self: WebhookReceiver, raw_body: bytes, headers: Mapping[str, str]) -> Delivery | Reply:
        found: Delivery | Reply = verify(self, raw_body, headers)
        observed = _OBSERVED.get()
        if observed is not None and isinstance(found, Delivery):
            observed.verified(found.event.type)
        return found

    return {"_handle": traced, "handle_blocking": traced_blocking, "too_large": refused, "_verify": verified}


@contextmanager
def _observed(receiver: WebhookReceiver) -> Generator[list[Reply], None, None]:
    """Observe a delivery. The reply is put into the list."""
    recorder: Any = getattr(receiver, "telemetry_recorder", None)
    observed = None if recorder is None else _begin(recorder, receiver)
    replies: list[Reply] = []
    if observed is None:
        yield replies
        return
    token = _OBSERVED.set(observed)
    attached = otel_context.attach(observed.context)
    error: BaseException | None = None
    try:
        yield replies
    except BaseException as raised:
        error = raised
        raise
    finally:
        otel_context.detach(attached)
        _OBSERVED.reset(token)
        observed.ended(replies[0] if replies else None, error)
        del error


@guarded
def _begin(recorder: Recorder, receiver: WebhookReceiver) -> _Observed:
    return _Observed(recorder, receiver)
