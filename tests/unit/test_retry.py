from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given, strategies as st

from montra_async.core.http.retry import BASE_PAUSE, LONGEST_PAUSE, next_pause, parse_retry_after

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        (format_datetime(NOW + timedelta(seconds=30), usegmt=True), 30.0),
        (format_datetime(NOW - timedelta(seconds=30), usegmt=True), 0.0),
        ("Thu, 01 Jan 2026 12:00:09 -0000", 9.0),
        ("Thu, 01 Jan 2026 14:00:09 +0200", 9.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("9" * 5000, None),
        ("\u0663", None),  # a digit, but not one of HTTP's
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


@given(st.text())
def test_retry_after_never_fails(value: str) -> None:
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or seconds >= 0


@given(attempt=st.integers(1, 10_000), jitter=st.floats(0, 1), remaining=st.floats(0, 1e6), dropped=st.booleans())
def test_pauses_are_jittered_and_bounded(attempt: int, jitter: float, remaining: float, dropped: bool) -> None:
    pause = next_pause(
        attempt=attempt, max_attempts=attempt + 1, remaining=remaining, jitter=lambda: jitter, dropped=dropped
    )
    ceiling = min(LONGEST_PAUSE, BASE_PAUSE * 2 ** min(attempt - 1, 100))
    if pause is None:
        assert jitter * ceiling >= remaining
    else:
        assert 0 <= pause <= ceiling
        assert pause < remaining
        assert pause == (0 if dropped and attempt == 1 else jitter * ceiling)


def test_the_ceiling_doubles_and_then_stays() -> None:
    longest = [next_pause(attempt=n, max_attempts=99, remaining=1e9, jitter=lambda: 1.0) for n in range(1, 8)]
    assert longest == [0.5, 1, 2, 4, 8, 8, 8]


@given(attempt=st.integers(1, 20), most=st.integers(1, 20))
def test_no_more_attempts_than_allowed(attempt: int, most: int) -> None:
    pause = next_pause(attempt=attempt, max_attempts=most, remaining=1e9, jitter=lambda: 0.5)
    assert (pause is None) == (attempt >= most)


@given(retry_after=st.floats(0, 1e6), remaining=st.floats(0, 1e6), attempt=st.integers(1, 5))
def test_retry_after_is_never_shortened(retry_after: float, remaining: float, attempt: int) -> None:
    pause = next_pause(
        attempt=attempt,
        max_attempts=9,
        remaining=remaining,
        jitter=lambda: 0.0,
        retry_after=retry_after,
        dropped=True,
    )
    assert pause == (retry_after if retry_after < remaining else None)
