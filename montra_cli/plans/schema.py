"""What a file of plans may say: kinds of objects, their fields, how they are found, and what the API can change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ..failures import USAGE, CliError
from ..json_types import exact_number, is_array, is_object


@dataclass(frozen=True)
class Kind:
    """A kind of object.

    Attributes:
        name: for people.
        section: its name in the file.
        match: the field that identifies an object within its plan.
        fields: its fields, with their types: `text`, `amount`, `whole` or `flag`.
        required: fields that a new object needs.
        updatable: fields that the API can change.
        deletable: whether the API can delete it.
    """

    name: str
    section: str
    match: str
    fields: Mapping[str, str]
    required: tuple[str, ...]
    updatable: tuple[str, ...] = ()
    deletable: bool = False


PLAN = Kind(
    "pricing model", "pricing_models", "name", {"name": "text", "is_default": "flag"}, ("name",), ("is_default",)
)
PRODUCT = Kind(
    "product",
    "products",
    "name",
    {
        "name": "text",
        "price_type": "text",
        "amount": "amount",
        "pricing_structure": "text",
        "meter_slug": "text",
        "status": "text",
    },
    ("name", "price_type"),
)
METER = Kind(
    "meter",
    "meters",
    "slug",
    {
        "name": "text",
        "slug": "text",
        "aggregation": "text",
        "currency": "text",
        "amount": "amount",
        "events_per_unit": "whole",
    },
    ("name", "slug"),
)
FEATURE = Kind(
    "feature",
    "features",
    "slug",
    {"name": "text", "slug": "text", "type": "text", "description": "text", "status": "text"},
    ("name", "slug"),
    ("name", "type", "description", "status"),
    deletable=True,
)
PARTS = (METER, PRODUCT, FEATURE)
"""In the order in which they are created: a product may charge for a meter."""

LIMIT_FIELDS = {"max_amount": "amount", "period": "text", "aggregation": "text"}
_SMALLEST, _LARGEST = Decimal("1e-64"), Decimal("1e64")
"""Amounts that the SDK sends. Others must be refused before the first change is made."""
SEED_ONLY = ("discounts", "customers", "webhooks")


@dataclass(frozen=True)
class Limit:
    """How much of a meter a plan allows.

    Attributes:
        max_amount: the usage at which access ends; None for unlimited.
        period: `billing_period`, `day`, `month` or `lifetime`.
        aggregation: instead of the meter's own; None for that.
    """

    max_amount: Decimal | None
    period: str = "billing_period"
    aggregation: str | None = None


@dataclass
class Part:
    """A product, meter or feature.

    Attributes:
        fields: those that are given.
        id: its id in the service; None in a file.
        limit: of a meter; None when nothing is said about it.
    """

    fields: dict[str, Any]
    id: str | None = None
    limit: Limit | None = None


@dataclass
class Plan:
    """A pricing model with its parts.

    Attributes:
        fields: those that are given.
        parts: its parts, by the section of their kind.
        id: its id in the service; None in a file.
    """

    fields: dict[str, Any]
    parts: dict[str, list[Part]]
    id: str | None = None

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.fields["name"])


def plans_of_file(data: Mapping[str, Any]) -> list[Plan]:
    """The plans of a parsed file.

    Args:
        data: the file.

    Raises:
        CliError: something in it is not understood, with its place.
    """
    extra = [name for name in data if name not in ("pricing_models",)]
    if seed_only := [name for name in extra if name in SEED_ONLY]:
        raise CliError(
            f"[[{seed_only[0]}]]: only for `montra sandbox --seed`; plans have products, meters and features",
            USAGE,
        )
    if extra:
        raise CliError(f"{extra[0]}: unknown; the file has [[pricing_models]]", USAGE)
    plans = [_plan(one, f"pricing_models[{i}]") for i, one in enumerate(_tables(data, "pricing_models", ""))]
    _check_unique([plan.name for plan in plans], "pricing_models", "name")
    if sum(plan.fields.get("is_default") is True for plan in plans) > 1:
        raise CliError("pricing_models: only one can have is_default = true", USAGE)
    return plans


def _plan(table: Mapping[str, Any], place: str) -> Plan:
    sections = [kind.section for kind in PARTS]
    fields = _fields(PLAN, {name: value for name, value in table.items() if name not in sections}, place)
    where = f"{place} ({fields['name']})"
    parts: dict[str, list[Part]] = {}
    for kind in PARTS:
        tables = _tables(table, kind.section, f"{where}.")
        parts[kind.section] = [_part(kind, one, f"{where}.{kind.section}[{i}]") for i, one in enumerate(tables)]
        _check_unique(
            [str(one.fields[kind.match]) for one in parts[kind.section]], f"{where}.{kind.section}", kind.match
        )
    return Plan(fields, parts)


def _part(kind: Kind, table: Mapping[str, Any], place: str) -> Part:
    rest = dict(table)
    limit = rest.pop("limit", None) if kind is METER else None
    return Part(_fields(kind, rest, place), limit=None if limit is None else _limit(limit, f"{place}.limit"))


def _fields(kind: Kind, table: Mapping[str, Any], place: str) -> dict[str, Any]:
    fields = {name: _value(kind.fields.get(name), value, f"{place}.{name}", kind) for name, value in table.items()}
    if kind.match not in fields:
        raise CliError(f"{place}: a {kind.name} needs a {kind.match}", USAGE)
    return fields


def _limit(value: Any, place: str) -> Limit:
    if not is_object(value) or "max_amount" not in value:
        raise CliError(f'{place}: e.g. {{ max_amount = 1000, period = "month" }}', USAGE)
    fields = {name: _value(LIMIT_FIELDS.get(name), one, f"{place}.{name}", None) for name, one in value.items()}
    return Limit(**fields)


def _value(expected: str | None, value: Any, place: str, kind: Kind | None) -> Any:
    if expected is None:
        known = ", ".join(LIMIT_FIELDS if kind is None else [*kind.fields, *(["limit"] if kind is METER else [])])
        raise CliError(f"{place}: unknown; the fields are {known}", USAGE)
    if expected == "text" and isinstance(value, str) and (value.strip() or place.endswith("description")):
        return value
    if expected == "flag" and isinstance(value, bool):
        return value
    if expected == "whole" and isinstance(value, int) and not isinstance(value, bool):
        return value
    if expected == "amount" and isinstance(value, (int, Decimal, str)) and not isinstance(value, bool):
        try:
            number = exact_number(str(value).strip())
        except ValueError:
            number = Decimal("nan")
        if number.is_zero() or _SMALLEST <= number < _LARGEST:
            return number
    words = {
        "text": "a text",
        "flag": "true or false",
        "whole": "a whole number",
        "amount": 'an amount such as "20.00"',
    }
    raise CliError(f"{place}: {words[expected]}, not {value!r}", USAGE)


def _tables(data: Mapping[str, Any], name: str, place: str) -> list[dict[str, Any]]:
    found: Any = data.get(name, [])
    if is_array(found) and all(is_object(one) for one in found):
        return found
    raise CliError(f"{place}{name}: tables, each begun with [[...{name}]]", USAGE)


def _check_unique(values: list[str], place: str, name: str) -> None:
    twice = sorted({one for one in values if values.count(one) > 1})
    if twice:
        raise CliError(f"{place}: the {name} {twice[0]!r} is there twice", USAGE)
