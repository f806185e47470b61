"""Charts and formats: numbers of any size are drawn and written."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, strategies as st

from montra_sandbox.dashboard.charts import HEIGHT, WIDTH, Series, area, share_of_limit, stacked_bars
from montra_sandbox.dashboard.rendering import pretty_json, status_tone
from montra_sandbox.pages.formatting import format_date, format_datetime, format_money, format_number

AMOUNTS = st.decimals(0, 10**18, allow_nan=False, places=2) | st.integers(0, 10**18)


@given(values=st.lists(st.tuples(AMOUNTS, AMOUNTS), min_size=0, max_size=40))
def test_bars_stay_inside_the_chart(values: list[tuple[Any, Any]]) -> None:
    keys = [str(i) for i in range(len(values))]
    paid = Series("paid", "first", [one for one, _ in values])
    failed = Series("failed", "second", [two for _, two in values])
    chart = stacked_bars(keys, [paid, failed], format_number)
    for bar in chart.bars:
        assert 0 <= bar.x <= bar.x + bar.width <= WIDTH + 0.02
        assert -0.02 <= bar.y <= bar.y + bar.height <= HEIGHT + 0.02
    assert len(chart.figures) == len(chart.hover) == len(keys)
    assert len(chart.labels) <= 6
    line = area(keys, paid)
    assert bool(line.line) is bool(keys)
    assert (chart.top == "") is not any(one + two for one, two in values)


def test_an_empty_chart() -> None:
    chart = stacked_bars(["a", "b"], [Series("n", "first", [0, 0])])
    assert (chart.bars, chart.top) == ([], "")
    assert area(["a"], Series("n", "first", [5])).line == "M0.0 5.0"


@pytest.mark.parametrize(
    ("used", "limit", "share"),
    [(0, 10, 0), (5, 10, 50), (20, 10, 100), (1, 0, 100), ("0.5", "1.5", 33.3), (1, 3, 33.3)],
)
def test_shares_of_limits(used: Any, limit: Any, share: float) -> None:
    assert share_of_limit(used, limit) == share


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        ("1234.5", "usd", "$1,234.50"),
        ("-5", "USD", "-$5.00"),
        ("9.49", "EUR", "9.49 EUR"),
        ("500", "JPY", "500 JPY"),
        ("0.000012", "USD", "$0.000012"),
        (Decimal(10) ** 18, "USD", "$1,000,000,000,000,000,000.00"),
        (0, "USD", "$0.00"),
    ],
)
def test_money(amount: Any, currency: str, text: str) -> None:
    assert format_money(Decimal(amount), currency) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1,234,567"),
        ("0.50", "0.5"),
        (Decimal("1E+3"), "1,000"),
        ("<b>", "<b>"),
        (1.25, "1.25"),
        ("100.00", "100"),
    ],
)
def test_numbers(value: Any, text: str) -> None:
    assert format_number(value) == text


def test_times_are_exact_and_in_utc() -> None:
    at = datetime(2026, 2, 1, 14, 5, 9, tzinfo=timezone.utc)
    assert format_datetime(at) == '<time datetime="2026-02-01T14:05:09Z">1 Feb 2026, 14:05:09 UTC</time>'
    assert format_date("2026-02-01T14:05:09.123456Z") == '<time datetime="2026-02-01T14:05:09Z">1 Feb 2026</time>'
    assert format_date(None) == ""


@pytest.mark.parametrize(
    ("status", "tone"),
    [(200, "good"), (304, "plain"), (404, "warn"), (503, "bad"), (None, "bad"), ("Active", "good"), ("odd", "plain")],
)
def test_tones(status: Any, tone: str) -> None:
    assert status_tone(status) == tone


def test_pretty_json() -> None:
    assert pretty_json('{"a":1.50}') == '{\n  "a": 1.50\n}'
    assert pretty_json("<html>") == "<html>"
    assert pretty_json("[" * 100_000) == "[" * 100_000
    assert pretty_json({"ä": None}) == '{\n  "ä": null\n}'
