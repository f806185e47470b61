"""Reporting many items from a script: recorded in chunks, with what became of each."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any, Literal, TypeAlias

import attrs

from ..core.bulk_items import copied
from ..core.errors import InvalidArgumentError
from ..core.type_guards import is_mapping
from ..core.validation import plain_function
from .engine import UsageEngine
from .events import Event, Outcome, ParkedUsage, Settlement
from .flush import wait_for
from .outbox import Outbox

log: logging.Logger = logging.getLogger("montra")

CHUNK = 1000
"""Number of items that are recorded together."""

MAX_OPEN = 10_000
"""Maximum number of items that are recorded and not settled."""

_MAX_PARKED_PAGES = 20
_PROGRESS_SECONDS = 0.25
"""The hook is promised to be called every half second."""

_FIELDS = frozenset({"customer_id", "meter_slug", "amount", "metadata", "idempotency_key"})

ReportStatus: TypeAlias = (
    Literal["delivered", "refused", "ambiguous", "unknown", "waiting", "invalid", "failed", "uncertain"] | str
)
"""What became of an item.

`delivered`: the service has counted it. `refused`: the service will not count it; it is parked. `ambiguous`: it may
have been counted; it is parked. `unknown`: another process has sent or dropped it. `waiting`: it is in the outbox, and
will be sent. `invalid`: it was not recorded, because an argument is invalid. `failed`: it was not recorded, because the
outbox is full or can't be used. `uncertain`: it may have been recorded, because Redis has not answered; recording it
again under its `idempotency_key` does not count it twice.
"""

ProgressHook: TypeAlias = Callable[[int, int], object]
"""Takes the number of items that were recorded or found invalid so far, and the number of those that are settled."""


@attrs.frozen(kw_only=True)
class ReportResult:
    """What became of one item.

    Attributes:
        index: its position, from 0.
        status: `delivered`, `refused`, `ambiguous`, `unknown`, `waiting`, `invalid`, `failed` or `uncertain`; see
            `ReportStatus`.
        idempotency_key: its key, under which it may be recorded again without counting twice; None when it is invalid.
        message: why it was refused or is invalid; empty otherwise.
    """

    index: int
    status: ReportStatus
    idempotency_key: str | None = None
    message: str = ""


class SafeHook:
    """Calls a user's hook until it raises: the results are worth more than a progress bar.

    Args:
        hook: the user's.

    Raises:
        InvalidArgumentError: it is not a plain function.
    """

    def __init__(self, hook: ProgressHook) -> None:
        self._hook: ProgressHook | None = plain_function("on_progress", hook)

    def __call__(self, recorded: int, settled: int) -> None:
        if self._hook is not None:
            try:
                self._hook(recorded, settled)
            except Exception:
                self._hook = None
                log.exception("on_progress of report_usage_many failed; it is not called again")


class BulkReport:
    """Reports many items. Blocks; `run` is called by a thread that may wait.

    Args:
        engine: the engine.
        on_progress: called after each chunk.
        timeout: seconds to wait for the service after the last item was recorded; None for ever.
    """

    def __init__(self, engine: UsageEngine, on_progress: ProgressHook | None, timeout: float | None) -> None:
        self._engine = engine
        self._on_progress = None if on_progress is None else SafeHook(on_progress)
        self._timeout = timeout
        self._changed = threading.Condition()
        self._open: dict[str, list[int]] = {}
        self._own_keys: dict[str, tuple[int, int]] = {}
        self._results: dict[int, ReportResult] = {}
        self._count = 0
        self._last_recorded_at = 0.0
        self._report_at = 0.0
        self.cancelled: bool = False

    def run(self, items: Iterable[Mapping[str, Any]]) -> list[ReportResult]:
        """Record all items and wait until each is settled.

        Args:
            items: each with the arguments of `record`.

        Returns:
            One result for each item, in their order.

        Raises:
            InvalidArgumentError: `items` is no iterable of dicts, or `on_progress` is a coroutine function.
        """
        if is_mapping(items) or isinstance(items, (str, bytes)):
            raise InvalidArgumentError("items", f"a list or generator of dicts, not {type(items).__name__}")
        iterator = iter(items)
        try:
            while (chunk := list(map(copied, islice(iterator, CHUNK)))) and not self.cancelled:
                self._record(chunk)
                self._report_progress()
                self._wait(MAX_OPEN, None)
            until = None if self._timeout is None else time.monotonic() + self._timeout
            self._wait(0, until)
        finally:
            self._engine.accounts.settlements.remove(list(self._open), self._settled)
        self._report_progress()
        return list(self._all_results())

    def _record(self, chunk: list[Mapping[str, Any]]) -> None:
        events: list[Event] = []
        for item in chunk:
            index = self._count
            self._count += 1
            try:
                event = event_of(self._engine, item)
                if self._begin(index, event, has_own_key=item.get("idempotency_key") is not None):
                    events.append(event)
            except InvalidArgumentError as error:
                self._results[index] = ReportResult(index=index, status="invalid", message=str(error))
        if events:
            self._store(events)

    def _begin(self, index: int, event: Event, *, has_own_key: bool) -> bool:
        """Wait for an item. Returns whether it is to be stored: not if an earlier one is the same, key included.

        Raises:
            InvalidArgumentError: an earlier item has the same key, and is another one.
        """
        with self._changed:
            if has_own_key and (known := self._own_keys.get(event.key)) is not None:
                first, content = known
                if content != _content_of(event):
                    raise InvalidArgumentError("idempotency_key", f"item {first} has the same, with other arguments")
                if event.key in self._open:
                    self._open[event.key].append(index)
                    return False
                if self._results[first].status not in ("failed", "uncertain"):
                    self._results[index] = attrs.evolve(self._results[first], index=index)
                    return False
            if has_own_key:
                self._own_keys[event.key] = (index, _content_of(event))
            self._open[event.key] = [index]
        self._engine.accounts.settlements.add(event.key, self._settled)
        return True

    def _store(self, events: list[Event]) -> None:
        failed = self._engine.store_what_fits(events)
        self._last_recorded_at = time.time()
        for part, error in failed:
            status = "uncertain" if error.may_have_executed else "failed"
            self._engine.accounts.settlements.remove([event.key for event in part], self._settled)
            for event in part:
                self._settle(event.key, status, str(error))

    def _settled(self, key: str, settlement: Settlement | None) -> None:
        """Called by the sender's thread."""
        if settlement is None:
            self._settle(key, "ambiguous", "it may have been counted, and is too old to be sent again")
        elif settlement.outcome is Outcome.DELIVERED:
            self._settle(key, "delivered", "")
        else:
            self._settle(key, "refused", f"{settlement.status} {settlement.code}: {settlement.message}")

    def _settle(self, key: str, status: str, message: str) -> None:
        with self._changed:
            for index in self._open.pop(key, ()):
                self._results[index] = ReportResult(index=index, status=status, idempotency_key=key, message=message)
            self._changed.notify_all()

    def _wait(self, most: int, until: float | None) -> None:
        """Wait until at most some items are not settled. Nothing is awaited when this process does not send."""
        if not self._engine.settings.send:
            return
        settled = -1
        while not self.cancelled:
            now = time.monotonic()
            if now >= self._report_at:  # without the lock: the hook may use the reporter, and the writer takes the lock
                self._report_progress()
                if settled == len(self._results):
                    self._look_for_the_rest()
                settled = len(self._results)
            with self._changed:
                left = self._report_at - now if until is None else min(self._report_at, until) - now
                if len(self._open) <= most or (until is not None and now >= until):
                    return
                self._changed.wait(max(0.0, left))

    def _look_for_the_rest(self) -> None:
        """Settle items that another process has sent, or that were dropped: nobody tells this process of those."""
        with self._changed:
            waiting = list(self._open)
        backlog = wait_for(self._engine.look())
        oldest = backlog.counts.oldest_recorded_at
        if backlog.pending or (oldest is not None and oldest <= self._last_recorded_at):
            return
        parked = self._parked_among(set(waiting))
        for key in waiting:
            if key in parked:
                one = parked[key]
                self._settle(key, one.reason, f"{one.status} {one.code}: {one.message}" if one.status else one.message)
            else:
                self._settle(key, "unknown", "it is not in the outbox any more: another process has sent or dropped it")

    def _parked_among(self, keys: set[str]) -> dict[str, ParkedUsage]:
        found: dict[str, ParkedUsage] = {}
        after: str | None = None
        for _ in range(_MAX_PARKED_PAGES):
            page = wait_for(self._engine.call(partial(_parked_page, after=after)))
            found |= {one.key: one for one in page if one.key in keys}
            if not page:
                break
            after = page[-1].id
        return found

    def _report_progress(self) -> None:
        self._report_at = time.monotonic() + _PROGRESS_SECONDS
        if self._on_progress is not None:
            self._on_progress(self._count, len(self._results))

    def _all_results(self) -> Iterator[ReportResult]:
        with self._changed:
            keys = {index: key for key, indexes in self._open.items() for index in indexes}
        for index in range(self._count):
            found = self._results.get(index)
            yield found or ReportResult(index=index, status="waiting", idempotency_key=keys.get(index))


def _content_of(event: Event) -> int:
    """What the service compares when a key comes again, as a number: metadata may be large."""
    return hash((event.customer_id, event.meter_slug, event.units, event.scale, event.metadata))


def _parked_page(outbox: Outbox, after: str | None) -> list[ParkedUsage]:
    return outbox.list_parked(1000, after)


def event_of(engine: UsageEngine, item: Any) -> Event:
    """Make an event of an item, which goes under a key of its own.

    Args:
        engine: the engine.
        item: the arguments of `record`.

    Raises:
        InvalidArgumentError: the item is invalid.
    """
    if not is_mapping(item):
        raise InvalidArgumentError("items", f"dicts with the arguments of record(), not {type(item).__name__}")
    if unknown := sorted(str(name)[:40] for name in item.keys() - _FIELDS):
        raise InvalidArgumentError("items", f"unknown: {', '.join(unknown[:5])}; known: {', '.join(sorted(_FIELDS))}")
    event = engine.recorder.event(
        item.get("customer_id", None),
        item.get("meter_slug", None),
        item.get("amount", 1),
        item.get("metadata"),
        item.get("idempotency_key"),
    )
    return event._replace(coalescable=False)
