"""What the generated facades have that can't be generated: by hand, as bases of theirs."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from montra_async.core.api_response import ApiResponse, function_of, refuse
from montra_async.core.twins import own_name

P = ParamSpec("P")
T = TypeVar("T")


class SyncOnly:
    """Base of what `with` takes. `async with` raises a `TypeError` that says so."""

    __slots__ = ()


if not TYPE_CHECKING:

    def _refuse_async_with(self: object, *_: Any) -> Any:
        name = own_name("montra_sync", self)
        twin = name.replace("montra_sync", "montra_async", 1)
        raise TypeError(f"{name} is synchronous: write `with`, or use {twin} in asynchronous code")

    SyncOnly.__aenter__ = SyncOnly.__aexit__ = _refuse_async_with


class ClientFacade(SyncOnly):
    """Base of the facades of clients."""

    __slots__ = ()

    def with_raw_response(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> ApiResponse[T]:
        """Make a call, and return its result with status, headers and request id of the response.

            response = montra.with_raw_response(montra.get_customer, "cust_1")
            response.data.name, response.status, response.headers["x-ratelimit-remaining"], response.request_id

        The call is the same in every other way. An error has `status`, `headers` and `request_id`, too.

        Args:
            call: a method of this very client that returns one result: no iterator, stream or context manager.
            args: its positional arguments.
            kwargs: its keyword arguments.

        Raises:
            TypeError: `call` is something else.
        """
        facade: Any = self  # `_async` and `_view` are generated, each with its own type
        function = function_of(self, call)
        source = getattr(facade._async, call.__name__, None)
        if source is not None and not inspect.iscoroutinefunction(source):
            raise refuse(call.__name__)
        client, transport = facade._async._recording()
        data = function(facade._view(client), *args, **kwargs)
        if inspect.isgenerator(data) or isinstance(data, AbstractContextManager):
            raise refuse(call.__name__)
        return ApiResponse(data=data, **transport.recorded())
