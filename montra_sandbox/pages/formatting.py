"""Filters of the templates: money, numbers and datetimes, for people and as HTML."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from markupsafe import Markup

from ..datetimes import parse_datetime
from ..paywall.paywall_context import ZERO_DECIMAL_CURRENCIES

_SYMBOLS = {"USD": "$"}


def format_money(amount: Any, currency: str = "USD") -> str:
    """An amount with its currency: `$1,234.50`, `-$5.00`, `9.49 EUR`, `500 JPY`.

    Args:
        amount: the amount in major units.
        currency: ISO code, in any case.
    """
    code = currency.upper()
    value = Decimal(amount)
    smallest = 0 if code in ZERO_DECIMAL_CURRENCIES else 2
    exponent = value.as_tuple().exponent
    places = max(smallest, -exponent if isinstance(exponent, int) else 0) if value % 1 else smallest
    text = f"{abs(value):,.{min(places, 12)}f}"
    sign = "-" if value < 0 else ""
    return f"{sign}{_SYMBOLS[code]}{text}" if code in _SYMBOLS else f"{sign}{text} {code}"


def format_number(value: Any) -> str:
    """A quantity with separators of thousands and without trailing zeros: `12,345.5`.

    Args:
        value: the number, or its text.
    """
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return str(value)
    if number == number.to_integral_value():
        return f"{number:,.0f}"
    return f"{number:,f}".rstrip("0").rstrip(".")


def format_datetime(value: str | datetime | None) -> Markup:
    """A `time` element such as `1 Feb 2026, 14:05:09 UTC`, with the exact value as its attribute; nothing for None.

    Args:
        value: the datetime, or its ISO 8601 text.
    """
    return _time_element(value, "{0.day} {0:%b} {0.year}, {0:%H:%M:%S} UTC")


def format_date(value: str | datetime | None) -> Markup:
    """As `format_datetime`, but only the day is shown: `1 Feb 2026`.

    Args:
        value: the datetime, or its ISO 8601 text.
    """
    return _time_element(value, "{0.day} {0:%b} {0.year}")


def _time_element(value: str | datetime | None, pattern: str) -> Markup:
    if value is None:
        return Markup()
    at = parse_datetime(value) if isinstance(value, str) else value
    exact = f"{at:%Y-%m-%dT%H:%M:%S}Z"
    return Markup('<time datetime="{}">{}</time>').format(exact, pattern.format(at))


FILTERS: dict[str, Callable[..., Any]] = {
    "money": format_money,
    "number": format_number,
    "datetime": format_datetime,
    "date": format_date,
}
"""The filters by the name that templates use."""
