"""The state of one sandbox, shared by HTTP routes, pages, controls and the webhook sender."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections import deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from . import event_log
from .clock import Clock
from .database import Database, Row
from .datetimes import FIRST_DATETIME, LAST_DATETIME, format_datetime
from .faults import Faults
from .ids import CURRENT_IDS, IdGenerator, new_id
from .json import dumps
from .live_feed import LiveFeed
from .metrics import Metrics
from .montra import scheduler
from .montra.merchant_context import MerchantContext
from .paywall import paywall_config, purchase_lifecycle
from .paywall.paywall_context import PaywallContext
from .problems import conflict, invalid
from .request_log import RequestLog

FIRST_PAYWALL_ID: str = "pw_sandbox"
MAX_ADVANCE: timedelta = timedelta(days=3653)
"""Furthest that one `advance` moves the clock: ten years."""
_TOO_FAR = f"at most {MAX_ADVANCE.days} days (ten years) at once; advance in several steps"
MAX_DUE: int = 10_000
"""Most scheduled steps that one `advance` may run, which takes about three seconds."""
MAX_DELIVERIES: int = 50_000
"""Most webhooks that these steps may queue."""
MAX_STREAMS: int = 1_000
"""Most gateway streams whose progress is kept."""

# An upper bound: a month is counted as 28 days.
_COUNT_DUE = """
SELECT (SELECT count(*) FROM scheduled_changes WHERE status = 'pending' AND scheduled_for <= ?)
 + (SELECT count(*) FROM subscriptions WHERE status = 'paused' AND resume_at <= ?)
 + (SELECT total(1 + (julianday(?) - julianday(current_period_end)) / 28) FROM subscriptions
    WHERE status IN ('active', 'trialing', 'past_due', 'paused') AND current_period_end <= ?)
 + (SELECT total(1 + (julianday(?) - julianday(current_period_end)) / (interval_count *
      CASE interval WHEN 'day' THEN 1 WHEN 'week' THEN 7 WHEN 'month' THEN 28 ELSE 365 END)) FROM paywall_purchases
    WHERE status IN ('active', 'trialing') AND current_period_end <= ?)"""
_ANY_OBJECT = """
SELECT EXISTS (SELECT 1 FROM audit_logs) OR EXISTS (SELECT 1 FROM events) OR EXISTS (SELECT 1 FROM paywall_users)
 OR EXISTS (SELECT 1 FROM paywall_mails) OR EXISTS (SELECT 1 FROM paywall_tickets)"""
_MAX_ENDPOINTS = "SELECT max(n) FROM (SELECT count(*) AS n FROM webhook_endpoints WHERE enabled GROUP BY merchant_id)"


class World:
    """State and time of one sandbox. Every change is made inside `db.transaction()`.

    Args:
        db: the database.
        ids: makes ids of resources; random ones by default.

    Attributes:
        db: the database.
        clock: the sandbox's time.
        faults: the active faults.
        origin: the sandbox's address, `http://127.0.0.1:4242`; empty until the port is known.
        changed: set after a commit that may have queued webhooks.
        streams: progress of the latest gateway streams: `sent` events and whether it is `finished`.
        requests: the latest requests to both APIs.
        live: tells readers what happens.
        metrics: what is counted for Prometheus.
        ids: makes ids of resources.
        epoch: how many resets and restores there were. What began in another epoch must not be stored in this one.
        replaced_webhooks: URL and secret of paywalls' webhooks that a control has replaced, by paywall.
    """

    db: Database
    clock: Clock
    faults: Faults
    origin: str
    changed: asyncio.Event
    streams: deque[dict[str, Any]]
    requests: RequestLog
    live: LiveFeed
    metrics: Metrics
    ids: IdGenerator
    epoch: int
    replaced_webhooks: dict[str, tuple[str, str | None]]

    def __init__(self, db: Database, ids: IdGenerator | None = None) -> None:
        self.db = db
        self.clock = Clock(db)
        self.faults = Faults()
        self.origin = ""
        self.changed = asyncio.Event()
        self.streams = deque(maxlen=MAX_STREAMS)
        self.requests = RequestLog()
        self.live = LiveFeed()
        self.metrics = Metrics()
        self.ids = ids or IdGenerator()
        self.epoch = 0
        self.replaced_webhooks = {}
        CURRENT_IDS.set(self.ids)

    # Merchants and paywalls

    def add_merchant(self, api_key: str) -> str:
        """The id of the merchant with an API key, created when there is none.

        Args:
            api_key: the key in plain text; only its digest is stored.
        """
        known = self.find_merchant(api_key)
        if known is not None:
            return known
        merchant_id = new_id("merchant")
        with self.db.transaction():
            created_at = format_datetime(self.clock.now())
            self.db.insert("merchants", id=merchant_id, key_hash=_hash_key(api_key), created_at=created_at)
        return merchant_id

    def find_merchant(self, api_key: str) -> str | None:
        """The id of the merchant with an API key; None when the key is unknown.

        Args:
            api_key: the key in plain text.
        """
        found: str | None = self.db.value("SELECT id FROM merchants WHERE key_hash = ?", _hash_key(api_key))
        return found

    def add_paywall(
        self,
        merchant_id: str,
        config: Mapping[str, Any],
        *,
        paywall_id: str | None = None,
        webhook_url: str | None = None,
        webhook_secret: str | None = None,
    ) -> str:
        """Create a paywall inside the caller's transaction; returns its id.

        Args:
            merchant_id: the owner.
            config: parts of the configuration; the others get their defaults.
            paywall_id: the id; random by default.
            webhook_url: where its webhooks go; None for nowhere.
            webhook_secret: the key of their signatures; None for none.

        Raises:
            Problem: 400, the configuration is invalid.
        """
        paywall_id = paywall_id or new_id("pw")
        self.db.insert(
            "paywalls",
            id=paywall_id,
            merchant_id=merchant_id,
            config=dumps(paywall_config.merge_config(None, config)),
            version=1,
            webhook_url=webhook_url,
            webhook_secret=webhook_secret,
            created_at=format_datetime(self.clock.now()),
        )
        return paywall_id

    def seed(self) -> None:
        """Create a demo paywall for every merchant that has none. The first merchant's is `pw_sandbox`."""
        with self.db.transaction():
            rows = self.db.all(
                "SELECT id, rowid FROM merchants WHERE id NOT IN (SELECT merchant_id FROM paywalls) ORDER BY rowid"
            )
            for row in rows:
                paywall_id = FIRST_PAYWALL_ID if row["rowid"] == 1 else f"{FIRST_PAYWALL_ID}_{row['rowid']}"
                self.add_paywall(row["id"], paywall_config.DEMO_CONFIG, paywall_id=paywall_id)

    def merchant_context(self, merchant_id: str, now: datetime) -> MerchantContext:
        """A context for what no API request causes: pages and controls.

        Args:
            merchant_id: the merchant.
            now: the sandbox's time.
        """
        return MerchantContext(db=self.db, merchant_id=merchant_id, now=now, origin=self.origin)

    def paywall_context(self, paywall: Row, now: datetime) -> PaywallContext:
        """A context for what no API request causes: pages and controls.

        Args:
            paywall: the paywall's row.
            now: the sandbox's time.
        """
        return PaywallContext(db=self.db, now=now, origin=self.origin, paywall=paywall)

    # Time

    def run_due(self) -> datetime:
        """Run all scheduled steps that are due; returns the time up to which they ran."""
        now = self.clock.now()
        for service in (scheduler, purchase_lifecycle):
            due = service.next_due(self.db)
            if due is not None and due <= now:
                with self.db.transaction():
                    service.run_due(self.db, now, self.origin)
                self.changed.set()
        return now

    def advance(self, by: timedelta) -> datetime:
        """Move the clock forward and run what becomes due; returns the new time.

        Args:
            by: how far.

        Raises:
            Problem: 400, backwards, further than `MAX_ADVANCE`, beyond the calendar, or too many steps would run.
        """
        if by <= timedelta(0):
            raise invalid("the clock only moves forward: say by how much, e.g. 31 days")
        now = self.run_due()
        if by > LAST_DATETIME - now:
            raise invalid(_TOO_FAR if by > MAX_ADVANCE else "that is past the end of the calendar")
        return self.advance_to(now + by)

    def advance_to(self, until: datetime) -> datetime:
        """Move the clock forward to a time, exactly, and run what becomes due; returns the new time.

        Args:
            until: the time.

        Raises:
            Problem: as `advance`.
        """
        by = until - self.run_due()
        if by < timedelta(0):
            raise invalid("the clock only moves forward, and shows a later time already")
        if by > MAX_ADVANCE:
            raise invalid(_TOO_FAR)
        if until > LAST_DATETIME:
            raise invalid("that is past the end of the calendar")
        self._check_steps(until)
        with self.db.transaction():
            self.clock.set(until)
        now = self.run_due()
        self.notify()
        self.announce_clock()
        return now

    def freeze(self, at: datetime | None) -> datetime:
        """Let the clock stand still; returns what it shows.

        Args:
            at: the time that it shows; None for the present one.

        Raises:
            Problem: as `start_at`.
        """
        if at is None:
            at = self.run_due()
        else:
            self._go_to(at)
        with self.db.transaction():
            self.clock.freeze(at)
        self.announce_clock()
        return at

    def unfreeze(self) -> datetime:
        """Let the clock go on from the time that it shows; returns that time."""
        with self.db.transaction():
            self.clock.unfreeze()
        self.announce_clock()
        return self.clock.now()

    def start_at(self, at: datetime) -> None:
        """Set the clock. With data, it moves forward and runs what becomes due; an empty sandbox starts at any time.

        Args:
            at: the time.

        Raises:
            Problem: 400, too far ahead, or outside of 1970 to 9000; 409, an earlier time in a sandbox with data.
        """
        self._go_to(at)
        self.announce_clock()

    def _go_to(self, at: datetime) -> None:
        if self.is_furnished():
            if at < self.clock.now():
                raise conflict("clock_only_forward", "the clock moves back only in an empty sandbox; reset it first")
            self.advance_to(at)
        elif FIRST_DATETIME <= at <= LAST_DATETIME:
            with self.db.transaction():
                self.clock.set(at)
                for table in ("merchants", "paywalls"):
                    self.db.run(f"UPDATE {table} SET created_at = ?", format_datetime(at))
        else:
            raise invalid("the clock shows the years 1970 to 9000")

    def seed_ids(self, seed: int | None) -> None:
        """Make ids reproducible, or random again.

        Args:
            seed: the seed; None for random ids.

        Raises:
            Problem: 409, a seed for a sandbox with data, whose ids could be made again.
        """
        if seed is not None and self.is_furnished():
            raise conflict("not_empty", "ids can be seeded in an empty sandbox only; reset it first")
        self.ids.seed = seed
        self.ids.reset()

    def is_furnished(self) -> bool:
        """Whether there is any object besides the merchants and their paywalls."""
        return bool(self.db.value(_ANY_OBJECT))

    def notify(self) -> None:
        """Tell the webhook sender and who watches that a commit may have queued webhooks."""
        self.changed.set()
        self.live.wake()

    def announce_clock(self) -> None:
        """Tell who watches that the clock was moved, stopped or started."""
        data = {"now": format_datetime(self.clock.now()), "frozen": self.clock.is_frozen}
        self.live.publish("clock", lambda: data)

    def announce_reset(self) -> None:
        """Tell who watches that all data were replaced."""
        self.epoch += 1
        self.replaced_webhooks.clear()
        data = {"position": event_log.last_position(self.db)}
        self.live.publish("reset", lambda: data)
        self.notify()

    def count_due(self, until: datetime) -> int:
        """An upper bound of the scheduled steps that are due by a time.

        Args:
            until: the time.
        """
        count: float = self.db.value(_COUNT_DUE, *[format_datetime(until)] * _COUNT_DUE.count("?"))
        return math.ceil(count)

    def _check_steps(self, until: datetime) -> None:
        due = self.count_due(until)
        endpoints = self.db.value(_MAX_ENDPOINTS) or 0
        if due > MAX_DUE or due * endpoints > MAX_DELIVERIES:
            raise invalid(
                f"about {due} periods, changes and pauses would end on the way, reported to {endpoints} webhook"
                f" endpoints; at most {MAX_DUE} of them and {MAX_DELIVERIES} webhooks at once: advance in smaller steps"
            )

    def reset(self) -> None:
        """Delete everything except the API keys; the clock shows the real time again."""
        self.faults.clear()
        self.streams.clear()
        with self.db.transaction():
            self.db.reset()
            self.clock.reset()
        self.ids.reset()
        self.seed()
        self.announce_reset()


def _hash_key(api_key: str) -> str:
    return hashlib.sha256(api_key.encode("utf-8", "surrogatepass")).hexdigest()
