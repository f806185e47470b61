"""Where a scenario plays: its customer, its objects, and its events among all others of the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeAlias

import attrs

from ..database import Row
from ..datetimes import parse_datetime
from ..json import is_object
from ..montra import subscriptions
from ..montra.plans import plan_price
from .calls import Calls, unique_suffix
from .montra_triggers import make_plan

_PLAN_PREFIX = "Scenario "
_ID_FIELDS = ("id", "customer_id", "transaction_id", "email", "customer_email")


class Stage:
    """The state of one run of a scenario.

    Args:
        calls: the merchant's calls.

    Attributes:
        calls: as given.
        suffix: makes names unique.
        email: the address of the customer, or of the user of the paywall service.
        ids: ids of objects by name, which steps leave for later steps.
        resend: ids of events that the present step wants to be delivered again, in this order.
    """

    calls: Calls
    suffix: str
    email: str
    ids: dict[str, str]
    resend: list[str]

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        self.suffix = unique_suffix()
        self.email = f"scenario.{self.suffix}@example.com"
        self.ids = {}
        self.resend = []
        self._own = {self.email}

    # Time

    def advance(self, by: timedelta) -> None:
        """Move the clock.

        Args:
            by: how far.
        """
        self.calls.world.advance(by)

    def advance_to(self, when: datetime) -> None:
        """Move the clock to a time, if it is still ahead.

        Args:
            when: the time.
        """
        self.advance(max(timedelta(0), when - self.calls.now()))

    # Events

    def add(self, *ids: str) -> None:
        """Say that objects, or email addresses, belong to the scenario.

        Args:
            ids: their ids.
        """
        self._own.update(ids)

    def owns(self, event: Mapping[str, Any]) -> bool:
        """Whether an event is about the scenario's objects. What it names belongs to the scenario from then on.

        Args:
            event: the event's JSON.
        """
        named = set(_named_ids(event["data"]))
        if self._own.isdisjoint(named):
            return False
        self._own.update(named)
        return True

    # Montra's objects

    def plan(self, name: str, price: str) -> str:
        """The id of a plan of the scenarios, made by the first of them that needs it.

        Args:
            name: its name, such as `Pro`.
            price: its price per month.
        """
        context, amount = self.calls.context(), Decimal(price)
        for row in context.list_rows("pricing_models"):
            if row["name"] == _PLAN_PREFIX + name and plan_price(context, row["id"]) == amount:
                return str(row["id"])
        return make_plan(self.calls, _PLAN_PREFIX + name, amount)

    def subscription(self) -> Row:
        """The customer's subscription as it is now."""
        return subscriptions.get_row(self.calls.context(), self.ids["subscription"])

    def period_end(self) -> datetime:
        """When the subscription's period ends."""
        return parse_datetime(self.subscription()["current_period_end"])


Action: TypeAlias = Callable[[Stage], str | None]
"""Does a step; returns a note for people, or None."""


@attrs.frozen
class Step:
    """A step of a scenario.

    Attributes:
        title: what happens, in plain English.
        run: does it.
    """

    title: str
    run: Action


@attrs.frozen(kw_only=True)
class Scenario:
    """A whole lifecycle.

    Attributes:
        name: its name in code.
        title: what it is about.
        service: `montra` or `paywall`, whose events it causes.
        steps: what happens, in order.
    """

    name: str
    title: str
    service: str
    steps: tuple[Step, ...]


def _named_ids(data: Mapping[str, Any]) -> Iterator[str]:
    """The ids and addresses in an event's data that name its customer, user or payment; not those of shared plans."""
    user = data.get("user")
    if is_object(user):  # of the paywall service
        yield from (str(user[name]) for name in ("id", "email") if user.get(name))
        return
    yield from (str(data[name]) for name in _ID_FIELDS if data.get(name))
