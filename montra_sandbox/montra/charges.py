"""Price arithmetic in `Decimal`. Amounts are in major units and are rounded to cents once, at the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from typing import Any

import attrs

_CENT = Decimal("0.01")
_PRECISION = 60


def exact_decimals() -> AbstractContextManager[Any]:
    """A decimal context with all the digits that amounts, quantities and their products can have."""
    return localcontext(Context(prec=_PRECISION))


def round_to_cents(value: Decimal) -> Decimal:
    """Round half up to two decimals."""
    return value.quantize(_CENT, ROUND_HALF_UP)


def total(amounts: Iterable[Decimal]) -> Decimal:
    """The sum of amounts; 0 without any."""
    return sum(amounts, Decimal(0))


@attrs.frozen(kw_only=True)
class Proration:
    """What a change of plan in the middle of a period costs.

    Attributes:
        unused_amount: the old plan's price of the remaining time.
        remaining_amount: the new plan's price of the remaining time.
        net_amount: the difference, which is due.
        remaining_ratio: the remaining fraction of the period, 0 to 1.
    """

    unused_amount: Decimal
    remaining_amount: Decimal
    net_amount: Decimal
    remaining_ratio: Decimal


def prorate(old_price: Decimal, new_price: Decimal, start: datetime, end: datetime, now: datetime) -> Proration:
    """Prorate a change of plan.

    Args:
        old_price: the old plan's price per period.
        new_price: the new plan's price per period.
        start: start of the period.
        end: end of the period.
        now: when the plan changes.
    """
    span, left = _microseconds(end - start), _microseconds(end - now)
    ratio = min(Decimal(1), max(Decimal(0), Decimal(left) / Decimal(span))) if span > 0 else Decimal(0)
    unused, remaining = round_to_cents(old_price * ratio), round_to_cents(new_price * ratio)
    return Proration(
        unused_amount=unused,
        remaining_amount=remaining,
        net_amount=remaining - unused,
        remaining_ratio=round(ratio, 12).normalize() + 0,
    )


def _microseconds(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


def usage_charge(units: Decimal, unit_amount: Decimal, events_per_unit: int) -> Decimal:
    """The charge for usage, not rounded.

    Args:
        units: the aggregated usage.
        unit_amount: the price of one unit.
        events_per_unit: how much usage makes one unit.
    """
    return units / events_per_unit * unit_amount


def tiered_charge(units: Decimal, tiers: Sequence[dict[str, Any]]) -> Decimal:
    """The charge for usage with graduated prices: each tier prices the units that fall into it.

    Args:
        units: the units to charge.
        tiers: `up_to` (None in the last tier) and `unit_amount` of each tier, in ascending order.
    """
    charge, below = Decimal(0), Decimal(0)
    for tier in tiers:
        top = units if tier["up_to"] is None else min(units, Decimal(tier["up_to"]))
        charge += max(Decimal(0), top - below) * Decimal(tier["unit_amount"])
        below = max(below, top)
    return charge


def apply_discount(amount: Decimal, percent_off: Decimal | None, amount_off: Decimal | None) -> Decimal:
    """An amount after a discount, never below zero.

    Args:
        amount: the full amount.
        percent_off: percent to subtract, 0 to 100; None for a fixed discount.
        amount_off: the fixed discount; ignored when there is a percentage.
    """
    off = amount * percent_off / 100 if percent_off is not None else amount_off or Decimal(0)
    return round_to_cents(max(Decimal(0), amount - off))
