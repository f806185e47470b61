"""`Counter`: the units of one customer and meter, as integers. Not thread-safe: the ledger has the lock."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING

from .decision import INVALID, AccessDecision

if TYPE_CHECKING:
    from .reservation import Reservation


class Counter:
    """Units that are used, recorded and held. All integers are units of `10**-scale`.

    What is recorded here is known to the service some time later. An answer of the service surely includes what was
    acknowledged before it was asked, and may or may not include what was acknowledged meanwhile. Therefore

        free = limit - (usage by the service + recorded - base) - held

    where `base` is what was acknowledged before the service was asked: never too many, and exact after the next answer.
    """

    __slots__ = (
        "acknowledged",
        "answer",
        "answered",
        "base",
        "free",
        "fresh_until",
        "holds",
        "mark",
        "marked_at",
        "next_expiry",
        "recorded",
        "scale",
        "server",
        "shown",
    )

    def __init__(self, answer: AccessDecision | None, now: float) -> None:
        self.scale: int = 0
        self.recorded: int = 0
        """Units recorded here since this counter was made."""
        self.acknowledged: int = 0
        """Units of them that the service has counted, or never will."""
        self.base: int = 0
        """Units of them that are included in the service's answer."""
        self.holds: set[Reservation] = set()
        self.next_expiry: float = math.inf
        """No hold expires before."""
        self.mark: int = 0
        self.marked_at: float = now
        self.server: int = 0
        self.free: int | float = math.inf
        self.answer: AccessDecision | None = None
        self.fresh_until: float = INVALID
        self.answered: int = 0
        """Number of the question that was answered."""
        self.shown: bool = False
        """Whether a decision that was made from this counter is among the ledger's answers."""
        if answer is not None:
            self.apply(answer, 0, 0, now, math.inf)

    def units(self, amount: int | Decimal) -> int:
        """An exact amount in units. The scale grows when the amount is finer."""
        if isinstance(amount, int):
            factor: int = 10**self.scale
            return amount * factor
        sign, digits, exponent = amount.as_tuple()
        assert isinstance(exponent, int)
        if -exponent > self.scale:
            self._rescale(-exponent)
        factor = 10 ** (exponent + self.scale)
        units = int("".join(map(str, digits))) * factor
        return -units if sign else units

    def amount(self, units: int) -> int | Decimal:
        """Units as an amount."""
        if self.scale == 0:
            return units
        whole, rest = divmod(units, 10**self.scale)
        # From text, because arithmetic rounds to the precision of the thread's context.
        return Decimal(f"{units}E-{self.scale}") if rest else whole

    def _rescale(self, scale: int) -> None:
        factor = 10 ** (scale - self.scale)
        self.scale = scale
        self.recorded *= factor
        self.acknowledged *= factor
        self.base *= factor
        self.mark *= factor
        self.server *= factor
        self.free *= factor
        for hold in self.holds:
            hold.units *= factor

    def apply(self, answer: AccessDecision, base: int, scale: int, asked_at: float, local_ttl: float) -> None:
        """Use a new answer of the service.

        Args:
            answer: the answer, with the service's own numbers.
            base: `acknowledged` when the service was asked.
            scale: the counter's scale at that time.
            asked_at: when the service was asked, by the ledger's clock.
            local_ttl: seconds after which what was recorded here counts as known to the service.
        """
        for number in (answer.limit, answer.usage):
            if number is not None:
                self.units(number)  # the scale does not change any more below
        limit = None if answer.limit is None else self.units(answer.limit)
        self.server = 0 if answer.usage is None else self.units(answer.usage)
        self.base = max(self.base, min(base * 10 ** (self.scale - scale), self.recorded))
        if asked_at - self.marked_at >= local_ttl:
            self.base = max(self.base, self.mark)
            self.mark, self.marked_at = self.recorded, asked_at
        self.answer = answer
        self.fresh_until = answer.fresh_until
        if not answer.allowed:
            self.free = -math.inf
        elif limit is None:
            self.free = math.inf
        else:
            self.free = limit - self.server - (self.recorded - self.base) - self.held

    @property
    def held(self) -> int:
        """Units held."""
        return sum(hold.units for hold in self.holds)

    @property
    def usage(self) -> int:
        """Units used: by the service, and recorded here since."""
        return self.server + self.recorded - self.base

    @property
    def is_idle(self) -> bool:
        """Whether this counter knows nothing that the service's answer does not say."""
        return not self.holds and self.base >= self.recorded
