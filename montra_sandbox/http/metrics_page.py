"""`GET /_sandbox/metrics`: what the sandbox counts, in the text format of Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timezone

from aiohttp import web

from ..metrics import CONTENT_TYPE, Labels, family
from ..world import World

_COUNTED = {
    "customers": "customers",
    "pricing_models": "pricing_models",
    "meters": "meters",
    "invoices": "invoices",
    "webhook_endpoints": "webhook_endpoints",
    "paywalls": "paywalls",
    "paywall_users": "paywall_users",
}
"""Kinds of objects, and their tables."""
_COUNTED_BY_STATUS = {
    "montra_sandbox_subscriptions": ("subscriptions", "Subscriptions of the Montra API."),
    "montra_sandbox_purchases": ("paywall_purchases", "Purchases of all paywalls."),
    "montra_sandbox_deliveries": ("deliveries", "Webhooks, by the status of their delivery."),
}


class MetricsPage:
    """The route.

    Args:
        world: the state.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    async def handle(self, _: web.Request) -> web.StreamResponse:
        """The aiohttp handler."""
        text = "".join([*self._world.metrics.families(), *self._gauges()])
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})

    def _gauges(self) -> Iterator[str]:
        world = self._world
        objects: dict[Labels, float] = {
            (("kind", kind),): int(world.db.value(f"SELECT count(*) FROM {table}")) for kind, table in _COUNTED.items()
        }
        yield family("montra_sandbox_objects", "gauge", "Objects that exist.", objects)
        for name, (table, description) in _COUNTED_BY_STATUS.items():
            yield family(name, "gauge", description, self._by_status(table))
        offset = (world.clock.now() - datetime.now(timezone.utc)).total_seconds()
        name, description = "montra_sandbox_clock_offset_seconds", "How far the clock is ahead of the real time."
        yield family(name, "gauge", description, {(): offset})
        frozen = int(world.clock.is_frozen)
        yield family("montra_sandbox_clock_frozen", "gauge", "Whether the clock stands still.", {(): frozen})
        streams = Counter("finished" if one["finished"] else "open" for one in world.streams)
        states: dict[Labels, float] = {(("state", state),): streams[state] for state in ("open", "finished")}
        yield family("montra_sandbox_streams", "gauge", "The latest streams of the gateway.", states)
        active = len(world.faults.active())
        yield family("montra_sandbox_active_faults", "gauge", "Faults that wait for requests.", {(): active})

    def _by_status(self, table: str) -> dict[Labels, float]:
        rows = self._world.db.all(f"SELECT status, count(*) AS number FROM {table} GROUP BY status ORDER BY status")
        return {(("status", str(row["status"])),): row["number"] for row in rows}
