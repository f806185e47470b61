"""Verify a webhook's signature and parse its event. Functions without effects."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from decimal import Decimal
from functools import cache
from itertools import islice
from types import MappingProxyType
from typing import Any

import attrs

from ..core.durations import CLOCK_SKEW, Duration, age_in_seconds
from ..core.models.datetimes import datetime_from_number, parse_datetime
from ..core.models.json import loads
from ..core.models.model import structure
from ..core.type_guards import is_object, is_sequence
from .errors import WebhookPayloadError, WebhookSignatureError
from .events import EVENTS
from .paywall_events import PAYWALL_EVENTS
from .signature import (
    MAX_SIGNATURE_LENGTH,
    SIGNATURE_HEADER,
    Secrets,
    SignatureOrHeaders,
    SigningSecrets,
    body_bytes,
    digest_of,
    is_genuine,
    signing_secrets,
)
from .webhook_event import WebhookEvent

MAX_SIGNATURES = 4
"""Signatures in the headers of one request at most; a request with more of them is refused."""

_MAX_JOINED_LENGTH = MAX_SIGNATURES * MAX_SIGNATURE_LENGTH

MAX_DIAGNOSED_BODY_SIZE = 16 * 1024
"""Bytes of an unsigned body up to which it is parsed, to find out whether it was parsed and serialized on the way."""

_MAX_HEADER_NAME_LENGTH = 64
_MAX_DATETIME_LENGTH = 64


@attrs.frozen
class Source:
    """A service that sends webhooks.

    Attributes:
        name: "montra" or "paywall".
        headers: the headers that may carry the signature.
        events: the classes of its events by type.
    """

    name: str
    headers: tuple[str, ...]
    events: Mapping[str, type[WebhookEvent]]


log: logging.Logger = logging.getLogger("montra")

SANDBOX_VARIABLE = "MONTRA_SANDBOX"
"""An environment variable: with `1`, events come from a sandbox, whose clock can be moved, so that no age counts."""

MONTRA = Source("montra", (SIGNATURE_HEADER,), EVENTS)
PAYWALL = Source("paywall", ("X-Signature", "X-Monetize-Signature"), PAYWALL_EVENTS)


SOURCES: Mapping[str, Source] = MappingProxyType({"montra": MONTRA, "paywall": PAYWALL})


@attrs.frozen(kw_only=True)
class AgeLimit:
    """Which dates of events are accepted. Durations are in seconds.

    Attributes:
        max_age: the greatest age; None for any age.
        clock_skew: how far in the future `created_at` may lie.
        require_created_at: whether an event must have a date.
    """

    max_age: float | None
    clock_skew: float
    require_created_at: bool


def age_limit(max_age: Duration | None, clock_skew: Duration, require_created_at: bool) -> AgeLimit:
    """Validate the settings of an age limit.

    Raises:
        ConfigError: a duration is not valid.
    """
    return AgeLimit(
        max_age=None if max_age is None else age_in_seconds("max_age", max_age),
        clock_skew=age_in_seconds("clock_skew", clock_skew, zero_allowed=True),
        require_created_at=require_created_at,
    )


def parse(
    raw_body: bytes | str,
    signature: SignatureOrHeaders,
    secret: Secrets,
    *,
    max_age: Duration | None = None,
    clock_skew: Duration = CLOCK_SKEW,
    require_created_at: bool = False,
) -> WebhookEvent:
    """Verify the signature of a webhook of Montra and parse its event.

    Args:
        raw_body: the request's body, exactly as it arrived: unparsed.
        signature: the value of the header `Montra-Signature`, or all headers of the request.
        secret: the endpoint's `whsec_...`, or several of them (at most 8) during a rotation.
        max_age: the greatest age of the event, as a timedelta or seconds. With it, events whose `created_at` can't be
            read or lies in the future are refused, too; an event without `created_at` has no age and is accepted.
            Default: None, any age.
        clock_skew: how far in the future `created_at` may lie, because the sender's clock is ahead, as a timedelta or
            seconds. Default: 5 minutes.
        require_created_at: refuse events without `created_at`. Default: False.

    Returns:
        The event, as an instance of its type's class; of an unknown type, a `WebhookEvent`.

    Raises:
        WebhookSignatureError: the signature is missing or wrong; `reason` says which.
        WebhookPayloadError: the body is not an event, or the event is too old.
        ConfigError: the secret or a duration is not valid.
    """
    secrets = signing_secrets(secret)
    del secret  # the code below may raise: a traceback with local variables must not show the secret
    limit = age_limit(max_age, clock_skew, require_created_at)
    return parse_from(MONTRA, raw_body, signature, secrets.validated(), limit)


def parse_paywall(
    raw_body: bytes | str,
    signature: SignatureOrHeaders,
    secret: Secrets,
    *,
    max_age: Duration | None = None,
    clock_skew: Duration = CLOCK_SKEW,
    require_created_at: bool = False,
) -> WebhookEvent:
    """Verify the signature of a webhook of the paywall service and parse its event.

    Args:
        raw_body: the request's body, exactly as it arrived: unparsed.
        signature: the value of the header `X-Signature` or `X-Monetize-Signature`, or all headers of the request.
        secret: the paywall's webhook secret, or several of them (at most 8) during a rotation.
        max_age: the greatest age of the event, as a timedelta or seconds; see `parse`. Default: None, any age.
        clock_skew: how far in the future `created_at` may lie, as a timedelta or seconds. Default: 5 minutes.
        require_created_at: refuse events without `created_at`. Default: False.

    Returns:
        The event, as an instance of its type's class; of an unknown type, a `WebhookEvent`.

    Raises:
        WebhookSignatureError: the signature is missing or wrong; `reason` says which.
        WebhookPayloadError: the body is not an event, or the event is too old.
        ConfigError: the secret or a duration is not valid.
    """
    secrets = signing_secrets(secret)
    del secret  # the code below may raise: a traceback with local variables must not show the secret
    limit = age_limit(max_age, clock_skew, require_created_at)
    return parse_from(PAYWALL, raw_body, signature, secrets.validated(), limit)


def parse_from(source: Source, raw_body: Any, signature: Any, secrets: SigningSecrets, limit: AgeLimit) -> WebhookEvent:
    """`parse` for one of the services, with validated settings. The event of an unsigned body is never parsed."""
    body = body_bytes(raw_body)
    if body is None:
        problem = f"the raw body is needed, bytes or text as it came, not a parsed {type(raw_body).__name__}"
        raise WebhookSignatureError("changed_body", problem)
    _verify(source, body, signature, secrets)
    event = _parse_event(source, body)
    _check_age(event, limit)
    return event


def _verify(source: Source, body: bytes, signature: Any, secrets: SigningSecrets) -> None:
    """Raise unless the body is signed. Lengths and counts are checked before anything is computed."""
    candidates = _signature_candidates(source, signature)
    names = " or ".join(source.headers)
    if not candidates:
        raise WebhookSignatureError("missing_header", f"the request has no header {names}")
    if len(candidates) > MAX_SIGNATURES:
        raise WebhookSignatureError("malformed_header", f"more than {MAX_SIGNATURES} signatures in {names}")
    digests = [digest for one in candidates if (digest := digest_of(one)) is not None]
    if not digests:
        raise WebhookSignatureError("malformed_header", f"{names} is not 64 hexadecimal digits")
    if is_genuine(body, digests, secrets):
        return
    if len(body) <= MAX_DIAGNOSED_BODY_SIZE and _was_reserialized(body, digests, secrets):
        problem = "this body was parsed and serialized again; verify the raw body that came with the request"
        raise WebhookSignatureError("changed_body", problem)
    raise WebhookSignatureError("wrong_signature", "not signed with this secret, or the body was changed")


def _signature_candidates(source: Source, signature: Any) -> list[str]:
    """Return what may be the signature: the given text, or the values of the source's headers."""
    found: list[str] = []
    if signature is None or isinstance(signature, (str, bytes)):
        found += _texts(signature)
    else:
        wanted = {name.lower() for name in source.headers}
        for name, value in _named_values(signature):
            if name in wanted and len(found) <= MAX_SIGNATURES:
                found += _texts(value)
    return [one for one in found if len(one) > MAX_SIGNATURE_LENGTH or one.strip()]


def _named_values(headers: Any) -> Iterator[tuple[str | None, Any]]:
    """Yield the items of a framework's headers object, names in lower case; nothing for other objects."""
    items: Any = getattr(headers, "items", None)
    if not callable(items) or isinstance(headers, type):
        return
    try:
        found: Any = items()
        for name, value in found:
            yield _header_name(name), value
    except (TypeError, ValueError):  # not pairs
        return


def _header_name(name: Any) -> str | None:
    if isinstance(name, bytes):
        name = name[: _MAX_HEADER_NAME_LENGTH + 1].decode("latin-1")
    return name.lower() if isinstance(name, str) and len(name) <= _MAX_HEADER_NAME_LENGTH else None


def _texts(value: Any) -> list[str]:
    """Return a header's values as text: some frameworks give bytes, and a header that came several times as a list, or
    joined with commas."""
    if isinstance(value, str):
        parts = value.split(",") if len(value) <= _MAX_JOINED_LENGTH else ()
        return [part for part in parts if part.strip()] or [value]
    if isinstance(value, bytes):
        return _texts(value[: _MAX_JOINED_LENGTH + 1].decode("latin-1"))
    if is_sequence(value):
        texts = [one for one in islice(value, MAX_SIGNATURES + 1) if isinstance(one, (str, bytes))]
        return [text for one in texts for text in _texts(one)]
    return []


def _was_reserialized(body: bytes, digests: list[bytes], secrets: SigningSecrets) -> bool:
    """Return whether the signature fits another serialization of the same JSON. Such a body is refused, too: this only
    makes the error more precise."""
    try:
        value = json.loads(body)
        spellings = [
            json.dumps(value, separators=separators, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
            for separators in ((",", ":"), (", ", ": "))
            for ascii_only in (False, True)
        ]
    except (ValueError, RecursionError):
        return False
    return any(is_genuine(spelling, digests, secrets) for spelling in spellings)


def _parse_event(source: Source, body: bytes) -> WebhookEvent:
    try:
        payload = loads(body)
    except (ValueError, ArithmeticError, RecursionError):
        raise WebhookPayloadError("the body is not JSON that can be read") from None
    if not is_object(payload):
        raise WebhookPayloadError("the body is not a JSON object")
    event_id, kind = payload.pop("id", None), payload.pop("type", None)
    if not (isinstance(event_id, str) and event_id and isinstance(kind, str) and kind):
        raise WebhookPayloadError("the body has no `id` or no `type`")
    data, created_at = payload.pop("data", None), _parse_created_at(payload.get("created_at"))
    if created_at is not None or payload.get("created_at") is None:
        payload.pop("created_at", None)  # a value that can't be read stays in `extra`
    cls = source.events.get(kind, WebhookEvent)
    if cls is not WebhookEvent:
        data = _parse_data(cls, data, event_id, kind)
    return cls(id=event_id, type=kind, created_at=created_at, data=data, raw_body=body, extra=payload)


def _parse_data(cls: Any, data: Any, event_id: str, kind: str) -> Any:
    try:
        return structure(data, _data_class(cls))
    except Exception as error:  # the body comes from outside: any error is a payload error
        problem = f"event {printable(event_id)} of type {printable(kind)}: {error!s:.300}"
    raise WebhookPayloadError(problem)


@cache
def _data_class(cls: Any) -> Any:
    attrs.resolve_types(cls)
    return attrs.fields_dict(cls)["data"].type


def _parse_created_at(value: Any) -> datetime | None:
    """Parse ISO 8601 or seconds since 1970. Returns None when the value can't be read."""
    try:
        if isinstance(value, str):
            return parse_datetime(value) if len(value) <= _MAX_DATETIME_LENGTH else None
        if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            return datetime_from_number(value)
    except (ValueError, ArithmeticError):  # an offset can lead beyond the calendar: OverflowError
        pass
    return None


def _is_of_a_sandbox() -> bool:
    """Whether events come from a sandbox. Beside a live key they don't: the variable was copied by mistake."""
    said = os.environ.get(SANDBOX_VARIABLE, "").strip().lower() in ("1", "true")
    if not said or os.environ.get("MONTRA_API_KEY", "").startswith("sk_live"):
        return False
    _warn_of_any_age()
    return True


@cache
def _warn_of_any_age() -> None:
    """Once per process, and only when it makes a difference."""
    log.warning("an event of any age is accepted, because %s is set: for a sandbox only", SANDBOX_VARIABLE)


def _check_age(event: WebhookEvent, limit: AgeLimit) -> None:
    name = f"event {printable(event.id)}"
    if event.created_at is None:
        unreadable = "created_at" in event.extra
        if limit.require_created_at or (unreadable and limit.max_age is not None):
            problem = "has a `created_at` that can't be read" if unreadable else "has no `created_at`"
            raise WebhookPayloadError(f"{name} {problem}")
        return
    if limit.max_age is None:
        return
    age = datetime.now(timezone.utc) - event.created_at
    if -limit.clock_skew <= age.total_seconds() <= limit.max_age or _is_of_a_sandbox():
        return
    if age.total_seconds() > 0:
        raise WebhookPayloadError(f"{name} is {age} old; `max_age` is {limit.max_age:g} s")
    raise WebhookPayloadError(
        f"{name} is dated {-age} in the future; check this machine's clock"
        f" (if the sender is a sandbox whose clock was moved, set {SANDBOX_VARIABLE}=1)"
    )


def printable(event_id: str) -> str:
    """Return an id as it may be logged: in ASCII, without line breaks, at most about 100 characters."""
    text = event_id if len(event_id) <= 100 else f"{event_id[:100]}..."
    return text if text.isascii() and text.isprintable() else ascii(text)
