"""How events are written into the spill of a `SpillingOutbox`, and moved out of it."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from .errors import OutboxUncertainError
from .events import Event, ParkedUsage, UsageRequest, amount_of, units_of
from .outbox import Outbox, RecallingOutbox

SPILL = "spill:"
"""Begins the ids of the spill's parked requests."""

_IN_DOUBT = "in-doubt:"
_LONG_AGO = 0.0


def move(page: Sequence[UsageRequest], primary: Outbox, moved: dict[str, str]) -> None:
    """Append requests of the spill to the primary, unless it has them already.

    Args:
        page: requests that were claimed in the spill.
        primary: the primary.
        moved: the group that may have recorded them already, by their keys in the spill. What is appended and may be
            recorded is added to it.

    Raises:
        OutboxFullError: the primary is full.
        OutboxUncertainError: the primary has not answered, so that some may be recorded.
        OutboxError: the primary can't be used.
    """
    recall = primary if isinstance(primary, RecallingOutbox) else None
    recorded: dict[str, bool | None] = {"": False}
    events: dict[str, Event] = {}
    ambiguous: list[tuple[Event, float]] = []
    for request in page:
        group, key = _group_and_key(request.key)
        group = moved.get(request.key, group)
        if group not in recorded:
            recorded[group] = False if recall is None else recall.was_recorded(group)
        known = recorded[group]
        if known:
            continue
        event = _as_event(request, key)
        if known is None:
            ambiguous.append((event, _LONG_AGO))  # it may be part of a sum, whose key is another: for a person
        elif request.ambiguous and request.key not in moved:
            ambiguous.append((event, request.recorded_at))  # an earlier call may have moved it, and it may be sent
        else:
            events[request.key] = event
    if ambiguous and recall is not None:
        recall.append_ambiguous(ambiguous)
        ambiguous = []
    appended = [*events.values(), *(event for event, _ in ambiguous)]
    if not appended:
        return
    try:
        primary.append(appended)
    except OutboxUncertainError as error:
        if error.group:
            moved.update(dict.fromkeys(events, error.group))
        raise


def spilled(event: Event, group: str) -> Event:
    """An event as it is recorded into the spill.

    With a group, the primary may have it: that is found out before it is moved, and it must not be added up until then.
    """
    if not group and not event.key.startswith(_IN_DOUBT):
        return event
    return event._replace(key=f"{_IN_DOUBT}{group}:{event.key}", coalescable=False)


def _group_and_key(key: str) -> tuple[str, str]:
    """The group that an event of the spill may have been recorded in, or an empty text, and the event's own key."""
    if not key.startswith(_IN_DOUBT):
        return "", key
    group, _, original = key[len(_IN_DOUBT) :].partition(":")
    return group, original


def _as_event(request: UsageRequest, key: str) -> Event:
    """A request of the spill as an event of the primary, which is never added to others: it may be moved twice."""
    units, scale = request.units, request.scale
    if not isinstance(units, str):
        units, scale = units_of(amount_of(units, scale))
    names = key, request.customer_id, request.meter_slug
    return Event(*names, units, scale, request.metadata, request.recorded_at, coalescable=False)


def shown(parked: ParkedUsage) -> ParkedUsage:
    """A parked request of the spill as it is listed."""
    return attrs.evolve(parked, id=SPILL + parked.id, key=_group_and_key(parked.key)[1])
