"""`instrument`: attaches telemetry to objects that exist. An object without it has no trace of telemetry in it.

An object gets a class of its own, derived from the one that it has: the calls of that class are spans.
"""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.util.types import AttributeValue
from yarl import URL

from ..access.base import BaseAccess
from ..core.client import BaseClient
from ..core.current_operation import use_in_background
from ..core.http.transport import Transport
from ..core.twins import name_of_class
from ..usage.engine import UsageEngine
from ..webhooks.receiver import WebhookReceiver
from . import attributes as names
from .access_metrics import counted_methods
from .operation_spans import operations_of, run_in_background
from .recorder import Recorder
from .request_spans import TracedTransport
from .webhook_spans import traced_methods

_BASE = "_montra_telemetry_base"
"""Attribute of a derived class: the one that it was made of."""


class Telemetry:
    """Spans and metrics, for any number of objects. It keeps none of them alive.

    Args:
        tracer_provider: of OpenTelemetry. Default: the global one, also if it is set later.
        meter_provider: of OpenTelemetry. Default: the global one, also if it is set later.
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._recorder = Recorder(tracer_provider, meter_provider)
        use_in_background(run_in_background)

    def instrument(self, *things: object) -> None:
        """Attach telemetry to objects, in place. One that has telemetry gets this instead.

        Args:
            *things: clients of both services, `WebhookReceiver`, `UsageReporter`, `Access`, of `montra_async` or
                `montra_sync`. Views of a client that exist already (`with_options`, `for_user`) get spans for their
                requests only.

        Raises:
            TypeError: something else.
        """
        for thing in things:
            _check(thing)
        for thing in things:
            self._attach(thing)

    def _attach(self, thing: object) -> None:
        recorder = self._recorder
        found = _unwrapped(thing)
        if isinstance(found, BaseClient):
            transport = found._transport
            _become(found, _client_class)
            _become(transport, lambda _: TracedTransport)
            _USERS.setdefault(transport, weakref.WeakValueDictionary())[id(found)] = found
            if (previous := _give(transport, recorder)) is not None:
                previous.pools.remove(transport)
            recorder.pools.add(transport, _labels(found))
        elif isinstance(found, WebhookReceiver):
            _become(found, _receiver_class)
            _give(found, recorder)
        elif isinstance(found, BaseAccess):
            _become(found, _access_class)
            _give(found, recorder)
        elif isinstance(found, UsageEngine):
            self._attach(found.service)
            previous = _give(found, recorder)
            since = None if previous is None else previous.usage.remove(found)
            recorder.usage.add(found, since)

    def uninstrument(self, *things: object) -> None:
        """Take telemetry off objects again. Those without it are left as they are.

        Args:
            *things: what was given to `instrument`.

        Raises:
            TypeError: something that can't have telemetry.
        """
        uninstrument(*things)


def instrument(
    *things: object,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
) -> Telemetry:
    """Attach telemetry to objects, in place.

    Args:
        *things: clients of both services, `WebhookReceiver`, `UsageReporter`, `Access`, of `montra_async` or
            `montra_sync`.
        tracer_provider: of OpenTelemetry. Default: the global one, also if it is set later.
        meter_provider: of OpenTelemetry. Default: the global one, also if it is set later.

    Returns:
        The telemetry, for further objects: each metric is then registered once.

    Raises:
        TypeError: something that can't have telemetry.
    """
    for thing in things:
        _check(thing)
    telemetry = Telemetry(tracer_provider=tracer_provider, meter_provider=meter_provider)
    telemetry.instrument(*things)
    return telemetry


def uninstrument(*things: object) -> None:
    """Take telemetry off objects again. Those without it are left as they are.

    Args:
        *things: what was given to `instrument`.

    Raises:
        TypeError: something that can't have telemetry.
    """
    for thing in things:
        _check(thing)
    for thing in things:
        _detach(_unwrapped(thing))


def _unwrapped(thing: Any) -> object:
    """What is instrumented of an object: the asynchronous one of a facade, the engine of a reporter."""
    thing = getattr(thing, "_async", thing)
    engine = getattr(thing, "_engine", None)
    return engine if isinstance(engine, UsageEngine) else thing


def _check(thing: object) -> None:
    if not isinstance(_unwrapped(thing), (BaseClient, WebhookReceiver, BaseAccess, UsageEngine)):
        kinds = "a client, a WebhookReceiver, a UsageReporter or an Access"
        raise TypeError(f"telemetry can be attached to {kinds}, not to {name_of_class(thing)}")


def _detach(found: Any) -> None:
    if isinstance(found, BaseClient):
        _become_plain(found)
        _detach_transport(found)
    elif isinstance(found, UsageEngine):
        _detach(found.service)
        if (recorder := _taken(found)) is not None:
            recorder.usage.remove(found)
    else:
        _taken(found)
        _become_plain(found)


def _detach_transport(client: BaseClient) -> None:
    """Take telemetry off a client's transport, unless another client that shares it has telemetry.

    A reporter shares the transport of the client that it was made with.
    """
    transport = client._transport
    users = _USERS.get(transport)
    if users is not None:
        users.pop(id(client), None)
    if not users:
        recorder = _taken(transport)
        if recorder is not None:
            recorder.pools.remove(transport)
        _become_plain(transport)


_USERS: weakref.WeakKeyDictionary[Transport, weakref.WeakValueDictionary[int, BaseClient]] = weakref.WeakKeyDictionary()
"""The clients that were given to `instrument`, or whose reporters were, by id and by the transport that they share."""


def _give(thing: Any, recorder: Recorder) -> Recorder | None:
    """Returns the recorder that an object had, unless it is the same."""
    previous: Recorder | None = getattr(thing, "telemetry_recorder", None)
    thing.telemetry_recorder = recorder
    return None if previous is recorder else previous


def _taken(thing: object) -> Recorder | None:
    """The recorder that an object had."""
    recorder = getattr(thing, "telemetry_recorder", None)
    if recorder is not None:
        del thing.telemetry_recorder  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    return recorder


def _labels(client: BaseClient) -> dict[str, AttributeValue]:
    url = URL(client.base_url)
    labels: dict[str, AttributeValue] = {
        names.SERVICE: client._service.endpoints().service,
        names.SERVER_ADDRESS: url.host or "",
    }
    if url.port is not None:
        labels[names.SERVER_PORT] = url.port
    return labels


# Classes. A derived one has the name and the module of its base, which messages show.


def _become(thing: object, derive: Callable[[Any], type]) -> None:
    kind = type(thing)
    if _plain(kind) is kind:
        object.__setattr__(thing, "__class__", derive(kind))


def _become_plain(thing: object) -> None:
    object.__setattr__(thing, "__class__", _plain(type(thing)))


def _plain(kind: type) -> type:
    """The class that a derived one was made of; others as they are."""
    plain: type = vars(kind).get(_BASE, Transport if kind is TracedTransport else kind)
    return plain


def _derived(kind: type, members: dict[str, Any]) -> type:
    shown = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind,), {"__slots__": (), **shown, **members, _BASE: kind})


@lru_cache(maxsize=64)
def _client_class(kind: type[BaseClient]) -> type:
    return _derived(kind, operations_of(kind, kind._service.endpoints()))


@lru_cache(maxsize=64)
def _receiver_class(kind: type) -> type:
    return _derived(kind, traced_methods(kind))


@lru_cache(maxsize=64)
def _access_class(kind: type) -> type:
    return _derived(kind, counted_methods(kind))
