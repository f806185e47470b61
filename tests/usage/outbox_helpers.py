"""What the tests of outboxes share: events, a clock that is set by hand, and short names for settlements."""

from __future__ import annotations

import itertools
from typing import Any

from montra_async.usage.events import Event, Outcome, Settlement, UsageRequest
from montra_async.usage.outbox import Outbox, OutboxSettings

BASE_URL = "https://api.example.test"
START = 1_700_000_000.0

_numbers = itertools.count(1)


class ManualClock:
    """A clock on the wall, and one since the start of the machine."""

    def __init__(self) -> None:
        self.wall_seconds = START
        self.boot_seconds = 1000.0
        self.start = "first-boot"

    def wall(self) -> float:
        return self.wall_seconds

    def boot(self) -> float:
        return self.boot_seconds

    def boot_id(self) -> str:
        return self.start

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.wall_seconds += seconds
        self.boot_seconds += seconds

    def set_wall(self, change: float) -> None:
        """Somebody sets the clock on the wall."""
        self.wall_seconds += change


def settings(**changes: Any) -> OutboxSettings:
    return OutboxSettings(**{"base_url": BASE_URL, **changes})


def event(customer: str = "cust_1", units: int | str = 1, **changes: Any) -> Event:
    """An event with a key of its own, which can't be added to others unless `coalescable=True`."""
    facts: dict[str, Any] = {
        "key": f"key-{next(_numbers):08d}",
        "customer_id": customer,
        "meter_slug": "tokens",
        "units": units,
        "scale": 0,
        "metadata": None,
        "recorded_at": START,
        "coalescable": False,
    }
    return Event(**{**facts, **changes})


def summable(customer: str = "cust_1", units: int = 1, **changes: Any) -> Event:
    return event(customer, units, coalescable=True, **changes)


def delivered(*requests: UsageRequest) -> list[Settlement]:
    return [Settlement(request, Outcome.DELIVERED) for request in requests]


def retry(request: UsageRequest, *, sent: bool, delay: float = 0.0) -> Settlement:
    return Settlement(request, Outcome.RETRY, sent=sent, delay=delay)


def refused(request: UsageRequest) -> Settlement:
    return Settlement(request, Outcome.REFUSED, status=422, code="no_such_meter", message="There is no such meter.")


def drain(outbox: Outbox, limit: int = 100) -> list[UsageRequest]:
    """Claim and deliver all that is due; sums whose window is open, too."""
    got: list[UsageRequest] = []
    claimed = outbox.exchange([], limit, flush=True)
    while claimed.requests or claimed.next_due == 0:
        got += claimed.requests
        claimed = outbox.exchange(delivered(*claimed.requests), limit, flush=True)
    return got
