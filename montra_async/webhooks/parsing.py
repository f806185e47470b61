"""Pure: from a raw body and its signature to an event that can be believed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from functools import cache
from itertools import islice
from typing import Any, TypeAlias

import attrs

from ..core.errors import ConfigError
from ..core.models.datetimes import datetime_from_number, parse_datetime
from ..core.models.json import loads
from ..core.models.model import structure
from ..core.redaction import ShownWhenHalfBuilt
from ..core.signature import (
    MAX_SIGNATURE_LENGTH,
    SIGNATURE_HEADER,
    Secrets,
    SigningSecrets,
    body_bytes,
    digest_of,
    is_genuine,
    signing_secrets,
)
from ..core.type_guards import is_object, is_sequence
from .errors import WebhookPayloadError, WebhookSignatureError
from .events import EVENTS, WebhookEvent
from .paywall_events import PAYWALL_EVENTS

Signature: TypeAlias = str | Mapping[str, str] | None
"""The signature header's value, or all headers of the request."""

CLOCK_SKEW = timedelta(minutes=5)
"""How far ahead of ours the sender's clock may be, by default: an event from a later future is refused."""

MAX_SIGNATURES = 4
"""Signature headers of one request; with more of them, it is refused."""

MAX_EXPLAINED = 16 * 1024
"""Bytes of a body that is not signed, for which it is found out whether it was parsed and written again."""

_LONGEST_HEADER_NAME = 64
_LONGEST_MOMENT = 64


@attrs.frozen
class Source:
    """A service that sends webhooks: which headers may carry its signature, and what its events are."""

    name: str
    headers: tuple[str, ...]
    events: Mapping[str, type[WebhookEvent]]


MONTRA = Source("montra", (SIGNATURE_HEADER,), EVENTS)
PAYWALL = Source("paywall", ("X-Signature", "X-Monetize-Signature"), PAYWALL_EVENTS)


@attrs.frozen(kw_only=True, repr=False)
class Age(ShownWhenHalfBuilt):
    """When an event may have happened. Raises ConfigError for what can't be meant."""

    most: timedelta | None = None
    skew: timedelta = CLOCK_SKEW
    required: bool = False

    def __attrs_post_init__(self) -> None:
        if self.most is not None and not _is_span(self.most):
            raise ConfigError("max_age: a timedelta greater than 0, or None for any age")
        if not (isinstance(self.skew, timedelta) and self.skew >= timedelta(0)):
            raise ConfigError("clock_skew: a timedelta, at least 0")


def _is_span(value: Any) -> bool:
    return isinstance(value, timedelta) and value > timedelta(0)


def parse(
    raw_body: bytes | str,
    signature: Signature,
    secret: Secrets,
    *,
    max_age: timedelta | None = None,
    clock_skew: timedelta = CLOCK_SKEW,
    require_created_at: bool = False,
) -> WebhookEvent:
    """An event that Montra surely sent.

    Args:
        raw_body: the request's body, exactly as it came: unparsed.
        signature: the header `Montra-Signature`, or all headers of the request.
        secret: the endpoint's `whsec_...`, or several of them (at most 8).
        max_age: refuse events that happened longer ago, and those whose `created_at` can't be read or lies in the
            future. An event without `created_at` has no age: it is refused with `require_created_at` only.
        clock_skew: how far in the future `created_at` may lie, because the sender's clock is ahead; 5 minutes.
        require_created_at: refuse events that don't say when they happened.

    Raises:
        WebhookSignatureError: it can't be believed; `reason` and the words say why.
        WebhookPayloadError: it can't be read, or is too old.
        ConfigError: there is no secret, or one that can't be right.
    """
    secrets = signing_secrets(secret)
    del secret  # what is below may raise: a traceback with local variables must not show it
    age = Age(most=max_age, skew=clock_skew, required=require_created_at)
    return parse_from(MONTRA, raw_body, signature, secrets.checked(), age)


def parse_paywall(
    raw_body: bytes | str,
    signature: Signature,
    secret: Secrets,
    *,
    max_age: timedelta | None = None,
    clock_skew: timedelta = CLOCK_SKEW,
    require_created_at: bool = False,
) -> WebhookEvent:
    """An event that the paywall service surely sent: as `parse`, with `X-Signature` or `X-Monetize-Signature`."""
    secrets = signing_secrets(secret)
    del secret
    age = Age(most=max_age, skew=clock_skew, required=require_created_at)
    return parse_from(PAYWALL, raw_body, signature, secrets.checked(), age)


def parse_from(source: Source, raw_body: Any, signature: Any, secrets: SigningSecrets, age: Age) -> WebhookEvent:
    """`parse` for one of the services, with secrets that were taken over. Nothing unsigned is read as JSON."""
    body = body_bytes(raw_body)
    if body is None:
        problem = f"the raw body is needed, bytes or text as it came, not a parsed {type(raw_body).__name__}"
        raise WebhookSignatureError("changed_body", problem)
    _believe(source, body, signature, secrets)
    event = _event(source, body)
    _check_age(event, age)
    return event


def _believe(source: Source, body: bytes, signature: Any, secrets: SigningSecrets) -> None:
    """Raise unless the body is signed. Lengths and numbers are bounded before anything is computed."""
    candidates = _candidates(source, signature)
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
    if len(body) <= MAX_EXPLAINED and _was_rewritten(body, digests, secrets):
        problem = "this body was parsed and written again; verify the raw body that came with the request"
        raise WebhookSignatureError("changed_body", problem)
    raise WebhookSignatureError("wrong_signature", "not signed with this secret, or the body was changed")


def _candidates(source: Source, signature: Any) -> list[str]:
    """What may be the signature: one text, or what the headers say under the names of this source."""
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
    """The items of whatever a framework calls headers, names in lower case; of anything else, none."""
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
        name = name[: _LONGEST_HEADER_NAME + 1].decode("latin-1")
    return name.lower() if isinstance(name, str) and len(name) <= _LONGEST_HEADER_NAME else None


def _texts(value: Any) -> list[str]:
    """The value of a header as text: some give bytes, or a list where it came several times."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, bytes):
        return [value[: MAX_SIGNATURE_LENGTH + 1].decode("latin-1")]
    if is_sequence(value):
        texts = [one for one in islice(value, MAX_SIGNATURES + 1) if isinstance(one, (str, bytes))]
        return [text for one in texts for text in _texts(one)]
    return []


def _was_rewritten(body: bytes, digests: list[bytes], secrets: SigningSecrets) -> bool:
    """Does the signature fit another spelling of the same JSON? Only to say so: such a body is refused all the same."""
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


def _event(source: Source, body: bytes) -> WebhookEvent:
    try:
        payload = loads(body)
    except (ValueError, ArithmeticError, RecursionError):
        raise WebhookPayloadError("the body is not JSON that can be read") from None
    if not is_object(payload):
        raise WebhookPayloadError("the body is not a JSON object")
    event_id, kind = payload.pop("id", None), payload.pop("type", None)
    if not (isinstance(event_id, str) and event_id and isinstance(kind, str) and kind):
        raise WebhookPayloadError("the body has no `id` or no `type`")
    data, created_at = payload.pop("data", None), _moment(payload.get("created_at"))
    if created_at is not None or payload.get("created_at") is None:
        payload.pop("created_at", None)  # what can't be read stays in `extra`
    cls = source.events.get(kind, WebhookEvent)
    if cls is not WebhookEvent:
        data = _data(cls, data, event_id, kind)
    return cls(id=event_id, type=kind, created_at=created_at, data=data, raw_body=body, extra=payload)


def _data(cls: Any, data: Any, event_id: str, kind: str) -> Any:
    try:
        return structure(data, _data_class(cls))
    except Exception as error:  # whatever it is: the body came from outside
        problem = f"event {shown(event_id)} of type {shown(kind)}: {error!s:.300}"
    raise WebhookPayloadError(problem)


@cache
def _data_class(cls: Any) -> Any:
    attrs.resolve_types(cls)
    return attrs.fields_dict(cls)["data"].type


def _moment(value: Any) -> datetime | None:
    """When it happened, in ISO 8601 or seconds since 1970; None when it can't be read."""
    try:
        if isinstance(value, str):
            return parse_datetime(value) if len(value) <= _LONGEST_MOMENT else None
        if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            return datetime_from_number(value)
    except (ValueError, ArithmeticError):  # an offset can lead out of the calendar: OverflowError
        pass
    return None


def _check_age(event: WebhookEvent, age: Age) -> None:
    name = f"event {shown(event.id)}"
    if event.created_at is None:
        unreadable = "created_at" in event.extra
        if age.required or (unreadable and age.most is not None):
            problem = "has a `created_at` that can't be read" if unreadable else "has no `created_at`"
            raise WebhookPayloadError(f"{name} {problem}")
        return
    if age.most is None:
        return
    elapsed = datetime.now(timezone.utc) - event.created_at
    if elapsed > age.most:
        raise WebhookPayloadError(f"{name} happened {elapsed} ago; nothing older than {age.most} is taken")
    if elapsed < -age.skew:
        raise WebhookPayloadError(f"{name} is from the future, by {-elapsed}; is this machine's clock right?")


def shown(event_id: str) -> str:
    """An id as it may stand in a log or an error: in ASCII, without line breaks, and not endless."""
    text = event_id if len(event_id) <= 100 else f"{event_id[:100]}..."
    return text if text.isascii() and text.isprintable() else ascii(text)
