"""Pure functions on a response of either service: its body as JSON or text, messages, and errors without secrets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from yarl import URL

from .errors import ApiError
from .http.messages import RawResponse
from .models.json import loads
from .redaction import BODY_KEPT, LONGEST_SECRET, bounded, clean_message, clean_name
from .type_guards import is_array, is_object

E = TypeVar("E", bound=ApiError)

_DEEPEST = 32


def json_of(response: RawResponse) -> Any:
    """The body as parsed JSON. Returns None when it is not JSON, or was cut."""
    if response.limit is not None:
        return None
    try:
        return loads(response.body)
    except ValueError:
        return None


def text_of(response: RawResponse) -> str:
    """The beginning of the body as text, not yet without secrets: cut it to `BODY_KEPT` after their removal."""
    kept = response.body[: BODY_KEPT + LONGEST_SECRET]
    if response.limit is not None and len(kept) < BODY_KEPT + LONGEST_SECRET:
        kept = kept[:-LONGEST_SECRET]  # the cut may have left a part of a secret
    return kept.decode("utf-8", "replace")


def default_message(response: RawResponse) -> str:
    """The message of an error whose response has none."""
    reason = response.reason or "error"
    if 300 <= response.status < 400:
        return f"redirected to {_target(response)}; redirects are not followed, check base_url"
    if not response.body:
        return f"{reason} (empty body)"
    return f"{reason} ({foreign_body(response)})"


def foreign_body(response: RawResponse) -> str:
    """What to say of a body that the service does not send."""
    kind = bounded(response.headers.get("Content-Type", "unknown type").split(";")[0], 100)
    return f"the body, {kind}, is not the service's: is base_url right, is a proxy in between?"


def too_large(response: RawResponse) -> str | None:
    """What is wrong with a response that exceeds the size limit. Returns None for any other response."""
    if response.limit is None:
        return None
    return f"the body is larger than {size_limit(response.limit)}"


def size_limit(limit: int) -> str:
    """The size limit of a response, and how to raise it."""
    return (
        f"max_response_size, {limit} bytes; raise it with client.with_options(max_response_size=...) or where the "
        "client is made"
    )


def redact(error: E, scrub: Callable[[str], str]) -> E:
    """Remove secrets from everything that `error` shows: a service may quote the key it refused."""
    code, message = clean_name(error.code, scrub), clean_message(error.message, scrub)
    clean = {error.code: code, error.message: message}
    error.args = tuple(clean.get(one, one) for one in error.args)
    error.code, error.message = code, message
    if error.request_id is not None:
        error.request_id = clean_name(error.request_id, scrub)
    error.body = scrubbed(error.body, scrub)
    if isinstance(error.body, str):
        error.body = error.body[:BODY_KEPT]
    if "details" in vars(error):
        error.details = scrubbed(error.details, scrub)
    return error


def scrubbed(value: Any, scrub: Callable[[str], str], depth: int = 0) -> Any:
    """Remove secrets from every string of a JSON value, names of fields included.

    Args:
        value: parsed JSON.
        scrub: removes secrets from a text.
        depth: nesting depth of `value`. Deeper levels than 32 are left out.
    """
    if isinstance(value, str):
        return scrub(value)
    if depth >= _DEEPEST:
        return "..." if is_object(value) or is_array(value) else value
    if is_object(value):
        return {scrub(key): scrubbed(one, scrub, depth + 1) for key, one in value.items()}
    if is_array(value):
        return [scrubbed(one, scrub, depth + 1) for one in value]
    return value


def _target(response: RawResponse) -> str:
    try:
        return bounded(str(URL(response.headers.get("Location", "")).origin()), 200)
    except ValueError:
        return "another address"
