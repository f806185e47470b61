"""What bulk calls yield, and how far they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import attrs

T = TypeVar("T")


@attrs.frozen(kw_only=True, order=True)
class BulkResult(Generic[T]):
    """What became of one item. Results are sorted by `index`: `sorted(results)` is in the order of the items.

    Attributes:
        index: position of the item, from 0.
        item: the item, as it was given.
        status: `ok`: the call succeeded. `failed`: it did not, see `error`. `skipped`: it was not made, because the
            service had refused the key with an earlier item; `error` is that item's.
        value: the result of the call; None unless `ok`.
        error: why it failed or was skipped; None if `ok`.
        idempotency_key: the key it was sent with. Sent again with the same key, it can't take effect twice. None when
            it was not sent.
        replayed: whether the service says that it had carried the call out before, under the same key.
    """

    index: int
    item: Any = attrs.field(repr=False, order=False)
    status: Literal["ok", "failed", "skipped"] = attrs.field(order=False)
    value: T | None = attrs.field(default=None, order=False)
    error: Exception | None = attrs.field(default=None, order=False)
    idempotency_key: str | None = attrs.field(default=None, order=False)
    replayed: bool = attrs.field(default=False, order=False)

    def unwrap(self) -> T:
        """The result of the call.

        Raises:
            Exception: `error`, unless the call succeeded.
        """
        if self.error is not None:
            raise self.error.with_traceback(None)  # otherwise each time adds its frames to those of the last one
        value: Any = self.value
        return value  # type: ignore[no-any-return]


@attrs.frozen(kw_only=True)
class BulkProgress:
    """How far a bulk call is.

    Attributes:
        ok: number of items whose call succeeded.
        failed: number of items whose call did not.
        skipped: number of items that were not sent.
    """

    ok: int = 0
    failed: int = 0
    skipped: int = 0

    @property
    def done(self) -> int:
        """Number of items that have a result."""
        return self.ok + self.failed + self.skipped


BulkHook: TypeAlias = Callable[[BulkProgress], object]
"""A function that is called before each result is yielded."""
