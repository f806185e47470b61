"""The protocol of outboxes: where recorded events wait until the service has counted them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple, Protocol, runtime_checkable

import attrs

from .events import Event, ParkedUsage, Settlement, UsageRequest


@attrs.frozen(kw_only=True)
class OutboxSettings:
    """What a reporter tells its outbox when it opens it.

    Attributes:
        base_url: URL of the API that the events are for. An outbox with events for another one is refused.
        coalesce_window: seconds for which a sum of events stays open for more, from its first event on.
        expires_after: seconds after which a request that may have been counted is parked instead of claimed.
    """

    base_url: str
    coalesce_window: float = 1.0
    expires_after: float = 24 * 3600.0


class OutboxCounts(NamedTuple):
    """What is in an outbox. Numbers may be a second old when several processes share it."""

    events: int
    """Number of recorded events that are not known to be counted by the service, those that were claimed included."""
    requests: int
    """Number of requests that wait or are claimed; events that are not in a request yet count as one each."""
    claimed: int
    """Number of requests that are claimed."""
    parked: int
    """Number of requests that are parked."""
    oldest_recorded_at: float | None
    """When the oldest event in `events` was recorded, in seconds since 1970; None without any."""
    oldest_age: float
    """Seconds since then by the clock on the wall or by the one since the start of the machine, whichever is larger."""
    size: int
    """Bytes in use."""


class Exchange(NamedTuple):
    """The result of `Outbox.exchange`."""

    requests: list[UsageRequest]
    """What was claimed."""
    next_due: float | None
    """Seconds until something waits to be claimed; 0 when there is more already; None when nothing waits."""
    expired: list[ParkedUsage]
    """What was parked, because it may have been counted and is too old to be sent again."""


class WaitingSum(NamedTuple):
    """Usage that waits in an outbox."""

    customer_id: str
    """`cust_...`."""
    meter_slug: str
    """Slug of the meter."""
    amount: int | Decimal
    """Number of units."""


@runtime_checkable
class SummingOutbox(Protocol):
    """What an outbox may also have: it can say for whom usage waits. Otherwise, observers are not told of that."""

    def waiting_sums(self, limit: int) -> list[WaitingSum]:
        """Add up what waits or is claimed, parked requests excluded, by customer and meter.

        Args:
            limit: maximum number of sums. There may be several of one customer and meter.

        Raises:
            OutboxError: it can't be used.
        """
        ...


@runtime_checkable
class RecallingOutbox(Protocol):
    """What an outbox whose answers can be lost should also have, so that its events can be spilled and moved back.

    See `SpillingOutbox`.
    """

    def was_recorded(self, group: str) -> bool | None:
        """Find out whether a group of events was recorded whose answer was lost. If not, it never will be.

        Args:
            group: `OutboxUncertainError.group`, of any process.

        Returns:
            None: nobody knows any more.

        Raises:
            OutboxError: it can't be used.
        """
        ...

    def append_ambiguous(self, events: Sequence[tuple[Event, float]]) -> None:
        """Store events that may have been sent before. They are not added to others.

        Args:
            events: each with the first time at which it may have been sent, in seconds since 1970. When that was longer
                than `expires_after` ago, the event is parked instead of claimed.

        Raises:
            OutboxFullError: the maximum size is reached.
            OutboxError: it can't be used.
        """
        ...


class Outbox(Protocol):
    """Keeps events until the service has counted them. One reporter owns an instance.

    A reporter calls the methods from one thread at a time, and never during a fork. They may block. They raise
    `OutboxError` when the outbox can't be used; the next call tries again.

    Each request has one owner: between `exchange`, which claims it, and its settlement, no other process may claim it,
    unless the owner's process has ended.
    """

    durable: bool
    """Whether events survive the end of the process."""
    renew_after: float | None
    """Seconds after which a claimed request that is not on the wire yet must be renewed. None: claims don't expire."""

    def open(self, settings: OutboxSettings) -> None:
        """Open the outbox, and create it if necessary.

        Args:
            settings: what the reporter wants.

        Raises:
            ConfigError: it belongs to another API, or can't work here at all.
            OutboxError: it can't be used.
        """
        ...

    def append(self, events: Sequence[Event]) -> None:
        """Store events, all of them or none. A durable outbox has them on disk when this returns.

        Args:
            events: at least one.

        Raises:
            OutboxFullError: the maximum size is reached.
            OutboxError: it can't be used.
        """
        ...

    def exchange(self, settlements: Sequence[Settlement], limit: int, *, flush: bool = False) -> Exchange:
        """Settle what was claimed before, and claim what is due, in one transaction.

        Args:
            settlements: what became of requests.
            limit: maximum number of requests to claim; 0 to settle only.
            flush: claim sums whose window is still open, too.

        Raises:
            OutboxError: it can't be used. Nothing was settled or claimed; settling again is safe.
        """
        ...

    def renew(self, requests: Sequence[UsageRequest]) -> list[UsageRequest]:
        """Renew claims.

        Args:
            requests: claimed requests that are not on the wire.

        Returns:
            Those that are still claimed.
        """
        ...

    def drop_oldest(self, events: int) -> int:
        """Delete the oldest events that are not claimed, to make room.

        Args:
            events: minimum number to delete, if there are so many.

        Returns:
            The number of deleted events.
        """
        ...

    def counts(self) -> OutboxCounts:
        """Count what is in the outbox. Takes a few milliseconds at most, whatever its size."""
        ...

    def list_parked(self, limit: int, after: str | None = None) -> list[ParkedUsage]:
        """List parked requests, the oldest first.

        Args:
            limit: maximum number.
            after: the id of the last one of the page before. None: begin with the oldest.
        """
        ...

    def retry_parked(self, ids: Sequence[str] | None = None) -> int:
        """Send parked requests again, each under the key that it had.

        Args:
            ids: their ids. None: all.

        Returns:
            The number of requests.
        """
        ...

    def drop_parked(self, ids: Sequence[str] | None = None) -> int:
        """Delete parked requests.

        Args:
            ids: their ids. None: all.

        Returns:
            The number of requests.
        """
        ...

    def before_fork(self) -> None:
        """Close what a forked child must not inherit; the next call opens it again. Never raises."""
        ...

    def after_fork_in_child(self) -> None:
        """Forget everything of the parent: its claims are its own. Never raises."""
        ...

    def close(self) -> None:
        """Hand back what is still claimed, and close. The next `open` opens it again."""
        ...
