"""What changes access: our own writes, and the service's webhooks."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from copy import copy
from typing import Any, TypeAlias, TypeVar

from ..client import Montra
from ..core.errors import ApiError, MontraError, NetworkError, ServerError
from ..core.type_guards import is_object
from ..webhooks.webhook_event import WebhookEvent

M = TypeVar("M", bound=Montra)

Invalidate: TypeAlias = Callable[[str | None, str | None], None]
"""Takes a customer id and the slug of a meter; None for all."""

EVENTS = (
    "checkout.completed",
    "customer.updated",
    "subscription.canceled",
    "subscription.created",
    "subscription.paused",
    "subscription.resumed",
    "subscription.updated",
    "usage.limit_reached",
)
"""Types of the events that may change a customer's access."""

_OF_ALL_CUSTOMERS = ("/features", "/meters", "/pricing-models", "/products")
_OF_ONE_CUSTOMER = ("/customers", "/subscriptions")


def watched(montra: M, invalidate: Invalidate) -> M:
    """A view of a client whose writes invalidate what they change.

    Args:
        montra: the client; it does not change.
        invalidate: called after each such write, also if it may have failed.
    """
    view = copy(montra)
    send: Callable[..., Coroutine[Any, Any, Any]] = view._send  # pyright: ignore[reportPrivateUsage]

    async def send_and_invalidate(request: Any, decode: Any) -> Any:
        path: str = request.path
        if request.method == "GET" or not path.startswith(_OF_ALL_CUSTOMERS + _OF_ONE_CUSTOMER):
            return await send(request, decode)
        try:
            result = await send(request, decode)
        except BaseException as error:
            if may_have_written(error):
                invalidate(None, None)
            raise
        everybody = path.startswith(_OF_ALL_CUSTOMERS)
        invalidate(None if everybody else customer_of(result), None)
        return result

    view.__dict__["_send"] = send_and_invalidate
    return view


def may_have_written(error: BaseException) -> bool:
    """Whether a write that failed may have taken effect all the same."""
    if isinstance(error, NetworkError):
        return error.sent
    if isinstance(error, ApiError):
        return isinstance(error, ServerError) or error.status < 400  # a success whose body could not be read
    return not isinstance(error, MontraError)  # cancelled, for one


def customer_of(result: Any) -> str | None:
    """The customer of a subscription, of an upgrade, or a customer."""
    for one in (result, getattr(result, "subscription", None)):
        customer_id = getattr(one, "customer_id", None)
        if isinstance(customer_id, str):
            return customer_id
    found = getattr(result, "id", None)
    return found if isinstance(found, str) and hasattr(result, "email") else None


def changes_of(event: WebhookEvent) -> tuple[str | None, str | None] | None:
    """The customer whose access an event changes, and the slug of the meter if only that one. None: no change.

    An event that names no customer may change anybody's access.
    """
    if event.type not in EVENTS:
        return None
    data: Any = getattr(event, "data", None)
    if event.type.startswith("customer."):
        return _text(data, "id"), None
    slug = _text(data, "meter_slug") if event.type == "usage.limit_reached" else None
    return _text(data, "customer_id"), slug


def _text(data: Any, name: str) -> str | None:
    value = data.get(name) if is_object(data) else getattr(data, name, None)
    return value if isinstance(value, str) and value else None
