"""Everything the sandbox holds: what routes, pages, control and deliveries share."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections import deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from .clock import LAST_MOMENT, Clock, to_text
from .context import Context
from .faults import Faults
from .montra import timeline
from .paywall import config as paywall_config, purchases
from .problems import invalid
from .store import Store, new_id
from .wire import dumps

FIRST_PAYWALL = "pw_sandbox"

MAX_ADVANCE = timedelta(days=3653)
"""How far one advance may go: ten years."""
MAX_DUE = 10_000
"""How much one advance may set off: periods that end, changes that apply, pauses that are over. About three seconds."""
MAX_DELIVERIES = 50_000
"""How many webhooks these may queue."""
MAX_STREAMS = 1_000

# At least as many as will happen: a month is counted as 28 days.
_DUE_BY = """
SELECT (SELECT count(*) FROM scheduled_changes WHERE status = 'pending' AND scheduled_for <= ?)
 + (SELECT count(*) FROM subscriptions WHERE status = 'paused' AND resume_at <= ?)
 + (SELECT total(1 + (julianday(?) - julianday(current_period_end)) / 28) FROM subscriptions
    WHERE status IN ('active', 'trialing', 'past_due', 'paused') AND current_period_end <= ?)
 + (SELECT total(1 + (julianday(?) - julianday(current_period_end)) / (interval_count *
      CASE interval WHEN 'day' THEN 1 WHEN 'week' THEN 7 WHEN 'month' THEN 28 ELSE 365 END)) FROM paywall_purchases
    WHERE status IN ('active', 'trialing') AND current_period_end <= ?)"""
_MOST_ENDPOINTS = "SELECT max(n) FROM (SELECT count(*) AS n FROM webhook_endpoints WHERE enabled GROUP BY merchant_id)"


class World:
    """State and time of one sandbox. Every change is made inside `store.transaction()`."""

    def __init__(self, store: Store, faults: Faults | None = None) -> None:
        self.store = store
        self.clock = Clock(store)
        self.faults = faults or Faults()
        self.origin = ""
        self.changed = asyncio.Event()
        """Set after a commit: deliveries may be waiting."""
        self.streams: deque[dict[str, Any]] = deque(maxlen=MAX_STREAMS)
        """What the gateway's providers have streamed lately."""

    def add_merchant(self, api_key: str) -> str:
        """The merchant of a key, made when there is none."""
        known = self.merchant_of(api_key)
        if known is not None:
            return known
        merchant_id = new_id("merchant")
        with self.store.transaction():
            self.store.insert(
                "merchants", id=merchant_id, key_hash=_hash(api_key), created_at=to_text(self.clock.now())
            )
        return merchant_id

    def add_paywall(
        self,
        merchant_id: str,
        fields: Mapping[str, Any],
        *,
        paywall_id: str | None = None,
        webhook_url: str | None = None,
        webhook_secret: str | None = None,
    ) -> str:
        """A paywall of an owner. Inside a transaction."""
        made = paywall_id or new_id("pw")
        self.store.insert(
            "paywalls",
            id=made,
            merchant_id=merchant_id,
            config=dumps(paywall_config.merged(None, fields)),
            version=1,
            webhook_url=webhook_url,
            webhook_secret=webhook_secret,
            created_at=to_text(self.clock.now()),
        )
        return made

    def furnish(self) -> None:
        """Give every owner without a paywall one to begin with. The first owner's is `pw_sandbox`."""
        with self.store.transaction():
            rows = self.store.all(
                "SELECT id, rowid FROM merchants WHERE id NOT IN (SELECT merchant_id FROM paywalls) ORDER BY rowid"
            )
            for row in rows:
                paywall_id = FIRST_PAYWALL if row["rowid"] == 1 else f"{FIRST_PAYWALL}_{row['rowid']}"
                self.add_paywall(row["id"], paywall_config.DEMO, paywall_id=paywall_id)

    def merchant_of(self, api_key: str) -> str | None:
        found: str | None = self.store.value("SELECT id FROM merchants WHERE key_hash = ?", _hash(api_key))
        return found

    def catch_up(self) -> datetime:
        """Let happen what has come due by now; the now it was done for."""
        now = self.clock.now()
        for service in (timeline, purchases):
            due = service.next_due(self.store)
            if due is not None and due <= now:
                with self.store.transaction():
                    service.catch_up(self.store, now, self.origin)
                self.changed.set()
        return now

    def context(self, merchant_id: str, now: datetime) -> Context:
        return Context(store=self.store, merchant_id=merchant_id, now=now, origin=self.origin)

    def advance(self, by: timedelta) -> datetime:
        """Move the clock forward and let happen what comes due on the way.

        Raises:
            Problem: 400, backwards, more than ten years, past the end of the calendar, or more would happen on the way
                than `MAX_DUE`.
        """
        if by < timedelta(0):
            raise invalid("the clock only moves forward")
        if by > MAX_ADVANCE:
            raise invalid(f"at most {MAX_ADVANCE.days} days (ten years) at once; advance in several steps")
        until = self.catch_up() + by
        if until > LAST_MOMENT:
            raise invalid("that is past the end of the calendar")
        self._refuse_too_much(until)
        with self.store.transaction():
            self.clock.advance(by)
        now = self.catch_up()
        self.changed.set()
        return now

    def due_by(self, until: datetime) -> int:
        """At least as many things as will happen until then."""
        found: float = self.store.value(_DUE_BY, *[to_text(until)] * _DUE_BY.count("?"))
        return math.ceil(found)

    def _refuse_too_much(self, until: datetime) -> None:
        due = self.due_by(until)
        endpoints = self.store.value(_MOST_ENDPOINTS) or 0
        if due > MAX_DUE or due * endpoints > MAX_DELIVERIES:
            raise invalid(
                f"about {due} things would happen on the way (periods, changes, pauses), told to {endpoints} webhook"
                f" endpoints; at most {MAX_DUE} things and {MAX_DELIVERIES} webhooks at once: advance in smaller steps"
            )

    def reset(self) -> None:
        """Forget everything but the keys; the clock shows the real time again."""
        self.faults.clear()
        self.streams.clear()
        with self.store.transaction():
            self.store.reset()
            self.clock.reset()
        self.furnish()


def _hash(api_key: str) -> str:
    return hashlib.sha256(api_key.encode("utf-8", "surrogatepass")).hexdigest()
