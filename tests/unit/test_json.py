"""Reading and writing JSON."""

from __future__ import annotations

import json
import math
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, strategies as st

from montra_async import Customer, InvalidArgumentError
from montra_async.core.models import json as jsontext

decimals = st.decimals(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | decimals,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def _as_read(value: Any) -> Any:
    """A decimal without a fraction comes back as an int."""
    if isinstance(value, Decimal):
        return int(str(value)) if set(str(value)) <= set("-0123456789") else value
    if isinstance(value, dict):
        return {key: _as_read(one) for key, one in value.items()}
    return [_as_read(one) for one in value] if isinstance(value, list) else value


def _same(left: Any, right: Any) -> bool:
    """Equal with all digits: 1.10 is not 1.1."""
    if isinstance(left, Decimal):
        return isinstance(right, Decimal) and left.as_tuple() == right.as_tuple()
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return type(left) is type(right) and bool(left == right)


@given(value=json_values)
def test_values_survive_a_round_trip_with_all_digits(value: Any) -> None:
    assert _same(jsontext.loads(jsontext.dumps(value)), _as_read(value))


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_the_output_is_json(value: Any) -> None:
    assert json.loads(jsontext.dumps(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":0.1}',
        b'{"a" :\n 299.00}',
        b"[1.10,2.20]",
        b'{"a":[0.123456789012345678901234567890]}',
        b'{"a":123456789012345678901234567890}',
        b'{"a":1E+2}',
        b"[-0.0]",
        b'{"deep":[{"a":[[9007199254740993.25]]}]}',
    ],
)
def test_every_digit_survives(text: bytes) -> None:
    read = jsontext.loads(text)
    assert jsontext.dumps(read).decode() == text.decode().replace(" ", "").replace("\n", "")


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"nope", b'{"a":NaN}', b'{"a":Infinity}', b"[1.5", b"\xff\xfe", b'{"a":1.}', b"[" * 100_000 + b"1.5"],
)
def test_invalid_json_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError):
        jsontext.loads(text)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": {"b": [1, math.nan]}}, "a.b[1]"),
        ({"a": Decimal("Infinity")}, "a"),
        ({"a": object()}, "a"),
        ({"a": {1: 2}}, "a"),
        ({"a": {"x": "\ud800"}}, "a.x"),
        ({"a": datetime(2026, 1, 1)}, "a"),
        ({"a": b"bytes"}, "a"),
    ],
)
def test_a_value_that_json_does_not_have_is_an_error_with_its_path(value: Any, where: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        jsontext.dumps(value)
    assert caught.value.parameter == where


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["again"] = loop
    with pytest.raises(InvalidArgumentError):
        jsontext.dumps(loop)


def test_dates_models_tuples_and_subclasses_are_written() -> None:
    class Name(str):
        pass

    class Flag(int):
        pass

    value = {
        "at": datetime(2026, 1, 2, 3, tzinfo=timezone.utc),
        "on": date(2026, 1, 2),
        "who": Customer(id="c", name="n", email="e"),
        "pair": (1, Flag(2)),
        "name": Name("x"),
    }
    assert json.loads(jsontext.dumps(value)) == {
        "at": "2026-01-02T03:00:00Z",
        "on": "2026-01-02",
        "who": {"id": "c", "name": "n", "email": "e"},
        "pair": [1, 2],
        "name": "x",
    }
