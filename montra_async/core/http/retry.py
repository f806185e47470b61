"""The retry policy, as pure functions: whether a call is attempted again, and after how long."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

RETRY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses of a temporary condition."""

LOST_STATUSES = frozenset({408, 502, 504})
"""Statuses after which the request may have been carried out, and its response lost on the way."""

BASE_PAUSE = 0.5
LONGEST_PAUSE = 8.0

_LONGEST_HEADER = 100
"""Characters of a `Retry-After` header; an HTTP date has 29."""

_SECONDS = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*", re.ASCII)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait, from a `Retry-After` header.

    Args:
        value: a number of seconds or an HTTP date; None without a header.
        now: aware.

    Returns:
        Seconds, at least 0. None when the header is missing or malformed.
    """
    if not value or len(value) > _LONGEST_HEADER:
        return None
    if seconds := _SECONDS.fullmatch(value):
        return float(seconds[1])
    try:
        date = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=timezone.utc)
    return max(0.0, (date - now).total_seconds())


def next_pause(
    *,
    attempt: int,
    max_attempts: int,
    remaining: float,
    jitter: Callable[[], float],
    retry_after: float | None = None,
    dropped: bool = False,
) -> float | None:
    """How long to wait before the next attempt.

    Args:
        attempt: attempts made so far, at least 1.
        max_attempts: attempts allowed.
        remaining: seconds left of the call's total time-out.
        jitter: uniform random numbers in 0..1. Full jitter: clients that failed together must not return together.
        retry_after: seconds the service asked for, never shortened. Longer than `remaining` means giving up now rather
            than making the caller wait for a time-out.
        dropped: the connection died before any response, probably an idle one that the server had closed. The first
            time, a fresh connection is tried without a pause.

    Returns:
        Seconds, or None to give up.
    """
    if attempt >= max_attempts:
        return None
    if retry_after is not None:
        pause = retry_after
    elif dropped and attempt == 1:
        pause = 0.0
    else:
        pause = jitter() * min(LONGEST_PAUSE, BASE_PAUSE * 2.0 ** min(attempt - 1, 16))
    return pause if pause < remaining else None
