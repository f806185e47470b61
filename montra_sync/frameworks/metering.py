"""What the `metered` guards of synchronous frameworks do. Their decisions are those of `montra_async.frameworks`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from montra_async import MontraError
from montra_async.frameworks.guards import Denial, denied
from montra_async.frameworks.metering import (
    Amount,
    Ending,
    Estimate,
    Metering,
    has_left,
    is_recorded,
    validate_metering,
)

from ..access import Access, Hold
from .guards import find_customer


def begin(
    metering: Metering, request: Any, customer: Callable[[], object], passthrough: tuple[type[Exception], ...]
) -> Hold | Denial:
    """Find the request's customer and hold the units.

    Args:
        metering: the guard's arguments.
        request: the request, for `estimate`.
        customer: returns the customer's id.
        passthrough: exceptions of `customer` that are raised.

    Returns:
        The hold; or the response, when the request does not pass.
    """
    customer_id = find_customer(customer, passthrough)
    if isinstance(customer_id, Denial):
        return customer_id
    estimate: Any = metering.estimate
    if callable(estimate):
        estimate = estimate(request)
    access: Access = metering.get_access()
    try:
        hold = access.hold(customer_id, metering.slug, estimate=estimate).acquire()
    except MontraError as error:
        return denied("metered", metering.slug, customer_id, error)
    hold.renews = True
    return hold


def finish(metering: Metering, hold: Hold, ending: Ending) -> None:
    """Record what a request used, or release its units.

    Args:
        metering: the guard's arguments.
        hold: the request's hold.
        ending: how the request ended.

    Raises:
        UsageError: it can't be recorded.
    """
    if hold.state != "open":  # the view has settled or released it
        return
    try:
        recorded = is_recorded(metering, hold, ending)
    except BaseException:
        hold.release()
        raise
    if recorded:
        hold.settle()
    else:
        hold.release()


def metered_stream(metering: Metering, hold: Hold, response: Any, content: Iterable[Any]) -> Iterator[Any]:
    """The content of a streaming response. It settles the hold at its end.

    Args:
        metering: the guard's arguments.
        hold: the request's hold.
        response: the response.
        content: what it streams.
    """
    hold.renews = True
    try:
        yield from content
    except BaseException as error:
        finish(metering, hold, Ending(500, has_left(error)))
        raise
    finish(metering, hold, Ending(response.status_code, response=response))


__all__ = [
    "Amount",
    "Ending",
    "Estimate",
    "Metering",
    "begin",
    "finish",
    "has_left",
    "metered_stream",
    "validate_metering",
]
