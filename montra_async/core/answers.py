"""Pure: what can be said of an answer, whatever its body is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from yarl import URL

from .calls import Answer
from .jsontext import loads
from .shapes import is_array, is_object

_KEPT = 64 * 1024


def json_of(answer: Answer) -> Any:
    """The body as JSON; None when it is none."""
    try:
        return loads(answer.body)
    except ValueError:
        return None


def text_of(answer: Answer) -> str:
    """The body as text, at most 64 KiB of it."""
    return answer.body[:_KEPT].decode("utf-8", "replace")


def words_for(answer: Answer) -> str:
    """A message for an error that brought none of its own."""
    reason = answer.reason or "error"
    if 300 <= answer.status < 400:
        return f"redirected to {_target(answer)}; redirects are not followed, check base_url"
    if not answer.body:
        return f"{reason} (empty body)"
    kind = answer.headers.get("Content-Type", "unknown type").split(";")[0]
    return f"{reason} (the body, {kind}, is not the service's: is base_url right, is a proxy in between?)"


def scrubbed(value: Any, scrub: Callable[[str], str]) -> Any:
    """JSON with every string in it scrubbed: a service may quote the key it refused."""
    if isinstance(value, str):
        return scrub(value)
    if is_object(value):
        return {key: scrubbed(one, scrub) for key, one in value.items()}
    if is_array(value):
        return [scrubbed(one, scrub) for one in value]
    return value


def _target(answer: Answer) -> str:
    try:
        return str(URL(answer.headers.get("Location", "")).origin())
    except ValueError:
        return "another address"
