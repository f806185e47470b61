"""One line per thing that happens, in colour on a terminal."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from typing import Any

from ..cleaning import clean
from ..output.text import plain

_GREEN, _YELLOW, _RED, _DIM = "32", "33", "31", "2"


def uses_colour() -> bool:
    """Whether stdout is a terminal that wants colours (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def coloured(text: str, code: str) -> str:
    """A text in a colour, if stdout wants that.

    Args:
        text: clean text.
        code: number of the colour.
    """
    return f"\x1b[{code}m{text}\x1b[0m" if code and uses_colour() else text


def dim(text: str) -> str:
    """A text that is less important.

    Args:
        text: clean text.
    """
    return coloured(text, _DIM)


def status_text(status: Any, error: Any = None) -> str:
    """A status of HTTP, or what happened instead.

    Args:
        status: the status; None without an answer.
        error: what happened instead.
    """
    if status is None:
        return coloured(clean(str(error or "no answer"))[:120], _RED)
    number = int(status)
    return coloured(str(number), _GREEN if number < 300 else _YELLOW if number < 400 else _RED)


def clock_text(value: Any) -> str:
    """The time of day of an ISO datetime, in UTC.

    Args:
        value: the datetime.
    """
    text = str(value or "")
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return clean(text)[:30]


def duration_text(milliseconds: Any) -> str:
    """A duration.

    Args:
        milliseconds: the number; None for an unknown one.
    """
    return "-" if milliseconds is None else f"{float(milliseconds):.0f} ms"


def request_line(request: dict[str, Any]) -> str:
    """A request to the sandbox: time, method, status, duration, path, and what else is known.

    Args:
        request: its JSON.
    """
    parts = [
        dim(clock_text(request.get("at"))),
        status_text(request.get("status"), "dropped"),
        f"{clean(str(request.get('method')))[:10]:<6}",
        clean(str(request.get("path")))[:300],
        dim(duration_text(request.get("duration_ms"))),
    ]
    for name, title in (("idempotency_key", "key"), ("error_code", "error"), ("fault", "fault"), ("id", "")):
        if request.get(name):
            text = plain(request[name])[:260]
            parts.append(dim(f"{title}={text}" if title else text))
    if request.get("replayed"):
        parts.append(dim("replayed"))
    return "  ".join(parts)


def delivery_line(delivery: dict[str, Any]) -> str:
    """A delivery of a webhook: time, event, answer, duration.

    Args:
        delivery: its JSON.
    """
    at = delivery.get("attempted_at") or delivery.get("created_at")
    answer = status_text(delivery.get("last_status"), delivery.get("last_error"))
    attempts = delivery.get("attempts")
    parts = [dim(clock_text(at)), answer, clean(str(delivery.get("event_type")))[:100]]
    parts += [dim(clean(str(delivery.get("event_id")))[:60]), dim(duration_text(delivery.get("duration_ms")))]
    if isinstance(attempts, int) and attempts > 1:
        parts.append(dim(f"attempt {attempts}"))
    return "  ".join(parts)


def event_line(event: dict[str, Any]) -> str:
    """An event: time, type, id.

    Args:
        event: its JSON.
    """
    at, kind, event_id = event.get("created_at"), str(event.get("type")), str(event.get("id"))
    return "  ".join([dim(clock_text(at)), clean(kind)[:100], dim(clean(event_id)[:60])])
