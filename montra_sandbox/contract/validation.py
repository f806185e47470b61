"""JSON Schema with words that help."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, cast

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend  # pyright: ignore[reportUnknownVariableType]

from ..clock import from_text

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_NOT_BLANK = r"[^\x00-\x20]"
_MOST = 20
_MOST_DIGITS = 64
_MOST_EXPONENT = 400  # every double has a smaller one

_formats = FormatChecker(formats=())


@_formats.checks("date-time", raises=ValueError)
def _is_moment(value: object) -> bool:
    return not isinstance(value, str) or (bool(_MOMENT.fullmatch(value)) and bool(from_text(value)))


@_formats.checks("date", raises=ValueError)
def _is_day(value: object) -> bool:
    return not isinstance(value, str) or (len(value) == 10 and bool(date.fromisoformat(value)))


def _is_number(_: object, value: object) -> bool:
    """A number that money, counts and times could be: 1e1000000 takes a minute to write out, and 1e-1000000 too."""
    if isinstance(value, Decimal):
        return value.is_finite() and _readable(value)
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_integer(_: object, value: object) -> bool:
    """1.0 is a whole number in JSON Schema, also when it was read as a Decimal."""
    if isinstance(value, Decimal):
        return _is_number(_, value) and value == value.to_integral_value()
    return isinstance(value, int) and not isinstance(value, bool)


def _readable(value: Decimal) -> bool:
    digits, exponent = value.as_tuple()[1:]
    return isinstance(exponent, int) and abs(exponent) <= _MOST_EXPONENT and len(digits) <= _MOST_DIGITS


_Validator = cast(
    "Any",
    extend(  # type: ignore[no-untyped-call]
        Draft202012Validator,
        type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many({"integer": _is_integer, "number": _is_number}),
    ),
)


def validator(schema: Mapping[str, Any]) -> Validator:
    made: Validator = _Validator(schema, format_checker=_formats)
    return made


def describe(check: Validator | None, value: Any) -> list[dict[str, str]]:
    """What is wrong with a value: `path` and `message` of each problem, at most twenty; empty when it is valid."""
    problems: list[dict[str, str]] = []
    for error in check.iter_errors(value) if check is not None else ():
        problems.append({"path": _path(error), "message": _words(error)})
        if len(problems) == _MOST:
            break
    return problems


def _path(error: ValidationError) -> str:
    path = ""
    for part in error.absolute_path:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def _wanted(error: ValidationError) -> str | None:
    """The field whose absence, or emptiness, is the error."""
    if error.validator == "required":
        return str(cast("list[Any]", error.validator_value)[0])
    return str(error.path[-1]) if error.validator == "minItems" and error.path else None


def _words(error: ValidationError) -> str:
    rule: Any = error.validator
    limit: Any = error.validator_value
    if rule in ("oneOf", "anyOf") and error.context and all(map(_wanted, error.context)):
        names = " or ".join(str(_wanted(one)) for one in error.context)
        return f"give {'exactly one of' if rule == 'oneOf' else 'at least one of'} {names}"
    if rule == "oneOf" and not error.context:
        return "give exactly one of " + " or ".join(one["required"][0] for one in limit)
    if rule == "anyOf" and all("format" in one for one in limit):
        return "must be an ISO 8601 date or moment"
    if rule == "format":
        return "must be an ISO 8601 moment with a time zone" if limit == "date-time" else f"must be a {limit}"
    if rule == "minLength" or (rule == "pattern" and limit == _NOT_BLANK):
        return "must not be empty"
    if rule == "enum":
        return f"must be one of {', '.join(limit)}"
    if rule == "pattern" and "@" in limit:
        return "must be an email address"
    if rule == "pattern" and "http" in limit:
        return "must be a URL such as https://example.com/webhooks"
    if rule == "pattern":
        return f"does not match {limit}"
    message = error.message
    return message if len(message) <= 300 else f"{message[:100]} ... ({rule} {str(limit)[:100]})"
