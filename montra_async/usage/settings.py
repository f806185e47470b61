"""The settings of a reporter, checked, and what it counts."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeAlias

import attrs

from ..core import validation
from ..core.durations import positive_seconds
from ..core.errors import ConfigError, InvalidArgumentError
from ..core.redaction import ShownWhenHalfBuilt
from ..core.type_guards import is_sequence
from .events import ParkedUsage
from .writer import WhenFull

DEDUPE_WINDOW = 24 * 3600.0
"""Seconds for which the service is assumed to remember an idempotency key. Services document a day to a month."""

_MARGIN = 300.0
"""Seconds by which an ambiguous request is parked before the service may have forgotten its key, at most a tenth."""

_STALE = 30.0
"""Seconds for which a claimed request may wait before it is sent, at most."""

Coalesce: TypeAlias = Collection[str] | bool
"""Slugs of the meters whose events are added up; True for all `sum` meters."""


@attrs.frozen(kw_only=True)
class UsageStats:
    """What a reporter has done since this process began to use it, and what waits in its outbox.

    Attributes:
        stored: number of events that this process stored in the outbox.
        pending: number of events that were handed over and are not stored yet.
        failed: number of events that could not be stored; the caller of `record` has got the error.
        dropped: number of events that were dropped to make room (`when_full="drop_oldest"`).
        delivered: number of events that this process sent and the service has counted.
        requests: number of requests that delivered them.
        refused: number of requests that this process parked, because the service refused them.
        expired: number of requests that this process parked, because they may have been counted and are too old.
        waiting: number of events in the outbox that the service has not counted yet, those of other processes included.
        parked: number of parked requests in the outbox.
        oldest_age: seconds since the oldest waiting event was recorded; 0 without any. The service counts usage in the
            billing period in which it arrives.
        size: bytes of the outbox in use.
        circuit: `closed`: requests are sent. `open`: the service is down, nothing is sent. `half_open`: one request is
            sent to find out. `off`: this process does not send.
        concurrency: number of requests that may be under way at once.
        in_flight: number of requests that are under way.
        last_error: the last error of a request, without secrets; None without any.
    """

    stored: int = 0
    pending: int = 0
    failed: int = 0
    dropped: int = 0
    delivered: int = 0
    requests: int = 0
    refused: int = 0
    expired: int = 0
    waiting: int = 0
    parked: int = 0
    oldest_age: float = 0.0
    size: int = 0
    circuit: str = "off"
    concurrency: int = 0
    in_flight: int = 0
    last_error: str | None = None


ParkedHook: TypeAlias = Callable[[ParkedUsage], object]
BacklogHook: TypeAlias = Callable[[UsageStats], object]


def _slugs(value: Any) -> Coalesce:
    if isinstance(value, bool):
        return value
    slugs: Any = value
    if not is_sequence(value) and not isinstance(value, (set, frozenset)):
        raise InvalidArgumentError("coalesce", f"a list of meter slugs, or True, not {type(value).__name__}")
    return frozenset(validation.text("coalesce", one) for one in slugs)


def _seconds(name: str, default: float) -> Any:
    def convert(value: Any) -> float:
        try:
            return positive_seconds(name, value)
        except ConfigError as error:
            raise InvalidArgumentError(name, str(error).partition(": ")[2]) from None

    return attrs.field(default=default, converter=convert)


def _flag(name: str, default: bool) -> Any:
    def convert(value: Any) -> bool:
        return validation.flag(name, value)

    return attrs.field(default=default, converter=convert)


def _concurrency(value: Any) -> int:
    return validation.whole("concurrency", value, minimum=1, maximum=1000)


def _hook(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    validation.plain_function(attribute.name, value)


def _when_full(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value not in ("raise", "wait", "drop_oldest"):
        raise InvalidArgumentError(attribute.name, '"raise", "wait" or "drop_oldest"')


@attrs.frozen(kw_only=True, repr=False)
class ReporterSettings(ShownWhenHalfBuilt):
    """What the user gave to a reporter. `UsageReporter` documents each setting."""

    send: bool = _flag("send", True)
    when_full: WhenFull = attrs.field(default="raise", validator=_when_full)
    coalesce: Coalesce = attrs.field(default=(), converter=_slugs)
    coalesce_window: float = _seconds("coalesce_window", 1.0)
    verify_meters: bool = _flag("verify_meters", True)
    concurrency: int = attrs.field(default=32, converter=_concurrency)
    request_timeout: float = _seconds("request_timeout", 10.0)
    dedupe_window: float = _seconds("dedupe_window", DEDUPE_WINDOW)
    exit_timeout: float = _seconds("exit_timeout", 5.0)
    max_age: float = _seconds("max_age", 60.0)
    handle_sigterm: bool = _flag("handle_sigterm", True)
    on_parked: ParkedHook | None = attrs.field(default=None, validator=_hook)
    on_backlog: BacklogHook | None = attrs.field(default=None, validator=_hook)

    def __attrs_post_init__(self) -> None:
        if self.expires_after <= 0:
            raise InvalidArgumentError("dedupe_window", "longer than request_timeout")

    @property
    def expires_after(self) -> float:
        """Seconds after which a request that may have been counted is parked, not sent."""
        return self.dedupe_window - self.request_timeout - self._margin

    @property
    def stale_after(self) -> float:
        """Seconds for which a claimed request may wait before it is sent. Its age was looked at when it was claimed."""
        return min(_STALE, self._margin / 2)

    @property
    def _margin(self) -> float:
        return min(_MARGIN, self.dedupe_window / 10)
