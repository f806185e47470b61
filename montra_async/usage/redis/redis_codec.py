"""How `RedisOutbox` writes events and requests. Pure functions."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, NamedTuple, TypeAlias, TypeVar

from ...core.redaction import bounded
from ..events import (
    EXPIRED_MESSAGE,
    MAX_COALESCED_UNITS,
    MAX_CODE_LENGTH,
    MAX_MESSAGE_LENGTH,
    Event,
    Outcome,
    ParkedUsage,
    Settlement,
    UsageRequest,
    datetime_of,
    readable_amount,
    readable_metadata,
)

T = TypeVar("T")

MAX_PART_ITEMS = 20_000
"""Maximum number of sums and events in one call of Redis."""

MAX_PART_BYTES = 4 * 1024 * 1024
"""Bytes from which on a call of Redis takes no more."""

MAX_GROUP_SUM = 2**60
"""Maximum sum that is sent at once. Redis's integers end at 2**63, and it closes a sum at 4e18."""

log: logging.Logger = logging.getLogger("montra")


class Part(NamedTuple):
    """A part of a group of events that fits into one call."""

    sums: str
    """Five lines for each sum: customer with meter and scale, units, events, recorded_at, key."""
    singles: str
    """Two lines for each event that is not added to others: the request, recorded_at."""
    events: int
    size: int
    """Bytes in Redis, about."""


def parts_of(events: Sequence[Event]) -> list[Part]:
    """Add up what may be added up, and divide the result into parts that fit into one call each."""
    sums, singles = _added_up(events)
    parts = [_PartBuilder()]
    for sid, units, count, recorded, key in sums:
        _with_room(parts).add_sum(f"{sid}\n{units}\n{count}\n{recorded!r}\n{key}\n", count, 4 * len(sid) + 500)
    for request, recorded in singles:
        _with_room(parts).add_single(f"{request}\n{recorded!r}\n", len(request) + 128)
    return [part.build() for part in parts]


class _PartBuilder:
    """Collects the arguments of one call."""

    def __init__(self) -> None:
        self.sums: list[str] = []
        self.singles: list[str] = []
        self.events = self.size = 0

    def add_sum(self, lines: str, events: int, size: int) -> None:
        self.sums.append(lines)
        self.events += events
        self.size += size

    def add_single(self, lines: str, size: int) -> None:
        self.singles.append(lines)
        self.events += 1
        self.size += size

    def is_full(self) -> bool:
        return self.size >= MAX_PART_BYTES or len(self.sums) + len(self.singles) >= MAX_PART_ITEMS

    def build(self) -> Part:
        return Part("".join(self.sums), "".join(self.singles), self.events, self.size)


def _with_room(parts: list[_PartBuilder]) -> _PartBuilder:
    if parts[-1].is_full():
        parts.append(_PartBuilder())
    return parts[-1]


_Sum: TypeAlias = tuple[str, int, int, float, str]


def _added_up(events: Iterable[Event]) -> tuple[list[_Sum], list[tuple[str, float]]]:
    open_sums: dict[tuple[str, str, int], list[Any]] = {}
    sums: list[list[Any]] = []
    singles: list[tuple[str, float]] = []
    for key, customer_id, meter_slug, units, scale, metadata, recorded_at, coalescable in events:
        if not coalescable or isinstance(units, str) or units >= MAX_COALESCED_UNITS or metadata is not None:
            body = request_text(key, (customer_id, meter_slug, units, scale, metadata), 1, recorded_at)
            singles.append((body, float(recorded_at)))
            continue
        identity = customer_id, meter_slug, scale
        found = open_sums.get(identity)
        if found is None or found[0] > MAX_GROUP_SUM:
            sid = f"{quoted(customer_id)},{quoted(meter_slug)},{scale}"
            open_sums[identity] = found = [units, 1, float(recorded_at), sid, quoted(key)]
            sums.append(found)
            continue
        found[0] += units
        found[1] += 1
        if recorded_at < found[2]:
            found[2] = float(recorded_at)
    return [(sid, units, count, recorded, key) for units, count, recorded, sid, key in sums], singles


def request_text(key: str, body: tuple[str, str, int | str, int, str | None], events: int, recorded_at: float) -> str:
    """A request as the stream contains it: `[key, customer, meter, scale, metadata, units, events, recorded_at]`.

    Args:
        key: the idempotency key.
        body: customer, meter, units, scale, and the metadata's JSON text.
        events: number of events.
        recorded_at: when the oldest was recorded, in seconds since 1970.
    """
    customer_id, meter_slug, units, scale, metadata = body
    text = "null" if metadata is None else quoted(metadata)
    number = quoted(units) if isinstance(units, str) else units
    names = f"{quoted(key)},{quoted(customer_id)},{quoted(meter_slug)}"
    return f"[{names},{scale},{text},{number},{events},{float(recorded_at)!r}]"


def text_of(value: Any) -> str:
    """A string of Redis. A client may have been told to decode them."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def settlement_lines(settlement: Settlement) -> str:
    """The five lines of the script for one settlement."""
    request, outcome = settlement.request, settlement.outcome
    if outcome is Outcome.DELIVERED:
        first, second = quoted(request.key), ""
    elif outcome is Outcome.RETRY:
        first, second = "1" if settlement.sent else "0", repr(max(0.0, settlement.delay))
    else:
        status = "null" if settlement.status is None else int(settlement.status)
        code, message = bounded(settlement.code, MAX_CODE_LENGTH), bounded(settlement.message, MAX_MESSAGE_LENGTH)
        first = f"{status},{quoted(code)},{quoted(message)}"
        second = ""
    return f"{request.id}\n{request.attempts}\n{outcome.value}\n{first}\n{second}\n"


def claimed_requests(lines: str) -> list[UsageRequest]:
    """The requests in the reply of the script that claims: id, request, attempts and ambiguous of each."""
    reply = lines.split("\n") if lines else []
    found = (_valid(_request, *reply[at : at + 4]) for at in range(0, len(reply), 4))
    return [request for request in found if request is not None]


def _request(id: str, request: str, attempts: str, ambiguous: str) -> UsageRequest:
    key, customer, meter, scale, metadata, units, events, recorded = json.loads(request)
    return UsageRequest(
        id=id,
        key=key,
        customer_id=customer,
        meter_slug=meter,
        units=units,
        scale=scale,
        metadata=metadata,
        events=events,
        recorded_at=recorded,
        attempts=int(attempts),
        ambiguous=ambiguous == "1",
    )


def parked_requests(rows: Iterable[Sequence[Any]]) -> list[ParkedUsage]:
    """Parked requests, from the three strings of each in Redis: id, request, and why it was parked."""
    found = (_valid(_parked, *map(text_of, row)) for row in rows)
    return [parked for parked in found if parked is not None]


def _parked(id: str, request: str, why: str) -> ParkedUsage:
    key, customer, meter, scale, metadata, units, events, recorded = json.loads(request)
    attempts, reason, status, code, message, _, parked_at = json.loads(f"[{why}]")
    return ParkedUsage(
        id=id,
        key=key,
        customer_id=customer,
        meter_slug=meter,
        amount=readable_amount(units, scale),
        metadata=readable_metadata(metadata),
        events=events,
        reason=reason,
        status=status,
        code=code,
        message=EXPIRED_MESSAGE if reason == "ambiguous" else message,
        attempts=attempts,
        recorded_at=datetime_of(recorded),
        parked_at=datetime_of(parked_at),
    )


def _valid(parse: Callable[..., T], *texts: str) -> T | None:
    """What was parsed. An entry that somebody else has written must not keep the others from being sent."""
    try:
        return parse(*texts)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        log.error("an entry of the usage outbox in Redis is none of its own (%s): %.200s", error, texts[1])
    return None
