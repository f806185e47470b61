"""JSON Schema validation with helpful messages."""

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

from ..datetimes import parse_datetime

_DATETIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_NOT_BLANK = r"[^\x00-\x20]"
_MAX_ERRORS = 20
_MAX_DIGITS = 64
_MAX_EXPONENT = 400  # every double has a smaller one

_formats = FormatChecker(formats=())


@_formats.checks("date-time", raises=ValueError)
def _is_datetime(value: object) -> bool:
    return not isinstance(value, str) or (bool(_DATETIME.fullmatch(value)) and bool(parse_datetime(value)))


@_formats.checks("date", raises=ValueError)
def _is_date(value: object) -> bool:
    return not isinstance(value, str) or (len(value) == 10 and bool(date.fromisoformat(value)))


def _is_number(_: object, value: object) -> bool:
    """A number of usual size: to format 1e1000000 takes a minute."""
    if isinstance(value, Decimal):
        return value.is_finite() and _has_usual_size(value)
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_integer(_: object, value: object) -> bool:
    """1.0 is an integer in JSON Schema, also as a Decimal."""
    if isinstance(value, Decimal):
        return _is_number(_, value) and value == value.to_integral_value()
    return isinstance(value, int) and not isinstance(value, bool)


def _has_usual_size(value: Decimal) -> bool:
    digits, exponent = value.as_tuple()[1:]
    return isinstance(exponent, int) and abs(exponent) <= _MAX_EXPONENT and len(digits) <= _MAX_DIGITS


_Validator = cast(
    "Any",
    extend(  # type: ignore[no-untyped-call]
        Draft202012Validator,
        type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many({"integer": _is_integer, "number": _is_number}),
    ),
)


def make_validator(schema: Mapping[str, Any]) -> Validator:
    """A validator for a schema without references.

    Args:
        schema: the JSON Schema.
    """
    made: Validator = _Validator(schema, format_checker=_formats)
    return made


def describe(validator: Validator | None, value: Any) -> list[dict[str, str]]:
    """`path` and `message` of each error, at most twenty; empty when the value is valid.

    Args:
        validator: the schema; None accepts everything.
        value: the value.
    """
    errors: list[dict[str, str]] = []
    for error in validator.iter_errors(value) if validator is not None else ():
        errors.append({"path": _path(error), "message": _message(error)})
        if len(errors) == _MAX_ERRORS:
            break
    return errors


def _path(error: ValidationError) -> str:
    path = ""
    for part in error.absolute_path:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def _missing_field(error: ValidationError) -> str | None:
    """The field whose absence or emptiness is the error."""
    if error.validator == "required":
        return str(cast("list[Any]", error.validator_value)[0])
    return str(error.path[-1]) if error.validator == "minItems" and error.path else None


def _message(error: ValidationError) -> str:
    rule: Any = error.validator
    limit: Any = error.validator_value
    if rule in ("oneOf", "anyOf") and error.context and all(map(_missing_field, error.context)):
        names = " or ".join(str(_missing_field(one)) for one in error.context)
        return f"give {'exactly one of' if rule == 'oneOf' else 'at least one of'} {names}"
    if rule == "oneOf" and not error.context:
        return "give exactly one of " + " or ".join(one["required"][0] for one in limit)
    if rule == "anyOf" and all("format" in one for one in limit):
        return "must be an ISO 8601 date or datetime"
    if rule == "format":
        return "must be an ISO 8601 datetime with a time zone" if limit == "date-time" else f"must be a {limit}"
    if rule == "type" and error.instance is None:
        return "must not be null"
    if rule == "minLength":
        return "must not be empty"
    if rule == "enum":
        return f"must be one of {', '.join(limit)}"
    if rule == "pattern":
        return _pattern_message(limit)
    message = error.message
    return message if len(message) <= 300 else f"{message[:100]} ... ({rule} {str(limit)[:100]})"


def _pattern_message(pattern: str) -> str:
    if pattern == _NOT_BLANK:
        return "must not be empty"
    if "@" in pattern:
        return "must be an email address"
    if "http" in pattern:
        return "must be a URL such as https://example.com/webhooks"
    return f"does not match {pattern}"
