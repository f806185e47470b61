"""Makes events from the arguments of `record`. Takes a microsecond, because it is called for each request of an
application."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..core import validation
from ..core.errors import InvalidArgumentError
from ..core.limits import is_writable_decimal
from ..core.validation import Number
from .events import (
    MAX_COALESCED_UNITS,
    MAX_EXACT_UNITS,
    MAX_NAME_LENGTH,
    Event,
    KeySource,
    checked_name,
    metadata_text,
    units_of,
)

_new: Callable[[type[Event], tuple[Any, ...]], Event] = getattr(tuple, "__new__")  # noqa: B009
"""A named tuple's own constructor takes twice as long."""

_MAX_SLUGS = 10_000
"""Maximum number of slugs that are remembered as checked."""


class Recorder:
    """Checks arguments and makes events of them. Any thread may use it.

    Args:
        on_unnoticed_fork: called in a process that was forked without Python's hooks, e.g. by a server written in C.
    """

    def __init__(self, on_unnoticed_fork: Callable[[], None] = lambda: None) -> None:
        self._on_unnoticed_fork = on_unnoticed_fork
        self._coalesced: frozenset[str] = frozenset()
        self._slugs: dict[str, bool] = {}
        self.renew()

    def renew(self) -> None:
        """Make keys that no other process makes: a forked child does so."""
        self._process = os.getpid()
        self._new_key = KeySource().new

    @property
    def is_of_this_process(self) -> bool:
        """Whether the keys are those of this process."""
        return self._process == os.getpid()

    def coalesce(self, slugs: Collection[str]) -> None:
        """Have the events of some meters added up.

        Args:
            slugs: of the meters.
        """
        self._coalesced, self._slugs = frozenset(slugs), {}

    def event(
        self,
        customer_id: str,
        meter_slug: str,
        amount: Number,
        metadata: Mapping[str, Any] | None,
        idempotency_key: str | None,
    ) -> Event:
        """Make an event.

        Args:
            customer_id: `cust_...`.
            meter_slug: slug of the meter.
            amount: number of units, at least 0.
            metadata: a JSON object.
            idempotency_key: the caller's key; None for a new one.

        Raises:
            InvalidArgumentError: an argument is invalid.
        """
        if os.getpid() != self._process:
            self._on_unnoticed_fork()
        # The usual case first: an identifier is a string of letters, digits and `_` that is not empty.
        if customer_id.__class__ is not str or len(customer_id) > MAX_NAME_LENGTH or not customer_id.isidentifier():
            customer_id = checked_name("customer_id", customer_id)
        coalesced: bool | None = self._slugs.get(meter_slug) if meter_slug.__class__ is str else None
        if coalesced is None:
            meter_slug, coalesced = self._check_slug(meter_slug)
        if metadata is None and idempotency_key is None and type(amount) is int and 0 <= amount < MAX_COALESCED_UNITS:
            return _new(Event, (self._new_key(), customer_id, meter_slug, amount, 0, None, time.time(), coalesced))
        units: int | str = 0
        scale = 0
        if type(amount) is int and 0 <= amount < MAX_EXACT_UNITS:
            units = amount
        else:
            units, scale = _exact_units(amount)
        if metadata is None and idempotency_key is None:
            text, key = None, self._new_key()
            coalesced = coalesced and isinstance(units, int) and units < MAX_COALESCED_UNITS
        else:
            text, coalesced = metadata_text(metadata), False
            key = self._new_key() if idempotency_key is None else validation.idempotency_key(idempotency_key)
        return _new(Event, (key, customer_id, meter_slug, units, scale, text, time.time(), coalesced))

    def _check_slug(self, given: Any) -> tuple[str, bool]:
        slug = checked_name("meter_slug", given)
        if len(self._slugs) >= _MAX_SLUGS:
            self._slugs = {}
        self._slugs[slug] = coalesced = slug in self._coalesced
        return slug, coalesced


def _exact_units(amount: Any) -> tuple[int | str, int]:
    """
    Raises:
        InvalidArgumentError: not a finite number of at least 0.
    """
    exact = validation.number("amount", amount)
    if not isinstance(exact, int) and not is_writable_decimal(exact):
        raise InvalidArgumentError("amount", "has too many digits")
    return units_of(exact)
