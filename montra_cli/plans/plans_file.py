"""Reads and writes TOML files of plans; the format is that of `montra sandbox --seed`."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from ..calls.values import read_text
from ..failures import USAGE, CliError
from ..json_types import exact_number, is_array, is_object, refuse_deep
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

    refuse_other_formats("FILE", place)
    text = read_text("FILE", place)
    try:
        found: Any = _plain(tomlkit.parse(text), place)
        refuse_deep(found)
    except (TOMLKitError, RecursionError, ValueError) as error:
        raise CliError(f"{place}: not TOML that can be used: {error}", USAGE) from None
    return dict(found)


def refuse_other_formats(name: str, place: str) -> None:
    """Refuse a file whose name says that it is not TOML.

    Args:
        name: the option or argument.
        place: path of the file.

    Raises:
        CliError: its name ends with `.json`, `.yaml` or `.yml`.
    """
    if place.lower().endswith((".json", ".yaml", ".yml")):
        raise CliError(f"{name}: plans are TOML, not {place}: name it plans.toml", USAGE)


def _plain(value: Any, place: str) -> Any:
    """An item of the document without its class, whose numbers still know their text."""
    if is_object(value):
        return {str(name): _plain(one, place) for name, one in value.items()}
    if is_array(value):
        return [_plain(one, place) for one in value]
    if isinstance(value, float):
        return _number(value, place)
    if isinstance(value, datetime) and value.tzinfo is None:
        raise CliError(f"{place}: {value} needs a time zone, e.g. {value.isoformat()}Z", USAGE)
    if isinstance(value, (date, time)):
        return value.isoformat() if isinstance(value, time) else plain(value)
    return value.unwrap() if hasattr(value, "unwrap") else value


def _number(value: Any, place: str) -> Decimal:
    """The number that was written. A float has lost digits of it."""
    text = str(value.as_string()).replace("_", "")
    try:
        return exact_number(text)
    except ValueError:
        raise CliError(f"{place}: {text} is not a number that can be used", USAGE) from None
