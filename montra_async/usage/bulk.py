"""Reporting many items from a script: recorded in chunks, with what became of each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any, Literal, TypeAlias

import attrs

from ..core.errors import InvalidArgumentError, MontraError
from ..core.type_guards import is_mapping
from .engine import UsageEngine
from .events import Event, Outcome, ParkedUsage, Settlement
from .flush import wait_for
from .outbox import Outbox

CHUNK = 1000
"""Number of items that are recorded together."""

MAX_OPEN = 10_000
"""Maximum number of items that are recorded and not settled."""

_MAX_PARKED_PAGES = 20

_FIELDS = frozenset({"customer_id", "meter_slug", "amount", "metadata", "idempotency_key"})

ReportStatus: TypeAlias = Literal["delivered", "refused", "ambiguous", "unknown", "waiting", "invalid", "failed"] | str
"""What became of an item.

`delivered`: the service has counted it. `refused`: the service will not count it; it is parked. `ambiguous`: it may
have been counted; it is parked. `unknown`: another process has sent or dropped it. `waiting`: it is in the outbox, and
will be sent. `invalid`: it was not recorded, because an argument is invalid. `failed`: it was not recorded, because the
outbox can't be used.
"""

ProgressHook: TypeAlias = Callable[[int, int], object]
"""Takes the number of items that were recorded or found invalid so far, and the number of those that are settled."""


@attrs.frozen(kw_only=True)
class ReportResult:
    """What became of one item.

    Attributes:
        index: its position, from 0.
        status: `delivered`, `refused`, `ambiguous`, `unknown`, `waiting`, `invalid` or `failed`; see `ReportStatus`.
        idempotency_key: its key; None when it was not recorded.
        message: why it was refused or is invalid; empty otherwise.
    """

    index: int
    status: ReportStatus
    idempotency_key: str | None = None
    message: str = ""


class BulkReport:
    """Reports many items. Blocks; `run` is called by a thread that may wait.

    Args:
        engine: the engine.
        on_progress: called after each chunk.
        timeout: seconds to wait for the service after the last item was recorded; None for ever.
    """

    def __init__(self, engine: UsageEngine, on_progress: ProgressHook | None, timeout: float | None) -> None:
        self._engine = engine
        self._on_progress = on_progress
        self._timeout = timeout
        self._changed = threading.Condition()
        self._open: dict[str, list[int]] = {}
        self._mine: set[str] = set()
        self._results: dict[int, ReportResult] = {}
        self._count = 0
        self._last_recorded_at = 0.0
        self.cancelled: bool = False

    def run(self, items: Iterable[Mapping[str, Any]]) -> list[ReportResult]:
        """Record all items and wait until each is settled.

        Args:
            items: each with the arguments of `record`.

        Returns:
            One result for each item, in their order.
        """
        if is_mapping(items) or isinstance(items, (str, bytes)):
            raise InvalidArgumentError("items", f"a list or generator of dicts, not {type(items).__name__}")
        iterator = iter(items)
        try:
            while (chunk := list(islice(iterator, CHUNK))) and not self.cancelled:
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
        events: list[tuple[int, Event]] = []
        for item in chunk:
            index = self._count
            self._count += 1
            try:
                events.append((index, event_of(self._engine, item)))
            except InvalidArgumentError as error:
                self._results[index] = ReportResult(index=index, status="invalid", message=str(error))
        if events:
            self._store(events)

    def _store(self, events: list[tuple[int, Event]]) -> None:
        with self._changed:
            for index, event in events:
                self._open.setdefault(event.key, []).append(index)
                if event.key not in self._mine:
                    self._mine.add(event.key)
                    self._engine.accounts.settlements.add(event.key, self._settled)
        try:
            self._engine.store([event for _, event in events])
            self._last_recorded_at = time.time()
        except MontraError as error:
            for _, event in events:
                self._settle(event.key, "failed", str(error))

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
                self._results[index] = ReportResult(
                    index=index, status=status, idempotency_key=None if status == "failed" else key, message=message
                )
            self._mine.discard(key)
            self._changed.notify_all()

    def _wait(self, most: int, until: float | None) -> None:
        """Wait until at most some items are not settled. Nothing is awaited when this process does not send."""
        if not self._engine.settings.send:
            return
        with self._changed:
            while len(self._open) > most and not self.cancelled:
                left = 0.5 if until is None else min(0.5, until - time.monotonic())
                if left <= 0:
                    return
                if not self._changed.wait(left):
                    self._report_progress()
                    self._changed.release()  # not while the writer may wait for it
                    try:
                        self._look_for_the_rest()
                    finally:
                        self._changed.acquire()

    def _look_for_the_rest(self) -> None:
        """Settle items that another process has sent, or that were dropped: nobody tells this process of those."""
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
        if self._on_progress is not None:
            self._on_progress(self._count, len(self._results))

    def _all_results(self) -> Iterator[ReportResult]:
        with self._changed:
            keys = {index: key for key, indexes in self._open.items() for index in indexes}
        for index in range(self._count):
            found = self._results.get(index)
            yield found or ReportResult(index=index, status="waiting", idempotency_key=keys.get(index))


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
