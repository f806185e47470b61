"""Pure: what things cost. All in Decimal, rounded to cents once, at the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from typing import Any

import attrs

_CENT = Decimal("0.01")
_DIGITS = 60


def exactly() -> AbstractContextManager[Any]:
    """Arithmetic with all the digits that amounts, quantities and their products can have."""
    return localcontext(Context(prec=_DIGITS))


def cents(value: Decimal) -> Decimal:
    return value.quantize(_CENT, ROUND_HALF_UP)


@attrs.frozen(kw_only=True)
class Proration:
    unused_amount: Decimal
    remaining_amount: Decimal
    net_amount: Decimal
    remaining_ratio: Decimal


def prorate(old_price: Decimal, new_price: Decimal, start: datetime, end: datetime, now: datetime) -> Proration:
    """What a change of plan in the middle of a period costs."""
    span, left = _microseconds(end - start), _microseconds(end - now)
    ratio = min(Decimal(1), max(Decimal(0), Decimal(left) / Decimal(span))) if span > 0 else Decimal(0)
    unused, remaining = cents(old_price * ratio), cents(new_price * ratio)
    return Proration(
        unused_amount=unused,
        remaining_amount=remaining,
        net_amount=remaining - unused,
        remaining_ratio=round(ratio, 12).normalize() + 0,
    )


def _microseconds(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


def usage_charge(units: Decimal, unit_amount: Decimal, events_per_unit: int) -> Decimal:
    return units / events_per_unit * unit_amount


def tiered_charge(units: Decimal, tiers: Sequence[dict[str, Any]]) -> Decimal:
    """Graduated: each tier prices the units that fall into it. The last tier's `up_to` is None."""
    total, below = Decimal(0), Decimal(0)
    for tier in tiers:
        top = units if tier["up_to"] is None else min(units, Decimal(tier["up_to"]))
        total += max(Decimal(0), top - below) * Decimal(tier["unit_amount"])
        below = max(below, top)
    return total


def discounted(amount: Decimal, percent_off: Decimal | None, amount_off: Decimal | None) -> Decimal:
    """Never below zero."""
    off = amount * percent_off / 100 if percent_off is not None else amount_off or Decimal(0)
    return cents(max(Decimal(0), amount - off))


def total(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, Decimal(0))
