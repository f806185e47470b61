"""What a handler of the paywall service gets: the paywall, who is asking, the time, and the checked request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias

import attrs

from ..clock import to_text
from ..context import UploadedPart
from ..problems import Problem
from ..store import Row, Store, new_id
from ..wire import dumps, loads

ZERO_DECIMAL = frozenset(
    ("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF")
)
"""Currencies without cents."""


@attrs.frozen(kw_only=True)
class PaywallContext:
    """One request, or one thing that happens by itself, at one paywall, inside one transaction.

    `owner`: the request carries the key of the paywall's owner. `session_user`: whom its session belongs to.
    `said_email`: the header `X-User-Email`; `said_id`: `X-User-ID`; `visitor_id`: `X-Visitor-Id`. `key`: the
    idempotency key of a call that looks after it itself.
    """

    store: Store
    now: datetime
    origin: str
    paywall: Row
    owner: bool = False
    session: Row | None = None
    session_user: Row | None = None
    said_email: str | None = None
    said_id: str | None = None
    visitor_id: str | None = None
    key: str | None = None
    path: Mapping[str, str] = attrs.field(factory=dict[str, str])
    query: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    body: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    parts: tuple[UploadedPart, ...] = ()
    page: str | None = None
    """The origin of the web page that asks, as its browser says."""

    @property
    def paywall_id(self) -> str:
        return str(self.paywall["id"])

    @property
    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = loads(self.paywall["config"].encode())
        return config

    @property
    def now_text(self) -> str:
        return to_text(self.now)

    def at(self, moment: datetime) -> PaywallContext:
        return attrs.evolve(self, now=moment)

    def require_session(self) -> Row:
        """The session's user.

        Raises:
            Problem: 401.
        """
        if self.session_user is None:
            raise Problem(401, "not_authenticated", "send the header Authorization: Bearer <access token>")
        return self.session_user

    def require_owner(self) -> None:
        if not self.owner:
            raise Problem(401, "missing_api_key", "send the header X-Api-Key with the key of the paywall's owner")

    def announce(self, event_type: str, data: Mapping[str, Any]) -> None:
        """Queue a webhook. Commits, or vanishes, with the change itself."""
        event_id = new_id("evt")
        body = dumps({"id": event_id, "type": event_type, "created_at": self.now_text, "data": data})
        merchant_id = self.paywall["merchant_id"]
        self.store.insert(
            "events", id=event_id, merchant_id=merchant_id, type=event_type, body=body, created_at=self.now_text
        )
        if self.paywall["webhook_url"] is None:
            return
        self.store.insert(
            "deliveries",
            id=new_id("dlv"),
            sequence=self.store.next_number("deliveries"),
            merchant_id=merchant_id,
            event_id=event_id,
            endpoint_id=self.paywall_id,
            status="pending",
            attempts=0,
            next_attempt_at=self.now_text,
            created_at=self.now_text,
        )


Handler: TypeAlias = Callable[[PaywallContext], Any]
"""Returns the answer's JSON."""


def minor_units(amount: Decimal, currency: str) -> int:
    """9.99 USD are 999 cents; 500 JPY are 500 yen."""
    return int((amount if currency.upper() in ZERO_DECIMAL else amount * 100).to_integral_value())


def major_units(amount: int, currency: str) -> Decimal:
    return Decimal(amount) if currency.upper() in ZERO_DECIMAL else Decimal(amount).scaleb(-2)
