"""The fields of triggers: what people may say about an event, with their kinds and descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, TypeAlias

import attrs

from ..cards import EMAIL
from ..json import MAX_DIGITS, is_object
from ..problems import invalid
from .plain_json import plain_json

Kind: TypeAlias = Literal["text", "email", "number", "count", "flag", "object"]

_MAX_SIZE = 100_000
_MAX_TEXT = 1_000
_MAX_NUMBER = 10**18
_MAX_COUNT = 3_650
_FLAGS = {"true": True, "false": False}


@attrs.frozen
class Field:
    """A field of triggers.

    Attributes:
        kind: which values it may have.
        description: what it means.
    """

    kind: Kind
    description: str


FIELDS: dict[str, Field] = {
    "name": Field("text", "the customer's name"),
    "email": Field("email", "the customer's email address; a customer who has it already is used"),
    "phone": Field("text", "the customer's phone number"),
    "metadata": Field("object", "the customer's metadata, an object"),
    "customer_id": Field("text", "an existing customer"),
    "subscription_id": Field("text", "an existing subscription"),
    "pricing_model_id": Field("text", "an existing plan"),
    "new_pricing_model_id": Field("text", "the plan to change to"),
    "transaction_id": Field("text", "an existing payment"),
    "link_id": Field("text", "an existing checkout link"),
    "amount": Field("number", "the amount or price in major units: 9.99"),
    "currency": Field("text", "the ISO code of the currency"),
    "code": Field("text", "a discount code"),
    "reason": Field("text", "the reason"),
    "description": Field("text", "the description"),
    "status": Field("text", "the new status"),
    "due_date": Field("text", "when it is due, ISO 8601"),
    "pause_behavior": Field("text", "keep_as_is, mark_uncollectible or void"),
    "resume_at": Field("text", "when it resumes by itself, ISO 8601"),
    "one_time": Field("flag", "true for a payment without a subscription"),
    "cancel_at_period_end": Field("flag", "whether the subscription ends with its period"),
    "meter_slug": Field("text", "the slug of a meter"),
    "limit": Field("number", "the plan's limit for the meter"),
    "paywall_id": Field("text", "the paywall; the first one without it"),
    "price_id": Field("text", "a price of the paywall"),
    "user_id": Field("text", "your own id of the user"),
    "purchase_id": Field("text", "an existing purchase"),
    "trial_days": Field("count", "days of a trial before the first payment"),
}
"""By name. A name means the same in all triggers."""


def check_fields(event: str, known: tuple[str, ...], given: Any) -> dict[str, Any]:
    """Check the fields of a trigger and convert their values.

    Args:
        event: the event, for messages.
        known: the names that the trigger knows.
        given: the fields; None for none.

    Raises:
        Problem: 400, an unknown field or an impossible value.
    """
    plain: Any = plain_json("fields", {} if given is None else given, _MAX_SIZE)
    if not is_object(plain):
        raise invalid("fields: an object")
    unknown = sorted(plain.keys() - set(known))
    if unknown:
        raise invalid(f"unknown: {', '.join(unknown)[:200]}; the fields of {event} are: {', '.join(known)}")
    return {name: _CHECKS[FIELDS[name].kind](name, value) for name, value in plain.items() if value is not None}


def given_fields(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Those of some fields that are given.

    Args:
        fields: the fields.
        names: which.
    """
    return {name: fields[name] for name in names if name in fields}


def _text(name: str, value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):  # ids may be numbers, and shells have no types
        value = str(value)
    if not isinstance(value, str) or not value.strip() or len(value) > _MAX_TEXT:
        raise invalid(f"{name}: text of 1 to {_MAX_TEXT} characters")
    return value


def _email(name: str, value: Any) -> str:
    if not isinstance(value, str) or not EMAIL.fullmatch(value):
        raise invalid(f"{name}: an email address")
    return value


def _number(name: str, value: Any) -> Decimal:
    try:
        if isinstance(value, bool) or not isinstance(value, (int, Decimal, str)):
            raise InvalidOperation
        number = Decimal(value[:MAX_DIGITS] if isinstance(value, str) else value)
    except InvalidOperation:
        raise invalid(f"{name}: a number") from None
    if not number.is_finite() or not 0 <= number <= _MAX_NUMBER or number.adjusted() < -MAX_DIGITS:
        raise invalid(f"{name}: a number from 0 to {_MAX_NUMBER}")
    return number


def _count(name: str, value: Any) -> int:
    number = _number(name, value)
    if number != number.to_integral_value() or number > _MAX_COUNT:
        raise invalid(f"{name}: a whole number from 0 to {_MAX_COUNT}")
    return int(number)


def _flag(name: str, value: Any) -> bool:
    if isinstance(value, str):
        value = _FLAGS.get(value.lower())
    if not isinstance(value, bool):
        raise invalid(f"{name}: true or false")
    return value


def _object(name: str, value: Any) -> dict[str, Any]:
    if not is_object(value):
        raise invalid(f"{name}: an object")
    return value


_CHECKS = {"text": _text, "email": _email, "number": _number, "count": _count, "flag": _flag, "object": _object}
