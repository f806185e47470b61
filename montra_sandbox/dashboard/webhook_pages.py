"""Webhooks: endpoints of both services, deliveries with payload and answer, and triggers of events."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ..database import Row
from ..json import loads
from ..problems import not_found
from ..scenarios.trigger import list_triggers, trigger
from .routing import Done, form, page
from .view import View

_STATUSES = ("", "pending", "succeeded", "failed", "blocked", "canceled")
_TARGETS = (("both", "both services"), ("montra", "Montra"), ("paywall", "the paywall service"))
_START_CODE = "montra listen --forward-to localhost:8000/webhooks"
_SELECT = """
SELECT delivery.*, event.type AS event_type, event.body, event.service,
  coalesce(endpoint.url, paywall.webhook_url) AS url
FROM deliveries delivery JOIN events event ON event.id = delivery.event_id
LEFT JOIN webhook_endpoints endpoint ON endpoint.id = delivery.endpoint_id
LEFT JOIN paywalls paywall ON paywall.id = delivery.endpoint_id"""


async def show_webhooks(view: View) -> web.StreamResponse:
    """Show the endpoints, and the deliveries, newest first.

    Args:
        view: the request.
    """
    status = view.query("status")
    status = status if status in _STATUSES else ""
    rows = view.list_rows(
        f"{_SELECT} WHERE delivery.merchant_id = ? AND ? IN ('', delivery.status) ORDER BY delivery.sequence DESC",
        *(view.merchant_id, status),
    )
    return view.page(
        "webhooks.html",
        section="webhooks",
        rows=rows,
        endpoints=_endpoints(view),
        chosen=status,
        statuses=_STATUSES,
        targets=_TARGETS,
        secret=view.controls.webhook_secret,
        start_code=_START_CODE,
    )


def _endpoints(view: View) -> list[dict[str, Any]]:
    """The endpoints of the merchant at both services."""
    rows = view.db.all(
        "SELECT * FROM webhook_endpoints WHERE merchant_id = ? ORDER BY created_at, rowid LIMIT 200", view.merchant_id
    )
    found = [{**dict(row), "service": "montra", "events": loads(row["events"].encode())} for row in rows]
    for row in view.db.all(
        "SELECT * FROM paywalls WHERE merchant_id = ? AND webhook_url IS NOT NULL ORDER BY rowid LIMIT 200",
        view.merchant_id,
    ):
        found.append({"id": row["id"], "url": row["webhook_url"], "service": "paywall", "events": ["*"], "enabled": 1})
    return found


async def show_delivery(view: View) -> web.StreamResponse:
    """Show a delivery with its payload and the last answer.

    Args:
        view: the request.
    """
    delivery = _get_delivery(view)
    return view.page("delivery.html", section="webhooks", delivery=delivery)


def _get_delivery(view: View) -> Row:
    delivery_id = view.path_value("id")
    view.get_row("deliveries", "delivery", delivery_id)
    row = view.db.one(f"{_SELECT} WHERE delivery.id = ?", delivery_id)
    if row is None:
        raise not_found("delivery", delivery_id[:100])
    return row


async def show_trigger(view: View) -> web.StreamResponse:
    """Show the form of a trigger.

    Args:
        view: the request.
    """
    service, event = view.path_value("service"), view.path_value("event")
    return view.page("trigger.html", section="webhooks", trigger=_find_trigger(service, event))


async def show_triggers(view: View) -> web.StreamResponse:
    """Show all events that can be triggered.

    Args:
        view: the request.
    """
    return view.page("triggers.html", section="webhooks", triggers=list_triggers())


def _find_trigger(service: str, event: str) -> dict[str, Any]:
    for one in list_triggers():
        if (one["service"], one["event"]) == (service, event):
            return one
    raise not_found("trigger", f"{service}:{event}"[:100])


# Forms


async def add_endpoint(view: View) -> Done:
    """Have webhooks sent to a URL, signed with the sandbox's fixed secret.

    Args:
        view: the request.

    Raises:
        Problem: 400 an invalid URL; 404 the merchant has no paywall.
    """
    url, target = view.text("url") or "", view.text("target") or "both"
    events = (view.text("events") or "*").replace(",", " ").split()
    service = None if target == "both" else target
    view.controls.add_webhook_endpoint(url, service=service, events=events, merchant_id=view.merchant_id)
    return Done(f"Webhooks are sent to {url}.")


async def remove_endpoint(view: View) -> Done:
    """Send no more webhooks to an endpoint.

    Args:
        view: the request.
    """
    view.controls.remove_webhook_endpoint(view.path_value("id"))
    return Done("The endpoint was removed.")


async def replay(view: View) -> Done:
    """Send a webhook again.

    Args:
        view: the request.
    """
    delivery = _get_delivery(view)
    view.controls.replay(delivery["id"])
    return Done("The webhook is sent again.", f"/dashboard/deliveries/{delivery['id']}")


async def run_trigger(view: View) -> Done:
    """Do what causes an event.

    Args:
        view: the request.
    """
    found = _find_trigger(view.path_value("service"), view.path_value("event"))
    given = {name: view.text(f"field-{name}") for name in found["fields"]}
    fields = {name: value for name, value in given.items() if value is not None}
    events = trigger(view.world, found["event"], found["service"], fields, view.merchant_id)
    caused = next((event for event in reversed(events) if event["type"] == found["event"]), None)
    return Done(
        f"{found['event']} was caused, with {len(events) - 1} other events.",
        f"/dashboard/events/{caused['id']}" if caused else "/dashboard/events",
    )


ROUTES = (
    page("/dashboard/webhooks", show_webhooks),
    page("/dashboard/deliveries/{id}", show_delivery),
    page("/dashboard/triggers", show_triggers),
    page("/dashboard/triggers/{service}/{event}", show_trigger),
    form("/dashboard/webhooks", add_endpoint),
    form("/dashboard/webhooks/{id}/remove", remove_endpoint),
    form("/dashboard/deliveries/{id}/replay", replay),
    form("/dashboard/triggers/{service}/{event}", run_trigger),
)
