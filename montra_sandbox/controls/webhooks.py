"""Controls of events, webhook endpoints and deliveries of both services."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import event_log
from ..database import Row
from ..datetimes import format_datetime
from ..ids import new_id
from ..json import dumps, is_array, loads
from ..montra.merchant_context import WEBHOOK_EVENT_TYPES
from ..paywall.purchase_lifecycle import PAYWALL_EVENT_TYPES
from ..problems import Problem, invalid, not_found
from ..webhook_queue import queue_delivery
from ..webhook_sender import APP_SCHEME
from .base import ControlBase, control, settling_control

DEFAULT_WEBHOOK_SECRET: str = "whsec_test_sandbox"  # noqa: S105 - fixed, so that an application can have it in its settings
_MAX_EVENTS = 100
KNOWN_EVENTS: frozenset[str] = WEBHOOK_EVENT_TYPES | PAYWALL_EVENT_TYPES | {"*"}
_MAX_TEXT = 2_000
_MAX_ENDPOINTS = 200


class WebhookControls(ControlBase):
    """Controls of events and webhooks. Each takes effect at once, in one transaction.

    Raises:
        Problem: the control was refused.
        RuntimeError: the sandbox is not running.
    """

    webhook_secret: str

    # Endpoints

    @control
    def webhook_endpoints(self) -> list[dict[str, Any]]:
        """Where webhooks of both services go: `id`, `service`, `url`, `events`, `enabled`; without secrets."""
        db = self._world.db
        montra = [
            {
                "id": row["id"],
                "service": "montra",
                "url": row["url"],
                "events": loads(row["events"].encode()),
                "enabled": bool(row["enabled"]),
            }
            for row in db.all("SELECT * FROM webhook_endpoints ORDER BY created_at, rowid")
        ]
        paywalls = [
            {"id": row["id"], "service": "paywall", "url": row["webhook_url"], "events": ["*"], "enabled": True}
            for row in db.all("SELECT * FROM paywalls WHERE webhook_url IS NOT NULL ORDER BY rowid")
        ]
        return montra + paywalls

    @control
    def add_webhook_endpoint(
        self,
        url: str,
        *,
        service: str | None = "montra",
        events: Sequence[str] = ("*",),
        secret: str | None = None,
        owner: str | None = None,
        merchant_id: str | None = None,
    ) -> dict[str, Any]:
        """Have webhooks sent to a URL, signed with a secret that is known before.

        An endpoint of the merchant that has this URL already gets the new settings, so that nothing is sent twice.

        Args:
            url: where to; at the paywall service it replaces the URL of the owner's first paywall, until it is removed.
            service: `montra`, `paywall`, or None for both.
            events: the types that are sent, `*` for all. The paywall service always sends all.
            secret: the key of the signatures; the sandbox's `webhook_secret` by default.
            owner: the API key of the merchant; the first key by default.
            merchant_id: the merchant's id instead of the key.

        Returns:
            `id` of the endpoint (of the paywall, for `paywall`), `ids` of all, `created`: the ids of those that were
            not there before, `url` and `secret`.

        Raises:
            Problem: 400, an invalid value, or too many endpoints; 404, the merchant has no paywall.
        """
        _check_text("url", url)
        if not url.startswith(("http://", "https://")):
            raise invalid("url: begins with http:// or https://")
        return self._add_endpoint(url, service, events, secret, merchant_id or self._owner_id(owner))

    @control
    def add_app_endpoint(
        self, path: str, *, service: str | None, events: Sequence[str], secret: str | None, owner: str | None
    ) -> dict[str, Any]:
        """The same for an application of this process. `webhooks.to` uses it.

        Args:
            path: the path of the application's route, with its slash.
            service: as in `add_webhook_endpoint`.
            events: as in `add_webhook_endpoint`.
            secret: as in `add_webhook_endpoint`.
            owner: as in `add_webhook_endpoint`.

        Returns:
            As `add_webhook_endpoint`.

        Raises:
            Problem: as `add_webhook_endpoint`.
        """
        return self._add_endpoint(f"{APP_SCHEME}{path}", service, events, secret, self._owner_id(owner))

    @control
    def remove_webhook_endpoint(self, endpoint_id: str) -> None:
        """Send no more webhooks to an endpoint. A paywall gets the URL back that it had before.

        Args:
            endpoint_id: the endpoint, or the paywall.

        Raises:
            Problem: 404.
        """
        url, secret = self._world.replaced_webhooks.pop(endpoint_id, (None, None))
        with self._world.db.transaction() as db:
            removed = db.run("DELETE FROM webhook_endpoints WHERE id = ?", endpoint_id)
            removed += db.run(
                "UPDATE paywalls SET webhook_url = ?, webhook_secret = ? WHERE id = ? AND webhook_url IS NOT NULL",
                *(url, secret, endpoint_id),
            )
        if not removed:
            raise not_found("webhook endpoint", endpoint_id)

    def _add_endpoint(
        self, url: str, service: str | None, events: Sequence[str], secret: str | None, merchant_id: str
    ) -> dict[str, Any]:
        if service not in ("montra", "paywall", None):
            raise invalid("service: montra, paywall, or null for both")
        _check_text("url", url)
        secret = self.webhook_secret if secret is None else secret
        _check_text("secret", secret)
        wanted = _check_events(events)
        before = {one["id"]: one["url"] for one in self.webhook_endpoints()}
        ids: list[str] = []
        with self._world.db.transaction():
            if service != "paywall":
                ids.append(self._set_endpoint(merchant_id, url, wanted, secret))
            if service != "montra":
                ids.append(self._set_paywall_webhook(merchant_id, url, secret))
        created = [one for one in ids if before.get(one) != url]
        return {"id": ids[0], "ids": ids, "created": created, "url": url, "secret": secret}

    def _set_endpoint(self, merchant_id: str, url: str, events: list[str], secret: str) -> str:
        db = self._world.db
        known = db.value("SELECT id FROM webhook_endpoints WHERE merchant_id = ? AND url = ?", merchant_id, url)
        if known is not None and not url.startswith(APP_SCHEME):  # two applications may have the same path
            db.update("webhook_endpoints", known, events=dumps(events), secret=secret, enabled=True)
            return str(known)
        if db.value("SELECT count(*) FROM webhook_endpoints") >= _MAX_ENDPOINTS:
            raise invalid(f"there are {_MAX_ENDPOINTS} webhook endpoints already; remove one first")
        endpoint_id = new_id("wh")
        db.insert(
            "webhook_endpoints",
            id=endpoint_id,
            merchant_id=merchant_id,
            url=url,
            description=None,
            events=dumps(events),
            enabled=True,
            secret=secret,
            created_at=format_datetime(self._world.clock.now()),
        )
        return endpoint_id

    def _set_paywall_webhook(self, merchant_id: str, url: str, secret: str) -> str:
        world = self._world
        paywall = world.db.one("SELECT * FROM paywalls WHERE merchant_id = ? ORDER BY rowid LIMIT 1", merchant_id)
        if paywall is None:
            raise Problem(404, "not_found", "this merchant has no paywall")
        if paywall["webhook_url"] not in (None, url):
            world.replaced_webhooks.setdefault(paywall["id"], (paywall["webhook_url"], paywall["webhook_secret"]))
        world.db.update("paywalls", paywall["id"], webhook_url=url, webhook_secret=secret)
        return str(paywall["id"])

    # Events

    @control
    def events(
        self, *, type: str | None = None, limit: int = event_log.MAX_LISTED, before: str | None = None
    ) -> list[dict[str, Any]]:
        """Events of both services, newest first: `id`, `type`, `service`, `created_at`, `data`, number of `deliveries`.

        They are there with and without a webhook endpoint.

        Args:
            type: only those of this type; all by default.
            limit: how many, 1 to 1,000.
            before: only those that are older than the event with this id; all by default.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= event_log.MAX_LISTED:
            raise invalid(f"limit: a whole number from 1 to {event_log.MAX_LISTED}")
        return event_log.list_events(self._world.db, event_type=type, limit=limit, before=before)

    @control
    def event(self, event_id: str) -> dict[str, Any]:
        """One event as in `events`, with the list of its `deliveries`.

        Args:
            event_id: the event.

        Raises:
            Problem: 404.
        """
        event = event_log.get_event(self._world.db, event_id)
        return {**event, "deliveries": self._webhook_sender.list_deliveries(event_id=event_id)}

    @settling_control
    def replay_event(self, event_id: str) -> list[dict[str, Any]]:
        """Send an event again to all endpoints that are there now and want it.

        Args:
            event_id: the event.

        Returns:
            Its new deliveries, pending.

        Raises:
            Problem: 404.
        """
        world = self._world
        row = world.db.one("SELECT * FROM events WHERE id = ?", event_id)
        if row is None:
            raise not_found("event", event_id)
        known = {one["id"] for one in self._webhook_sender.list_deliveries(event_id=event_id)}
        with world.db.transaction() as db:
            for endpoint_id in self._endpoints_of(row):
                queue_delivery(db, row["merchant_id"], event_id, endpoint_id, format_datetime(world.clock.now()))
        world.notify()
        return [one for one in self._webhook_sender.list_deliveries(event_id=event_id) if one["id"] not in known]

    def _endpoints_of(self, event: Row) -> list[str]:
        db = self._world.db
        if event["service"] == "paywall":
            paywall_id = loads(event["body"].encode())["data"]["paywall"]["id"]
            rows = db.all("SELECT id FROM paywalls WHERE id = ? AND webhook_url IS NOT NULL", paywall_id)
        else:
            context = self._world.merchant_context(event["merchant_id"], self._world.clock.now())
            return context.subscribed_endpoints(event["type"])
        return [row["id"] for row in rows]

    # Deliveries

    @control
    def deliveries(self, *, limit: int = -1) -> list[dict[str, Any]]:
        """All webhook deliveries with their status and the last answer, newest first. All values are JSON.

        Args:
            limit: how many; -1 for all.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < -1:
            raise invalid("limit: a whole number, or -1 for all")
        return self._webhook_sender.list_deliveries(limit)

    @settling_control
    def replay(self, delivery_id: str) -> dict[str, Any]:
        """Send a webhook again.

        Args:
            delivery_id: the delivery, whatever its status.

        Returns:
            The delivery, pending.

        Raises:
            Problem: 404.
        """
        return self._webhook_sender.replay(delivery_id)


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value or len(value) > _MAX_TEXT:
        raise invalid(f"{name}: a string of 1 to {_MAX_TEXT} characters")


def _check_events(events: Any) -> list[str]:
    wanted: Any = [*events] if isinstance(events, (tuple, list)) else events
    if not is_array(wanted) or not 0 < len(wanted) <= _MAX_EVENTS:
        raise invalid(f"events: a list of 1 to {_MAX_EVENTS} event types")
    unknown = [one for one in wanted if one not in KNOWN_EVENTS]
    if unknown:
        raise invalid(f"events: no event {unknown[0]!r:.100}; there are: {', '.join(sorted(KNOWN_EVENTS))}")
    return wanted
