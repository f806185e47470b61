"""What a reporter tells others of usage, so that they can count it before the service does."""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol, runtime_checkable


class UsageObserver(Protocol):
    """Is told of every event of a reporter. The calls come from any thread, and must not block or raise."""

    def recorded(self, customer_id: str, meter_slug: str, amount: int | Decimal) -> None:
        """An event was handed over. It will be durable in a moment.

        Args:
            customer_id: `cust_...`.
            meter_slug: slug of the meter.
            amount: number of units.
        """
        ...

    def failed(self, customer_id: str, meter_slug: str, amount: int | Decimal) -> None:
        """An event that was handed over could not be stored: it will not be counted.

        Args:
            customer_id: `cust_...`.
            meter_slug: slug of the meter.
            amount: number of units.
        """
        ...

    def delivered(self, customer_id: str, meter_slug: str, amount: int | Decimal) -> None:
        """The service has counted an event, or the sum of several. They may have been recorded by other processes.

        Args:
            customer_id: `cust_...`.
            meter_slug: slug of the meter.
            amount: number of units.
        """
        ...

    def given_up(self, customer_id: str, meter_slug: str, amount: int | Decimal) -> None:
        """An event, or the sum of several, was parked or dropped.

        Args:
            customer_id: `cust_...`.
            meter_slug: slug of the meter.
            amount: number of units.
        """
        ...


@runtime_checkable
class BacklogObserver(UsageObserver, Protocol):
    """An observer that is also told, once, of what waits in the outbox already: from earlier runs, for one."""

    def waiting(self, customer_id: str, meter_slug: str, amount: int | Decimal) -> None:
        """Usage waits in the outbox that was recorded before. `delivered` or `given_up` follows.

        Args:
            customer_id: `cust_...`.
            meter_slug: slug of the meter.
            amount: number of units. There may be several calls for one customer and meter, which add up.
        """
        ...
