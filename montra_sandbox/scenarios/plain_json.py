"""Values from outside, as JSON within the limits of a request: sizes, depth, digits, text that UTF-8 can encode."""

from __future__ import annotations

from datetime import date, datetime, timezone
from typing import Any

import simplejson

from ..datetimes import format_datetime
from ..json import loads_untrusted
from ..problems import Problem, invalid

_MAX_SHOWN = 200


def plain_json(name: str, value: Any, max_size: int) -> Any:
    """A copy of a value as JSON has it: fractions become `Decimal`, datetimes ISO 8601 text, tuples lists.

    Args:
        name: what the value is, for messages.
        value: the value.
        max_size: its largest size, in bytes of JSON.

    Raises:
        Problem: 400 not JSON, or a number or nesting beyond the limits; 413 too large.
    """
    try:
        text = simplejson.dumps(value, use_decimal=True, default=_encode, ensure_ascii=False).encode()
        if len(text) > max_size:
            raise Problem(413, "too_large", f"{name}: at most {max_size} bytes")
        return loads_untrusted(text)
    except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise invalid(f"{name}: {str(error)[:_MAX_SHOWN] or 'can not be JSON'}") from None


def _encode(value: Any) -> Any:
    """TOML and YAML have dates and datetimes. Without an offset they are UTC."""
    if isinstance(value, datetime):
        return format_datetime(value if value.tzinfo is not None else value.replace(tzinfo=timezone.utc))
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"a {type(value).__name__} can't be JSON")
