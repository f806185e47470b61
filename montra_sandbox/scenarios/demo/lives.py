"""The lives of customers: sign up, try, buy, upgrade, pause, fail to pay, leave, come back."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal, TypeAlias

import attrs

from ...database import Row
from ...datetimes import format_datetime, parse_datetime
from ...montra import subscriptions
from ..calls import Calls
from ..collection import GIVE_UP_DAYS, RETRY_DAYS, charge_invoice, set_invoice_status
from .catalog import Catalog
from .names import Person
from .timeline import Action, Timeline
from .usage_history import UsageHistory, UsagePattern

Segment: TypeAlias = Literal["hobby", "startup", "enterprise"]

_SEGMENTS: tuple[Segment, ...] = ("hobby", "startup", "enterprise")
_SHARES = (45, 43, 12)
_DECLINES = ("The card was declined.", "The card has insufficient funds.", "The card has expired.")
_REASONS = ("Bought by mistake", "Duplicate payment", "Not as expected", "Goodwill")
_NEXT_PLAN = {"Pro": "Team", "Team": "Enterprise"}


@attrs.frozen(kw_only=True)
class Habits:
    """How customers of a segment behave. Shares are from 0 to 1.

    Attributes:
        buys: the share that ever buys.
        days_to_buy: the middle of the days until they do.
        plans: the plans they buy, the more likely ones more often.
        churn: the share that leaves per month.
        upgrades: the share that upgrades once.
        declines: the share of renewals whose card is declined.
        tokens: the middle of the tokens on a working day.
    """

    buys: float
    days_to_buy: float
    plans: tuple[str, ...]
    churn: float
    upgrades: float
    declines: float
    tokens: float


_HABITS: dict[Segment, Habits] = {
    "hobby": Habits(buys=0.34, days_to_buy=18, plans=("Pro",), churn=0.07, upgrades=0.12, declines=0.07, tokens=1_500),
    "startup": Habits(
        buys=0.82,
        days_to_buy=9,
        plans=("Pro", "Pro", "Team"),
        churn=0.035,
        upgrades=0.38,
        declines=0.045,
        tokens=40_000,
    ),
    "enterprise": Habits(
        buys=0.93,
        days_to_buy=16,
        plans=("Team", "Enterprise"),
        churn=0.01,
        upgrades=0.4,
        declines=0.015,
        tokens=600_000,
    ),
}


@attrs.define(kw_only=True, eq=False)
class Life:
    """A customer.

    Attributes:
        id: the customer's id.
        person: who it is.
        habits: how they behave.
        pattern: how they use the meters.
        rng: decides about them. Each customer has an own one, so that the day of the week changes few lives.
    """

    id: str
    person: Person
    habits: Habits
    pattern: UsagePattern
    rng: random.Random


class Lives:
    """Lets customers live.

    Args:
        calls: the merchant's calls.
        catalog: what is sold.
        end: when the past ends.
    """

    def __init__(self, calls: Calls, catalog: Catalog, end: datetime) -> None:
        self._calls = calls
        self._catalog = catalog
        self.timeline: Timeline = Timeline(calls, end, self._collect_later)
        self._usage = UsageHistory(calls, catalog, self.timeline)
        self._by_id: dict[str, Life] = {}

    def set_usage_density(self, density: float) -> None:
        """Report usage on fewer days, for many customers or years.

        Args:
            density: the share of the days, 0 to 1.
        """
        self._usage.density = density

    def sign_up(self, person: Person, rng: random.Random) -> None:
        """Sign a customer up now, and plan what follows.

        Args:
            person: who it is.
            rng: decides about the customer.
        """
        segment = rng.choices(_SEGMENTS, _SHARES)[0] if person.company else "hobby"
        habits = _HABITS[segment]
        customer_id = self._calls.montra("create_customer", person.fields())["id"]
        pattern = UsagePattern.draw(rng, habits.tokens, is_occasional=segment == "hobby")
        life = self._by_id[customer_id] = Life(id=customer_id, person=person, habits=habits, pattern=pattern, rng=rng)
        if rng.random() < habits.buys:
            self._plan(life, self._days(life, habits.days_to_buy), lambda: self._buy(life, rng.choice(habits.plans)))
        elif rng.random() < 0.5:
            self._plan(life, self._days(life, 30), lambda: self._leave(life))
        if rng.random() < 0.12:
            self._plan(life, self._days(life, 50), lambda: self._buy_credits(life))
        if segment == "enterprise" and rng.random() < 0.5:
            self._plan(life, self._days(life, 40), lambda: self._invoice_workshop(life))
        if rng.random() < 0.1:
            self._plan(life, self._days(life, 60), lambda: self._change_phone(life))
        self._usage.begin(life.id, pattern)

    def _plan(self, life: Life, after: timedelta, action: Action) -> None:
        """Plan an action that may change the customer's plan; the usage is cut there."""
        when = self._calls.now() + after
        life.pattern.cuts.append(when)
        self.timeline.at(when, action)

    def _days(self, life: Life, middle: float) -> timedelta:
        """A span around a number of days: half of all are shorter."""
        return timedelta(days=min(middle * 8, life.rng.lognormvariate(math.log(middle), 0.7)))

    # Buying

    def _buy(self, life: Life, plan: str) -> None:
        if self._running(life) is not None:
            return
        code = life.rng.choices((None, "LAUNCH20", "STARTUP50", "FRIENDS10"), (78, 12, 6, 4))[0]
        if life.rng.random() < 0.07:
            self._pay(life, plan, code, declined=life.rng.choice(_DECLINES))
            if life.rng.random() < 0.8:
                self._plan(life, timedelta(minutes=7), lambda: self._pay_and_stay(life, plan, code))
            return
        self._pay_and_stay(life, plan, code)

    def _pay_and_stay(self, life: Life, plan: str, code: str | None) -> None:
        transaction = self._pay(life, plan, code)
        rng, habits = life.rng, life.habits
        if rng.random() < 0.05:
            self._plan(life, self._days(life, 4), lambda: self._refund(life, *transaction))
        if rng.random() < habits.upgrades and plan in _NEXT_PLAN:
            self._plan(life, self._days(life, 45), lambda: self._upgrade(life))
        elif rng.random() < 0.2 and plan != "Pro":
            self._plan(life, self._days(life, 60), lambda: self._downgrade(life))
        if rng.random() < 0.06:
            self._plan(life, self._days(life, 70), lambda: self._pause(life))
        months = math.log(1 - rng.random()) / math.log(1 - habits.churn)
        if months < 60:
            self._plan(life, timedelta(days=5 + months * 30), lambda: self._cancel(life))

    def _pay(self, life: Life, link: str, code: str | None, declined: str | None = None) -> tuple[str, Decimal]:
        if code is not None and self._is_used_up(code):
            code = None
        transaction = self._calls.pay_link(
            self._catalog.links[link], name=life.person.name, email=life.person.email, code=code, declined=declined
        )
        return transaction["id"], transaction["amount"]

    def _is_used_up(self, code: str) -> bool:
        row = self._calls.db.one("SELECT max_redemptions, times_redeemed FROM discounts WHERE code = ?", code)
        return (
            row is not None and row["max_redemptions"] is not None and row["times_redeemed"] >= row["max_redemptions"]
        )

    def _buy_credits(self, life: Life) -> None:
        self._pay(life, "Credits", None)

    def _invoice_workshop(self, life: Life) -> None:
        due = format_datetime(self._calls.now() + timedelta(days=30))
        body = {"customer_id": life.id, "amount_due": Decimal("1800.00"), "description": "Workshop", "due_date": due}
        invoice = self._calls.montra("create_invoice", body)
        if life.rng.random() < 0.3:
            return  # overdue in the end
        self.timeline.at(self._calls.now() + timedelta(days=12), lambda: self._charge(invoice["id"]))

    def _change_phone(self, life: Life) -> None:
        phone = f"+1 555 01{life.rng.randrange(100):02d}"
        self._calls.montra("update_customer", {"phone": phone}, path={"customer_id": life.id})

    def _refund(self, life: Life, transaction_id: str, amount: Decimal) -> None:
        part = amount if life.rng.random() < 0.6 else (amount / 2).quantize(Decimal("0.01"))
        if part:
            body = {"transaction_id": transaction_id, "amount": part, "reason": life.rng.choice(_REASONS)}
            self._calls.montra("create_refund", body)

    # Changes

    def _running(self, life: Life) -> Row | None:
        return subscriptions.find_running(self._calls.context(), life.id)

    def _upgrade(self, life: Life) -> None:
        row = self._running(life)
        if row is None or row["status"] != "active":
            return
        plan = _NEXT_PLAN.get(self._catalog.name_of(row["pricing_model_id"]))
        if plan is not None:
            body = {"new_pricing_model_id": self._catalog.plans[plan]}
            self._calls.montra("upgrade_subscription", body, path={"subscription_id": row["id"]})

    def _downgrade(self, life: Life) -> None:
        row = self._running(life)
        if row is not None and row["status"] == "active":
            plan = "Team" if self._catalog.name_of(row["pricing_model_id"]) == "Enterprise" else "Pro"
            body = {"new_pricing_model_id": self._catalog.plans[plan], "scheduled_for": row["current_period_end"]}
            self._calls.montra("schedule_subscription_change", body, path={"subscription_id": row["id"]})

    def _pause(self, life: Life) -> None:
        row = self._running(life)
        if row is None or row["status"] != "active":
            return
        until = self._calls.now() + timedelta(days=life.rng.randrange(14, 46))
        behavior = life.rng.choice(("void", "keep_as_is", "mark_uncollectible"))
        body = {"pause_behavior": behavior, "resume_at": format_datetime(until)}
        self._calls.montra("pause_subscription", body, path={"subscription_id": row["id"]})
        life.pattern.cuts.append(until)

    def _cancel(self, life: Life) -> None:
        row = self._running(life)
        if row is None:
            return
        subscriptions.set_by_service(self._calls.context(), row, cancel_at_period_end=True)
        left = parse_datetime(row["current_period_end"]) - self._calls.now()
        if life.rng.random() < 0.2:
            plan = self._catalog.name_of(row["pricing_model_id"])
            self._plan(life, left + self._days(life, 40), lambda: self._buy(life, plan))
        elif life.rng.random() < 0.7:
            self._plan(life, left, lambda: self._leave(life))

    def _leave(self, life: Life) -> None:
        if self._running(life) is None:
            life.pattern.is_over = True

    # Collecting invoices

    def _collect_later(self, invoice_id: str) -> None:
        self.timeline.at(self._calls.now() + timedelta(hours=1), lambda: self._collect(invoice_id))

    def _collect(self, invoice_id: str) -> None:
        row, life = self._subscription_of(invoice_id)
        if life.rng.random() >= life.habits.declines:
            charge_invoice(self._calls.context(), invoice_id)
            return
        charge_invoice(self._calls.context(), invoice_id, life.rng.choice(_DECLINES))
        if row["status"] == "active":
            subscriptions.set_by_service(self._calls.context(), row, status="past_due")
        recovers = life.rng.random() < 0.65
        after = timedelta(days=RETRY_DAYS if recovers else GIVE_UP_DAYS)
        self._plan(life, after, lambda: self._recover(invoice_id) if recovers else self._give_up(invoice_id))

    def _recover(self, invoice_id: str) -> None:
        charge_invoice(self._calls.context(), invoice_id)
        row, _ = self._subscription_of(invoice_id)
        if row["status"] == "past_due":
            subscriptions.set_by_service(self._calls.context(), row, status="active")

    def _give_up(self, invoice_id: str) -> None:
        context = self._calls.context()
        set_invoice_status(context, invoice_id, "uncollectible")
        row, life = self._subscription_of(invoice_id)
        if row["status"] in subscriptions.RUNNING_STATUSES:
            subscriptions.set_by_service(context, row, status="canceled")
        life.pattern.is_over = life.rng.random() < 0.8

    def _charge(self, invoice_id: str) -> None:
        charge_invoice(self._calls.context(), invoice_id)

    def _subscription_of(self, invoice_id: str) -> tuple[Row, Life]:
        row = self._calls.db.one(
            "SELECT subscription.* FROM subscriptions subscription JOIN invoices invoice"
            " ON invoice.subscription_id = subscription.id WHERE invoice.id = ?",
            invoice_id,
        )
        assert row is not None
        return row, self._by_id[row["customer_id"]]
