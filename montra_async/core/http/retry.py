"""Pure decisions: may a call be tried again, and after how long."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

RETRY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that say "not now" rather than "no"."""

LOST_STATUSES = frozenset({408, 502, 504})
"""Statuses after which the request may have been carried out, its answer lost on the way."""

BASE_PAUSE = 0.5
LONGEST_PAUSE = 8.0

_LONGEST = 100
"""Characters of a `Retry-After` header; an HTTP date has 29."""

_SECONDS = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*", re.ASCII)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds from a `Retry-After` header: a number or an HTTP date. None when there is nothing usable."""
    if not value or len(value) > _LONGEST:
        return None
    if seconds := _SECONDS.fullmatch(value):
        return float(seconds[1])
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - now).total_seconds())


def next_pause(
    *,
    attempt: int,
    max_attempts: int,
    remaining: float,
    draw: Callable[[], float],
    retry_after: float | None = None,
    at_once: bool = False,
) -> float | None:
    """Seconds to wait before the next try, or None to give up.

    Args:
        attempt: tries made so far, at least 1.
        remaining: seconds left of the call's total time-out.
        draw: uniform random numbers in 0..1. Full jitter: clients that failed together must not return together.
        retry_after: what the service asked for; it is never shortened. Longer than `remaining` means giving up now
            rather than making the caller wait for a time-out.
        at_once: the connection died before any answer, probably an idle one that the other end had closed. The
            first time, a fresh connection is tried without a pause.
    """
    if attempt >= max_attempts:
        return None
    if retry_after is not None:
        pause = retry_after
    elif at_once and attempt == 1:
        pause = 0.0
    else:
        pause = draw() * min(LONGEST_PAUSE, BASE_PAUSE * 2.0 ** min(attempt - 1, 16))
    return pause if pause < remaining else None
