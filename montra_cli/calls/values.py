"""Texts of the command line as the values that the SDK takes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from ..failures import USAGE, CliError
from ..json_types import exact_json, exact_number, is_array, is_object

MAX_FILE = 10 * 1024 * 1024
_PAIR = re.compile(r"([^=:]+?)(:?=)(.*)", re.DOTALL)


def invalid(name: str, expected: str, given: str) -> CliError:
    """An error for a value that can't be read.

    Args:
        name: the option or argument.
        expected: what it must be.
        given: the text.
    """
    shown = given if len(given) <= 60 else given[:57] + "..."
    return CliError(f"{name}: {expected}, not {shown!r}", USAGE)


def parse_number(name: str, text: str) -> Decimal:
    """A decimal number with all its digits.

    Args:
        name: the option or argument.
        text: the text.

    Raises:
        CliError: it is not a number.
    """
    try:
        return exact_number(text.strip())
    except ValueError:
        raise invalid(name, "a number such as 19.99", text) from None


def parse_whole(name: str, text: str) -> int:
    """A whole number.

    Args:
        name: the option or argument.
        text: the text.

    Raises:
        CliError: it is not a whole number.
    """
    if not re.fullmatch(r"[+-]?[0-9]{1,64}", text, re.ASCII):
        raise invalid(name, "a whole number", text)
    return int(text)


def parse_datetime(name: str, text: str) -> datetime:
    """An ISO 8601 datetime with a time zone.

    Args:
        name: the option or argument.
        text: the text.

    Raises:
        CliError: it is not one.
    """
    expected = "a datetime with a time zone such as 2030-01-31T12:00:00Z"
    try:
        found = datetime.fromisoformat(re.sub(r"[Zz]$", "+00:00", text.strip()))
    except ValueError:
        raise invalid(name, expected, text) from None
    if found.tzinfo is None:
        raise invalid(name, expected, text)
    return found


def parse_date(name: str, text: str) -> date:
    """A date, or a datetime with a time zone.

    Args:
        name: the option or argument.
        text: the text.

    Raises:
        CliError: it is neither.
    """
    if len(text) > 10:
        return parse_datetime(name, text)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise invalid(name, "a date such as 2030-01-31", text) from None


def parse_json(name: str, text: str) -> Any:
    """JSON with exact numbers.

    Args:
        name: where it is from.
        text: the JSON.

    Raises:
        CliError: it is not JSON.
    """
    try:
        return exact_json(text)
    except json.JSONDecodeError:
        raise invalid(name, "JSON", text) from None
    except ValueError as error:
        raise invalid(name, f"JSON that can be used ({error})", text) from None


def read_text(name: str, place: str) -> str:
    """The text of a file, or of stdin for `-`, without the byte order mark that some editors put in front.

    Args:
        name: the option or argument.
        place: path of the file.

    Raises:
        CliError: it can't be read, or is larger than 10 MiB.
    """
    try:
        if place == "-":
            raw = sys.stdin.buffer.read(MAX_FILE + 1)
        else:
            with Path(place).open("rb") as file:
                raw = file.read(MAX_FILE + 1)
        if len(raw) > MAX_FILE:
            raise CliError(f"{name}: {place} is larger than 10 MiB", USAGE)
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CliError(f"{name}: {place} is not UTF-8", USAGE) from None
    except OSError as error:
        raise CliError(f"{name}: {place}: {error.strerror}", USAGE) from None


def parse_object(name: str, texts: Sequence[str]) -> dict[str, Any]:
    """A JSON object from `KEY=TEXT`, `KEY:=JSON`, JSON and `@FILE`, in their order.

    Args:
        name: the option.
        texts: what was given.

    Raises:
        CliError: a text is none of these.
    """
    found: dict[str, Any] = {}
    for text in texts:
        if text.startswith("@"):
            text = read_text(name, text[1:])
        if text.lstrip().startswith("{"):
            part = parse_json(name, text)
            if not is_object(part):
                raise invalid(name, "a JSON object", text)
            found.update(part)
        elif pair := _PAIR.fullmatch(text):
            found[pair[1]] = parse_json(f"{name} {pair[1]}", pair[3]) if pair[2] == ":=" else pair[3]
        else:
            raise invalid(name, "KEY=TEXT, KEY:=JSON, a JSON object or @FILE", text)
    return found


def parse_objects(name: str, texts: Sequence[str]) -> list[dict[str, Any]]:
    """A list of JSON objects: each text is `KEY=VALUE,KEY=VALUE`, a JSON object or array, or `@FILE`.

    Args:
        name: the option.
        texts: what was given.

    Raises:
        CliError: a text is none of these.
    """
    found: list[dict[str, Any]] = []
    for text in texts:
        if text.startswith("@"):
            text = read_text(name, text[1:])
        if text.lstrip().startswith(("{", "[")):
            part = parse_json(name, text)
            found += part if is_array(part) else [part]
        else:
            found.append({key: _scalar(key, value) for key, value in _pairs(name, text)})
    return found


def _pairs(name: str, text: str) -> list[tuple[str, str]]:
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(key and equals for key, equals, _ in pairs):
        raise invalid(name, "KEY=VALUE,KEY=VALUE, JSON or @FILE", text)
    return [(key.strip(), value) for key, _, value in pairs]


def _scalar(key: str, text: str) -> Any:
    """A whole number where one is meant: an id of digits stays a text."""
    is_number = re.fullmatch(r"[0-9]{1,18}", text, re.ASCII) and not key.endswith("id")
    return int(text) if is_number else text


def _file(name: str, text: str) -> Any:
    return sys.stdin.buffer if text == "-" else Path(text)


def _id(name: str, text: str) -> str | int:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text, re.ASCII) else text


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "text": lambda _, text: text,
    "flag": lambda _, flag: flag,
    "id": _id,
    "whole": parse_whole,
    "number": parse_number,
    "date": parse_date,
    "datetime": parse_datetime,
    "file": _file,
    "object": parse_object,
    "objects": parse_objects,
    "texts": lambda _, texts: list(texts),
    "files": lambda name, texts: [_file(name, one) for one in texts],
}


def read_value(kind: str, name: str, given: Any) -> Any:
    """The value of a parameter.

    Args:
        kind: see `Parameter.kind`.
        name: the option or argument, for messages.
        given: a text, several, or a flag.

    Raises:
        CliError: it can't be read.
    """
    return _READERS[kind](name, given)
