"""The registry of operations: each operation of a contract is one decorated function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar

import attrs

C = TypeVar("C")

Handler: TypeAlias = Callable[[C], Any]
"""Takes the request's context and returns the JSON of the response."""


@attrs.frozen(kw_only=True)
class UploadedPart:
    """A file of a multipart request.

    Attributes:
        name: the file name.
        type: the media type.
        content: the bytes.
    """

    name: str
    type: str
    content: bytes


class OperationRegistry(dict[str, Handler[C]], Generic[C]):
    """The handlers of one service by operation id. An instance is the decorator that registers them.

    operation = OperationRegistry[MerchantContext]()

    @operation("create_refund")
    def create_refund(context: MerchantContext) -> Any: ...
    """

    def __call__(self, *operation_ids: str) -> Callable[[Handler[C]], Handler[C]]:
        """Register the decorated function.

        Args:
            operation_ids: the `operationId`s of the contract that the function handles.

        Raises:
            ValueError: an operation id has a handler already.
        """

        def register(handler: Handler[C]) -> Handler[C]:
            for operation_id in operation_ids:
                if operation_id in self:
                    raise ValueError(f"the operation {operation_id!r} has two handlers")
                self[operation_id] = handler
            return handler

        return register
