"""Triggers: for each event of both services, do what really causes it."""

from __future__ import annotations

from typing import Any

from ..problems import invalid
from ..world import World
from . import montra_triggers, paywall_triggers
from .calls import Calls, first_merchant
from .fields import FIELDS, check_fields
from .registry import TRIGGERS, Trigger

__all__ = ["list_triggers", "trigger"]

SERVICES: tuple[str, ...] = (montra_triggers.SERVICE, paywall_triggers.SERVICE)


def trigger(
    world: World, event: str, service: str | None = None, fields: Any = None, merchant_id: str | None = None
) -> list[dict[str, Any]]:
    """Do what causes an event, in one transaction, including the objects that it needs.

    Args:
        world: the state.
        event: the event's type. `paywall:` or `montra:` before it says the service, like `service`.
        service: `montra` or `paywall`. Without it the service that has the event, and `montra` if both have it.
        fields: what matters about the event; `list_triggers` names the fields of each. The rest is made up.
        merchant_id: whose event it is; the first merchant's by default.

    Returns:
        The events that this caused, in order: `id`, `type`, `service`, `created_at` and `data` of each.

    Raises:
        Problem: 400 unknown event or field, impossible value; otherwise what the calls answer, such as 404.
    """
    found = _find(event, service)
    checked = check_fields(found.event, found.fields, fields)
    calls = Calls(world, merchant_id or first_merchant(world))
    with calls.transaction():
        calls.at = calls.now()  # one moment: what is ended here began no later
        position = calls.last_event()
        found.run(calls, checked)
        return calls.events_after(position)


def list_triggers() -> list[dict[str, Any]]:
    """`event`, `service`, `description` and `fields` (descriptions by name) of all triggers."""
    return [
        {
            "event": one.event,
            "service": one.service,
            "description": one.description,
            "fields": {name: FIELDS[name].description for name in one.fields},
        }
        for one in TRIGGERS.values()
    ]


def _find(event: Any, service: Any) -> Trigger:
    if not isinstance(event, str) or not (service is None or isinstance(service, str)):
        raise invalid("event and service: text")
    prefix, colon, name = event.partition(":")
    if colon and service in (None, prefix):
        service, event = prefix, name
    if service is not None and service not in SERVICES:
        raise invalid(f"service: {' or '.join(SERVICES)}")
    for candidate in (service,) if service else SERVICES:
        if (candidate, event) in TRIGGERS:
            return TRIGGERS[candidate, event]
    known = [name for of_service, name in TRIGGERS if service in (None, of_service)]
    raise invalid(f"event: no event {event[:100]!r}; there are: {', '.join(dict.fromkeys(known))}")
