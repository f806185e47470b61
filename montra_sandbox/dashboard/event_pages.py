"""Events of both services, with and without an endpoint that gets them."""

from __future__ import annotations

from aiohttp import web

from ..json import loads
from .routing import Done, form, page
from .view import View

_SHOWN = 100


async def show_events(view: View) -> web.StreamResponse:
    """Show the events, newest first; `?type=` filters.

    Args:
        view: the request.
    """
    wanted = view.query("type")
    rows = view.list_rows(
        "SELECT event.*, (SELECT count(*) FROM deliveries WHERE event_id = event.id) AS deliveries"
        " FROM events event WHERE event.merchant_id = ? AND (? = '' OR event.type = ?) ORDER BY event.rowid DESC",
        *(view.merchant_id, wanted, wanted),
    )
    types = view.db.all(
        "SELECT DISTINCT type FROM events WHERE merchant_id = ? ORDER BY type LIMIT ?", view.merchant_id, _SHOWN
    )
    return view.page("events.html", section="webhooks", rows=rows, wanted=wanted, types=[row["type"] for row in types])


async def show_event(view: View) -> web.StreamResponse:
    """Show an event with its payload and its deliveries.

    Args:
        view: the request.
    """
    event = view.get_row("events", "event", view.path_value("id"))
    deliveries = view.db.all(
        "SELECT delivery.*, coalesce(endpoint.url, paywall.webhook_url) AS url FROM deliveries delivery"
        " LEFT JOIN webhook_endpoints endpoint ON endpoint.id = delivery.endpoint_id"
        " LEFT JOIN paywalls paywall ON paywall.id = delivery.endpoint_id"
        " WHERE delivery.event_id = ? ORDER BY delivery.sequence DESC LIMIT ?",
        *(event["id"], _SHOWN),
    )
    data = loads(event["body"].encode())["data"]
    return view.page("event.html", section="webhooks", event=event, data=data, deliveries=deliveries)


async def replay(view: View) -> Done:
    """Send an event again to all endpoints that want it.

    Args:
        view: the request.
    """
    event = view.get_row("events", "event", view.path_value("id"))
    queued = view.controls.replay_event(event["id"])
    return Done(f"The event is sent to {len(queued)} endpoint{'' if len(queued) == 1 else 's'}.")


ROUTES = (
    page("/dashboard/events", show_events),
    page("/dashboard/events/{id}", show_event),
    form("/dashboard/events/{id}/replay", replay),
)
