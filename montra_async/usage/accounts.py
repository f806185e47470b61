"""What a reporter counts, and whom it tells. The writer's thread keeps these accounts."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from .events import Event, Outcome, ParkedUsage, Settlement, parked_of
from .observers import Observers
from .outbox import Exchange, Outbox
from .settlement_watch import SettlementWatch


@attrs.define
class Counters:
    """Numbers of events and requests; `UsageStats` describes each. Changed by the writer's thread only."""

    stored: int = 0
    failed: int = 0
    dropped: int = 0
    delivered: int = 0
    requests: int = 0
    refused: int = 0
    expired: int = 0


class Accounts:
    """Counts what becomes of events, and tells observers and those who wait for single requests."""

    def __init__(self) -> None:
        self.counters: Counters = Counters()
        self.observers: Observers = Observers()
        self.settlements: SettlementWatch = SettlementWatch()

    def renew(self) -> None:
        """Begin anew in a forked child. Observers stay."""
        self.counters = Counters()
        self.observers.renew()
        self.settlements = SettlementWatch()

    def failed(self, events: list[Event]) -> None:
        """Events could not be stored.

        Args:
            events: the events.
        """
        self.counters.failed += len(events)
        self.observers.failed(events)

    def dropped(self, count: int) -> None:
        """Events were dropped to make room.

        Args:
            count: number of events.
        """
        self.counters.dropped += count

    def exchange(
        self, outbox: Outbox, settlements: Sequence[Settlement], limit: int, flush: bool
    ) -> tuple[Exchange, list[ParkedUsage]]:
        """`Outbox.exchange`, and the accounts of it: whoever looks afterwards sees what was settled.

        Args:
            outbox: the outbox.
            settlements: what became of requests.
            limit: maximum number of requests to claim.
            flush: claim sums whose window is still open, too.

        Returns:
            The exchange, and all requests that were parked.
        """
        exchange = outbox.exchange(settlements, limit, flush=flush)
        # From here on, nothing may raise: what was claimed would never be sent.
        self._delivered([one for one in settlements if one.outcome is Outcome.DELIVERED])
        refused = [self._refused(one) for one in settlements if one.outcome is Outcome.REFUSED]
        for one in exchange.expired:
            self.counters.expired += 1
            self._given_up(one, None)
        return exchange, refused + exchange.expired

    def _delivered(self, settlements: Sequence[Settlement]) -> None:
        self.counters.delivered += sum([one.request.events for one in settlements])
        self.counters.requests += len(settlements)
        if not self.observers.is_empty:
            for one in settlements:
                self.observers.delivered(one.request)
        if not self.settlements.is_empty:
            for one in settlements:
                self.settlements.settled(one.request.key, one)

    def _refused(self, settlement: Settlement) -> ParkedUsage:
        self.counters.refused += 1
        parked = parked_of(settlement.request, settlement)
        self._given_up(parked, settlement)
        return parked

    def _given_up(self, parked: ParkedUsage, settlement: Settlement | None) -> None:
        self.observers.given_up(parked)
        self.settlements.settled(parked.key, settlement)
