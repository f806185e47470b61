"""`Reservation`: what holds of the asynchronous and of the synchronous `Access` have in common."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeAlias

from ..core import validation
from ..core.validation import Number
from .decision import Key
from .errors import HoldEndedError
from .numbers import exact_sum

if TYPE_CHECKING:
    from .counter import Counter

HoldState: TypeAlias = Literal["new", "open", "settling", "ended"]


_ONCE = "a hold can be used once, and guards nothing the second time: call hold(...) for each"


class _More(NamedTuple):
    """What few holds are given."""

    idempotency_key: str | None
    metadata: Mapping[str, Any] | None
    record_on_error: bool


class Reservation:
    """Units of a meter that are held for one customer.

    Args:
        key: customer, kind and slug.
        estimate: number of units to hold.
        ttl: seconds of its life.
        idempotency_key: key of the usage event; None for a new one.
        metadata: metadata of the usage event.
        record_on_error: whether an exception still records what was set as `amount`.
    """

    __slots__ = (
        "__weakref__",
        "_acquirable",
        "_enterable",
        "_more",
        "_used",
        "counter",
        "epoch",
        "estimate",
        "expires_at",
        "fleet_id",
        "key",
        "renews",
        "state",
        "ttl",
        "units",
    )

    # Set when units are reserved, because holds are made by the thousand.
    counter: Counter
    epoch: int
    units: int
    expires_at: float
    fleet_id: str

    _HOW: ClassVar[str]
    """How units are held, in the words of the twin."""

    def __init__(
        self,
        key: Key,
        estimate: int | Decimal,
        ttl: float,
        *,
        idempotency_key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        record_on_error: bool = False,
    ) -> None:
        self.key: Key = key
        self.estimate: int | Decimal = estimate
        """Number of units held, `extend` included."""
        self.ttl: float = ttl
        self.state: HoldState = "new"
        self.renews: bool = False
        """Whether its life does not end, because its block is being executed."""
        self._used: int | Decimal | None = None
        # Each is deleted by its one use: of concurrent threads, one succeeds. True after a use that was refused.
        self._acquirable: bool = False
        self._enterable: bool = False
        given = idempotency_key is not None or metadata is not None or record_on_error
        self._more: _More | None = _More(idempotency_key, metadata, record_on_error) if given else None

    @property
    def idempotency_key(self) -> str | None:
        """The caller's key of the usage; None if the reporter makes one."""
        return None if self._more is None else self._more.idempotency_key

    @property
    def metadata(self) -> Mapping[str, Any] | None:
        """Metadata of the usage."""
        return None if self._more is None else self._more.metadata

    @property
    def record_on_error(self) -> bool:
        """Whether an exception still records `amount`, if it was set. May be changed."""
        return self._more is not None and self._more.record_on_error

    @record_on_error.setter
    def record_on_error(self, value: bool) -> None:
        self._more = _More(self.idempotency_key, self.metadata, value)

    @property
    def customer_id(self) -> str:
        """The customer, `cust_...`."""
        return self.key[0]

    @property
    def meter_slug(self) -> str:
        """Slug of the meter."""
        return self.key[2]

    @property
    def amount(self) -> int | Decimal:
        """Number of units that are recorded at the end. Default: the estimate.

        May be set to any number of at least 0, also to more than the estimate: what was used is recorded in full. With
        0, nothing is recorded.

        Raises (when it is set):
            HoldEndedError: the hold is settled or released.
            InvalidArgumentError: the amount is invalid.
        """
        return self.estimate if self._amount is None else self._amount

    @amount.setter
    def amount(self, amount: Number) -> None:
        self._amount = validation.number("amount", amount)

    @property
    def _amount(self) -> int | Decimal | None:
        """What was set as amount or added. Whatever sets it is refused when it would not be recorded any more."""
        return self._used

    @_amount.setter
    def _amount(self, amount: int | Decimal) -> None:
        if self.state in ("settling", "ended"):
            raise HoldEndedError(
                f"this amount is not recorded, because the hold is {self.state}: set the amount inside the block, or "
                "before settle()"
            )
        self._used = amount

    def amount_to_settle(self, amount: Number | None) -> int | Decimal:
        """The number of units to record.

        Args:
            amount: number of units, at least 0. None: `amount`.

        Raises:
            HoldEndedError: the hold is not open.
            InvalidArgumentError: the amount is invalid.
        """
        if self.state != "open":
            raise self._not_open()
        if amount is not None:
            self.amount = amount
        return self.amount

    def add(self, amount: Number) -> None:
        """Count units that were used, beginning with none: for streams, which learn their amount bit by bit.

        Args:
            amount: number of units, at least 0.
        """
        used = validation.number("amount", amount)
        self._amount = used if self._amount is None else exact_sum(self._amount, used)

    @property
    def amount_is_set(self) -> bool:
        """Whether `amount` was set."""
        return self._amount is not None

    def check_open(self, epoch: int) -> None:
        """Check that the hold has units of this process.

        Args:
            epoch: the ledger's epoch.

        Raises:
            HoldEndedError: the hold has no units any more, or never had any.
        """
        if self.state != "open":
            raise self._not_open()
        if self.epoch != epoch:
            raise HoldEndedError("this hold belongs to the parent process, which records it")

    def _not_open(self) -> HoldEndedError:
        if self.state == "new":
            return HoldEndedError(f"this hold has no units yet: {self._HOW}")
        return HoldEndedError(f"this hold is not open: it is {self.state}")

    def begin(self) -> None:
        """Take the hold's only chance to get units.

        Raises:
            HoldEndedError: the hold was used already.
        """
        try:
            del self._acquirable
        except AttributeError:
            raise HoldEndedError(_ONCE) from None

    def begin_block(self) -> bool:
        """Take the hold's only chance to guard a block.

        Returns:
            Whether its units are still to be reserved.

        Raises:
            HoldEndedError: the hold was used already.
        """
        is_new = self.state == "new"
        if is_new:
            self.begin()
        elif self.state != "open":
            raise HoldEndedError(_ONCE)
        try:
            del self._enterable
        except AttributeError:
            raise HoldEndedError(_ONCE) from None
        return is_new

    def begin_again(self) -> None:
        """Give the chances back after the units were refused: nothing is held, and it may be tried again."""
        if self.state == "new":
            self._acquirable = self._enterable = True

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("a hold can't be copied or pickled: its units would be held once, and used twice")

    def __del__(self) -> None:
        # As Python warns of a coroutine that was never awaited: here, usage would be missing.
        if getattr(self, "_acquirable", True) is False:
            # The text is always the same for a meter, because Python remembers the texts it has shown.
            text = f"a hold of {self.key[2]} was never entered, so it held and recorded nothing"
            warnings.warn(f"{text}: {self._HOW}", RuntimeWarning, stacklevel=2)

    def __repr__(self) -> str:
        if not hasattr(self, "state"):  # a frame may show one that is half built
            return f"<{type(self).__name__}>"
        return f"<{type(self).__name__} {self.key[0]} {self.key[2]} {self.estimate} {self.state}>"
