"""What a handler of the paywall service gets: the paywall, the user, the time, the validated request, a transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import attrs

from ..database import Database, Row
from ..datetimes import format_datetime
from ..json import loads
from ..operations import OperationRegistry, UploadedPart
from ..problems import Problem
from ..webhook_queue import queue_event

ZERO_DECIMAL_CURRENCIES: frozenset[str] = frozenset(
    ("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF")
)


@attrs.frozen(kw_only=True)
class PaywallContext:
    """One request, or one scheduled step, at one paywall, inside one transaction.

    Attributes:
        db: the database, with an open transaction.
        now: the sandbox's time; for a scheduled step the time at which it is due.
        origin: the sandbox's address, `http://127.0.0.1:4242`.
        paywall: the paywall's row.
        is_owner: whether the request has the API key of the paywall's owner.
        session: the session of the access token; None without one.
        session_user: the session's user; None without a session.
        header_email: the header `X-User-Email`.
        header_user_id: the header `X-User-ID`.
        visitor_id: the header `X-Visitor-Id`.
        idempotency_key: the header `Idempotency-Key`.
        path: the path parameters.
        query: the query parameters.
        body: the JSON body; empty when there is none.
        parts: the uploaded files.
        page_origin: the header `Origin`, which browsers send.
    """

    db: Database
    now: datetime
    origin: str
    paywall: Row
    is_owner: bool = False
    session: Row | None = None
    session_user: Row | None = None
    header_email: str | None = None
    header_user_id: str | None = None
    visitor_id: str | None = None
    idempotency_key: str | None = None
    path: Mapping[str, str] = attrs.field(factory=dict[str, str])
    query: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    body: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    parts: tuple[UploadedPart, ...] = ()
    page_origin: str | None = None

    @property
    def paywall_id(self) -> str:
        """The paywall's id."""
        return str(self.paywall["id"])

    @property
    def config(self) -> dict[str, Any]:
        """The paywall's configuration, as `paywall_config.merge_config` returned it."""
        config: dict[str, Any] = loads(self.paywall["config"].encode())
        return config

    @property
    def now_text(self) -> str:
        """`now` as the database stores it."""
        return format_datetime(self.now)

    def require_session(self) -> Row:
        """The session's user.

        Raises:
            Problem: 401 `not_authenticated`, the request has no session.
        """
        if self.session_user is None:
            raise Problem(401, "not_authenticated", "send the header Authorization: Bearer <access token>")
        return self.session_user

    def require_owner(self) -> None:
        """Check that the request has the owner's API key.

        Raises:
            Problem: 401 `missing_api_key`.
        """
        if not self.is_owner:
            raise Problem(401, "missing_api_key", "send the header X-Api-Key with the key of the paywall's owner")

    def queue_webhook(self, event_type: str, data: Mapping[str, Any]) -> None:
        """Store an event and queue its webhook, in the transaction of the change.

        Args:
            event_type: the `type` of the webhook's body.
            data: the `data` of the webhook's body.
        """
        endpoint_ids = [] if self.paywall["webhook_url"] is None else [self.paywall_id]
        queue_event(self.db, self.paywall["merchant_id"], event_type, data, self.now, endpoint_ids, service="paywall")


operation: OperationRegistry[PaywallContext] = OperationRegistry()
"""Decorates the handlers of the paywall service: `@operation("start_checkout")`."""


def minor_units(amount: Decimal, currency: str) -> int:
    """An amount in the currency's smallest unit: 9.99 USD are 999 cents, 500 JPY are 500 yen.

    Args:
        amount: the amount in major units.
        currency: ISO code, in any case.
    """
    return int((amount if currency.upper() in ZERO_DECIMAL_CURRENCIES else amount * 100).to_integral_value())


def major_units(amount: int, currency: str) -> Decimal:
    """An amount in major units.

    Args:
        amount: the amount in the currency's smallest unit.
        currency: ISO code, in any case.
    """
    return Decimal(amount) if currency.upper() in ZERO_DECIMAL_CURRENCIES else Decimal(amount).scaleb(-2)
