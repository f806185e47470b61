"""Models in other JSON libraries."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from montra_async import Customer, Invoice, json_default

CUSTOMER = Customer(
    id="cust_1",
    email="a@example.com",
    created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
    extra={"fee": Decimal("0.10")},
)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Invoice(id="inv_1", amount_due=Decimal("19.90")), {"id": "inv_1", "amount_due": "19.90"}),
        (Decimal("1E+3"), "1E+3"),
        (datetime(2026, 1, 2, 5, tzinfo=timezone(timedelta(hours=2))), "2026-01-02T03:00:00Z"),
        (datetime(2026, 1, 2, 5), "2026-01-02T05:00:00"),
        (date(2026, 1, 2), "2026-01-02"),
    ],
)
def test_json_dumps_writes_it(value: Any, written: Any) -> None:
    assert json.loads(json.dumps({"value": [value]}, default=json_default)) == {"value": [written]}


def test_what_is_written_can_be_read() -> None:
    assert Customer.from_dict(json.loads(json.dumps(CUSTOMER, default=json_default))).email == CUSTOMER.email


def test_everything_else_is_refused() -> None:
    with pytest.raises(TypeError, match="object is not JSON"):
        json.dumps(object(), default=json_default)
