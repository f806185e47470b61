"""Where the items of a bulk call come from."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeAlias

from .errors import InvalidArgumentError
from .type_guards import is_mapping

Items: TypeAlias = Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]
"""Items: a list, a generator, an asynchronous generator, ...; each with the arguments of one call."""


def items_of(items: Any) -> Any:
    """The items, unless they can't be iterated over as such.

    Raises:
        InvalidArgumentError: they can't.
    """
    if is_mapping(items) or isinstance(items, (str, bytes)) or not isinstance(items, (Iterable, AsyncIterable)):
        raise InvalidArgumentError("items", f"a list or generator of dicts, not {type(items).__name__}")
    return items  # pyright: ignore[reportUnknownVariableType]


class ItemSource:
    """Items of an ordinary iterable, which is assumed not to wait.

    Args:
        items: the items.

    Attributes:
        awaited: gives the next item later; None when none is awaited.
    """

    def __init__(self, items: Iterable[Any]) -> None:
        self._items = iter(items)
        self.awaited: asyncio.Future[Any] | None = None

    def take(self, room: int) -> Iterator[Any]:
        """Yield the items that are there, at most `room`. What the iterable raises is raised after them."""
        yield from islice(self._items, room)

    def close(self) -> list[asyncio.Task[None]]:
        """Wait for no item any more. Returns at once; the tasks end when the iterable is closed."""
        return []


class AsyncItemSource(ItemSource):
    """Items of an asynchronous iterable: the next one is awaited while calls are in flight.

    Args:
        items: the items.
    """

    awaited: asyncio.Future[Any] | None

    def __init__(self, items: AsyncIterable[Any]) -> None:
        super().__init__(())
        self._async_items = aiter(items)
        self._has_ended = False

    def take(self, room: int) -> Iterator[Any]:
        """Yield the item that has come, if any, and begin to wait for the next one when there is room for it."""
        if self.awaited is not None and self.awaited.done():
            awaited, self.awaited = self.awaited, None
            self._has_ended = True  # unless there was an item
            for item in awaited.result():
                self._has_ended = False
                room -= 1
                yield item
        if self.awaited is None and not self._has_ended and room > 0:
            self.awaited = asyncio.ensure_future(_next_of(self._async_items))

    def close(self) -> list[asyncio.Task[None]]:
        """Wait for no item any more, and close the iterable if it was left early."""
        if self._has_ended:
            return []
        if self.awaited is not None:
            self.awaited.cancel()
        return [asyncio.get_running_loop().create_task(_close(self._async_items, self.awaited))]


async def _next_of(items: AsyncIterator[Any]) -> list[Any]:
    """The next item in a list; an empty list at the end."""
    try:
        return [await anext(items)]
    except StopAsyncIteration:
        return []


async def _close(items: Any, awaited: asyncio.Future[Any] | None) -> None:
    """Close an iterator that can be closed. What it raises is lost: how the iteration ended is what counts."""
    if awaited is not None:
        await asyncio.wait([awaited])
        if not awaited.cancelled():
            awaited.exception()  # otherwise the loop reports it
    if hasattr(items, "aclose"):
        with contextlib.suppress(Exception):
            await items.aclose()
