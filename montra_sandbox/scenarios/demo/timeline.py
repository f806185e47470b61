"""The past in order: planned actions and the sandbox's scheduled steps, each at its own time."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

from ...datetimes import format_datetime, parse_datetime
from ...montra import scheduler
from ...paywall import purchase_lifecycle
from ..calls import Calls

Action: TypeAlias = Callable[[], None]


class Timeline:
    """Runs actions in order of their time, and before each what became due in the sandbox.

    Args:
        calls: the calls of the actions; their time is set before each action.
        end: when the past ends. Actions from then on never run.
        on_invoice: called with the id of each open invoice of a subscription that the scheduler made.
    """

    def __init__(self, calls: Calls, end: datetime, on_invoice: Callable[[str], None]) -> None:
        self._calls = calls
        self._end = end
        self._on_invoice = on_invoice
        self._planned: list[tuple[datetime, int, Action]] = []
        self._count = 0
        self._last_invoice = 0

    @property
    def end(self) -> datetime:
        """When the past ends."""
        return self._end

    def at(self, when: datetime, action: Action) -> None:
        """Plan an action. One that is planned for a time that has passed runs next.

        Args:
            when: its time.
            action: what happens; the time of the calls is then `when`.
        """
        if when < self._end:
            self._count += 1
            heapq.heappush(self._planned, (when, self._count, action))

    def run(self) -> None:
        """Run all actions before the end, then what is due by the end."""
        now: datetime | None = None
        while self._planned:
            when, _, action = heapq.heappop(self._planned)
            now = when if now is None else max(now, when)
            self._run_due(now)
            self._calls.at = now
            action()
        self._run_due(self._end)

    def _run_due(self, until: datetime) -> None:
        db, origin = self._calls.db, self._calls.world.origin
        for service in (scheduler, purchase_lifecycle):
            service.run_due(db, until, origin)
        rows = db.all(
            "SELECT rowid, id, created_at, status FROM invoices WHERE rowid > ? AND created_at <= ?"
            " AND subscription_id IS NOT NULL ORDER BY rowid",
            *(self._last_invoice, format_datetime(until)),
        )
        for row in rows:
            self._last_invoice = row["rowid"]
            if row["status"] == "open":
                self._calls.at = parse_datetime(row["created_at"])
                self._on_invoice(row["id"])
