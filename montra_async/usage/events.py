"""What moves through an outbox: events as they are recorded, and the requests that they are sent in. Pure functions."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, NamedTuple, TypeAlias

import attrs

from ..core import validation
from ..core.errors import InvalidArgumentError
from ..core.models.json import dumps, loads
from ..core.type_guards import is_object

MAX_METADATA_SIZE = 64 * 1024
"""Maximum number of bytes of an event's metadata as JSON."""

MAX_NAME_LENGTH = 255
"""Maximum number of characters of a customer's id and of a meter's slug."""

MAX_EXACT_UNITS: int = 2**53
"""Amounts whose digits are below this number are stored as integers, larger ones as text. Lua's numbers are doubles."""

MAX_COALESCED_UNITS: int = 2**44
"""Only events whose units are below this number are added up: 32,000 of them stay below SQLite's limit of integers."""

_TAILS: tuple[str, ...] = tuple(f"{number:02x}" for number in range(256))

MAX_CODE_LENGTH = 128
"""Maximum number of characters of a refusal's code that are kept."""

MAX_MESSAGE_LENGTH = 1000
"""Maximum number of characters of a refusal's message that are kept."""

ParkedReason: TypeAlias = Literal["refused", "ambiguous"] | str
"""Why a request was parked: the service refused it, or nobody can tell whether it was counted."""


class Event(NamedTuple):
    """One recorded event.

    The amount is `units / 10**scale`; an amount of too many digits is text, with the scale -1.
    """

    key: str
    customer_id: str
    meter_slug: str
    units: int | str
    scale: int
    metadata: str | None
    """JSON text of an object."""
    recorded_at: float
    """Seconds since 1970."""
    coalescable: bool
    """Whether it may be added to others of its customer, meter and scale."""


class UsageRequest(NamedTuple):
    """One request to the service, for one event or for the sum of many. It never changes once it was claimed."""

    id: int | str
    """Identifies it within its outbox."""
    key: str
    customer_id: str
    meter_slug: str
    units: int | str
    scale: int
    metadata: str | None
    events: int
    """Number of events that it is the sum of."""
    recorded_at: float
    """When its oldest event was recorded, in seconds since 1970."""
    attempts: int
    """Number of times that it was claimed, this time included."""
    ambiguous: bool
    """Whether an earlier attempt may have been counted."""


class Outcome(Enum):
    """What became of a request that was claimed."""

    DELIVERED = "delivered"
    """The service has counted it, now or earlier: remove it."""
    RETRY = "retry"
    """Claim it again when `delay` is over."""
    REFUSED = "refused"
    """The service will never accept it: park it."""


class Settlement(NamedTuple):
    """What became of one request."""

    request: UsageRequest
    outcome: Outcome
    sent: bool = False
    """With `RETRY`: whether the service may have counted this attempt."""
    delay: float = 0.0
    """With `RETRY`: seconds until it may be claimed again."""
    status: int | None = None
    """With `REFUSED`: the HTTP status."""
    code: str = ""
    """With `REFUSED`: the service's error code."""
    message: str = ""
    """With `REFUSED`: the service's message."""


@attrs.frozen(kw_only=True)
class ParkedUsage:
    """A request that is not sent any more, because a person has to decide about it.

    Attributes:
        id: identifies it within its outbox.
        key: its idempotency key.
        customer_id: `cust_...`.
        meter_slug: slug of the meter.
        amount: number of units.
        metadata: the event's metadata; None without any.
        events: number of events that it is the sum of.
        reason: `refused`: the service will not accept it. `ambiguous`: it may have been counted, and the service may
            have forgotten its key since, so that sending it again could count it twice.
        status: HTTP status of the refusal; None for `ambiguous`.
        code: the service's error code; empty for `ambiguous`.
        message: the service's message, or a description.
        attempts: number of attempts.
        recorded_at: when its oldest event was recorded.
        parked_at: when it was parked.
    """

    id: str
    key: str
    customer_id: str
    meter_slug: str
    amount: int | Decimal
    metadata: Mapping[str, Any] | None
    events: int
    reason: ParkedReason
    status: int | None
    code: str
    message: str
    attempts: int
    recorded_at: datetime
    parked_at: datetime


EXPIRED_MESSAGE = (
    "An attempt may have been counted, and so much time has passed that the service may have forgotten the key. "
    "Compare with the service's records, then retry or drop it."
)
"""The message of an `ambiguous` request."""


def parked_of(request: UsageRequest, refusal: Settlement | None) -> ParkedUsage:
    """A request that is parked now.

    Args:
        request: the request.
        refusal: how the service refused it; None when it is ambiguous.
    """
    return ParkedUsage(
        id=str(request.id),
        key=request.key,
        customer_id=request.customer_id,
        meter_slug=request.meter_slug,
        amount=readable_amount(request.units, request.scale),
        metadata=readable_metadata(request.metadata),
        events=request.events,
        reason="ambiguous" if refusal is None else "refused",
        status=None if refusal is None else refusal.status,
        code="" if refusal is None else refusal.code,
        message=EXPIRED_MESSAGE if refusal is None else refusal.message,
        attempts=request.attempts,
        recorded_at=datetime_of(request.recorded_at),
        parked_at=datetime.now(timezone.utc),
    )


def amount_of(units: int | str, scale: int) -> int | Decimal:
    """The exact amount of an event or a request."""
    if isinstance(units, str):
        return Decimal(units)
    return units if scale == 0 else Decimal(f"{units}E-{scale}")  # exact, whatever the thread's decimal context is


def units_of(amount: int | Decimal) -> tuple[int | str, int]:
    """An exact amount, which is finite and at least 0, as units and scale."""
    if isinstance(amount, int):
        return (int(amount), 0) if amount < MAX_EXACT_UNITS else (str(int(amount)), -1)
    _, digits, exponent = amount.as_tuple()
    assert isinstance(exponent, int)
    if exponent >= 0:
        whole = int(amount)
        return (whole, 0) if whole < MAX_EXACT_UNITS else (str(whole), -1)
    units = int("".join(map(str, digits)))
    if units < MAX_EXACT_UNITS and exponent >= -18:
        return units, -exponent
    return f"{amount:f}", -1


def parked_ids(ids: Any) -> list[str] | None:
    """The ids of parked requests, or None for all.

    Raises:
        InvalidArgumentError: neither a list of ids nor "all": None may be a mistake, and would delete everything.
    """
    if isinstance(ids, str) and ids == "all":
        return None
    if ids is None:
        raise InvalidArgumentError("ids", 'a list of ids, or "all"')
    return validation.texts("ids", ids)


def metadata_text(metadata: Mapping[str, Any] | None) -> str | None:
    """An event's metadata as JSON text.

    Raises:
        InvalidArgumentError: not a dict, not JSON, or too large.
    """
    checked = validation.json_object("metadata", metadata)
    if checked is None:
        return None
    text = dumps({"metadata": checked})[len(b'{"metadata":') : -1].strip()
    if len(text) > MAX_METADATA_SIZE:
        raise InvalidArgumentError("metadata", f"at most {MAX_METADATA_SIZE} bytes of JSON, not {len(text)}")
    return text.decode()


def metadata_of(text: str | None) -> dict[str, Any] | None:
    """The metadata of a request, parsed."""
    if text is None:
        return None
    metadata: dict[str, Any] = loads(text.encode())
    return metadata


def readable_metadata(text: str | None) -> dict[str, Any] | None:
    """The metadata of a parked request; None also for what somebody else has written there and is no JSON object.

    Args:
        text: JSON text.
    """
    try:
        metadata = metadata_of(text)
    except (ValueError, AttributeError):
        return None
    return metadata if is_object(metadata) else None


def readable_amount(units: int | str, scale: int) -> int | Decimal:
    """The amount of a parked request; NaN when somebody else has written it into the outbox, and it is no number.

    Args:
        units: digits.
        scale: number of decimals.
    """
    try:
        return amount_of(units, scale)
    except (ArithmeticError, ValueError, TypeError):
        return Decimal("NaN")


def datetime_of(seconds: float) -> datetime:
    """The time of a parked request; 1970 when it is out of range.

    Args:
        seconds: since 1970.
    """
    try:
        return datetime.fromtimestamp(seconds, timezone.utc)
    except (OverflowError, ValueError, OSError, TypeError):
        return datetime.fromtimestamp(0, timezone.utc)


def checked_name(parameter: str, value: Any) -> str:
    """A customer's id or a meter's slug.

    Raises:
        InvalidArgumentError: not a string, empty, too long, or it can't be sent.
    """
    name = validation.text(parameter, value)
    if len(name) > MAX_NAME_LENGTH:
        raise InvalidArgumentError(parameter, f"at most {MAX_NAME_LENGTH} characters, not {len(name)}")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError(parameter, "contains half a surrogate pair, which can't be sent") from None
    return str.__str__(name)


class KeySource:
    """Makes keys that are unique among all processes, and sorted by time within one.

    Keys in order are four times as fast as random ones in a unique index. A forked child needs a source of its own.
    """

    def __init__(self) -> None:
        prefix = f"mu_{int(time.time() * 1000):011x}{os.urandom(8).hex()}"

        def block(number: int) -> list[str]:
            head = f"{prefix}{number:08x}"
            return [head + tail for tail in _TAILS]

        # Formatting each key on its own takes four times as long.
        self.new: Callable[[], str] = itertools.chain.from_iterable(map(block, itertools.count())).__next__
        """Make the next key. Any thread may call it."""
