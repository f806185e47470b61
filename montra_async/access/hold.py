"""`Hold`: units that are held while their cost is not known yet."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from decimal import Decimal
from types import TracebackType
from typing import Any, Protocol

from ..core import validation
from ..core.compat import Self
from ..core.hints import AsyncOnly
from ..core.validation import Number
from .decision import Key
from .reservation import Reservation


class HoldOwner(Protocol):
    """What a hold needs of its `Access`."""

    def try_reserve(self, hold: Hold) -> bool: ...
    def begin_anew(self, hold: Hold) -> None: ...
    async def reserve(self, hold: Hold) -> None: ...
    async def extend(self, hold: Hold, amount: int | Decimal) -> None: ...
    async def settle(self, hold: Hold, used: int | Decimal) -> None: ...
    async def release(self, hold: Hold) -> None: ...
    async def renew(self, hold: Hold) -> None: ...


class Hold(Reservation, AsyncOnly):
    """Units of a meter that are held for one customer. Made by `Access.hold`; use it once.

        async with access.hold("cust_1", "api-tokens", estimate=2000) as hold:
            reply = await model(...)
            hold.amount = reply.tokens

    Entering or awaiting it again, also in another task, raises a `HoldEndedError`. So does entering one that was
    awaited and has expired since.

    At the end of the block, the rest of the units is released, and `amount` is recorded through the reporter. After an
    exception (a cancellation is one), all units are released and nothing is recorded, unless `record_on_error` is set
    and `amount` was set.

    Without a block: `hold = await access.hold(...)`, and later `await hold.settle()` or `await hold.release()`. Such a
    hold loses its units when `ttl` has passed since it was made or renewed. What it used can still be recorded then.

    Args:
        owner: the `Access` that made it.
    """

    _HOW = "use it in `async with`, or get it with `hold = await access.hold(...)`"

    def __init__(self, owner: HoldOwner, key: Key, estimate: int | Decimal, ttl: float, *,
                 idempotency_key: str | None = None, metadata: Mapping[str, Any] | None = None,
                 record_on_error: bool = False) -> None:  # fmt: skip
        Reservation.__init__(
            self,
            key,
            estimate,
            ttl,
            idempotency_key=idempotency_key,
            metadata=metadata,
            record_on_error=record_on_error,
        )
        self._owner = owner

    def __await__(self) -> Generator[Any, None, Self]:
        return self._acquire().__await__()

    async def _acquire(self) -> Self:
        self.begin()
        if not self._owner.try_reserve(self):
            await self._reserve()
        return self

    async def _reserve(self) -> None:
        try:
            await self._owner.reserve(self)
        except BaseException:
            self.begin_again()
            raise

    async def __aenter__(self) -> Self:
        if not self.begin_block():  # `async with await access.hold(...)` has reserved already
            self._owner.begin_anew(self)
        elif not self._owner.try_reserve(self):
            await self._reserve()
        self.renews = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.state != "open":  # settled or released inside the block
            return
        if error is None or (self.record_on_error and self.amount_is_set):
            await self._owner.settle(self, self.amount)
        else:
            await self._owner.release(self)

    async def settle(self, amount: Number | None = None) -> None:
        """Release the rest of the units and record what was used. Returns when the usage is durable.

        If this raises, nothing is recorded, and it may be called again. When it is cancelled, the usage is recorded all
        the same.

        Args:
            amount: number of units that were used, at least 0; may be more than the estimate. Default: `hold.amount`.

        Raises:
            HoldEndedError: the hold was settled or released already.
            InvalidArgumentError: the amount is invalid.
            UsageError: the usage can't be recorded.
        """
        await self._owner.settle(self, self.amount_to_settle(amount))

    async def release(self) -> None:
        """Release all units and record nothing. Does nothing when the hold has ended."""
        await self._owner.release(self)

    async def extend(self, more: Number) -> None:
        """Hold more units.

        Args:
            more: number of units, more than 0.

        Raises:
            LimitExceededError: there are not so many. The hold keeps those that it has.
            HoldEndedError: the hold has ended or expired.
        """
        exact = validation.number("more", more, above_zero=True)
        await self._owner.extend(self, exact)

    async def renew(self) -> None:
        """Begin the hold's life anew: it lasts `ttl` seconds from now. Inside its block, it renews itself.

        Raises:
            HoldEndedError: the hold has ended or expired.
        """
        await self._owner.renew(self)
