"""What JSON and TOML can hold: told apart, also for type checkers, and read with exact numbers of limited size."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any, NoReturn, TypeGuard

MAX_DEPTH = 64
"""Maximum number of nested levels of arrays and objects; the sandbox accepts as many."""
_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
_MAX_DIGITS = 400
_NUMBER = re.compile(
    rf"[+-]?(?:[0-9]{{1,{_MAX_DIGITS}}}(?:\.[0-9]{{0,{_MAX_DIGITS}}})?|\.[0-9]{{1,{_MAX_DIGITS}}})(?:[eE][+-]?[0-9]{{1,3}})?"
)


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a value is an object.

    Args:
        value: parsed JSON or TOML.
    """
    return isinstance(value, dict)


def is_array(value: Any) -> TypeGuard[list[Any]]:
    """Whether a value is an array.

    Args:
        value: parsed JSON or TOML.
    """
    return isinstance(value, list)


def exact_number(text: str) -> Decimal:
    """A number with all its digits. `Decimal()` takes `1_000`, digits of other scripts and `1e9999999999`, too.

    Args:
        text: e.g. `19.99` or `1e3`.

    Raises:
        ValueError: it is not a number, or has more than 400 digits or an exponent beyond 999.
    """
    if not _NUMBER.fullmatch(text):
        raise ValueError("not a number that can be used")
    return Decimal(text)


def exact_json(text: str | bytes) -> Any:
    """Parsed JSON with exact numbers.

    Args:
        text: the JSON.

    Raises:
        ValueError: it is not JSON, is nested deeper than 64 levels, has a key twice, or holds a number that can't be
            used.
    """
    try:
        value = json.loads(
            text, parse_float=exact_number, parse_int=_whole, parse_constant=_refuse, object_pairs_hook=_object
        )
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    refuse_deep(value)
    return value


def refuse_deep(value: Any) -> None:
    """Check the depth of JSON or TOML, level by level: most of what is done with it is recursive.

    Args:
        value: the parsed JSON or TOML.

    Raises:
        ValueError: it is nested deeper than 64 levels.
    """
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for one in level for inner in _inner(one)]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


def _inner(value: Any) -> list[Any]:
    if is_object(value):
        return list(value.values())
    return value if is_array(value) else []


def _whole(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number of more than {_MAX_DIGITS} digits")
    return int(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # nobody knows which of its values is meant
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:100]!r} is there twice")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
