"""Reads and writes TOML files of plans; the format is that of `montra sandbox --seed`."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from ..calls.values import read_text
from ..failures import USAGE, CliError
from ..json_types import is_array, is_object
from ..output.text import plain


def parse_toml(place: str) -> dict[str, Any]:
    """A TOML file as plain JSON: exact numbers, datetimes as texts.

    Args:
        place: path of the file; `-` for stdin.

    Raises:
        CliError: it can't be read, or is not TOML.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    text = read_text("FILE", place)
    try:
        document = tomlkit.parse(text)
        found: Any = _plain(document.unwrap(), place)
    except (TOMLKitError, RecursionError) as error:
        raise CliError(f"{place}: not TOML: {error}", USAGE) from None
    return dict(found)


def _plain(value: Any, place: str) -> Any:
    if is_object(value):
        return {str(name): _plain(one, place) for name, one in value.items()}
    if is_array(value):
        return [_plain(one, place) for one in value]
    if isinstance(value, bool) or not isinstance(value, (float, date, time)):
        return value
    if isinstance(value, float):
        number = Decimal(repr(value))
        if not number.is_finite():
            raise CliError(f"{place}: {value} is not a number that can be used", USAGE)
        return number
    if isinstance(value, datetime) and value.tzinfo is None:
        raise CliError(f"{place}: {value} needs a time zone, e.g. {value.isoformat()}Z", USAGE)
    return value.isoformat() if isinstance(value, time) else plain(value)
