"""Pure: from a raw body and its signature to an event that can be believed."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, TypeAlias

import attrs

from ..core.jsontext import loads
from ..core.moments import parse_moment
from ..core.serde import SerdeError, structure
from ..core.shapes import is_mapping, is_object
from ..core.signature import SIGNATURE_HEADER, sign, verify_signature
from .errors import WebhookPayloadError, WebhookSignatureError
from .events import EVENTS, WebhookEvent
from .paywall_events import PAYWALL_EVENTS

Signature: TypeAlias = "str | Mapping[str, str] | None"
"""The signature header's value, or all headers of the request."""

Secrets: TypeAlias = "str | Iterable[str]"
"""The endpoint's secret, or several of them while one is being replaced by another."""

_HEX = re.compile(r"\s*(?:sha256=)?\s*[0-9a-f]{64}\s*", re.IGNORECASE)


@attrs.frozen
class Source:
    """A service that sends webhooks: which headers may carry its signature, and what its events are."""

    name: str
    headers: tuple[str, ...]
    events: Mapping[str, type[WebhookEvent]]


MONTRA = Source("montra", (SIGNATURE_HEADER,), EVENTS)
PAYWALL = Source("paywall", ("X-Signature", "X-Monetize-Signature"), PAYWALL_EVENTS)


def parse(
    raw_body: bytes | str, signature: Signature, secret: Secrets, *, max_age: timedelta | None = None
) -> WebhookEvent:
    """An event that Montra surely sent.

    Args:
        raw_body: the request's body, exactly as it came: unparsed.
        signature: the header `Montra-Signature`, or all headers of the request.
        secret: the endpoint's `whsec_...`, or several of them.
        max_age: refuse events that happened longer ago.

    Raises:
        WebhookSignatureError: it can't be believed; `reason` and the words say why.
        WebhookPayloadError: it can't be read, or is too old.
    """
    return parse_from(MONTRA, raw_body, signature, secret, max_age=max_age)


def parse_paywall(
    raw_body: bytes | str, signature: Signature, secret: Secrets, *, max_age: timedelta | None = None
) -> WebhookEvent:
    """An event that the paywall service surely sent: as `parse`, with `X-Signature` or `X-Monetize-Signature`."""
    return parse_from(PAYWALL, raw_body, signature, secret, max_age=max_age)


def parse_from(
    source: Source, raw_body: bytes | str, signature: Signature, secret: Secrets, *, max_age: timedelta | None = None
) -> WebhookEvent:
    """`parse` for one of the services."""
    body = _bytes(raw_body)
    _believe(source, body, signature, checked_secrets(secret))
    event = _event(source, body)
    if max_age is not None and event.created_at is not None:
        age = datetime.now(timezone.utc) - event.created_at
        if age > max_age:
            raise WebhookPayloadError(f"event {event.id} happened {age} ago; nothing older than {max_age} is taken")
    return event


def checked_secrets(secret: Any) -> list[str]:
    """The secrets, as a list. An environment variable that is not set must not make everything believable.

    Raises:
        ValueError: there is none, or an empty one among them.
    """
    given: list[str] = [secret] if isinstance(secret, str) else [*(secret or [])]
    if not given or not all(isinstance(one, str) and one for one in given):
        raise ValueError("secret: no webhook secret was given, or an empty one; is its environment variable set?")
    return given


def _bytes(raw_body: Any) -> bytes:
    if isinstance(raw_body, str):
        return raw_body.encode("utf-8", "surrogatepass")
    if isinstance(raw_body, (bytes, bytearray)):
        return bytes(raw_body)
    raise WebhookSignatureError(
        "changed_body", f"the raw body is needed, bytes or text as it came, not a parsed {type(raw_body).__name__}"
    )


def _believe(source: Source, body: bytes, signature: Signature, secrets: list[str]) -> None:
    candidates = _candidates(source, signature)
    names = " or ".join(source.headers)
    if not candidates:
        raise WebhookSignatureError("missing_header", f"the request has no header {names}")
    genuine = False
    for one in candidates:
        genuine |= verify_signature(body, one, secrets)
    if genuine:
        return
    if not any(_HEX.fullmatch(one) for one in candidates):
        raise WebhookSignatureError("malformed_header", f"{names} is not 64 hexadecimal digits")
    if _was_rewritten(body, candidates, secrets):
        problem = "this body was parsed and written again; verify the raw body that came with the request"
        raise WebhookSignatureError("changed_body", problem)
    raise WebhookSignatureError("wrong_signature", "not signed with this secret, or the body was changed")


def _candidates(source: Source, signature: Signature) -> list[str]:
    if signature is None:
        return []
    if isinstance(signature, str):
        return [signature] if signature.strip() else []
    if not is_mapping(signature):
        return []
    wanted = {name.lower() for name in source.headers}
    found = [value for name, value in signature.items() if isinstance(name, str) and name.lower() in wanted]
    return [value for value in found if isinstance(value, str) and value.strip()]


def _was_rewritten(body: bytes, candidates: list[str], secrets: list[str]) -> bool:
    """Does the signature fit another spelling of the same JSON? Only to say so: such a body is refused all the same."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return False
    given = [one.strip().lower().removeprefix("sha256=").strip() for one in candidates if one.isascii()]
    for separators in ((",", ":"), (", ", ": ")):
        for ascii_only in (False, True):
            text = json.dumps(value, separators=separators, ensure_ascii=ascii_only)
            spelled = text.encode("utf-8", "surrogatepass")
            if any(hmac.compare_digest(sign(spelled, secret), one) for secret in secrets for one in given):
                return True
    return False


def _event(source: Source, body: bytes) -> WebhookEvent:
    try:
        payload = loads(body)
    except ValueError:
        raise WebhookPayloadError("the body is not JSON") from None
    if not is_object(payload):
        raise WebhookPayloadError("the body is not a JSON object")
    event_id, kind = payload.pop("id", None), payload.pop("type", None)
    if not (isinstance(event_id, str) and event_id and isinstance(kind, str) and kind):
        raise WebhookPayloadError("the body has no `id` or no `type`")
    created_at, data = _moment(payload.pop("created_at", None)), payload.pop("data", None)
    cls = source.events.get(kind, WebhookEvent)
    try:
        told = structure(data, _data_class(cls)) if cls is not WebhookEvent else data
    except SerdeError as error:
        raise WebhookPayloadError(f"event {event_id} of type {kind}: {error}") from None
    return cls(id=event_id, type=kind, created_at=created_at, data=told, raw_body=body, extra=payload)


def _data_class(cls: type[WebhookEvent]) -> Any:
    attrs.resolve_types(cls)
    return attrs.fields_dict(cls)["data"].type


def _moment(value: Any) -> datetime | None:
    try:
        return parse_moment(value) if isinstance(value, str) else None
    except ValueError:
        return None
