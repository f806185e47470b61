"""Pure: what can be said of an answer, whatever its body is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from yarl import URL

from .http.messages import RawResponse
from .models.json import loads
from .type_guards import is_array, is_object

BODY_KEPT = 64 * 1024
LONGEST_SECRET = 8 * 1024
_DEEPEST = 32


def json_of(answer: RawResponse) -> Any:
    """The body as JSON; None when it is none, or not whole."""
    if answer.limit is not None:
        return None
    try:
        return loads(answer.body)
    except ValueError:
        return None


def text_of(answer: RawResponse) -> str:
    """The body as text; to be cut to `BODY_KEPT` once secrets are out of it."""
    kept = answer.body[: BODY_KEPT + LONGEST_SECRET]
    if answer.limit is not None and len(kept) < BODY_KEPT + LONGEST_SECRET:
        kept = kept[:-LONGEST_SECRET]  # it was cut where half a secret may stand
    return kept.decode("utf-8", "replace")


_LONGEST_MESSAGE = 4096
_LONGEST_NAME = 128


def clean_message(text: str, scrub: Callable[[str], str]) -> str:
    """A message of the service without secrets. It is cut afterwards: half a secret is not recognised."""
    return bounded(scrub(text), _LONGEST_MESSAGE)


def clean_name(text: str, scrub: Callable[[str], str]) -> str:
    """The same for a code or an id."""
    return bounded(scrub(text), _LONGEST_NAME)


def bounded(text: str, longest: int) -> str:
    """`text`, cut where nobody reads on."""
    return text if len(text) <= longest else f"{text[:longest]}..."


def default_message(answer: RawResponse) -> str:
    """A message for an error that brought none of its own."""
    reason = answer.reason or "error"
    if 300 <= answer.status < 400:
        return f"redirected to {_target(answer)}; redirects are not followed, check base_url"
    if not answer.body:
        return f"{reason} (empty body)"
    kind = bounded(answer.headers.get("Content-Type", "unknown type").split(";")[0], 100)
    return f"{reason} (the body, {kind}, is not the service's: is base_url right, is a proxy in between?)"


def too_large(answer: RawResponse) -> str | None:
    """What is wrong with an answer that is longer than it may be; None when it is not."""
    if answer.limit is None:
        return None
    return f"the body is larger than {size_limit(answer.limit)}"


def size_limit(limit: int) -> str:
    """The limit of an answer's size, and how to raise it."""
    return (
        f"max_response_size, {limit} bytes; raise it with client.with_options(max_response_size=...) or where the "
        "client is made"
    )


def scrubbed(value: Any, scrub: Callable[[str], str], depth: int = 0) -> Any:
    """JSON with every string in it scrubbed, keys of objects included: a service may quote the key it refused.

    What is nested deeper than an error has reason to is left out.
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


def _target(answer: RawResponse) -> str:
    try:
        return bounded(str(URL(answer.headers.get("Location", "")).origin()), 200)
    except ValueError:
        return "another address"
