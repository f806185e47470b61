"""An outbox that falls back on another while the first one can't be reached."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..core.errors import ConfigError
from .errors import OutboxError, OutboxFullError, OutboxUncertainError
from .events import Event, Outcome, ParkedUsage, Settlement, UsageRequest
from .outbox import Exchange, Outbox, OutboxCounts, OutboxSettings, SummingOutbox, WaitingSum
from .spilled_events import SPILL, move, shown, spilled

T = TypeVar("T")

POUR_SIZE = 500
"""Maximum number of requests that one call moves from the spill to the primary."""

CLOSE_TIMEOUT = 2.0
"""Seconds for which `close` moves what is left in the spill."""

_MOST_MOVED = 20 * POUR_SIZE
_BETWEEN_POURS = 0.05
_PAUSE = 1.0
_LOOK_AGAIN = 30.0
_LONGEST_PAUSE = 30.0
_FULL_PAUSE = 5.0

log: logging.Logger = logging.getLogger("montra")


class SpillingOutbox:
    """Records into `spill` while `primary` can't be reached, and moves the events to `primary` when it is back.

    What is moved keeps its idempotency key, and the spill forgets it only when the primary has it. After a crash
    between the two, the primary has it twice under the same key, and the service counts it once. The second one
    expires like everything that may have been sent.

    What the primary may have recorded, because its answer was lost, is spilled, too. It is moved when the primary says
    that it has not recorded it. When the primary does not know that any more, `RedisOutbox` after a week, the event is
    parked as ambiguous. (Both need a primary with the methods of `RecallingOutbox`, as `RedisOutbox` is one.)

    While the primary is away nothing is sent, also not what is in the spill: `exchange` raises. Only the first call
    waits for the primary; it is tried again after a pause, which grows from 1 s to 30 s. Give a `RedisOutbox` here a
    `patience` of a second or less.

    `append` raises `OutboxFullError` when the primary is full: that is not a reason to spill.

    Args:
        primary: the outbox of the fleet, e.g. a `RedisOutbox`.
        spill: an outbox of this machine, e.g. a `SqliteOutbox`, for this purpose only. Any process that opens it
            moves its events, those of processes that have ended included.
        clock: returns seconds that always increase. Default: `time.monotonic`.

    Raises:
        ConfigError: both are the same object.
    """

    def __init__(self, primary: Outbox, spill: Outbox, *, clock: Callable[[], float] = time.monotonic) -> None:
        if primary is spill:
            raise ConfigError("spill: another outbox than the primary")
        self.primary: Outbox = primary
        """The outbox that is used when it can be."""
        self.spill: Outbox = spill
        """The outbox for the meantime."""
        self.durable: bool = primary.durable and spill.durable
        """Whether events survive the end of the process."""
        self.renew_after: float | None = primary.renew_after
        """Seconds after which a claimed request that is not on the wire yet must be renewed."""
        self._clock = clock
        self._settings: OutboxSettings | None = None
        self._forget()

    def _forget(self) -> None:
        self._primary_is_open = False
        self._away: str | None = None  # why the primary is away
        self._try_at = 0.0
        self._pause = _PAUSE
        self._spill_is_empty = False
        self._pour_at = 0.0
        self._settled: list[Settlement] = []
        self._moved: dict[str, str] = {}
        self._expired: list[ParkedUsage] = []
        self._last_counts: OutboxCounts | None = None

    @property
    def spilling(self) -> bool:
        """Whether events are recorded into the spill for now."""
        return self._away is not None

    def open(self, settings: OutboxSettings) -> None:
        """Open both. That the primary can't be reached is no error.

        Args:
            settings: what the reporter wants.

        Raises:
            ConfigError: one of them belongs to another API, or can't work here.
            OutboxError: the spill can't be used.
        """
        self._forget()
        self._settings = settings
        self.spill.open(settings)
        try:
            self._open_primary()
        except OutboxError as error:
            self._primary_failed(error)

    def append(self, events: Sequence[Event]) -> None:
        """Store events in the primary, or in the spill when the primary can't be reached.

        Args:
            events: at least one.

        Raises:
            OutboxFullError: the primary is full, or it is away and the spill is full.
            OutboxError: neither can be used.
        """
        group = ""
        try:
            self._with_primary(lambda: self.primary.append(events))
        except OutboxFullError:
            raise
        except OutboxUncertainError as error:
            group = error.group
        except OutboxError:
            pass
        else:
            self._pour_if_due()
            return
        self._look_into_spill()
        self.spill.append([spilled(event, group) for event in events])

    def exchange(self, settlements: Sequence[Settlement], limit: int, *, flush: bool = False) -> Exchange:
        """Settle and claim in the primary, and move some of what is in the spill.

        Args:
            settlements: what became of requests.
            limit: maximum number of requests to claim; 0 to settle only.
            flush: claim sums whose window is still open, too.

        Raises:
            OutboxError: the primary can't be used. Nothing was settled or claimed; settling again is safe.
        """
        found = self._with_primary(lambda: self.primary.exchange(settlements, limit, flush=flush))
        if limit > 0:
            self._pour_if_due(now=flush)
        next_due = found.next_due
        if not self._spill_is_empty:
            wait = max(0.0, self._pour_at - self._clock())
            next_due = wait if next_due is None else min(wait, next_due)
        expired, self._expired = [*found.expired, *self._expired], []
        return Exchange(found.requests, next_due, expired)

    def renew(self, requests: Sequence[UsageRequest]) -> list[UsageRequest]:
        """Renew claims in the primary.

        Args:
            requests: claimed requests that are not on the wire.

        Returns:
            Those that are still claimed.

        Raises:
            OutboxError: the primary can't be used.
        """
        return self._with_primary(lambda: self.primary.renew(requests))

    def drop_oldest(self, events: int) -> int:
        """Delete the oldest events that are not claimed: of the primary, then of the spill.

        Args:
            events: minimum number to delete, if there are so many.

        Returns:
            The number of deleted events.

        Raises:
            OutboxError: the spill can't be used.
        """
        try:
            dropped = self._with_primary(lambda: self.primary.drop_oldest(events))
        except OutboxError:
            dropped = 0
        return dropped if dropped >= events else dropped + self.spill.drop_oldest(events - dropped)

    def counts(self) -> OutboxCounts:
        """Count what is in both. While the primary is away, its last known counts are used.

        Raises:
            OutboxError: the spill can't be used.
        """
        spilled = self.spill.counts()
        with contextlib.suppress(OutboxError):
            self._last_counts = self._with_primary(self.primary.counts)
        first = self._last_counts
        if first is None:
            return spilled._replace(claimed=0)
        oldest = [one.oldest_recorded_at for one in (first, spilled) if one.oldest_recorded_at is not None]
        return OutboxCounts(
            events=first.events + spilled.events,
            requests=first.requests + spilled.requests,
            claimed=first.claimed,
            parked=first.parked + spilled.parked,
            oldest_recorded_at=min(oldest, default=None),
            oldest_age=max(first.oldest_age, spilled.oldest_age),
            size=first.size + spilled.size,
        )

    def waiting_sums(self, limit: int) -> list[WaitingSum]:
        """Add up what waits or is claimed in both, by customer and meter, as far as they can say.

        Args:
            limit: maximum number of sums.

        Raises:
            OutboxError: the spill can't be used.
        """
        sums: list[WaitingSum] = []
        if isinstance(self.spill, SummingOutbox):
            sums += self.spill.waiting_sums(limit)
        primary = self.primary
        if isinstance(primary, SummingOutbox):
            with contextlib.suppress(OutboxError):
                sums += self._with_primary(lambda: primary.waiting_sums(limit - len(sums)))
        return sums

    def list_parked(self, limit: int, after: str | None = None) -> list[ParkedUsage]:
        """List parked requests, the oldest first: those of the primary, then those of the spill.

        Args:
            limit: maximum number.
            after: the id of the last one of the page before. None: begin with the oldest.

        Raises:
            OutboxError: one of them can't be used.
        """
        found: list[ParkedUsage] = []
        if after is None or not after.startswith(SPILL):
            found = self._with_primary(lambda: self.primary.list_parked(limit, after))
            after = None
        if len(found) < limit:
            start = None if after is None else after[len(SPILL) :]
            found += map(shown, self.spill.list_parked(limit - len(found), start))
        return found

    def retry_parked(self, ids: Sequence[str] | None = None) -> int:
        """Send parked requests again, each under the key that it had.

        Args:
            ids: their ids. None: all.

        Returns:
            The number of requests.

        Raises:
            OutboxError: one of them can't be used.
        """
        self._look_into_spill()
        return self._unpark("retry_parked", ids)

    def drop_parked(self, ids: Sequence[str] | None = None) -> int:
        """Delete parked requests.

        Args:
            ids: their ids. None: all.

        Returns:
            The number of requests.

        Raises:
            OutboxError: one of them can't be used.
        """
        return self._unpark("drop_parked", ids)

    def _unpark(self, method: str, ids: Sequence[str] | None) -> int:
        spilled = None if ids is None else [one[len(SPILL) :] for one in ids if one.startswith(SPILL)]
        others = None if ids is None else [one for one in ids if not one.startswith(SPILL)]
        count: int = 0
        if others is None or others:
            count += self._with_primary(lambda: getattr(self.primary, method)(others))
        if spilled is None or spilled:
            count += getattr(self.spill, method)(spilled)
        return count

    def before_fork(self) -> None:
        """Prepare both for a fork."""
        self.primary.before_fork()
        self.spill.before_fork()

    def after_fork_in_child(self) -> None:
        """Forget everything of the parent in both."""
        self.primary.after_fork_in_child()
        self.spill.after_fork_in_child()
        was_open = self._primary_is_open
        self._forget()
        self._primary_is_open = was_open

    def close(self) -> None:
        """Move what is in the spill, for 2 s at most, and close both. The rest is moved after the next `open`."""
        until = self._clock() + CLOSE_TIMEOUT
        try:
            while not self._spill_is_empty and self._away is None and self._clock() < until:
                self._pour()
        except OutboxError:
            log.debug("usage stays in the spill at the closing of the outbox")
        try:
            if self._primary_is_open:
                self.primary.close()
        except OutboxError as error:
            log.debug("the usage outbox could not hand back what it has claimed: %s", error)
        finally:
            self._primary_is_open = False
            self.spill.close()

    def _with_primary(self, work: Callable[[], T]) -> T:
        """Use the primary, unless it is known to be away: then raise at once."""
        if self._away is not None and self._clock() < self._try_at:
            raise OutboxError(self._away)
        try:
            if not self._primary_is_open:
                self._open_primary()
            result = work()
        except OutboxFullError:
            raise
        except ConfigError as error:  # it was away when it was to be opened, and belongs to another API
            problem = OutboxError(str(error))
            self._primary_failed(problem)
            raise problem from None
        except OutboxError as error:
            self._primary_failed(error)
            raise
        if self._away is not None:
            log.warning("the usage outbox is back: what was spilled is moved to it")
        self._away, self._pause = None, _PAUSE
        return result

    def _open_primary(self) -> None:
        if self._settings is None:
            raise OutboxError("the outbox is not open")
        self.primary.open(self._settings)
        self._primary_is_open = True

    def _primary_failed(self, error: OutboxError) -> None:
        if self._away is None:
            log.warning("the usage outbox is away, so usage is recorded into the spill: %s", error)
        self._away = str(error)
        self._try_at = self._clock() + self._pause
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    def _look_into_spill(self) -> None:
        self._spill_is_empty, self._pour_at = False, 0.0

    def _pour_if_due(self, *, now: bool = False) -> None:
        """Move some of what is in the spill, unless that was done, or found impossible, a moment ago."""
        if self._clock() < self._pour_at and (self._spill_is_empty or not now):
            return
        try:
            self._pour()
        except OutboxError as error:
            self._pour_at = self._clock() + _PAUSE
            log.debug("nothing was moved from the spill: %s", error)

    def _pour(self) -> None:
        """Move one page: claim it in the spill, append it to the primary, then settle it in the spill."""
        if self._settled:  # what could not be settled before
            self.spill.exchange(self._settled, 0)
            self._settled = []
        found = self.spill.exchange((), POUR_SIZE, flush=True)
        page = found.requests
        self._expired = [*self._expired, *found.expired][-POUR_SIZE:]
        self._pour_at = self._clock() + _BETWEEN_POURS
        if not page and not found.expired:
            # Others may spill into the same file, or die with something claimed: look again from time to time.
            self._spill_is_empty = self.spill.counts().requests == 0
            self._pour_at = self._clock() + (_LOOK_AGAIN if self._spill_is_empty else _PAUSE)
        if not page:
            return
        outcome: Any = {"outcome": Outcome.RETRY, "sent": True}
        try:
            self._with_primary(lambda: move(page, self.primary, self._moved))
            outcome = {"outcome": Outcome.DELIVERED}
        except OutboxFullError:
            outcome = {"outcome": Outcome.RETRY, "delay": _FULL_PAUSE}
            self._pour_at = self._clock() + _FULL_PAUSE
        except OutboxUncertainError:
            while len(self._moved) > _MOST_MOVED:  # others have moved them: they are asked for by their keys no more
                del self._moved[next(iter(self._moved))]
            raise
        except OutboxError:
            outcome = {"outcome": Outcome.RETRY}
            raise
        finally:
            self._settled = [Settlement(request, **outcome) for request in page]
        self.spill.exchange(self._settled, 0)
        self._settled = []
        for request in page:
            self._moved.pop(request.key, None)

    def __repr__(self) -> str:
        return f"<SpillingOutbox {getattr(self, 'primary', '')!r} {getattr(self, 'spill', '')!r}>"
