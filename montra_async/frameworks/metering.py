"""What all `metered` guards decide: who may begin, and what is recorded when a request ends. Used by both twins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from inspect import isawaitable
from typing import Any, NamedTuple, TypeAlias

from ..access import Access, Hold
from ..access.reservation import Reservation
from ..core import validation
from ..core.errors import MontraError
from .guards import Denial, denied, find_customer, validate_guard

Estimate: TypeAlias = int | float | Decimal | Callable[[Any], Any]
"""Number of units to hold, or a function that takes the request and returns it."""

Amount: TypeAlias = Callable[[Any], Any] | None
"""Takes the response and returns the number of units used; None from it: what the handler has set, or the estimate."""


class Metering(NamedTuple):
    """The arguments of a `metered` guard."""

    slug: str
    access: Any
    customer: Callable[..., Any]
    estimate: Estimate
    amount: Amount

    def get_access(self) -> Any:
        """The `Access`, which may be given as a function."""
        return self.access if hasattr(self.access, "hold") else self.access()


def validate_metering(slug: str, access: Any, customer: Any, estimate: Any, amount: Any) -> Metering:
    """Check the arguments of a `metered` guard when it is created.

    Args:
        slug: of the meter.
        access: an `Access`, or a function that returns it.
        customer: the function that returns the customer's id.
        estimate: number of units, or a function.
        amount: a function; None without one.

    Raises:
        InvalidArgumentError: the slug is blank, or the estimate is not a number above 0.
        TypeError: `access` is neither an `Access` nor a function, or `customer` or `amount` is not callable.
    """
    validate_guard(slug, customer)
    if not hasattr(access, "hold") and not callable(access):
        raise TypeError(f"access: an Access, or a function that returns it, not {type(access).__name__}")
    if not callable(estimate):
        validation.number("estimate", estimate, above_zero=True)
    if amount is not None and not callable(amount):
        raise TypeError(f"amount: a function that takes the response, not {type(amount).__name__}")
    return Metering(slug, access, customer, estimate, amount)


class Ending(NamedTuple):
    """How a request ended."""

    status: int
    """Status of the response; 500 after an exception."""
    left: bool = False
    """Whether the client went away before the end."""
    response: Any = None


def is_recorded(metering: Metering, hold: Reservation, ending: Ending) -> bool:
    """Decide whether a request's usage is recorded, and set its amount.

    After an exception or a 5xx response nothing is, unless the hold says `record_on_error`. If the client went away, or
    the hold says so, what was set as its amount is: else whoever closes a stream before its end would get it for
    nothing.

    Args:
        metering: the guard's arguments.
        hold: the request's hold.
        ending: how the request ended.
    """
    if ending.left:
        return hold.amount_is_set
    if ending.status >= 500:
        return hold.record_on_error and hold.amount_is_set
    if metering.amount is not None and not hold.amount_is_set:
        amount = metering.amount(ending.response)
        if amount is not None:
            hold.amount = amount
    return True


async def begin(
    metering: Metering, request: Any, customer: Callable[[], object], passthrough: tuple[type[Exception], ...] = ()
) -> Hold | Denial:
    """Find the request's customer and hold the units.

    Args:
        metering: the guard's arguments.
        request: the request, for `estimate`.
        customer: returns the customer's id, or an awaitable of it.
        passthrough: exceptions of `customer` that are raised.

    Returns:
        The hold; or the response, when the request does not pass.
    """
    customer_id = await find_customer(customer, passthrough)
    if isinstance(customer_id, Denial):
        return customer_id
    estimate: Any = metering.estimate
    if callable(estimate):
        estimate = estimate(request)
        if isawaitable(estimate):
            estimate = await estimate
    access: Access = metering.get_access()
    try:
        hold: Hold = await access.hold(customer_id, metering.slug, estimate=estimate)
    except MontraError as error:
        return denied("metered", metering.slug, customer_id, error)
    return hold


async def finish(metering: Metering, hold: Hold, ending: Ending) -> None:
    """Record what a request used, or release its units.

    Args:
        metering: the guard's arguments.
        hold: the request's hold.
        ending: how the request ended.

    Raises:
        UsageError: it can't be recorded.
    """
    if hold.state != "open":  # the handler has settled or released it
        return
    try:
        recorded = is_recorded(metering, hold, ending)
    except BaseException:
        await hold.release()
        raise
    await (hold.settle() if recorded else hold.release())


def has_left(error: BaseException) -> bool:
    """Whether an error means that the client went away.

    A `ConnectionError` does not: a model server or a database that can't be reached raises it as well.

    Args:
        error: what the handler raised.
    """
    return isinstance(error, (asyncio.CancelledError, GeneratorExit))
