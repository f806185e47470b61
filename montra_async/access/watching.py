"""What changes access: our own writes, and the service's webhooks."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar

from ..client import Montra
from ..core.client import BaseClient, Decoder
from ..core.errors import ApiError, MontraError, NetworkError, ServerError
from ..core.http.messages import Request
from ..core.type_guards import is_object
from ..webhooks.webhook_event import WebhookEvent

T = TypeVar("T")
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
    kind: Any = type(montra)
    view.__class__ = _watched_class(kind)
    view.__dict__["_invalidate"] = invalidate
    return view


class _WatchedClient(BaseClient):
    """Mixed into the class of a client. Views of the view (`with_options`) are of this class, too."""

    _invalidate: Invalidate

    async def _send(self, request: Request, decode: Decoder[T]) -> T:
        path = request.path
        if request.method == "GET" or not path.startswith(_OF_ALL_CUSTOMERS + _OF_ONE_CUSTOMER):
            return await super()._send(request, decode)
        try:
            result = await super()._send(request, decode)
        except BaseException as error:
            if may_have_written(error):
                self._invalidate(None, None)
            raise
        everybody = path.startswith(_OF_ALL_CUSTOMERS)
        self._invalidate(None if everybody else customer_of(result), None)
        return result


@lru_cache(maxsize=64)
def _watched_class(client: type[Montra]) -> Any:
    return type(client.__name__, (_WatchedClient, client), {"__slots__": (), "__module__": client.__module__})


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
