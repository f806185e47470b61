"""`ApiResponse`: the result of a call together with status, headers and request id of its response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import MethodType
from typing import Any, Generic, TypeVar

import attrs

from .errors import CallInfo
from .headers import NO_HEADERS, ResponseHeaders, is_replayed

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class ApiResponse(Generic[T]):
    """What `with_raw_response` returns.

    A call that makes several requests, such as `create_customer_with_subscription`, has the facts of the last one. A
    call that made no request of its own has its `data` and no facts: its result was known (`get_user` within seconds
    of another), or it is that of a concurrent call (`refresh`). `force=True`, where a call has it, makes a request.

    Attributes:
        data: the result of the call.
        status: HTTP status; None when no request was made.
        headers: headers of the response; empty when no request was made.
        request_id: the response's `x-request-id`. Quote it to the service's support. None without one.
        call: method, path, attempts and idempotency key; None when no request was made.
        elapsed: seconds from the first attempt to the response, with all pauses.
    """

    data: T
    status: int | None = None
    headers: ResponseHeaders = NO_HEADERS
    request_id: str | None = None
    call: CallInfo | None = None
    elapsed: float = 0.0

    @property
    def attempts(self) -> int:
        """The number of requests that were begun; 0 when none was."""
        return 0 if self.call is None else self.call.attempts

    @property
    def idempotency_key(self) -> str | None:
        """The idempotency key that was sent; None without one."""
        return None if self.call is None else self.call.idempotency_key

    @property
    def replayed(self) -> bool:
        """Whether the service says that this is its stored response to an earlier request with this idempotency key.

        The call had no second effect then.
        """
        return is_replayed(self.headers)


def function_of(client: object, call: Callable[..., Any]) -> Callable[..., Any]:
    """The plain function behind a method of a client.

    Args:
        client: the client.
        call: what was given to its `with_raw_response`.

    Raises:
        TypeError: not a method of this client.
    """
    if isinstance(call, MethodType) and call.__self__ is client:
        function: Callable[..., Any] = call.__func__
        return function
    name = getattr(call, "__name__", "get_customer")
    raise TypeError(
        f"with_raw_response takes a method of the very client that it is called on, and its arguments: "
        f"client.with_raw_response(client.{name}, ...)"
    )


def refuse(name: str) -> TypeError:
    """The error of a method that is no call with one result."""
    return TypeError(
        f"{name} has no single response: with_raw_response takes a call that returns one result. Of an iterator, take "
        "the pages with its list_... call; a GatewayResponse has status and headers itself"
    )


def awaitable_of(name: str, result: Any) -> Awaitable[Any]:
    """What a call returned, if it can be awaited.

    Raises:
        TypeError: it can't.
    """
    if not isinstance(result, Awaitable):
        raise refuse(name)
    return result  # pyright: ignore[reportUnknownVariableType]
