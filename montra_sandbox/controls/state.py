"""Controls of the sandbox as a whole: clock, snapshots, the log of requests, reset."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from ..datetimes import format_datetime, parse_datetime
from ..problems import invalid
from ..request_log import MAX_REQUESTS, RecordedRequest
from ..world import FIRST_PAYWALL_ID
from .base import ControlBase, control, settling_control
from .snapshots import Snapshots

_COUNTED_TABLES = (
    *("customers", "pricing_models", "subscriptions", "transactions", "invoices"),
    *("paywall_users", "paywall_purchases", "paywall_tickets", "events", "deliveries"),
)


_MAX_DATETIME = 100


class StateControls(ControlBase):
    """Controls of the sandbox as a whole. Each takes effect at once, in one transaction.

    Raises:
        Problem: the control was refused.
        RuntimeError: the sandbox is not running.
    """

    @property
    @abstractmethod
    def _snapshots(self) -> Snapshots:
        """The snapshots, in the server's thread."""

    # Time

    @control
    def now(self) -> datetime:
        """The sandbox's time, in UTC."""
        return self._world.clock.now()

    @settling_control
    def advance(
        self,
        *,
        to: datetime | str | None = None,
        seconds: float = 0,
        minutes: float = 0,
        hours: float = 0,
        days: float = 0,
        weeks: float = 0,
    ) -> datetime:
        """Move the clock forward, either to a datetime or by the sum of the other arguments.

        Periods end, scheduled changes apply and pauses end on the way, in order and each at its own time. Webhooks are
        sent afterwards: one attempt of each that is due at the new time, so that a refused one needs a further call.

        Args:
            to: an aware datetime, or ISO 8601; None to use the other arguments.
            seconds: seconds to add.
            minutes: minutes to add.
            hours: hours to add.
            days: days to add.
            weeks: weeks to add.

        Returns:
            The new time.

        Raises:
            Problem: 400, not forward, more than ten years, or more than 10,000 scheduled steps at once.
        """
        spans = {"seconds": seconds, "minutes": minutes, "hours": hours, "days": days, "weeks": weeks}
        if to is not None:
            if any(spans.values()):
                raise invalid("give either to or a span of time")
            return self._world.advance_to(_check_datetime("to", to))
        try:
            by = timedelta(**{name: _span(name, value) for name, value in spans.items()})
        except (OverflowError, ValueError):
            raise invalid("the span of time is out of range") from None
        return self._world.advance(by)

    @settling_control
    def freeze(self, at: datetime | str | None = None) -> datetime:
        """Let the clock stand still, until `unfreeze` or `advance`, which moves it on to the next standstill.

        Args:
            at: an aware datetime, or ISO 8601; None for the present time. With data, a later one runs what becomes due
                until then; an earlier one needs an empty sandbox.

        Returns:
            The time that it shows.

        Raises:
            Problem: 400, not a datetime, or too far ahead; 409, an earlier time in a sandbox with data.
        """
        return self._world.freeze(None if at is None else _check_datetime("at", at))

    @control
    def unfreeze(self) -> datetime:
        """Let the clock go on from the time that it shows; returns that time."""
        return self._world.unfreeze()

    @control
    def is_frozen(self) -> bool:
        """Whether the clock stands still."""
        return self._world.clock.is_frozen

    @control
    def start_at(self, at: datetime | str) -> datetime:
        """Set the clock, which goes on from there.

        Args:
            at: an aware datetime, or ISO 8601. An earlier one than the present needs an empty sandbox.

        Returns:
            The time that it shows.

        Raises:
            Problem: 400, not a datetime, or too far ahead; 409, an earlier time in a sandbox with data.
        """
        self._world.start_at(_check_datetime("at", at))
        return self._world.clock.now()

    # State

    @control
    def reset(self) -> None:
        """Delete everything except the API keys. Faults are removed, and the clock shows the real time."""
        self._world.reset()

    @control
    def seed_ids(self, seed: int | None) -> None:
        """Make the ids of objects reproducible: after the same calls in the same order they are the same.

        Keys, tokens and secrets stay random. A reset begins with the first id again.

        Args:
            seed: any whole number; None for random ids.

        Raises:
            Problem: 400, not a whole number; 409, a seed for a sandbox with data, whose ids could be made again.
        """
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or abs(seed) > 2**63):
            raise invalid("seed: a whole number, or null")
        self._world.seed_ids(seed)

    @control
    def snapshot(self, name: str | None = None) -> str:
        """Keep the whole state, with clock and faults, in memory; `restore` goes back to it within milliseconds.

        Args:
            name: letters, digits and `._-`; replaces a snapshot of that name. None for a number.

        Returns:
            The name.

        Raises:
            Problem: 400, an invalid name, or more than 50 snapshots.
        """
        return self._snapshots.take(name)

    @control
    def restore(self, name: str) -> None:
        """Go back to a snapshot, which stays.

        Args:
            name: what `snapshot` returned.

        Raises:
            Problem: 404.
        """
        self._snapshots.restore(name)

    @control
    def snapshots(self) -> list[str]:
        """The names of the snapshots, oldest first."""
        return self._snapshots.names()

    @control
    def delete_snapshot(self, name: str) -> None:
        """Forget a snapshot.

        Args:
            name: its name.

        Raises:
            Problem: 404.
        """
        self._snapshots.delete(name)

    # Requests

    @control
    def list_requests(
        self,
        *,
        after: int = 0,
        limit: int = MAX_REQUESTS,
        failed: bool = False,
        method: str | None = None,
        path: str | None = None,
        operation: str | None = None,
    ) -> list[RecordedRequest]:
        """The requests that both APIs received, oldest first; the newest 1,000 are kept.

        Args:
            after: only those with a higher `sequence`.
            limit: how many of the newest, at most 1,000.
            failed: only those whose response is an error, or that got none.
            method: only those with this HTTP method.
            path: only those whose path contains this.
            operation: only those of this call, such as `create_customer`.
        """
        for name, value in (("method", method), ("path", path), ("operation", operation)):
            if value is not None and not isinstance(value, str):
                raise invalid(f"{name}: a string")
        return self._world.requests.find(
            after=after, limit=limit, failed=failed, method=method, path=path, operation=operation
        )

    @control
    def clear_requests(self) -> None:
        """Forget the requests."""
        self._world.requests.clear()

    @control
    def overview(self) -> dict[str, Any]:
        """Where the sandbox is, its time, the active faults, and how many resources of each kind there are.

        `deliver_anywhere` is whether it sends webhooks to other machines, too.
        """
        world = self._world
        counts = {table: world.db.value(f"SELECT count(*) FROM {table}") for table in _COUNTED_TABLES}
        return {
            "service": "montra-sandbox",
            "base_url": f"{world.origin}/api/v1",
            "paywall_id": FIRST_PAYWALL_ID,
            "now": format_datetime(world.clock.now()),
            "frozen": world.clock.is_frozen,
            "deliver_anywhere": self._webhook_sender.deliver_anywhere,
            "faults": world.faults.active(),
            "counts": counts,
        }


def _check_datetime(name: str, value: object) -> datetime:
    if isinstance(value, str) and len(value) <= _MAX_DATETIME:
        with suppress(ValueError):
            return parse_datetime(value)
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise invalid(f"{name}: a datetime with a time zone, or ISO 8601")
    return value.astimezone(timezone.utc)


def _span(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise invalid(f"{name}: a number")
    return float(value)
