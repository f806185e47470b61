"""Everything the sandbox holds: what routes, pages, control and deliveries share."""

from __future__ import annotations

import asyncio
import hashlib
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


class World:
    """State and time of one sandbox. Every change is made inside `store.transaction()`."""

    def __init__(self, store: Store, faults: Faults | None = None) -> None:
        self.store = store
        self.clock = Clock(store)
        self.faults = faults or Faults()
        self.origin = ""
        self.changed = asyncio.Event()
        """Set after a commit: deliveries may be waiting."""
        self.streams: list[dict[str, Any]] = []
        """What the gateway's providers have streamed so far."""

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
            Problem: 400, backwards, or past the end of the calendar.
        """
        if by < timedelta(0):
            raise invalid("the clock only moves forward")
        try:
            too_far = self.clock.now() + by > LAST_MOMENT
        except OverflowError:
            too_far = True
        if too_far:
            raise invalid("that is past the end of the calendar")
        with self.store.transaction():
            self.clock.advance(by)
        now = self.catch_up()
        self.changed.set()
        return now

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
